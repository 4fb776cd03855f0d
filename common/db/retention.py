"""Forgetting what has been kept long enough: 500 ended tasks at a time, oldest first."""

from __future__ import annotations

from typing import Any

from sqlalchemy import bindparam, delete, exists, or_, select

from common.db import tables as t
from common.db.sql import Sql, Tx

_AT_ONCE = 500


def _ended_before(table: Any) -> Sql:
    """Ids of tasks that ended between two moments and still have a row in ``table``."""
    return Sql(
        select(t.tasks.c.id)
        .where(
            t.tasks.c.ended_at >= bindparam("since"),
            t.tasks.c.ended_at < bindparam("before"),
            exists().where(table.c.task_id == t.tasks.c.id),
        )
        .order_by(t.tasks.c.ended_at)
        .limit(_AT_ONCE)
    )


_child, _later = t.tasks.alias("child"), t.tasks.alias("later")
_OLD_TASKS = Sql(
    select(t.tasks.c.id)
    .where(
        t.tasks.c.ended_at < bindparam("before"),
        ~exists().where(_child.c.parent_id == t.tasks.c.id),
        or_(  # the last task of a job is the job's state: it stays as long as the job
            t.tasks.c.job_id.is_(None),
            ~exists().where(t.jobs.c.id == t.tasks.c.job_id),
            exists().where(_later.c.job_id == t.tasks.c.job_id, _later.c.id > t.tasks.c.id),
        ),
    )
    .order_by(t.tasks.c.ended_at)
    .limit(_AT_ONCE)
)
_OLD_LOGS, _OLD_RESULTS = _ended_before(t.logs), _ended_before(t.results)
_DELETE_TASK = Sql(delete(t.tasks).where(t.tasks.c.id == bindparam("task")))
_DELETE_KEYS = Sql(delete(t.idempotency).where(t.idempotency.c.at < bindparam("before")))
_DELETE_LOG = Sql(delete(t.logs).where(t.logs.c.task_id == bindparam("task")))
_DELETE_RESULT = Sql(delete(t.results).where(t.results.c.task_id == bindparam("task")))


_STRIKE_EMPTY = tuple(
    Sql(statement)
    for statement in (
        delete(t.task_counts).where(t.task_counts.c.n == 0),
        delete(t.end_counts).where(t.end_counts.c.n == 0),
        delete(t.transfer_counts).where(t.transfer_counts.c.n == 0),
        delete(t.task_spans).where(t.task_spans.c.part.not_in(select(t.task_counts.c.part))),
    )
)


def _forget(tx: Tx, find: Sql, remove: Sql, **moments: int) -> list[int]:
    ids = [row[0] for row in tx.all(find, **moments)]
    tx.many(remove, [{"task": i} for i in ids])
    return ids


def forget_tasks(tx: Tx, before: int) -> list[int]:
    """Delete tasks that ended before ``before`` (ms), children first; what belongs to them goes with them. Returns ids.

    The last task of a job that is still known stays: without it a complete job would be packed again. With the last tasks
    idempotency keys of that age go too, and the counts of nothing.
    """
    ids = _forget(tx, _OLD_TASKS, _DELETE_TASK, before=before)
    if 0 < len(ids) < _AT_ONCE:
        tx.run(_DELETE_KEYS, before=before)
        for strike in _STRIKE_EMPTY:
            tx.run(strike)
    return ids


def forget_logs(tx: Tx, before: int, since: int = 0) -> list[int]:
    """Delete logs of tasks that ended before ``before``; ``since``: what ended earlier has none left."""
    return _forget(tx, _OLD_LOGS, _DELETE_LOG, before=before, since=since)


def forget_results(tx: Tx, before: int, since: int = 0) -> list[int]:
    """The same for results."""
    return _forget(tx, _OLD_RESULTS, _DELETE_RESULT, before=before, since=since)
