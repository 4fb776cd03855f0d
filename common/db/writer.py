"""The one writer: all changes of the service go through one native thread with a connection of its own.

It takes queued changes, commits them together and tells each caller how it went: nothing is answered before the commit that
it promises. When one of them fails, all are undone and carried out once more, each in a savepoint, so that only the one that
failed is left out: a change may run twice, and touches nothing but the database. A patient change, one that nobody waits
for, gives others a few milliseconds to share its commit. Changes that bring files of rows (``attach``) come one at a time,
after the small ones that wait. Under gevent the thread is a real one: it touches no patched lock, logs nothing and shares
nothing with the greenlets but a native queue (docs/adr/0002).
"""

from __future__ import annotations

import queue
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

from common.db.sql import Tx
from common.errors import Closing, EntranceError, MayPass, NotStored

T = TypeVar("T")
Change = Callable[[Tx], T]

MAX_BATCH = 200
PATIENCE_SECONDS = 0.004


class Threads(Protocol):
    """How native threads are made and how they speak to the side that waits."""

    def start(self, target: Callable[[], None]) -> None:
        """Run ``target`` in a native thread."""
        ...

    def queue(self) -> Any:
        """Return an unbounded native queue with ``put`` and ``get``."""
        ...

    def call_soon(self, callback: Callable[[], None]) -> None:
        """Run ``callback`` (which must not wait) on the side that waits; called from the native thread."""
        ...


class PlainThreads:
    """Ordinary threads, for tests and tools without an event loop."""

    def start(self, target: Callable[[], None]) -> None:
        threading.Thread(target=target, name="writer", daemon=True).start()

    def queue(self) -> Any:
        return queue.SimpleQueue()

    def call_soon(self, callback: Callable[[], None]) -> None:
        callback()


@dataclass(frozen=True)
class Outcome:
    """How a change went: its value, or the error that it raised (then nothing of it is stored)."""

    value: Any = None
    error: BaseException | None = None

    def get(self) -> Any:
        if self.error is not None:
            raise self.error
        return self.value


@dataclass
class _Item:
    change: Change[Any]
    done: Callable[[Outcome], None]
    attach: Sequence[Path] = ()
    patient: bool = False
    outcome: Outcome = Outcome()


class Writer:
    """Owns the writing connection. ``failed`` is called if the thread breaks or a ``done`` raises; the service must end."""

    def __init__(
        self,
        connect: Callable[[], sqlite3.Connection],
        threads: Threads,
        failed: Callable[[BaseException], None],
    ) -> None:
        self._connect, self._threads, self._failed = connect, threads, failed
        self._queue = threads.queue()
        self._closed = False
        self._started, self._ended = threading.Event(), threading.Event()
        self._start_error: BaseException | None = None
        self.commits = 0  # since start, for the metrics
        self.changes = 0
        self.trouble = ""  # why the database could not take a transaction, until it has taken one that wrote
        threads.start(self._run)
        self._started.wait()
        if self._start_error is not None:
            raise self._start_error

    # ---- the callers' side

    def post(
        self,
        change: Change[Any],
        done: Callable[[Outcome], None] | None = None,
        attach: Sequence[Path] = (),
        *,
        patient: bool = False,
    ) -> None:
        """Queue a change; ``done`` hears of it after its commit and must not wait."""
        if self._closed:
            raise Closing
        self._queue.put(_Item(change, done or (lambda outcome: None), attach, patient))

    def call(self, change: Change[T], attach: Sequence[Path] = ()) -> T:
        """Carry out a change and return what it returned, after its commit.

        With ``attach``, the databases are visible as ``s0``, ``s1``, ... while it runs. Raises what the change raised,
        or NotStored when the database could not take it.
        """
        event = threading.Event()
        box: list[Outcome] = []

        def done(outcome: Outcome) -> None:
            box.append(outcome)
            event.set()

        self.post(change, done, attach)
        event.wait()
        value: T = box[0].get()
        return value

    def close(self) -> None:
        """Carry out what is queued and end the thread; returns when everybody is told and the connection is closed."""
        self._closed = True
        self._queue.put(None)
        self._ended.wait()

    # ---- the native thread

    def _run(self) -> None:
        try:
            connection = self._connect()
        except BaseException as error:
            self._start_error = error
            self._threads.call_soon(self._started.set)
            return
        self._threads.call_soon(self._started.set)
        waiting: deque[_Item] = deque()  # those with attachments
        try:
            while True:
                batch: list[_Item] = []
                stop = self._take(batch, waiting)
                if batch:
                    self._commit(connection, batch)
                elif waiting:
                    self._commit_attached(connection, waiting.popleft())
                if stop:
                    while waiting:
                        self._commit_attached(connection, waiting.popleft())
                    return
        except BaseException as error:
            broken = error
            self._threads.call_soon(lambda: self._failed(broken))
        finally:
            connection.close()
            self._threads.call_soon(self._ended.set)

    def _take(self, batch: list[_Item], waiting: deque[_Item]) -> bool:
        """Fill ``batch`` with what is queued; waits when there is nothing at all to do, or nothing that is in a hurry."""
        wait: float | None = 0.0 if waiting else None  # seconds; None = for ever
        until = 0.0
        while len(batch) < MAX_BATCH:
            try:
                item = self._queue.get(wait != 0.0, wait)
            except queue.Empty:
                return False
            if item is None:
                return True
            if item.attach:
                waiting.append(item)
            else:
                batch.append(item)
            if not item.patient or item.attach:
                wait = 0.0
            elif wait != 0.0:
                now = time.monotonic()
                until = until or now + PATIENCE_SECONDS
                wait = max(0.0, until - now)
        return False

    def _commit(self, connection: sqlite3.Connection, batch: list[_Item]) -> None:
        tx, written = Tx(connection), connection.total_changes
        try:
            connection.execute("BEGIN IMMEDIATE")
            try:
                for item in batch:
                    item.outcome = Outcome(item.change(tx))
            except Exception as error:
                _raise_if_of_the_disk(error)
                connection.execute("ROLLBACK")
                item.outcome = Outcome(error=error)
                if len(batch) > 1:
                    self._one_by_one(connection, tx, batch)
            else:
                self._complete(connection, written)
        except sqlite3.OperationalError as error:  # any other error of the database ends the service
            _roll_back(connection)
            outcome = Outcome(error=self._not_stored(error))
            for item in batch:
                item.outcome = outcome
        self.commits += 1
        self.changes += len(batch)
        self._threads.call_soon(partial(self._tell, batch))

    def _one_by_one(self, connection: sqlite3.Connection, tx: Tx, batch: list[_Item]) -> None:
        """Commit a batch of which a change fails: each once more, in a savepoint of its own."""
        written = connection.total_changes
        connection.execute("BEGIN IMMEDIATE")
        for item in batch:
            connection.execute("SAVEPOINT one")
            try:
                item.outcome = Outcome(item.change(tx))
            except Exception as error:
                _raise_if_of_the_disk(error)
                connection.execute("ROLLBACK TO one")
                item.outcome = Outcome(error=error)
            connection.execute("RELEASE one")
        self._complete(connection, written)

    def _commit_attached(self, connection: sqlite3.Connection, item: _Item) -> None:
        attached, written = 0, connection.total_changes
        try:
            try:
                for path in item.attach:
                    connection.execute(f"ATTACH ? AS s{attached}", (f"{path.as_uri()}?mode=ro&immutable=1",))
                    attached += 1
            except sqlite3.DatabaseError as error:
                raise MayPass(f"rows that a task handed over cannot be read: {error}") from error
            connection.execute("BEGIN IMMEDIATE")
            item.outcome = Outcome(item.change(Tx(connection)))
            self._complete(connection, written)
        except sqlite3.DatabaseError as error:
            _roll_back(connection)
            if isinstance(error, sqlite3.OperationalError) and not _of_the_statement(error):
                item.outcome = Outcome(error=self._not_stored(error))
            else:  # no such table or column, a row against the rules, bytes that are no database
                item.outcome = Outcome(error=MayPass(f"rows that a task handed over cannot be stored: {error}"))
        except Exception as error:
            _roll_back(connection)
            item.outcome = Outcome(error=error)
        finally:
            for i in range(attached):
                connection.execute(f"DETACH s{i}")
        self.commits += 1
        self.changes += 1
        self._threads.call_soon(partial(self._tell, [item]))

    def _complete(self, connection: sqlite3.Connection, written: int) -> None:
        """Commit; ``written`` rows the connection had written before: one that writes nothing proves nothing of the disk."""
        connection.execute("COMMIT")
        if self.trouble and connection.total_changes > written:
            self.trouble = ""

    def _not_stored(self, error: sqlite3.OperationalError) -> EntranceError:
        self.trouble = str(error)
        return NotStored(f"the service could not store this: {error}")

    def _tell(self, batch: list[_Item]) -> None:
        """Let everybody know; one who cannot take it ends the service, and keeps nobody from hearing."""
        for item in batch:
            try:
                item.done(item.outcome)
            except Closing:  # it wished for another change, and the service goes
                continue
            except Exception as error:
                self._failed(error)


def _roll_back(connection: sqlite3.Connection) -> None:
    if connection.in_transaction:
        connection.execute("ROLLBACK")


def _raise_if_of_the_disk(error: Exception) -> None:
    """Raise again what concerns the whole transaction (a full disk, an I/O error), not one change."""
    if isinstance(error, sqlite3.OperationalError) and not _of_the_statement(error):
        raise error


def _of_the_statement(error: sqlite3.OperationalError) -> bool:
    """Whether the statement itself is at fault (SQLITE_ERROR), and not the disk or a lock."""
    return error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_ERROR
