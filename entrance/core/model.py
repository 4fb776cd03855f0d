"""What goes in and out of the verbs on tasks: plain values that every dialect shares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from common.errors import EntranceError
from common.task import Priority, State, Task
from executors.base import Column, Progress
from executors.launchers.base import Sample


@dataclass(frozen=True, kw_only=True)
class Caller:
    """Who asks: a user that has proved who they are."""

    name: str
    admin: bool = False


@dataclass(frozen=True, kw_only=True)
class Submission:
    """A request for work. ``params`` go through the executor's schema before anything is stored."""

    executor: str
    params: Mapping[str, Any]
    creator: str
    door: str  # the dialect: linkis, singularity, blackpearl, dataspaces
    execute_user: str = ""  # "" = the caller
    run_type: str = ""  # "" = the executor's name
    priority: int = int(Priority.NORMAL)
    code: str = ""  # as sent, kept for the history
    settings: Mapping[str, Any] = field(default_factory=dict)  # Linkis' ``params``
    source: Mapping[str, Any] = field(default_factory=dict)
    labels: Sequence[tuple[str, str]] = ()
    running_timeout_s: int | None = None
    queuing_timeout_s: int | None = None
    max_retries: int | None = None  # None: the service's default
    retry_delay_ms: int | None = None
    idempotency_key: str = ""  # same key and user within 24 h: the first task again
    job_id: int | None = None
    wait_for_ready: bool = False  # stay ``created`` until somebody says Ready
    exempt: bool = False  # does not count for how many may wait (as children do not)


@dataclass(frozen=True, kw_only=True)
class SubmissionRecord:
    """What is kept of a submission."""

    code: str
    params: Mapping[str, Any]
    settings: Mapping[str, Any]
    source: Mapping[str, Any]
    labels: Sequence[tuple[str, str]]


@dataclass(frozen=True, kw_only=True)
class TaskProgress:
    """How far a task is, its children included; ``fraction`` is 1 only for succeeded and never falls within an attempt."""

    task: Task
    progress: Progress
    fraction: float
    bytes_per_second: float | None
    seconds_left: float | None


@dataclass(frozen=True, kw_only=True)
class LogPage:
    """Lines ``first`` .. ``first + len(lines)`` of a log, without line ends; ``levels[i]`` is ERROR, WARN or INFO.

    ``next_line`` is what to ask for next. A continuation line has the level of the line before it.
    """

    lines: Sequence[str]
    levels: Sequence[str]
    first: int
    next_line: int


@dataclass(frozen=True, kw_only=True)
class ResultPage:
    """A page of a task's result table; ``total`` rows in all."""

    columns: Sequence[Column]
    rows: Sequence[Sequence[Any]]
    total: int


@dataclass(frozen=True, kw_only=True)
class AttemptRecord:
    """One attempt: times in ms, ``done_*`` in the executor's unit (bytes or steps)."""

    number: int
    started_at: int
    ended_at: int | None
    ending: str | None
    reason: str | None
    done_at_start: int
    done_at_end: int | None
    max_rss_bytes: int | None
    cpu_seconds: float | None


@dataclass(frozen=True, kw_only=True)
class HistoryRecord:
    """One change of state."""

    at: int
    state: State
    reason: str | None
    who: str | None


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One point of the resource series; ``cpu`` is cores in use, ``rate`` bytes of progress per second."""

    t: int
    rss: int
    cpu: float
    read_bytes: int
    written_bytes: int
    rate: float


@dataclass(frozen=True, kw_only=True)
class Filter:
    """Which tasks; fields combine. Empty = all that the caller may see."""

    ids: Sequence[int] | None = None
    states: Sequence[State] | None = None  # empty list selects nothing
    words: Sequence[str] = ()  # dialect-independent extras: "ran", "never_ran" narrow queued and paused
    user: str | None = None
    all_users: bool = False  # administrators only; otherwise ignored
    creator: str | None = None
    executor: str | None = None
    created_from: int | None = None
    created_to: int | None = None  # exclusive
    parent_id: int | None = None
    top_level: bool = False  # without children
    text: str | None = None  # part of the user, the creator, the executor or the reason; or the number or execution id


@dataclass(frozen=True, kw_only=True)
class TaskPage:
    """Newest first."""

    tasks: Sequence[Task]
    total: int


@dataclass(frozen=True, kw_only=True)
class ActionItem:
    """What an action did to one task; ``error`` None = done (or nothing to do)."""

    ref: str
    task: Task | None
    error: EntranceError | None


@dataclass(frozen=True, kw_only=True)
class WorkerInfo:
    """One attempt that runs now."""

    task_id: int
    attempt: int
    executor: str
    user: str
    started_at: int
    cores: float
    sample: Sample | None


@dataclass(frozen=True, kw_only=True)
class QueueInfo:
    """What waits and what runs: in all and per group."""

    slots: float
    slots_used: float
    online: bool
    waiting: int
    running: int
    groups: Sequence[tuple[str, int, int]]  # (group, waiting, running)
    held: Mapping[str, str] = field(default_factory=dict)  # executors whose tasks wait until they can be run again, and why
