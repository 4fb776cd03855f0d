"""What tasks have told, kept beside their rows: progress and samples while they run, a log and a result at their end.

Of progress and samples there is the last report of each task, which is stored over the one before. The log and the result
come with the change that ends the task. Bodies are compressed, and opaque here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from sqlalchemy import case, func, insert, select, text, update
from sqlalchemy.dialects.sqlite import insert as upsert

from common.db import tables as t
from common.db.sql import Sql, Tx, param
from common.task import State

_PROGRESS_NAMES = ("done", "total", "bytes_done", "bytes_total", "files_done", "files_total", "stages")
_PROGRESS = Sql(
    select(*[t.progress.c[n] for n in _PROGRESS_NAMES], t.progress.c.checkpoint, t.progress.c.merged).where(
        t.progress.c.task_id == param("task_id")
    )
)
_given = func.json_each(param("task_ids")).table_valued("value")
_PROGRESS_OF_SOME = Sql(
    select(t.progress.c.task_id, *[t.progress.c[n] for n in _PROGRESS_NAMES]).where(
        t.progress.c.task_id.in_(select(_given.c.value))
    )
)
_insert_progress = upsert(t.progress).values({c.name: param(c.name) for c in t.progress.c})
_SET_PROGRESS = Sql(
    _insert_progress.on_conflict_do_update(
        index_elements=["task_id"],
        set_={c.name: _insert_progress.excluded[c.name] for c in t.progress.c if c.name != "task_id"},
    )
)
_others = func.json_each(param("besides")).table_valued("value")
_BELOW = Sql(
    select(
        func.count(),
        func.total(
            case(
                (t.tasks.c.state == State.SUCCEEDED.value, 1.0),
                (t.tasks.c.waits == 1, param("almost")),
                (t.progress.c.total > 0, func.min(param("almost"), t.progress.c.done * 1.0 / t.progress.c.total)),
                else_=0.0,
            )
        ),
        *[func.coalesce(func.sum(t.progress.c[n]), 0) for n in ("bytes_done", "bytes_total", "files_done", "files_total")],
    )
    .select_from(t.tasks.outerjoin(t.progress, t.progress.c.task_id == t.tasks.c.id))
    .where(t.tasks.c.parent_id == param("parent_id"), t.tasks.c.id.not_in(select(_others.c.value)))
)
_RESULT = Sql(select(t.results.c.rows, t.results.c.body).where(t.results.c.task_id == param("task_id")))
_ADD_RESULT = Sql(insert(t.results).values(task_id=param("task_id"), rows=param("rows"), body=param("body")))
_LOG = Sql(select(t.logs.c.offset, t.logs.c.lines, t.logs.c.body).where(t.logs.c.task_id == param("task_id")))
_ADD_LOG = Sql(
    insert(t.logs).values(task_id=param("task_id"), offset=param("offset"), lines=param("lines"), body=param("body"))
)
_STRIKE_LOG_BODY = Sql(update(t.logs).where(t.logs.c.task_id == param("task"), t.logs.c.offset > 0).values(body=b""))
_UNSETTLED_LOGS = Sql(  # as the index says it
    select(t.logs.c.task_id, t.logs.c.offset, t.logs.c.lines, t.logs.c.body).where(text('"offset" > 0 AND length(body) > 0'))
)
_insert_samples = upsert(t.samples).values(task_id=param("task_id"), body=param("body"))
_SET_SAMPLES = Sql(
    _insert_samples.on_conflict_do_update(index_elements=["task_id"], set_={"body": _insert_samples.excluded.body})
)
_SAMPLES = Sql(select(t.samples.c.body).where(t.samples.c.task_id == param("task_id")))


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


def below(tx: Tx, parent_id: int, *, besides: Sequence[int], almost: float) -> Below:
    """Return how far the children of a task are, but those ``besides``; unless succeeded each counts ``almost`` at most."""
    row = tx.one(_BELOW, parent_id=parent_id, besides=json.dumps(list(besides)), almost=almost)
    assert row is not None
    return Below(**dict(zip((f.name for f in fields(Below)), row, strict=True)))


def set_samples(tx: Tx, rows: Sequence[Mapping[str, Any]]) -> None:
    tx.many(_SET_SAMPLES, rows)


def samples(tx: Tx, task_id: int) -> bytes | None:
    row = tx.one(_SAMPLES, task_id=task_id)
    return None if row is None else row[0]


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


def add_result(tx: Tx, task_id: int, rows: int, body: bytes) -> None:
    tx.run(_ADD_RESULT, task_id=task_id, rows=rows, body=body)


def result(tx: Tx, task_id: int) -> tuple[int, bytes] | None:
    row = tx.one(_RESULT, task_id=task_id)
    return None if row is None else (row[0], row[1])
