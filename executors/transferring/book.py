"""What a transfer remembers: how far it is, what is on the way, what became of each file.

The checkpoint is small whatever the number of files: all up to ``after`` are settled but those that are ``open`` (on the
way, at most as many as there are threads) or to be tried ``again``. For large files on the way it holds the id of their
multipart upload, or how much of the partial file is on disk for sure.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from common.db.transfers import UNCHANGED, FileFault, FileState, TransferFile
from executors.transferring.walk import Item

MOST_AGAIN = 20
"""Files that a store did not serve before the attempt gives up for now: the store is down, not the files."""

_VERSION = 1


class Status(StrEnum):
    """What became of a file."""

    COPIED = "copied"
    UNCHANGED = "unchanged"
    FAILED = "failed"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The end of one file. ``again``: another attempt may succeed."""

    item: Item
    status: Status
    message: str = ""
    fault: FileFault = FileFault.NONE
    again: bool = False


@dataclass
class Counts:
    """Files and bytes."""

    files: int = 0
    size: int = 0

    def add(self, item: Item) -> None:
        self.files += 1
        self.size += item.size


@dataclass
class Book:
    """See the module. Threads that copy use only the methods on what is on the way; the rest is the main thread's."""

    since_ms: int = field(default_factory=lambda: time.time_ns() // 1_000_000)  # when the task began
    after: str | None = None
    copied: Counts = field(default_factory=Counts)
    unchanged: Counts = field(default_factory=Counts)
    failed: Counts = field(default_factory=Counts)
    first_failure: str = ""
    open: dict[str, Item] = field(default_factory=dict)
    again: dict[str, Item] = field(default_factory=dict)
    why_again: str = ""
    _uploads: dict[str, tuple[str, str]] = field(default_factory=dict)  # path -> fingerprint, upload id
    _partials: dict[str, tuple[str, int]] = field(default_factory=dict)  # path -> fingerprint, bytes on disk
    _moving: dict[str, int] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    # ---- the checkpoint

    def save(self) -> bytes:
        """Return the checkpoint."""
        with self._lock:
            state = {
                "version": _VERSION,
                "since": self.since_ms,
                "after": self.after,
                "copied": asdict(self.copied),
                "unchanged": asdict(self.unchanged),
                "failed": asdict(self.failed),
                "first_failure": self.first_failure,
                "open": [_saved(item) for item in (self.open | self.again).values()],
                "uploads": self._uploads,
                "partials": self._partials,
            }
        return json.dumps(state, separators=(",", ":")).encode()

    @classmethod
    def load(cls, checkpoint: bytes | None) -> tuple[Book, list[Item]]:
        """Return the book of an earlier attempt, and the files that were on their way."""
        state = json.loads(checkpoint) if checkpoint else {}
        if state.get("version") != _VERSION:
            return cls(), []
        book = cls(
            since_ms=state["since"],
            after=state["after"],
            copied=Counts(**state["copied"]),
            unchanged=Counts(**state["unchanged"]),
            failed=Counts(**state["failed"]),
            first_failure=state["first_failure"],
        )
        book._uploads = {path: (of, upload) for path, (of, upload) in state["uploads"].items()}
        book._partials = {path: (of, size) for path, (of, size) in state["partials"].items()}
        return book, [Item(path=p, size=s, modified_ns=m, hash=h) for p, s, m, h in state["open"]]

    # ---- the main thread

    def start(self, item: Item) -> None:
        """A file is on its way."""
        self.open[item.path] = item

    def settle(self, outcome: Outcome) -> None:
        """A file is done with, for this attempt at least."""
        item = outcome.item
        del self.open[item.path]
        with self._lock:
            self._moving.pop(item.path, None)
            if not outcome.again:
                self._uploads.pop(item.path, None)
                self._partials.pop(item.path, None)
        if outcome.again:
            self.again[item.path] = item
            self.why_again = f"{item.shown}: {outcome.message}"
        elif outcome.status is Status.FAILED:
            self.failed.add(item)
            self.first_failure = self.first_failure or f"{item.shown}: {outcome.message}"
        else:
            (self.copied if outcome.status is Status.COPIED else self.unchanged).add(item)

    @property
    def settled(self) -> Counts:
        """Files and bytes that are done with for good."""
        parts = (self.copied, self.unchanged, self.failed)
        return Counts(sum(p.files for p in parts), sum(p.size for p in parts))

    @property
    def good(self) -> Counts:
        """Files and bytes that are where they should be."""
        return Counts(self.copied.files + self.unchanged.files, self.copied.size + self.unchanged.size)

    @property
    def moving(self) -> int:
        """Bytes of files on their way that have arrived."""
        with self._lock:
            return sum(self._moving.values())

    # ---- threads that copy

    def moved(self, item: Item, count: int) -> None:
        """``count`` bytes of a file have arrived in all."""
        with self._lock:
            self._moving[item.path] = min(count, item.size)

    def upload_of(self, item: Item) -> tuple[str | None, bool]:
        """Return the upload that was begun for a file, and whether the file is still the same."""
        with self._lock:
            of, upload = self._uploads.get(item.path, ("", None))
            return upload, of == item.fingerprint

    def set_upload(self, item: Item, upload: str) -> None:
        with self._lock:
            self._uploads[item.path] = (item.fingerprint, upload)

    def partial_of(self, item: Item) -> int:
        """Return how many bytes of a file that is still the same are on disk for sure."""
        with self._lock:
            of, size = self._partials.get(item.path, ("", 0))
            return size if of == item.fingerprint else 0

    def set_partial(self, item: Item, size: int) -> None:
        with self._lock:
            self._partials[item.path] = (item.fingerprint, size)


_STATES = {
    Status.COPIED: FileState.SUCCEEDED.value,
    Status.UNCHANGED: UNCHANGED,
    Status.FAILED: FileState.FAILED.value,
}


def file_row(task_id: int, outcome: Outcome) -> Sequence[Any]:
    """Return the row of ``transfer_files``."""
    return task_id, outcome.item.shown, outcome.item.size, _STATES[outcome.status], outcome.fault.value


def result_row(file: TransferFile) -> Sequence[Any]:
    """Return the row of the result for a file that is where it should be, from what is stored of it."""
    return file.path, file.size, (Status.UNCHANGED if file.unchanged else Status.COPIED).value, ""


def _saved(item: Item) -> tuple[str, int, int, str]:
    return item.path, item.size, item.modified_ns, item.hash
