"""The service's enumerations, and total tables between them and our own words (the contract, chapter 4)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import IntEnum

from common.db.transfers import FileFault, FileState, Way
from common.task import State, Task


class TransferType(IntEnum):
    """Direction, as seen from the data space."""

    TRANSFER_TYPE_UNDEFINED = 0
    TRANSFER_TYPE_UPLOAD = 1
    TRANSFER_TYPE_DOWNLOAD = 2


class TaskState(IntEnum):
    """State of a task; the last four belong to steps that we do not have."""

    STARTED = 0
    RUNNING = 1
    FINISHED = 2
    ERROR = 3
    CANCEL = 4
    REVIEW = 5
    REJECTED = 6
    SENSEDATA_TRANSFER = 7
    SENSEDATA_TRANSFER_FAILED = 8


TYPES: Mapping[Way, TransferType] = {
    Way.OUT: TransferType.TRANSFER_TYPE_DOWNLOAD,
    Way.IN: TransferType.TRANSFER_TYPE_UPLOAD,
    Way.WITHIN: TransferType.TRANSFER_TYPE_UPLOAD,
}
TASK_TYPES: Mapping[Way, int] = {Way.OUT: 6, Way.IN: 1, Way.WITHIN: 0}  # published nowhere but for 6; own rule

STATES: Mapping[State, tuple[TaskState, TaskState]] = {  # of a task that ran, and of one that never did
    State.CREATED: (TaskState.STARTED, TaskState.STARTED),
    State.QUEUED: (TaskState.RUNNING, TaskState.STARTED),
    State.RUNNING: (TaskState.RUNNING, TaskState.RUNNING),
    State.PAUSED: (TaskState.RUNNING, TaskState.STARTED),
    State.WAITING_RETRY: (TaskState.RUNNING, TaskState.RUNNING),
    State.SUCCEEDED: (TaskState.FINISHED, TaskState.FINISHED),
    State.FAILED: (TaskState.ERROR, TaskState.ERROR),
    State.CANCELLED: (TaskState.CANCEL, TaskState.CANCEL),
    State.TIMED_OUT: (TaskState.ERROR, TaskState.ERROR),
}
FILE_STATES: Mapping[FileState, int] = {FileState.PENDING: 0, FileState.SUCCEEDED: 1, FileState.FAILED: 2}
FILE_FAULTS: Mapping[FileFault, int] = {
    FileFault.NONE: 0,
    FileFault.OTHER: 0,
    FileFault.STORE: 1,
    FileFault.FORMAT: 2,
    FileFault.FORBIDDEN: 3,
    FileFault.NOT_FOUND: 4,
}


def state_of(task: Task) -> TaskState:
    """Return the state that a task is shown in."""
    return STATES[task.state][0 if task.ran else 1]


def selected(wanted: Sequence[TaskState]) -> list[tuple[State, bool | None]]:
    """Return our states that are shown as one of these; with each whether it must have run (None: either)."""
    found: list[tuple[State, bool | None]] = []
    for state, (ran, never) in STATES.items():
        if ran in wanted and never in wanted:
            found.append((state, None))
        elif ran in wanted or never in wanted:
            found.append((state, ran in wanted))
    return found


def ways_of(kind: TransferType) -> list[Way] | None:
    """Return the ways that a direction selects; None = all."""
    if kind is TransferType.TRANSFER_TYPE_UNDEFINED:
        return None
    return [way for way, shown in TYPES.items() if shown is kind]
