"""Ids of rows that are given out before the rows are stored, and no id twice."""

from __future__ import annotations

from sqlalchemy.dialects.sqlite import insert as upsert

from common.db import tables as t
from common.db.sql import Sql, Tx, param

_insert_counter = upsert(t.counters).values(name=param("name"), next=param("first"))
_TAKE_IDS = Sql(
    _insert_counter.on_conflict_do_update(index_elements=["name"], set_={"next": t.counters.c.next + param("n")}).returning(
        t.counters.c.next
    )
)


def take_ids(tx: Tx, table: str, n: int) -> int:
    """Reserve ``n`` ids of a table for ever; return the first (ids begin at 1)."""
    row = tx.one(_TAKE_IDS, name=table, first=1 + n, n=n)
    assert row is not None
    return int(row[0]) - n
