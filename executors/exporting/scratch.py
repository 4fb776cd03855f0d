"""What a daggen keeps on disk while it works, so that another attempt of the same task goes on where it was.

::

    {task}.sqlite     how far the work is, the CARs that it is about, folders, and where their blocks lie
    {task}.blocks     the blocks, one behind the other, in the order in which they were made

They lie in a folder of the service's own and are declared before they are created. A commit speaks only of blocks that are
on the disk, and a journal (WAL) keeps the database whole, so what it tells holds after any crash; a power loss may take back
the last commits. What is found is gone on with if it has the mark that the task's checkpoint holds: a task whose number was
given twice, as after a backup was restored, has another one.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import IO

from common.content.unixfs import Block

FOLDER = "daggen"
"""Name of the folder in the service's data folder."""
MARK_BYTES = 16

_TUNING = """
PRAGMA locking_mode = EXCLUSIVE;
PRAGMA journal_mode = WAL;
PRAGMA synchronous = NORMAL;
PRAGMA cache_size = -16384;
"""
_SCHEMA = """
CREATE TABLE place (mark BLOB, basis TEXT, depth INTEGER, folder INTEGER, car_id INTEGER, output TEXT, slabs BLOB,
    since INTEGER);
CREATE TABLE cars (id INTEGER PRIMARY KEY, fresh INTEGER, job INTEGER, after INTEGER);
CREATE TABLE folders (id INTEGER PRIMARY KEY, depth INTEGER, cid BLOB, tsize INTEGER);
CREATE TABLE blocks (folder INTEGER, kind INTEGER, cid BLOB, at INTEGER, length INTEGER, PRIMARY KEY (folder, kind, cid))
    WITHOUT ROWID;
"""
_KEEP_PLACE = """
UPDATE place SET mark = :mark, basis = :basis, depth = :depth, folder = :folder, car_id = :car_id, output = :output,
    slabs = :slabs, since = :since
"""


@dataclass(kw_only=True)
class Place:
    """How far a daggen is. ``mark`` and ``basis`` say whose work it is: of which task, and what it follows from."""

    mark: bytes
    basis: str
    depth: int | None = None  # of the folders that are made now; None: not all are known yet
    folder: int = 0  # the last one that is made of that depth
    car_id: int = 0  # 0: no CAR has been begun
    output: str = ""  # name of the storage of the CAR, "" for inline
    slabs: bytes = b""  # the tree of the piece over what is on the disk of the CAR
    since: int = 0  # when the CAR was begun, in ms since 1970; 0: it was not


class Scratch:
    """See the module. ``db`` has a transaction open at all times; ``commit`` ends it and begins the next."""

    def __init__(self, folder: Path, task_id: int) -> None:
        self.folder = folder
        self._path, self._blocks = folder / f"{task_id}.sqlite", folder / f"{task_id}.blocks"
        self.db: sqlite3.Connection
        self.place: Place
        self._data: IO[bytes]
        self._end = 0
        self._files = ExitStack()

    @property
    def names(self) -> list[str]:
        """All paths that may come to be."""
        return [str(self._path), f"{self._path}-wal", str(self._blocks)]

    def open(self, mark: bytes | None, basis: str) -> bool:
        """Open what an earlier attempt has left; False when nothing is there that ``mark`` and ``basis`` fit."""
        if mark is None or not (self._path.exists() and self._blocks.exists()):
            return False
        try:
            self._connect()
            row = self.db.execute("SELECT * FROM place").fetchone()
            place = Place(**dict(zip((field.name for field in fields(Place)), row, strict=True)))
            (end,) = self.db.execute("SELECT coalesce(max(at + length), 0) FROM blocks").fetchone()
        except (sqlite3.DatabaseError, TypeError, ValueError):  # ValueError: of an earlier version, with other columns
            self.close()
            return False
        if (place.mark, place.basis) != (mark, basis) or self._blocks.stat().st_size < end:
            self.close()
            return False
        self._begin(place, end)
        return True

    def create(self, basis: str, cars: Iterable[tuple[int, bool, int | None]]) -> None:
        """Begin anew with these CARs of a source: (id, whether its files are in no DAG CAR yet, its job)."""
        for name in self.names:
            Path(name).unlink(missing_ok=True)
        self._connect()
        self.db.executescript(_SCHEMA)
        self._begin(Place(mark=os.urandom(MARK_BYTES), basis=basis), 0)
        self.db.execute("INSERT INTO place (mark) VALUES (NULL)")
        self.db.executemany(
            "INSERT INTO cars VALUES (?, ?, ?, ?)",
            ((car, fresh, job, 0 if fresh and job is not None else None) for car, fresh, job in cars),
        )
        self.commit()

    def commit(self) -> None:
        """Keep all that is done, and the place as it is now."""
        self._data.flush()
        os.fdatasync(self._data.fileno())
        self.db.execute(_KEEP_PLACE, asdict(self.place))
        self.db.execute("COMMIT")
        self.db.execute("BEGIN")

    def add(self, folder: int, kind: int, block: Block) -> None:
        """Keep a block of a folder; the same CID again is dropped."""
        added = self.db.execute(
            "INSERT OR IGNORE INTO blocks VALUES (?, ?, ?, ?, ?)", (folder, kind, block.cid, self._end, len(block.data))
        )
        if added.rowcount:
            self._data.write(block.data)
            self._end += len(block.data)

    def in_order(self) -> Iterator[tuple[bytes, int, int]]:
        """Yield (CID, place, length) of all blocks: by folder, its own nodes before those of its files, each by CID."""
        yield from self.db.execute("SELECT cid, at, length FROM blocks ORDER BY folder, kind, cid")

    def read(self, at: int, length: int) -> bytes:
        """Return the data of a block."""
        self._data.seek(at)
        return self._data.read(length)

    def count(self, statement: str) -> int:
        """Return the one number that a query has for an answer."""
        return int(self.db.execute(statement).fetchone()[0])

    def close(self) -> None:
        """Close the files; what was not committed is lost."""
        self._files.close()

    def _connect(self) -> None:
        self.db = self._files.enter_context(closing(sqlite3.connect(self._path, isolation_level=None)))
        self.db.executescript(_TUNING)

    def _begin(self, place: Place, end: int) -> None:
        self.place, self._end = place, end
        with ExitStack() as opened:
            self._data = opened.enter_context(open(self._blocks, "r+b" if end else "w+b"))
            self._data.truncate(end)
            self._data.seek(end)
            self._files.push(opened.pop_all())
        self.db.execute("BEGIN")
