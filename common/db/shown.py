"""Tasks as BlackPearl's jobs: what a client has set beside the task, and lists of jobs by what is shown.

Every task is a job. Its kind is PUT, GET or VERIFY, its bucket that of a transfer's store side, else the storage that it
works on. Name, date and flags are what the client has set, else what follows from the task; the task itself keeps its own
date, which counts for its turn.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from sqlalchemy import and_, bindparam, case, exists, false, func, literal, literal_column, null, or_, select, true, tuple_
from sqlalchemy.dialects.sqlite import insert as upsert

from common.db import tables as t
from common.db import tasks
from common.db.sql import Sql, Tx
from common.db.transfers import Way
from common.task import OPEN, Priority, State, Task

NO_BUCKET = "-"

# The triggers of migration 0008 say the same.
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


@dataclass(frozen=True, kw_only=True)
class Page:
    """A page of a list: its jobs, how many match in all, and how many of those follow the page."""

    jobs: Sequence[ShownJob]
    total: int
    left: int


_PART_BITS = 24  # of the times of ends, as the triggers have it
_tasks, _shown, _ends = t.tasks.c, t.shown_jobs.c, t.end_counts.c
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
_given = func.json_each(bindparam("ids")).table_valued("value")
_GET = Sql(select(*_ALL).select_from(_from).where(_tasks.id == bindparam("task_id")))
_SOME = Sql(select(*_ALL).select_from(_from).where(_tasks.id.in_(select(_given.c.value))))
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
_ANY_FORGOTTEN = Sql(select(_shown.task_id).where(_shown.forgotten == literal_column("1")).limit(1))
_ANY_PROXIED = Sql(
    select(_tasks.id).where(_tasks.execute_user != _tasks.user, _tasks.execute_user == bindparam("owner")).limit(1)
)


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
    rows = tx.query(select(_tasks.id).select_from(_from).where(*_conditions(tx, which)))
    tx.many(_FORGET, [{"task_id": row[0]} for row in rows])


def page(
    tx: Tx,
    which: JobFilter,
    *,
    by_end: bool = False,
    after: Place | None = None,
    offset: int = 0,
    limit: int = 1000,
    last: bool = False,
) -> Page:
    """Return a page of jobs, newest shown date first (``by_end``: newest end first), then the newest task.

    It begins ``offset`` jobs behind the place ``after``, else behind the start of the list; ``last``: it is the last one of
    the pages of that length, whatever else is given.
    """
    if which.nothing:
        return Page(jobs=[], total=0, left=0)
    tx.connection.execute("BEGIN")
    try:
        parts = _parts(tx, which) if by_end else None
        every = _ids(tx, which, by_end, None, 0, -1) if by_end and _few(tx, which) else None  # sorted in any case
        total = len(every) if every is not None else _count(tx, which, by_end) if parts is None else sum(parts.values())
        behind = total
        if last:
            offset, after = max(0, (total - 1) // limit * limit), None
        elif after is not None:
            behind = _count(tx, which, by_end, after, parts)
        take = max(0, min(limit, behind - offset))
        left = max(0, behind - offset - take)
        found: Sequence[int] = []
        if take and every is not None and after is None:
            found = every[offset : offset + take]
        elif take:
            from_the_end = left < offset
            skip = left if from_the_end else offset
            found = _ids(tx, which, by_end, after, skip, take, ascending=from_the_end, parts=parts)
        return Page(jobs=jobs(tx, found), total=total, left=left)
    finally:
        tx.connection.execute("COMMIT")


def ids(tx: Tx, which: JobFilter) -> list[int]:
    """Return the ids of all jobs that match, newest shown date first."""
    return _ids(tx, which, False, None, 0, -1)


def jobs(tx: Tx, ids: Sequence[int]) -> list[ShownJob]:
    """Return these jobs in this order, without those that are gone."""
    found = {job.task.id: job for job in map(_job, tx.all(_SOME, ids=json.dumps(list(ids))))}
    return [found[task_id] for task_id in ids if task_id in found]


# ---- how many, and which ------------------------------------------------------------------------------------------


def _parts(tx: Tx, which: JobFilter) -> dict[int, int] | None:
    """Return how many jobs ended in each part of time, of those that match; None when ``end_counts`` does not tell."""
    known = replace(which, states=(), owner=None, user=None, kind=None, level=None)
    if known != JobFilter(states=(), remembered=True) or (
        which.owner is not None and tx.one(_ANY_PROXIED, owner=which.owner)
    ):
        return None
    counted = select(_ends.part, func.sum(_ends.n)).where(_ends.n > 0, _ends.state.in_(_words(which)))
    for name in (which.owner, which.user):
        if name is not None:
            counted = counted.where(_ends.user == name)
    if which.kind is not None:
        counted = counted.where(_ends.kind == which.kind)
    if which.level is not None:
        counted = counted.where(_ends.level == int(which.level))
    return dict(tx.query(counted.group_by(_ends.part)))


def _count(
    tx: Tx, which: JobFilter, by_end: bool, after: Place | None = None, parts: Mapping[int, int] | None = None
) -> int:
    """Return how many jobs match; with ``after`` only those behind that place."""
    found, least = 0, 0
    if parts is not None and after is not None:  # whole parts are behind it, and some of its own
        own = after.at >> _PART_BITS
        found, least = sum(n for part, n in parts.items() if part < own), own << _PART_BITS
    counted = _walk(tx, which, by_end, after, func.count())
    if least:
        counted = counted.where(_tasks.ended_at >= least)
    return found + int(tx.query(counted)[0][0])


def _ids(
    tx: Tx,
    which: JobFilter,
    by_end: bool,
    after: Place | None,
    offset: int,
    limit: int,
    *,
    ascending: bool = False,
    parts: Mapping[int, int] | None = None,
) -> list[int]:
    at = _tasks.ended_at if by_end else _created
    found = _walk(tx, which, by_end, after, _tasks.id)
    for part in sorted(parts or {}, reverse=not ascending) if after is None else ():
        here = (parts or {})[part]
        if offset < here:
            edge = (part if ascending else part + 1) << _PART_BITS
            found = found.where(at >= edge if ascending else at < edge)
            break
        offset -= here
    if ascending:
        found = found.order_by(at, _tasks.id)
    else:
        found = found.order_by(at.desc(), _tasks.id.desc())
    rows = tx.query(found.offset(offset).limit(limit))
    return [row[0] for row in (reversed(rows) if ascending else rows)]


def _walk(tx: Tx, which: JobFilter, by_end: bool, after: Place | None, what: Any) -> Any:
    """Return a statement over all jobs that match; ``by_end``: along the ends, but for few that are known by name."""
    conditions = _conditions(tx, which)
    if after is not None:
        at = _tasks.ended_at if by_end else _created
        conditions.append(tuple_(at, _tasks.id) < tuple_(literal(after.at), literal(after.task_id)))
    found = select(what).select_from(
        _beside(t.tasks, shown=not by_end, transfers=which.bucket is not None, storages=which.bucket is not None)
    )
    if by_end:
        conditions.append(_tasks.ended_at.is_not(None))
        hint = "NOT INDEXED" if _few(tx, which) else "INDEXED BY ix_tasks_ended_at"
        found = found.with_hint(t.tasks, hint, "sqlite")
    return found.where(*conditions)


def place_of(job: ShownJob, *, by_end: bool = False) -> Place:
    """Return where a job stands in a list."""
    return Place(at=(job.task.ended_at or 0) if by_end else job.created_at, task_id=job.task.id)


def buckets(tx: Tx, which: JobFilter) -> list[str]:
    """Return the buckets of all jobs that match."""
    return [row[0] for row in tx.query(select(_bucket).select_from(_from).where(*_conditions(tx, which)).distinct())]


def users(tx: Tx) -> list[str]:
    """Return the names of all users, those of tasks whose user is gone included."""
    return [row[0] for row in tx.all(_USERS)]


def instance(tx: Tx) -> str:
    """Return the name of the data folder, which stays for ever."""
    row = tx.one(_INSTANCE)
    return "" if row is None else str(row[0])


def _words(which: JobFilter) -> list[str]:
    return [s.value for s in which.states]


def _conditions(tx: Tx, which: JobFilter) -> list[Any]:
    found: list[Any] = [_tasks.state.in_(_words(which))]
    if which.nothing:
        found.append(false())
    if which.owner is not None:
        found.append(or_(_tasks.user == which.owner, _tasks.execute_user == which.owner))
    if which.user is not None:
        found.append(_tasks.user == which.user)
    if which.bucket is not None:
        found.append(_bucket == which.bucket)
    if which.name is not None:
        matches = _shown.name.op("GLOB")(_glob(which.name)) if "%" in which.name else _shown.name == which.name
        by_own = _tasks.id.in_(select(_shown.task_id).where(matches))
        default = _of_default_name(tx, which.name)
        unnamed = _tasks.id.not_in(select(_shown.task_id).where(_shown.name.is_not(None)))
        found.append(or_(by_own, and_(or_(*default), unnamed)) if default else by_own)
    if which.kind is not None:
        found.append(_of_kind(which.kind))
    if which.level is not None:
        found += _of_level(which.level)
    if which.ended_since is not None:
        found.append(or_(_tasks.ended_at.is_(None), _tasks.ended_at >= which.ended_since))
    if which.remembered and tx.one(_ANY_FORGOTTEN):
        struck = t.shown_jobs.alias("struck").c
        found.append(~exists().where(struck.task_id == _tasks.id, struck.forgotten == literal_column("1")))
    return found


def _few(tx: Tx, which: JobFilter) -> bool:
    """Whether they are those of somebody's own names: found by these, and sorted."""
    return which.name is not None and not _of_default_name(tx, which.name)


def _of_kind(kind: str) -> Any:
    """The jobs of a kind, without a look at what lies beside most of them."""
    ways = [way.value for way, of in KINDS_OF_WAYS.items() if (of == kind) == (kind != OTHER_KIND)]
    moved = t.transfers.alias("moved").c
    transfer = exists().where(moved.task_id == _tasks.id, moved.way.in_(ways)) if ways else false()
    if kind == OTHER_KIND:
        return and_(_tasks.executor.not_in(list(KINDS_OF_EXECUTORS)), ~transfer)
    executors = [name for name, of in KINDS_OF_EXECUTORS.items() if of == kind]
    return or_(transfer, _tasks.executor.in_(executors)) if executors else transfer


def _of_default_name(tx: Tx, name: str) -> list[Any]:
    """The jobs whose name, if nobody has set one, matches: for each kind those of some users."""
    pattern = re.compile(".*".join(re.escape(part) for part in name.split("%")), re.DOTALL)
    known = users(tx)
    found = []
    for kind in sorted({*KINDS_OF_WAYS.values(), *KINDS_OF_EXECUTORS.values(), OTHER_KIND}):
        some = [user for user in known if pattern.fullmatch(f"{kind} by {user}")]
        if some:
            found.append(and_(_of_kind(kind), true() if len(some) == len(known) else _tasks.user.in_(some)))
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
