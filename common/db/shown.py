"""Tasks as BlackPearl's jobs: what a client has set beside the task, and lists of jobs by what is shown.

Every task is a job. Its kind is PUT, GET or VERIFY, its bucket that of a transfer's store side, else the storage that it
works on. Name, date and flags are what the client has set, else what follows from the task; the task itself keeps its own
date, which counts for its turn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from sqlalchemy import and_, bindparam, case, func, literal, null, or_, select
from sqlalchemy.dialects.sqlite import insert as upsert

from common.db import tables as t
from common.db import tasks
from common.db.sql import Sql, Tx
from common.db.transfers import Way
from common.task import OPEN, Priority, State, Task

NO_BUCKET = "-"

KINDS_OF_WAYS: Mapping[Way, str] = {Way.OUT: "PUT", Way.IN: "GET", Way.WITHIN: "PUT"}
KINDS_OF_EXECUTORS: Mapping[str, str] = {"scan": "VERIFY", "verify": "VERIFY"}
OTHER_KIND = "PUT"


@dataclass(frozen=True, kw_only=True)
class ShownJob:
    """A task as a job. ``created_at`` is the date to show (ms)."""

    task: Task
    kind: str
    bucket: str
    name: str
    created_at: int
    protected: bool
    dead_job_cleanup_allowed: bool


@dataclass(frozen=True, kw_only=True)
class JobFilter:
    """Which jobs; fields combine, None selects all. ``name``: ``%`` stands for any text."""

    states: Sequence[State]
    owner: str | None = None
    user: str | None = None
    bucket: str | None = None
    name: str | None = None
    kind: str | None = None
    level: Priority | None = None
    ended_since: int | None = None  # of ended ones
    remembered: bool = False  # leave out those that were struck from the lists of ended jobs
    nothing: bool = False


@dataclass(frozen=True, kw_only=True)
class Place:
    """A place in a list: behind the job with this time (shown date, or end) and task id."""

    at: int
    task_id: int


_tasks, _shown = t.tasks.c, t.shown_jobs.c
_COLUMNS = [_tasks[f.name] for f in fields(Task)]
_kind = case(
    *[(t.transfers.c.way == way.value, literal(kind)) for way, kind in KINDS_OF_WAYS.items()],
    *[(_tasks.executor == name, literal(kind)) for name, kind in KINDS_OF_EXECUTORS.items()],
    else_=literal(OTHER_KIND),
)
_bucket = func.coalesce(t.transfers.c.bucket, t.storages.c.name, literal(NO_BUCKET))
_name = func.coalesce(_shown.name, _kind + literal(" by ") + _tasks.user)
_created = func.coalesce(_shown.created_at, _tasks.created_at)
_JOB = (*_COLUMNS, _kind, _bucket, _name, _created, func.coalesce(_shown.protected, 0))
_ALL = (*_JOB, func.coalesce(_shown.dead_job_cleanup_allowed, 1))


def _beside(some: Any, *, shown: bool = True, transfers: bool = True, storages: bool = True) -> Any:
    """Return tasks joined with what lies beside them, as far as it is asked for."""
    if shown:
        some = some.outerjoin(t.shown_jobs, _shown.task_id == _tasks.id)
    if transfers:
        some = some.outerjoin(t.transfers, t.transfers.c.task_id == _tasks.id)
    if storages:
        some = some.outerjoin(t.jobs, t.jobs.c.id == _tasks.job_id)
        some = some.outerjoin(t.attachments, t.attachments.c.id == t.jobs.c.attachment_id)
        some = some.outerjoin(t.storages, t.storages.c.id == t.attachments.c.storage_id)
    return some


_from = _beside(t.tasks)
_GET = Sql(select(*_ALL).select_from(_from).where(_tasks.id == bindparam("task_id")))
_STATE = Sql(select(_tasks.state).where(_tasks.id == bindparam("task_id")))
_insert = upsert(t.shown_jobs).values(
    task_id=bindparam("task_id"),
    name=bindparam("name"),
    created_at=bindparam("created_at"),
    protected=func.coalesce(bindparam("protected"), 0),
    dead_job_cleanup_allowed=func.coalesce(bindparam("cleanup"), 1),
    forgotten=0,
)
_SET = Sql(
    _insert.on_conflict_do_update(
        index_elements=["task_id"],
        set_={
            "name": func.coalesce(bindparam("name"), _shown.name),
            "created_at": func.coalesce(bindparam("created_at"), _shown.created_at),
            "protected": func.coalesce(bindparam("protected"), _shown.protected),
            "dead_job_cleanup_allowed": func.coalesce(bindparam("cleanup"), _shown.dead_job_cleanup_allowed),
        },
    )
)
_forget = upsert(t.shown_jobs).values(
    task_id=bindparam("task_id"), name=null(), created_at=null(), protected=0, dead_job_cleanup_allowed=1, forgotten=1
)
_FORGET = Sql(_forget.on_conflict_do_update(index_elements=["task_id"], set_={"forgotten": 1}))
_INSTANCE = Sql(select(t.meta.c.value).where(t.meta.c.key == "instance"))
_USERS = Sql(select(t.users.c.name).union(select(t.task_counts.c.user)))


def job(tx: Tx, task_id: int) -> ShownJob | None:
    """Return one task as a job."""
    row = tx.one(_GET, task_id=task_id)
    return None if row is None else _job(row)


def set_shown(
    tx: Tx,
    task_id: int,
    *,
    name: str | None = None,
    created_at: int | None = None,
    protected: bool | None = None,
    dead_job_cleanup_allowed: bool | None = None,
) -> bool:
    """Set what is shown of a job that has not ended, None leaves a value as it is; return whether it was still open."""
    row = tx.one(_STATE, task_id=task_id)
    if row is None or State(row[0]) not in OPEN:
        return False
    tx.run(
        _SET,
        task_id=task_id,
        name=name,
        created_at=created_at,
        protected=None if protected is None else int(protected),
        cleanup=None if dead_job_cleanup_allowed is None else int(dead_job_cleanup_allowed),
    )
    return True


def forget(tx: Tx, which: JobFilter) -> None:
    """Strike jobs from the lists of ended jobs; the tasks stay."""
    rows = tx.query(select(_tasks.id).select_from(_from).where(*_conditions(which)))
    tx.many(_FORGET, [{"task_id": row[0]} for row in rows])


def page(
    tx: Tx, which: JobFilter, *, by_end: bool = False, after: Place | None = None, offset: int = 0, limit: int = 1000
) -> list[ShownJob]:
    """Return a page of jobs, newest shown date first (``by_end``: newest end first), then the newest task."""
    at = _tasks.ended_at if by_end else _created
    found = select(_tasks.id.label("id"), at.label("at")).select_from(_needed(which, by_end))
    if by_end:  # a walk from the newest end, not all that ended, sorted
        found = found.with_hint(t.tasks, "INDEXED BY ix_tasks_ended_at", "sqlite")
    found = found.where(*_conditions(which), *_behind(at, after)).order_by(at.desc(), _tasks.id.desc())
    some = found.offset(offset).limit(limit).subquery()
    rows = tx.query(
        select(*_ALL)
        .select_from(_beside(some.join(t.tasks, _tasks.id == some.c.id)))
        .order_by(some.c.at.desc(), some.c.id.desc())
    )
    return [_job(row) for row in rows]


def count(tx: Tx, which: JobFilter, *, by_end: bool = False, after: Place | None = None) -> int:
    """Return how many jobs match; with ``after`` only those behind that place."""
    at = _tasks.ended_at if by_end else _created
    if after is None and replace(which, states=(), remembered=False) == JobFilter(states=()):
        kinds = select(func.coalesce(func.sum(t.task_counts.c.n), 0)).where(t.task_counts.c.state.in_(_words(which)))
        found = int(tx.query(kinds)[0][0])
        if which.remembered:
            struck = t.shown_jobs.join(t.tasks, _tasks.id == _shown.task_id)
            gone = select(func.count()).select_from(struck).where(_shown.forgotten == 1, _tasks.state.in_(_words(which)))
            found -= int(tx.query(gone)[0][0])
        return found
    conditions = (*_conditions(which), *_behind(at, after))
    return int(tx.query(select(func.count()).select_from(_needed(which, by_end)).where(*conditions))[0][0])


def place_of(job: ShownJob, *, by_end: bool = False) -> Place:
    """Return where a job stands in a list."""
    return Place(at=(job.task.ended_at or 0) if by_end else job.created_at, task_id=job.task.id)


def buckets(tx: Tx, which: JobFilter) -> list[str]:
    """Return the buckets of all jobs that match."""
    return [row[0] for row in tx.query(select(_bucket).select_from(_from).where(*_conditions(which)).distinct())]


def users(tx: Tx) -> list[str]:
    """Return the names of all users, those of tasks whose user is gone included."""
    return [row[0] for row in tx.all(_USERS)]


def instance(tx: Tx) -> str:
    """Return the name of the data folder, which stays for ever."""
    row = tx.one(_INSTANCE)
    return "" if row is None else str(row[0])


def _words(which: JobFilter) -> list[str]:
    return [s.value for s in which.states]


def _needed(which: JobFilter, by_end: bool) -> Any:
    """Return the tables that a filter and its order ask."""
    named, kind, bucket = which.name is not None, which.kind is not None, which.bucket is not None
    return _beside(
        t.tasks,
        shown=named or which.remembered or not by_end,
        transfers=named or kind or bucket,
        storages=bucket,
    )


def _behind(at: Any, after: Place | None) -> list[Any]:
    if after is None:
        return []
    return [or_(at < after.at, and_(at == after.at, _tasks.id < after.task_id))]


def _conditions(which: JobFilter) -> list[Any]:
    found: list[Any] = [_tasks.state.in_(_words(which))]
    if which.nothing:
        found.append(literal(0) == 1)
    if which.owner is not None:
        found.append(or_(_tasks.user == which.owner, _tasks.execute_user == which.owner))
    if which.user is not None:
        found.append(_tasks.user == which.user)
    if which.bucket is not None:
        found.append(_bucket == which.bucket)
    if which.name is not None:
        found.append(_name.op("GLOB")(_glob(which.name)) if "%" in which.name else _name == which.name)
    if which.kind is not None:
        found.append(_kind == which.kind)
    if which.level is not None:
        found += _of_level(which.level)
    if which.ended_since is not None:
        found.append(or_(_tasks.ended_at.is_(None), _tasks.ended_at >= which.ended_since))
    if which.remembered:
        found.append(func.coalesce(_shown.forgotten, 0) == 0)
    return found


def _of_level(level: Priority) -> list[Any]:
    """The priorities whose level this is: from it up to the next, the lowest from below."""
    found = [] if level is min(Priority) else [_tasks.priority >= int(level)]
    higher = [p for p in Priority if p > level]
    return [*found, _tasks.priority < int(min(higher))] if higher else found


def _glob(pattern: str) -> str:
    """Return a pattern with ``%`` for any text as SQLite's GLOB, which heeds letter case."""
    return "".join("*" if c == "%" else f"[{c}]" if c in "*?[" else c for c in pattern)


def _job(row: Sequence[Any]) -> ShownJob:
    n = len(_COLUMNS)
    kind, bucket, name, created_at, protected, cleanup = row[n:]
    return ShownJob(
        task=tasks.from_row(row[:n]),
        kind=kind,
        bucket=bucket,
        name=name,
        created_at=created_at,
        protected=bool(protected),
        dead_job_cleanup_allowed=bool(cleanup),
    )
