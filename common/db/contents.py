"""What lies where in packed preparations: ranges with the CARs that hold them, and what the push API changes.

Beside ``Catalogue``, bound like it to one transaction or one reading connection. A row counts when the CAR that it names is
there. Pages hold at most 10,000 rows; ``after`` is the key of the last row seen.
"""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import and_, bindparam, exists, select

from common.db import tables as t
from common.db.sql import Sql, Tx

PAGE_ROWS = 10_000

_p = bindparam
_THERE = exists(select(t.cars.c.id).where(t.cars.c.id == t.range_cids.c.car_id))
_RANGES = Sql(
    select(
        t.ranges.c.id,
        t.ranges.c.offset,
        t.ranges.c.length,
        t.ranges.c.job_id,
        t.ranges.c.file_id,
        t.range_cids.c.cid,
        t.range_cids.c.tops,
        t.range_cids.c.car_id,
    )
    .select_from(t.ranges)
    .outerjoin(t.range_cids, and_(t.range_cids.c.range_id == t.ranges.c.id, _THERE))
    .where(t.ranges.c.file_id == _p("file_id"), t.ranges.c.offset > _p("after"))
    .order_by(t.ranges.c.offset)
    .limit(_p("limit"))
)


class PlacedRange(NamedTuple):
    """A range of a file; ``cid``, ``tops`` and ``car_id`` are None while it is not packed."""

    id: int
    offset: int
    length: int
    job_id: int | None
    file_id: int
    cid: bytes | None
    tops: bytes | None
    car_id: int | None


class Contents:
    """See the module."""

    def __init__(self, tx: Tx) -> None:
        self._tx = tx

    def ranges(self, file_id: int, after: int = -1, limit: int = PAGE_ROWS) -> list[PlacedRange]:
        """Return a page of the ranges of a file version by offset; ``after`` is an offset."""
        return [PlacedRange(*row) for row in self._tx.all(_RANGES, file_id=file_id, after=after, limit=limit)]
