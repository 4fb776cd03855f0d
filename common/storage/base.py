"""The storage contract: where bytes lie, by path relative to the storage's root, with ``/`` between the parts.

Three errors only: StorageNotFound, StorageForbidden, StorageUnavailable (the last may pass). ``list`` is sorted bytewise by
path and can be taken up again after a given path; ``put`` is all or nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple, Protocol


class Entry(NamedTuple):
    """One object: size in bytes (-1 unknown), modification time in nanoseconds since 1970, hash if cheaply known."""

    path: str
    size: int
    modified_ns: int
    hash: str = ""
    is_dir: bool = False


@dataclass(frozen=True, kw_only=True)
class Part:
    """One part of a multipart upload, numbered from 1; size in bytes (-1 unknown); its entity tag, without quotes."""

    number: int
    size: int
    tag: str


@dataclass(frozen=True, kw_only=True)
class Upload:
    """A multipart upload that is neither completed nor aborted; when it was begun, in ms since 1970 by the store's clock."""

    path: str
    id: str
    begun_ms: int


Report = Callable[[str, str], None]
"""Called with (path, why) for what a listing leaves out."""


class Reader(Protocol):
    """One object, open for reading at any place. May be used by one thread at a time."""

    def stat(self) -> Entry:
        """Return what the object is now."""
        ...

    def read_into(self, slots: Sequence[memoryview], offset: int) -> int:
        """Fill the slots in order with the bytes from ``offset``; return how many came, fewer only at the end."""
        ...

    def close(self) -> None: ...


class Storage(Protocol):
    """Where bytes lie. Paths are ``str`` as of ``os.fsdecode``: a name that is not UTF-8 survives the way there and back."""

    name: str
    type: str

    def list(self, prefix: str = "", after: str | None = None) -> Iterator[Entry]:
        """Yield all objects below ``prefix``, sorted by path, those after ``after`` only; streamed."""
        ...

    def children(self, path: str, report: Report, spill_folder: Path | None = None) -> Iterator[Entry]:
        """Yield what lies directly in a folder ("" is the root), sorted bytewise by name as text; streamed.

        What is no file and no folder, or cannot be looked at, is reported and left out. A name that is not UTF-8 is sorted
        as it is shown, with U+FFFD. Very large listings are sorted in ``spill_folder``.
        """
        ...

    def stat(self, path: str) -> Entry: ...

    def reader(self, path: str) -> Reader:
        """Open one object for reading at any place."""
        ...

    def open(self, path: str, offset: int = 0, length: int | None = None) -> BinaryIO:
        """Open for reading from ``offset``, at most ``length`` bytes."""
        ...

    def put(self, path: str, data: BinaryIO | Iterable[bytes], size: int | None = None) -> None: ...

    def delete(self, path: str) -> None: ...
