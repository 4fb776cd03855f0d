"""Opening the database: one SQLite file in the data folder, in WAL mode.

The service has one writing connection (``writer.Writer``); everyone else reads. A read is short and never spans a wait, so
that under cooperative threads a few connections serve everyone.
"""

from __future__ import annotations

import sqlite3
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from common.db.sql import Tx
from common.errors import EntranceError, NotStored

BUSY_TIMEOUT_SECONDS = 5.0


def open_writable(path: Path) -> sqlite3.Connection:
    """Open for writing: WAL, full durability (a commit survives power loss), foreign keys."""
    connection = sqlite3.connect(
        path.as_uri(), timeout=BUSY_TIMEOUT_SECONDS, isolation_level=None, check_same_thread=False, uri=True
    )
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA foreign_keys=ON")
    connection.execute("PRAGMA journal_size_limit=67108864")
    connection.execute("PRAGMA cache_size=-32768")
    return connection


def open_readonly(path: Path) -> sqlite3.Connection:
    """Open for reading only."""
    connection = sqlite3.connect(
        f"{path.as_uri()}?mode=ro",
        timeout=BUSY_TIMEOUT_SECONDS,
        isolation_level=None,
        check_same_thread=False,
        uri=True,
    )
    connection.execute("PRAGMA query_only=ON")
    return connection


class _Read:
    """One read: a class, since a generator costs as much as the read itself."""

    __slots__ = ("_connection", "_readers")

    def __init__(self, readers: Readers) -> None:
        self._readers = readers

    def __enter__(self) -> Tx:
        self._connection = self._readers.borrow()
        return Tx(self._connection)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None or issubclass(kind, EntranceError):
            self._readers.give_back(self._connection)
        elif issubclass(kind, sqlite3.Error):
            self._connection.close()
        # else it may still be in use, by a thread whose caller was ended


class Readers:
    """A small pool of reading connections."""

    def __init__(self, path: Path, keep: int = 8) -> None:
        self._path = path
        self._idle: deque[sqlite3.Connection] = deque()
        self._keep = keep

    def read(self) -> _Read:
        """Borrow a connection, as a context. Do not wait for anything while holding it."""
        return _Read(self)

    def borrow(self) -> sqlite3.Connection:
        try:
            return self._idle.pop()
        except IndexError:
            return open_readonly(self._path)

    def give_back(self, connection: sqlite3.Connection) -> None:
        if len(self._idle) < self._keep:
            self._idle.append(connection)
        else:
            connection.close()

    def close(self) -> None:
        while self._idle:
            self._idle.pop().close()


@contextmanager
def short_write(path: Path) -> Iterator[Tx]:
    """One short transaction beside a running service, for commands that work on the data folder.

    Waits up to 5 s for the service's writer; raises NotStored after that.
    """
    connection = open_writable(path)
    try:
        connection.execute("BEGIN IMMEDIATE")
        yield Tx(connection)
        connection.execute("COMMIT")
    except sqlite3.OperationalError as error:
        raise NotStored(f"the database did not take the change: {error}") from error
    finally:
        connection.close()
