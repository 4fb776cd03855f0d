"""Tasks in the database: every verb is one step inside the caller's transaction.

``apply`` is where a task's state changes, and nowhere else: it reads the row, asks ``common.task.decide``, and stores the
outcome with one conditional update, the history and the attempt's own row. In the same transaction the end of a last child
ends the parent that waits for it, and a parent that ends without success by itself ends what it left unfinished.
"""

from __future__ import annotations

import json
import uuid as uuids
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from enum import Enum
from typing import Any

from sqlalchemy import and_, bindparam, case, delete, func, insert, or_, select, text, update
from sqlalchemy.dialects.sqlite import insert as upsert

from common.db import tables as t
from common.db.sql import Sql, Tx
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


def _p(name: str) -> Any:
    return bindparam(name, required=False)


_GET = Sql(select(*_COLUMNS).where(t.tasks.c.id == _p("id")))
_BY_UUID = Sql(select(*_COLUMNS).where(t.tasks.c.uuid == _p("uuid")))
_BY_CHILD_KEY = Sql(select(*_COLUMNS).where(t.tasks.c.parent_id == _p("parent_id"), t.tasks.c.child_key == _p("child_key")))
_ADD = Sql(insert(t.tasks).values({n: _p(n) for n in _NAMES if n != "id"}))
_SET_EXEC_ID = Sql(update(t.tasks).where(t.tasks.c.id == _p("task")).values(exec_id=_p("exec_id")))
_ADD_SUBMISSION = Sql(insert(t.submissions).values({c.name: _p(c.name) for c in t.submissions.c}))
_SUBMISSION = Sql(select(t.submissions).where(t.submissions.c.task_id == _p("task_id")))
_ASKED = Sql(select(t.submissions.c.params, t.submissions.c.labels).where(t.submissions.c.task_id == _p("task_id")))
_RAN_MS = Sql(
    select(func.coalesce(func.sum(t.attempts.c.ended_at - t.attempts.c.started_at), 0)).where(
        t.attempts.c.task_id == _p("task_id"), t.attempts.c.ended_at.is_not(None)
    )
)
_MOVE = Sql(
    update(t.tasks)
    .where(t.tasks.c.id == _p("id_"), t.tasks.c.state == _p("state_"), t.tasks.c.attempt == _p("attempt_"))
    .values({n: _p(n) for n in _MACHINE})
)
_SET_PRIORITY = Sql(
    update(t.tasks)
    .where(t.tasks.c.id == _p("task"), t.tasks.c.state.in_(_OPEN))
    .values(priority=_p("priority"), updated_at=_p("now"))
)
_ADD_HISTORY = Sql(
    insert(t.history).values(task_id=_p("task_id"), at=_p("at"), state=_p("state"), reason=_p("reason"), who=_p("who"))
)
_HISTORY = Sql(
    select(t.history.c.at, t.history.c.state, t.history.c.reason, t.history.c.who)
    .where(t.history.c.task_id == _p("task_id"))
    .order_by(t.history.c.id)
)
_done_so_far = func.coalesce(select(t.progress.c.done).where(t.progress.c.task_id == _p("task")).scalar_subquery(), 0)
_ADD_ATTEMPT = Sql(
    insert(t.attempts).values(
        task_id=_p("task"), number=_p("number"), started_at=_p("started_at"), done_at_start=_done_so_far
    )
)
_END_ATTEMPT = Sql(
    update(t.attempts)
    .where(t.attempts.c.task_id == _p("task"), t.attempts.c.number == _p("nr"), t.attempts.c.ending.is_(None))
    .values(
        ended_at=func.coalesce(t.attempts.c.ended_at, _p("ended_at")),
        ending=_p("ending"),
        reason=_p("reason"),
        done_at_end=_done_so_far,
    )
)
_said_last = select(t.progress.c.updated_at).where(t.progress.c.task_id == _p("task")).scalar_subquery()
_HEARD_LAST = Sql(
    update(t.attempts)
    .where(t.attempts.c.task_id == _p("task"), t.attempts.c.number == _p("nr"), t.attempts.c.ended_at.is_(None))
    .values(ended_at=func.max(t.attempts.c.started_at, func.min(_p("now"), func.coalesce(_said_last, 0))))
)
_ATTEMPT_COST = Sql(
    update(t.attempts)
    .where(t.attempts.c.task_id == _p("task"), t.attempts.c.number == _p("nr"))
    .values(max_rss_bytes=_p("max_rss_bytes"), cpu_seconds=_p("cpu_seconds"))
)
_ATTEMPT_NAMES = tuple(c.name for c in t.attempts.c if c.name != "task_id")
_ATTEMPTS = Sql(
    select(*[t.attempts.c[n] for n in _ATTEMPT_NAMES])
    .where(t.attempts.c.task_id == _p("task_id"))
    .order_by(t.attempts.c.number)
)
_OF_JOB = Sql(select(*_COLUMNS).where(t.tasks.c.job_id == _p("job_id")).order_by(t.tasks.c.id.desc()).limit(1))
_CHILDREN = Sql(select(*_COLUMNS).where(t.tasks.c.parent_id == _p("parent_id")).order_by(t.tasks.c.id))
_OPEN_CHILDREN = Sql(
    select(*_COLUMNS).where(t.tasks.c.parent_id == _p("parent_id"), t.tasks.c.state.in_(_OPEN)).order_by(t.tasks.c.id)
)
_CHILD_COUNTS = Sql(
    select(
        func.count(),
        func.coalesce(func.sum(case((t.tasks.c.state.in_(_OPEN), 1), else_=0)), 0),
        func.coalesce(
            func.sum(case((and_(t.tasks.c.state.in_(_FINAL), t.tasks.c.state != State.SUCCEEDED.value), 1), else_=0)), 0
        ),
    ).where(t.tasks.c.parent_id == _p("parent_id"))
)
_others = func.json_each(_p("besides")).table_valued("value")
_BELOW = Sql(
    select(
        func.count(),
        func.total(
            case(
                (t.tasks.c.state == State.SUCCEEDED.value, 1.0),
                (t.tasks.c.waits == 1, _p("almost")),
                (t.progress.c.total > 0, func.min(_p("almost"), t.progress.c.done * 1.0 / t.progress.c.total)),
                else_=0.0,
            )
        ),
        *[func.coalesce(func.sum(t.progress.c[n]), 0) for n in ("bytes_done", "bytes_total", "files_done", "files_total")],
    )
    .select_from(t.tasks.outerjoin(t.progress, t.progress.c.task_id == t.tasks.c.id))
    .where(t.tasks.c.parent_id == _p("parent_id"), t.tasks.c.id.not_in(select(_others.c.value)))
)
_FIRST_FAILURE = Sql(
    select(t.tasks.c.id, t.tasks.c.reason)
    .where(
        t.tasks.c.parent_id == _p("parent_id"),
        t.tasks.c.state.in_([s for s in _FINAL if s != State.SUCCEEDED.value]),
    )
    .order_by(t.tasks.c.ended_at, t.tasks.c.id)
    .limit(1)
)
_UNFINISHED = Sql(select(*_COLUMNS).where(t.tasks.c.state.in_(_OPEN)).order_by(t.tasks.c.id))
_LAST_OF_JOB = Sql(select(*_COLUMNS).where(t.tasks.c.job_id == _p("job_id")).order_by(t.tasks.c.id.desc()).limit(1))

_PROGRESS_NAMES = ("done", "total", "bytes_done", "bytes_total", "files_done", "files_total", "stages")
_PROGRESS = Sql(
    select(*[t.progress.c[n] for n in _PROGRESS_NAMES], t.progress.c.checkpoint, t.progress.c.merged).where(
        t.progress.c.task_id == _p("task_id")
    )
)
_given = func.json_each(_p("task_ids")).table_valued("value")
_PROGRESS_OF_SOME = Sql(
    select(t.progress.c.task_id, *[t.progress.c[n] for n in _PROGRESS_NAMES]).where(
        t.progress.c.task_id.in_(select(_given.c.value))
    )
)
_insert_progress = upsert(t.progress).values({c.name: _p(c.name) for c in t.progress.c})
_SET_PROGRESS = Sql(
    _insert_progress.on_conflict_do_update(
        index_elements=["task_id"],
        set_={c.name: _insert_progress.excluded[c.name] for c in t.progress.c if c.name != "task_id"},
    )
)
_NEW_ATTEMPT_PROGRESS = Sql(update(t.progress).where(t.progress.c.task_id == _p("task")).values(merged=0))

_RESULT = Sql(select(t.results.c.rows, t.results.c.body).where(t.results.c.task_id == _p("task_id")))
_ADD_RESULT = Sql(insert(t.results).values(task_id=_p("task_id"), rows=_p("rows"), body=_p("body")))
_LOG = Sql(select(t.logs.c.offset, t.logs.c.lines, t.logs.c.body).where(t.logs.c.task_id == _p("task_id")))
_ADD_LOG = Sql(insert(t.logs).values(task_id=_p("task_id"), offset=_p("offset"), lines=_p("lines"), body=_p("body")))
_STRIKE_LOG_BODY = Sql(update(t.logs).where(t.logs.c.task_id == _p("task"), t.logs.c.offset > 0).values(body=b""))
_UNSETTLED_LOGS = Sql(  # as the index says it
    select(t.logs.c.task_id, t.logs.c.offset, t.logs.c.lines, t.logs.c.body).where(text('"offset" > 0 AND length(body) > 0'))
)
_insert_samples = upsert(t.samples).values(task_id=_p("task_id"), body=_p("body"))
_SET_SAMPLES = Sql(
    _insert_samples.on_conflict_do_update(index_elements=["task_id"], set_={"body": _insert_samples.excluded.body})
)
_SAMPLES = Sql(select(t.samples.c.body).where(t.samples.c.task_id == _p("task_id")))
_KEYED = Sql(
    select(t.idempotency.c.task_id).where(
        t.idempotency.c.user == _p("user"), t.idempotency.c.key == _p("key"), t.idempotency.c.at > _p("since")
    )
)
_insert_key = upsert(t.idempotency).values(user=_p("user"), key=_p("key"), task_id=_p("task_id"), at=_p("at"))
_ADD_KEY = Sql(
    _insert_key.on_conflict_do_update(
        index_elements=["user", "key"], set_={"task_id": _insert_key.excluded.task_id, "at": _insert_key.excluded.at}
    )
)
_insert_counter = upsert(t.counters).values(name=_p("name"), next=_p("first"))
_TAKE_IDS = Sql(
    _insert_counter.on_conflict_do_update(index_elements=["name"], set_={"next": t.counters.c.next + _p("n")}).returning(
        t.counters.c.next
    )
)
_insert_owned = upsert(t.owned).values(task_id=_p("task_id"), kind=_p("kind"), name=_p("name"), attempt=_p("attempt"))
_OWN = Sql(
    _insert_owned.on_conflict_do_update(
        index_elements=["task_id", "kind", "name"], set_={"attempt": _insert_owned.excluded.attempt}
    )
)
_OWNED = Sql(select(t.owned.c.kind, t.owned.c.name).where(t.owned.c.task_id == _p("task_id")))
_after = or_(
    t.owned.c.task_id > _p("task"),
    t.owned.c.kind > _p("kind"),
    and_(t.owned.c.kind == _p("kind"), t.owned.c.name > _p("name")),
)
_owned_by_ended = (
    select(t.owned.c.task_id, t.owned.c.kind, t.owned.c.name)
    .join(t.tasks, t.tasks.c.id == t.owned.c.task_id)
    .with_hint(t.tasks, "NOT INDEXED", "sqlite")  # not from all ended tasks: from the few things owned
    .where(t.owned.c.task_id >= _p("task"), _after, t.tasks.c.state.in_(_FINAL))
    .order_by(t.owned.c.task_id, t.owned.c.kind, t.owned.c.name)
    .limit(1000)
)
_FILES_OF_ENDED = Sql(_owned_by_ended.where(t.owned.c.kind != "upload"))
_UPLOADS_OF_ENDED = Sql(_owned_by_ended.where(t.owned.c.kind == "upload"))
_DISOWN = Sql(
    delete(t.owned).where(t.owned.c.task_id == _p("task_id"), t.owned.c.kind == _p("kind"), t.owned.c.name == _p("name"))
)
_ADD_PAIR = Sql(
    insert(t.publishing).values(task_id=_p("task_id"), attempt=_p("attempt"), temporary=_p("temporary"), final=_p("final"))
)
_PAIRS = Sql(
    select(
        t.publishing.c.id,
        t.publishing.c.task_id,
        t.publishing.c.attempt,
        t.publishing.c.temporary,
        t.publishing.c.final,
    ).order_by(t.publishing.c.id)
)
_STRIKE_PAIR = Sql(delete(t.publishing).where(t.publishing.c.id == _p("pair")))


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


@dataclass(frozen=True, kw_only=True)
class StoredProgress:
    """The last report that was stored."""

    values: Mapping[str, Any]  # done, total, bytes_done, ..., stages as a list of objects
    checkpoint: bytes | None
    merged: int


@dataclass(frozen=True, kw_only=True)
class Below:
    """Children taken together, as far as it is stored; ``fraction`` is the sum of theirs."""

    count: int
    fraction: float
    bytes_done: int
    bytes_total: int
    files_done: int
    files_total: int


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
        row = tx.one(_OF_JOB, job_id=new.job_id)
        last = None if row is None else from_row(row)
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


def stored_progress(tx: Tx, task_id: int) -> StoredProgress | None:
    row = tx.one(_PROGRESS, task_id=task_id)
    if row is None:
        return None
    values = dict(zip(_PROGRESS_NAMES, row, strict=False))
    values["stages"] = json.loads(values["stages"])
    return StoredProgress(values=values, checkpoint=row[-2], merged=row[-1])


def stored_progress_of(tx: Tx, task_ids: Sequence[int]) -> dict[int, Mapping[str, Any]]:
    """The values of the last reports of many tasks, by task; those without any are left out."""
    found: dict[int, Mapping[str, Any]] = {}
    for task_id, *row in tx.all(_PROGRESS_OF_SOME, task_ids=json.dumps(list(task_ids))):
        values = dict(zip(_PROGRESS_NAMES, row, strict=True))
        values["stages"] = json.loads(values["stages"])
        found[task_id] = values
    return found


def set_progress(tx: Tx, rows: Sequence[Mapping[str, Any]]) -> None:
    """Store last reports: all columns of ``progress``, ``stages`` as JSON text."""
    tx.many(_SET_PROGRESS, rows)


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


def below(tx: Tx, parent_id: int, *, besides: Sequence[int], almost: float) -> Below:
    """Return how far the children of a task are, but those ``besides``; unless succeeded each counts ``almost`` at most."""
    row = tx.one(_BELOW, parent_id=parent_id, besides=json.dumps(list(besides)), almost=almost)
    assert row is not None
    return Below(**dict(zip((f.name for f in fields(Below)), row, strict=True)))


def unfinished(tx: Tx) -> list[Task]:
    """All tasks that have not ended, oldest first."""
    return [from_row(r) for r in tx.all(_UNFINISHED)]


def last_of_job(tx: Tx, job_id: int) -> Task | None:
    row = tx.one(_LAST_OF_JOB, job_id=job_id)
    return None if row is None else from_row(row)


def add_result(tx: Tx, task_id: int, rows: int, body: bytes) -> None:
    tx.run(_ADD_RESULT, task_id=task_id, rows=rows, body=body)


def result(tx: Tx, task_id: int) -> tuple[int, bytes] | None:
    row = tx.one(_RESULT, task_id=task_id)
    return None if row is None else (row[0], row[1])


def add_log(tx: Tx, task_id: int, offset: int, lines: int, body: bytes) -> None:
    tx.run(_ADD_LOG, task_id=task_id, offset=offset, lines=lines, body=body)


def log_row(tx: Tx, task_id: int) -> tuple[int, int, bytes] | None:
    """Return (offset, lines, compressed body) of an ended log."""
    row = tx.one(_LOG, task_id=task_id)
    return None if row is None else (row[0], row[1], row[2])


def strike_log_body(tx: Tx, task_id: int) -> None:
    """The last lines of a large log are in its file: the row need not hold them any more."""
    tx.run(_STRIKE_LOG_BODY, task=task_id)


def unsettled_logs(tx: Tx) -> list[tuple[int, int, int, bytes]]:
    """Ended large logs whose last lines may not be in the file: (task, offset, lines, body)."""
    return [(a, b, c, d) for a, b, c, d in tx.all(_UNSETTLED_LOGS)]


def set_samples(tx: Tx, rows: Sequence[Mapping[str, Any]]) -> None:
    tx.many(_SET_SAMPLES, rows)


def samples(tx: Tx, task_id: int) -> bytes | None:
    row = tx.one(_SAMPLES, task_id=task_id)
    return None if row is None else row[0]


def take_ids(tx: Tx, table: str, n: int) -> int:
    """Reserve ``n`` ids of a table for ever; return the first (ids begin at 1)."""
    row = tx.one(_TAKE_IDS, name=table, first=1 + n, n=n)
    assert row is not None
    return int(row[0]) - n


def own(tx: Tx, task_id: int, attempt: int, kind: str, names: Sequence[str]) -> None:
    tx.many(_OWN, [{"task_id": task_id, "kind": kind, "name": n, "attempt": attempt} for n in names])


def owned(tx: Tx, task_id: int) -> list[tuple[str, str]]:
    """What the task may have created: (kind, name)."""
    return [(k, n) for k, n in tx.all(_OWNED, task_id=task_id)]


def owned_by_ended(
    tx: Tx, *, uploads: bool = False, after: tuple[int, str, str] = (0, "", "")
) -> list[tuple[int, str, str]]:
    """The first 1,000 (task, kind, name) behind ``after`` whose task has ended, in order; uploads, or all else."""
    task, kind, name = after
    sql = _UPLOADS_OF_ENDED if uploads else _FILES_OF_ENDED
    return [(i, k, n) for i, k, n in tx.all(sql, task=task, kind=kind, name=name)]


def disown(tx: Tx, task_id: int, kind: str, name: str) -> None:
    tx.run(_DISOWN, task_id=task_id, kind=kind, name=name)


def add_pairs(tx: Tx, task_id: int, attempt: int, pairs: Sequence[tuple[str, str]]) -> list[int]:
    """Store committed renames; return their ids."""
    return [tx.insert(_ADD_PAIR, task_id=task_id, attempt=attempt, temporary=a, final=b) for a, b in pairs]


def pairs(tx: Tx) -> list[tuple[int, int, int, str, str]]:
    """Committed renames that are not struck: (id, task, attempt, temporary, final)."""
    return [tuple(r) for r in tx.all(_PAIRS)]


def strike_pairs(tx: Tx, ids: Sequence[int]) -> None:
    tx.many(_STRIKE_PAIR, [{"pair": i} for i in ids])
