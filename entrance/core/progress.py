"""How far tasks are: what an attempt last reported, with that of the children, as one value.

What lives is read in memory, all else in the database. A fraction never falls while an attempt runs, and is 1.0 only for
what has succeeded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from common.db import reports
from common.db.sql import Tx
from common.records import but
from common.task import State, Task
from entrance.core.intake import Live, progress_of
from entrance.core.model import TaskProgress
from executors.base import Progress

_ALMOST = 0.9999  # what a task that has not succeeded shows at most


def live(attempts: Mapping[int, Live], task: Task) -> Live | None:
    """Return the attempt that the task has now, of those that live."""
    found = attempts.get(task.id)
    return found if found is not None and found.key.number == task.attempt and task.active else None


def of(tx: Tx, task: Task, attempts: Mapping[int, Live]) -> TaskProgress:
    """Return how far a task is, its children included (of those that run their stages, too)."""
    own, rate = _report(tx, task, attempts)
    total, fraction = own, _fraction(task, own)
    if task.waits or task.active or task.state is State.PAUSED:
        total, fraction = _with_children(tx, task, own, attempts)
    if task.state is State.SUCCEEDED:
        fraction = 1.0
    attempt = live(attempts, task)
    if attempt is not None:
        fraction = attempt.peak = max(fraction, attempt.peak)
    left = None
    if rate and task.active:
        size, done = (own.bytes_total, own.bytes_done) if own.bytes_total else (own.total, own.done)
        left = max(0, size - done) / rate if size else None
    return TaskProgress(
        task=task,
        progress=total,
        fraction=fraction,
        bytes_per_second=rate if own.bytes_total else None,
        seconds_left=left,
    )


def of_ended(tx: Tx, tasks: Sequence[Task]) -> dict[int, TaskProgress]:
    """Return the same of many tasks that have ended, by task, without their children; they are read together."""
    stored = reports.stored_progress_of(tx, [task.id for task in tasks])

    def report(task: Task) -> TaskProgress:
        own = progress_of(stored[task.id]) if task.id in stored else Progress()
        fraction = _fraction(task, own)
        return TaskProgress(task=task, progress=own, fraction=fraction, bytes_per_second=None, seconds_left=None)

    return {task.id: report(task) for task in tasks}


def _with_children(tx: Tx, task: Task, own: Progress, attempts: Mapping[int, Live]) -> tuple[Progress, float]:
    """Add the children: there may be many thousands, so all but those that run are summed up by the database."""
    running = [x for x in list(attempts.values()) if x.task.parent_id == task.id and not x.fenced]
    rest = reports.below(tx, task.id, besides=[x.key.task_id for x in running], almost=_ALMOST)
    every = [own, *(x.progress for x in running)]
    total = but(
        own,
        bytes_done=rest.bytes_done + sum(p.bytes_done for p in every),
        bytes_total=rest.bytes_total + sum(p.bytes_total for p in every),
        files_done=rest.files_done + sum(p.files_done for p in every),
        files_total=rest.files_total + sum(p.files_total for p in every),
        stages=tuple(s for p in every for s in p.stages),
    )
    done = rest.fraction + _fraction(task, own) + sum(_fraction(x.task, x.progress) for x in running)
    return total, done / (1 + rest.count + len(running))


def _report(tx: Tx, task: Task, attempts: Mapping[int, Live]) -> tuple[Progress, float | None]:
    attempt = live(attempts, task)
    if attempt is not None:
        return attempt.progress, attempt.rate
    stored = reports.stored_progress(tx, task.id)
    return (progress_of(stored.values) if stored else Progress()), None


def _fraction(task: Task, own: Progress) -> float:
    if task.state is State.SUCCEEDED or task.waits:
        return 1.0 if task.state is State.SUCCEEDED else _ALMOST
    return min(_ALMOST, own.done / own.total) if own.total > 0 else 0.0
