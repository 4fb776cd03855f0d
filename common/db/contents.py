"""What lies where in packed preparations: ranges with the CARs that hold them, and what the push API changes.

Beside ``Catalogue``, bound like it to one transaction or one reading connection. A row counts when the CAR that it names is
there. Pages hold at most 10,000 rows; ``after`` is the key of the last row seen.
"""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import and_, bindparam, exists, or_, select

from common.db import tables as t
from common.db.sql import Sql, Tx
from common.task import State

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
_FILES = Sql(
    select(
        t.files.c.id,
        t.files.c.name,
        t.files.c.raw_name,
        t.files.c.size,
        t.files.c.modified_ns,
        t.file_cids.c.cid,
        t.files.c.hash,
    )
    .select_from(t.files)
    .outerjoin(
        t.file_cids,
        and_(
            t.file_cids.c.file_id == t.files.c.id,
            exists(select(t.cars.c.id).where(t.cars.c.id == t.file_cids.c.car_id)),
        ),
    )
    .where(
        t.files.c.directory_id == _p("directory_id"),
        or_(
            t.files.c.name > _p("after"),
            and_(t.files.c.name == _p("after"), t.files.c.id > _p("after_id")),
        ),
    )
    .order_by(t.files.c.name, t.files.c.id)
    .limit(_p("limit"))
)
_NAMED = Sql(
    select(
        t.files.c.id,
        t.files.c.name,
        t.files.c.raw_name,
        t.files.c.size,
        t.files.c.modified_ns,
        t.file_cids.c.cid,
        t.files.c.hash,
    )
    .select_from(t.files)
    .join(t.file_cids, t.file_cids.c.file_id == t.files.c.id)
    .join(t.cars, t.cars.c.id == t.file_cids.c.car_id)
    .where(t.files.c.directory_id == _p("directory_id"), t.files.c.name == _p("name"))
    .order_by(t.files.c.id.desc())
    .limit(1)
)
_NEWER = t.files.alias("newer")
_SUPERSEDED = Sql(
    select(_NEWER.c.id)
    .select_from(t.files)
    .join(
        _NEWER,
        and_(
            _NEWER.c.directory_id == t.files.c.directory_id,
            _NEWER.c.name == t.files.c.name,
            _NEWER.c.id > t.files.c.id,
        ),
    )
    .where(t.files.c.id == _p("file_id"))
    .limit(1)
)
_FAILED_BEFORE = Sql(
    select(t.tasks.c.id)
    .where(
        t.tasks.c.job_id == _p("job_id"),
        t.tasks.c.id < _p("task_id"),
        t.tasks.c.state == State.FAILED.value,
    )
    .limit(1)
)


class PlacedFile(NamedTuple):
    """A version of a file; ``cid`` is None while it is not packed."""

    id: int
    name: str
    raw_name: bytes | None
    size: int
    modified_ns: int
    cid: bytes | None
    hash: str


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

    def files(self, directory_id: int, after: tuple[str, int] = ("", 0), limit: int = PAGE_ROWS) -> list[PlacedFile]:
        """Return a page of a folder's files, all versions, by name and id; ``after`` is (name, id)."""
        rows = self._tx.all(_FILES, directory_id=directory_id, after=after[0], after_id=after[1], limit=limit)
        return [PlacedFile(*row) for row in rows]

    def file(self, directory_id: int, name: str) -> PlacedFile | None:
        """Return the latest packed version of a file."""
        row = self._tx.one(_NAMED, directory_id=directory_id, name=name)
        return None if row is None else PlacedFile(*row)

    def superseded(self, file_id: int) -> bool:
        """Whether a newer version of the file is known."""
        return self._tx.one(_SUPERSEDED, file_id=file_id) is not None

    def failed_before(self, job_id: int, task_id: int) -> bool:
        """Whether an earlier task of the job has failed."""
        return self._tx.one(_FAILED_BEFORE, job_id=job_id, task_id=task_id) is not None
