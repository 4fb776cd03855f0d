"""Tasks and their attempts in the database: every verb is one step inside the caller's transaction.

``apply`` is where a task's state changes, and nowhere else: it reads the row, asks ``common.task.decide``, and stores the
outcome with one conditional update, the history and the attempt's own row. In the same transaction the end of a last child
ends the parent that waits for it, and a parent that ends without success by itself ends what it left unfinished.

What is kept beside a task is in ``reports`` (what it told) and ``outside`` (what it makes).
"""

from __future__ import annotations

import json
import uuid as uuids
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from enum import Enum
from typing import Any

from sqlalchemy import and_, case, func, insert, select, update
from sqlalchemy.dialects.sqlite import insert as upsert

from common.db import tables as t
from common.db.sql import Sql, Tx, param
from common.errors import Conflict, Refused, TaskNotFound
from common.records import but, make
from common.task import (
    FINAL,
    OPEN,
    ChildrenEnded,
    Decision,
    Event,
    Failed,
    Kill,
    Lost,
    State,
    Stopped,
    Succeeded,
    Task,
    decide,
    orphaned,
)

_NAMES = tuple(f.name for f in fields(Task))
_COLUMNS = [t.tasks.c[n] for n in _NAMES]
_STATE, _PAUSE, _WAITS = _NAMES.index("state"), _NAMES.index("pause_requested"), _NAMES.index("waits")
_FINAL = tuple(s.value for s in State if s in FINAL)
_OPEN = tuple(s.value for s in OPEN)
_STATES = {s.value: s for s in State}
_MACHINE = (  # the columns that an event may change
    "priority",
    "state",
    "pause_requested",
    "waits",
    "attempt",
    "errors",
    "retry_at",
    "queued_at",
    "started_at",
    "ended_at",
    "updated_at",
    "reason",
)


_GET = Sql(select(*_COLUMNS).where(t.tasks.c.id == param("id")))
_BY_UUID = Sql(select(*_COLUMNS).where(t.tasks.c.uuid == param("uuid")))
_BY_CHILD_KEY = Sql(
    select(*_COLUMNS).where(t.tasks.c.parent_id == param("parent_id"), t.tasks.c.child_key == param("child_key"))
)
_ADD = Sql(insert(t.tasks).values({n: param(n) for n in _NAMES if n != "id"}))
_SET_EXEC_ID = Sql(update(t.tasks).where(t.tasks.c.id == param("task")).values(exec_id=param("exec_id")))
_ADD_SUBMISSION = Sql(insert(t.submissions).values({c.name: param(c.name) for c in t.submissions.c}))
_SUBMISSION = Sql(select(t.submissions).where(t.submissions.c.task_id == param("task_id")))
_ASKED = Sql(select(t.submissions.c.params, t.submissions.c.labels).where(t.submissions.c.task_id == param("task_id")))
_RAN_MS = Sql(
    select(func.coalesce(func.sum(t.attempts.c.ended_at - t.attempts.c.started_at), 0)).where(
        t.attempts.c.task_id == param("task_id"), t.attempts.c.ended_at.is_not(None)
    )
)
_MOVE = Sql(
    update(t.tasks)
    .where(t.tasks.c.id == param("id_"), t.tasks.c.state == param("state_"), t.tasks.c.attempt == param("attempt_"))
    .values({n: param(n) for n in _MACHINE})
)
_SET_PRIORITY = Sql(
    update(t.tasks)
    .where(t.tasks.c.id == param("task"), t.tasks.c.state.in_(_OPEN))
    .values(priority=param("priority"), updated_at=param("now"))
)
_ADD_HISTORY = Sql(
    insert(t.history).values(
        task_id=param("task_id"), at=param("at"), state=param("state"), reason=param("reason"), who=param("who")
    )
)
_HISTORY = Sql(
    select(t.history.c.at, t.history.c.state, t.history.c.reason, t.history.c.who)
    .where(t.history.c.task_id == param("task_id"))
    .order_by(t.history.c.id)
)
_done_so_far = func.coalesce(select(t.progress.c.done).where(t.progress.c.task_id == param("task")).scalar_subquery(), 0)
_ADD_ATTEMPT = Sql(
    insert(t.attempts).values(
        task_id=param("task"), number=param("number"), started_at=param("started_at"), done_at_start=_done_so_far
    )
)
_END_ATTEMPT = Sql(
    update(t.attempts)
    .where(t.attempts.c.task_id == param("task"), t.attempts.c.number == param("nr"), t.attempts.c.ending.is_(None))
    .values(
        ended_at=func.coalesce(t.attempts.c.ended_at, param("ended_at")),
        ending=param("ending"),
        reason=param("reason"),
        done_at_end=_done_so_far,
    )
)
_said_last = select(t.progress.c.updated_at).where(t.progress.c.task_id == param("task")).scalar_subquery()
_HEARD_LAST = Sql(
    update(t.attempts)
    .where(t.attempts.c.task_id == param("task"), t.attempts.c.number == param("nr"), t.attempts.c.ended_at.is_(None))
    .values(ended_at=func.max(t.attempts.c.started_at, func.min(param("now"), func.coalesce(_said_last, 0))))
)
_ATTEMPT_COST = Sql(
    update(t.attempts)
    .where(t.attempts.c.task_id == param("task"), t.attempts.c.number == param("nr"))
    .values(max_rss_bytes=param("max_rss_bytes"), cpu_seconds=param("cpu_seconds"))
)
_ATTEMPT_NAMES = tuple(c.name for c in t.attempts.c if c.name != "task_id")
_ATTEMPTS = Sql(
    select(*[t.attempts.c[n] for n in _ATTEMPT_NAMES])
    .where(t.attempts.c.task_id == param("task_id"))
    .order_by(t.attempts.c.number)
)
_OF_JOB = Sql(select(*_COLUMNS).where(t.tasks.c.job_id == param("job_id")).order_by(t.tasks.c.id.desc()).limit(1))
_CHILDREN = Sql(select(*_COLUMNS).where(t.tasks.c.parent_id == param("parent_id")).order_by(t.tasks.c.id))
_OPEN_CHILDREN = Sql(
    select(*_COLUMNS).where(t.tasks.c.parent_id == param("parent_id"), t.tasks.c.state.in_(_OPEN)).order_by(t.tasks.c.id)
)
_CHILD_COUNTS = Sql(
    select(
        func.count(),
        func.coalesce(func.sum(case((t.tasks.c.state.in_(_OPEN), 1), else_=0)), 0),
        func.coalesce(
            func.sum(case((and_(t.tasks.c.state.in_(_FINAL), t.tasks.c.state != State.SUCCEEDED.value), 1), else_=0)), 0
        ),
    ).where(t.tasks.c.parent_id == param("parent_id"))
)
_FIRST_FAILURE = Sql(
    select(t.tasks.c.id, t.tasks.c.reason)
    .where(
        t.tasks.c.parent_id == param("parent_id"),
        t.tasks.c.state.in_([s for s in _FINAL if s != State.SUCCEEDED.value]),
    )
    .order_by(t.tasks.c.ended_at, t.tasks.c.id)
    .limit(1)
)
_UNFINISHED = Sql(select(*_COLUMNS).where(t.tasks.c.state.in_(_OPEN)).order_by(t.tasks.c.id))

_NEW_ATTEMPT_PROGRESS = Sql(update(t.progress).where(t.progress.c.task_id == param("task")).values(merged=0))

_KEYED = Sql(
    select(t.idempotency.c.task_id).where(
        t.idempotency.c.user == param("user"), t.idempotency.c.key == param("key"), t.idempotency.c.at > param("since")
    )
)
_insert_key = upsert(t.idempotency).values(user=param("user"), key=param("key"), task_id=param("task_id"), at=param("at"))
_ADD_KEY = Sql(
    _insert_key.on_conflict_do_update(
        index_elements=["user", "key"], set_={"task_id": _insert_key.excluded.task_id, "at": _insert_key.excluded.at}
    )
)


@dataclass(frozen=True, kw_only=True)
class Applied:
    """One change that was stored: the task before, and what was decided."""

    before: Task
    decision: Decision

    @property
    def task(self) -> Task:
        return self.decision.task

    @property
    def ended(self) -> bool:
        return self.task.state.final and not self.before.state.final


def from_row(row: Sequence[Any]) -> Task:
    """Return the task of a row of all columns in the order of Task's fields."""
    values = dict(zip(_NAMES, row, strict=True))
    values["state"] = _STATES[values["state"]]
    values["pause_requested"] = bool(values["pause_requested"])
    values["waits"] = bool(values["waits"])
    return make(Task, values)


def get(tx: Tx, task_id: int) -> Task:
    """Raises TaskNotFound."""
    row = tx.one(_GET, id=task_id)
    if row is None:
        raise TaskNotFound
    return from_row(row)


def by_uuid(tx: Tx, uuid: str) -> Task:
    """Raises TaskNotFound."""
    row = tx.one(_BY_UUID, uuid=uuid)
    if row is None:
        raise TaskNotFound
    return from_row(row)


class Busy(Enum):
    """What becomes of a new task for a job that has one already."""

    REFUSE = "refuse"  # an unfinished one stands in the way
    JOIN = "join"  # an unfinished one is the answer
    ONCE = "once"  # any one is the answer


class JobBusy(Conflict):
    """A task is at work on this job already."""

    code = "job_busy"

    def __init__(self, job_id: int, task_id: int) -> None:
        self.job_id, self.task_id = job_id, task_id
        super().__init__(f"task {task_id} is at work on job {job_id} already")


def add(
    tx: Tx,
    new: Task,
    *,
    exec_id: Callable[[int], str],
    submission: Mapping[str, str],
    idempotency_key: str = "",
    who: str = "",
    busy: Busy = Busy.REFUSE,
) -> Task:
    """Store a new task (its ``id`` and ``exec_id`` are given here); with the key of an earlier one, return that one.

    A child whose key its parent has used is the child of that key. A job has one unfinished task at most: ``busy`` says what
    becomes of another one for it.

    Raises JobBusy.
    """
    now = new.created_at
    if idempotency_key and (first := by_key(tx, new.user, idempotency_key, now)) is not None:
        return first
    if new.parent_id is not None:
        row = tx.one(_BY_CHILD_KEY, parent_id=new.parent_id, child_key=new.child_key)
        if row is not None:
            return from_row(row)
    if new.job_id is not None:
        last = last_of_job(tx, new.job_id)
        if last is not None and (busy is Busy.ONCE or not last.state.final):
            if busy is Busy.REFUSE:
                raise JobBusy(new.job_id, last.id)
            return last
    new = but(new, uuid=new.uuid or str(uuids.uuid4()))
    values = {n: getattr(new, n) for n in _NAMES if n != "id"}
    task_id = tx.insert(_ADD, **values)
    new = but(new, id=task_id, exec_id=exec_id(task_id))
    tx.run(_SET_EXEC_ID, task=task_id, exec_id=new.exec_id)
    tx.run(_ADD_SUBMISSION, task_id=task_id, **submission)
    tx.run(_ADD_HISTORY, task_id=task_id, at=now, state=State.CREATED.value, reason=None, who=who)
    if new.state is not State.CREATED:
        tx.run(_ADD_HISTORY, task_id=task_id, at=now, state=new.state.value, reason=None, who=who)
    if idempotency_key:
        tx.run(_ADD_KEY, user=new.user, key=idempotency_key, task_id=task_id, at=now)
    return new


def by_key(tx: Tx, user: str, idempotency_key: str, now: int) -> Task | None:
    """The task that a user submitted with this key within the last 24 h (None also when retention was quicker)."""
    row = tx.one(_KEYED, user=user, key=idempotency_key, since=now - 86_400_000)
    first = None if row is None else tx.one(_GET, id=row[0])
    return None if first is None else from_row(first)


def child_by_key(tx: Tx, parent_id: int, key: str) -> Task | None:
    row = tx.one(_BY_CHILD_KEY, parent_id=parent_id, child_key=key)
    return None if row is None else from_row(row)


def _store(tx: Tx, before: Task, decision: Decision, now: int, ending: str | None) -> Applied:
    after = decision.task
    values = {n: getattr(after, n) for n in _MACHINE}
    if not tx.run(_MOVE, id_=before.id, state_=before.state.value, attempt_=before.attempt, **values):
        raise Refused(f"task {before.id} has changed meanwhile")
    if after.state is not before.state or after.pause_requested != before.pause_requested or after.waits != before.waits:
        tx.run(
            _ADD_HISTORY,
            task_id=before.id,
            at=now,
            state=after.state.value,
            reason="pause requested" if after.pause_requested else after.reason,
            who=decision.who or None,
        )
    if after.attempt != before.attempt:
        tx.run(_ADD_ATTEMPT, task=before.id, number=after.attempt, started_at=now)
        if before.ran:
            tx.run(_NEW_ATTEMPT_PROGRESS, task=before.id)
    elif before.active and not after.active:
        tx.run(
            _END_ATTEMPT,
            task=before.id,
            nr=before.attempt,
            ended_at=now,
            ending=ending or after.state.value,
            reason=after.reason,
        )
    return Applied(before=before, decision=decision)


_ENDINGS: dict[type, str] = {Succeeded: "succeeded", Failed: "failed", Stopped: "stopped", Lost: "lost"}


def apply(
    tx: Tx, task_id: int, event: Event, now: int, *, ladder_ms: tuple[int, ...], ending: str | None = None
) -> list[Applied]:
    """Carry out an event; return what changed, the task itself first (an empty list when nothing did).

    What else changes with it (children of a task that failed, the parent of a last child) follows in the order of the ends.

    Raises TaskNotFound, TaskEnded or Refused; then nothing is changed.
    """
    before = get(tx, task_id)
    if isinstance(event, Succeeded):
        event = _with_children(tx, before.id, event)
    decision = decide(before, event, now, ladder_ms=ladder_ms)
    if not decision.changed(before):
        return []
    applied = [_store(tx, before, decision, now, ending or _ENDINGS.get(type(event)))]
    after = decision.task
    if after.state.final and after.state is not State.SUCCEEDED and not isinstance(event, Kill):
        applied += _orphan(tx, after, now)  # a kill is carried out on each task of the tree, with its own words
    if after.state.final and after.parent_id is not None:
        applied += _parent_of(tx, after.parent_id, now)
    elif after.state is State.RUNNING and after.waits:
        applied += _parent_of(tx, after.id, now)
    return applied


def _orphan(tx: Tx, parent: Task, now: int) -> list[Applied]:
    """End all that is unfinished below a task that has ended, parents before their children."""
    applied: list[Applied] = []
    for row in tx.all(_OPEN_CHILDREN, parent_id=parent.id):
        child = from_row(row)
        applied.append(_store(tx, child, decide(child, orphaned(parent), now), now, None))
        applied += _orphan(tx, applied[-1].task, now)
    return applied


def _with_children(tx: Tx, task_id: int, event: Succeeded) -> Succeeded:
    count, unfinished, failed = tx.one(_CHILD_COUNTS, parent_id=task_id) or (0, 0, 0)
    return but(
        event,
        children=count,
        open_children=unfinished,
        failed_children=failed,
        failure=_first_failure(tx, task_id) if failed else "",
    )


def _first_failure(tx: Tx, parent_id: int) -> str:
    row = tx.one(_FIRST_FAILURE, parent_id=parent_id)
    return f"task {row[0]}: {row[1]}" if row else ""


def _parent_of(tx: Tx, parent_id: int, now: int) -> list[Applied]:
    """End the parent if it waits and no child of it is left."""
    parent = get(tx, parent_id)
    if not (parent.state is State.RUNNING and parent.waits):
        return []
    count, unfinished, failed = tx.one(_CHILD_COUNTS, parent_id=parent_id) or (0, 0, 0)
    if unfinished:
        return []
    failure = _first_failure(tx, parent_id) if failed else ""
    decision = decide(parent, ChildrenEnded(failed=failed, children=count, failure=failure), now)
    applied = [_store(tx, parent, decision, now, None)]
    if parent.parent_id is not None:
        applied += _parent_of(tx, parent.parent_id, now)
    return applied


def descendants(tx: Tx, task_id: int) -> list[Task]:
    """All tasks below one, parents before their children."""
    found: list[Task] = []
    level = [task_id]
    while level:
        below = [from_row(r) for parent in level for r in tx.all(_CHILDREN, parent_id=parent)]
        found += below
        level = [x.id for x in below]
    return found


def set_priority(tx: Tx, task_id: int, priority: int, now: int) -> bool:
    """Return whether the task was still open."""
    return bool(tx.run(_SET_PRIORITY, task=task_id, priority=priority, now=now))


def asked(tx: Tx, task_id: int) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    """Return the executor's parameters, and the labels in the order given."""
    params, labels = tx.one(_ASKED, task_id=task_id) or ("{}", "[]")
    return json.loads(params), [(key, value) for key, value in json.loads(labels)]


def ran_ms(tx: Tx, task_id: int) -> int:
    """How long all ended attempts ran."""
    row = tx.one(_RAN_MS, task_id=task_id)
    return int(row[0]) if row else 0


def submission(tx: Tx, task_id: int) -> Mapping[str, Any]:
    """Return code, params, settings, source (objects) and labels (list of pairs)."""
    row = tx.one(_SUBMISSION, task_id=task_id)
    if row is None:
        raise TaskNotFound
    _, code, params, settings, source, labels = row
    return {
        "code": code,
        "params": json.loads(params),
        "settings": json.loads(settings),
        "source": json.loads(source),
        "labels": [tuple(x) for x in json.loads(labels)],
    }


def fence(tx: Tx, task_id: int, attempt: int) -> Task:
    """Return the task if this attempt is its current one. Raises Refused."""
    task = get(tx, task_id)
    if not task.active or task.attempt != attempt:
        raise Refused(f"attempt {attempt} of task {task_id} does not count any more")
    return task


def attempt_cost(tx: Tx, task_id: int, number: int, max_rss_bytes: int, cpu_seconds: float) -> None:
    tx.run(_ATTEMPT_COST, task=task_id, nr=number, max_rss_bytes=max_rss_bytes, cpu_seconds=cpu_seconds)


def heard_last(tx: Tx, attempts: Sequence[tuple[int, int]], now: int) -> None:
    """Let attempts (task, number) that went with an earlier life of the service have ended when they last reported: a limit
    does not count the time in which nothing ran."""
    tx.many(_HEARD_LAST, [{"task": task_id, "nr": number, "now": now} for task_id, number in attempts])


def attempts(tx: Tx, task_id: int) -> list[dict[str, Any]]:
    """All attempts, first first: the columns of ``attempts`` but the task."""
    return [dict(zip(_ATTEMPT_NAMES, row, strict=True)) for row in tx.all(_ATTEMPTS, task_id=task_id)]


def history(tx: Tx, task_id: int) -> list[tuple[Any, ...]]:
    return tx.all(_HISTORY, task_id=task_id)


def children(tx: Tx, task_id: int) -> list[Task]:
    return [from_row(r) for r in tx.all(_CHILDREN, parent_id=task_id)]


def unfinished(tx: Tx) -> list[Task]:
    """All tasks that have not ended, oldest first."""
    return [from_row(r) for r in tx.all(_UNFINISHED)]


def last_of_job(tx: Tx, job_id: int) -> Task | None:
    row = tx.one(_OF_JOB, job_id=job_id)
    return None if row is None else from_row(row)
