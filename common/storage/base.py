"""The storage contract: where bytes lie, by path relative to the storage's root, with ``/`` between the parts.

Three errors only: StorageNotFound, StorageForbidden, StorageUnavailable (the last may pass). ``list`` is sorted bytewise by
path and can be taken up again after a given path; ``put`` is all or nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import BinaryIO, Protocol


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One object: size in bytes (-1 unknown), modification time in nanoseconds since 1970, hash if cheaply known."""

    path: str
    size: int
    modified_ns: int
    hash: str = ""
    is_dir: bool = False


class Storage(Protocol):
    """Where bytes lie."""

    name: str
    type: str

    def list(self, prefix: str = "", after: str | None = None) -> Iterator[Entry]:
        """Yield all objects below ``prefix``, sorted by path, those after ``after`` only; streamed."""
        ...

    def stat(self, path: str) -> Entry: ...

    def open(self, path: str, offset: int = 0, length: int | None = None) -> BinaryIO:
        """Open for reading from ``offset``, at most ``length`` bytes."""
        ...

    def put(self, path: str, data: BinaryIO | Iterable[bytes], size: int | None = None) -> None: ...

    def delete(self, path: str) -> None: ...
