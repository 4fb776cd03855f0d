"""What tasks make outside the database: what they may have created (files, uploads), and the renames that are committed.

A task owns a thing from before it is there until it is published or removed. A pair (temporary, final) is stored with the
rows that speak of the final name, and struck when the rename is done: what a crash leaves is carried out at the next start.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import and_, delete, insert, or_, select
from sqlalchemy.dialects.sqlite import insert as upsert

from common.db import tables as t
from common.db.sql import Sql, Tx, param
from common.task import FINAL, State

_FINAL = tuple(s.value for s in State if s in FINAL)


_insert_owned = upsert(t.owned).values(
    task_id=param("task_id"), kind=param("kind"), name=param("name"), attempt=param("attempt")
)
_OWN = Sql(
    _insert_owned.on_conflict_do_update(
        index_elements=["task_id", "kind", "name"], set_={"attempt": _insert_owned.excluded.attempt}
    )
)
_OWNED = Sql(select(t.owned.c.kind, t.owned.c.name).where(t.owned.c.task_id == param("task_id")))
_after = or_(
    t.owned.c.task_id > param("task"),
    t.owned.c.kind > param("kind"),
    and_(t.owned.c.kind == param("kind"), t.owned.c.name > param("name")),
)
_owned_by_ended = (
    select(t.owned.c.task_id, t.owned.c.kind, t.owned.c.name)
    .join(t.tasks, t.tasks.c.id == t.owned.c.task_id)
    .with_hint(t.tasks, "NOT INDEXED", "sqlite")  # not from all ended tasks: from the few things owned
    .where(t.owned.c.task_id >= param("task"), _after, t.tasks.c.state.in_(_FINAL))
    .order_by(t.owned.c.task_id, t.owned.c.kind, t.owned.c.name)
    .limit(1000)
)
_FILES_OF_ENDED = Sql(_owned_by_ended.where(t.owned.c.kind != "upload"))
_UPLOADS_OF_ENDED = Sql(_owned_by_ended.where(t.owned.c.kind == "upload"))
_DISOWN = Sql(
    delete(t.owned).where(
        t.owned.c.task_id == param("task_id"), t.owned.c.kind == param("kind"), t.owned.c.name == param("name")
    )
)
_ADD_PAIR = Sql(
    insert(t.publishing).values(
        task_id=param("task_id"), attempt=param("attempt"), temporary=param("temporary"), final=param("final")
    )
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
_STRIKE_PAIR = Sql(delete(t.publishing).where(t.publishing.c.id == param("pair")))


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
