"""The digests of a CAR in order of its blocks, 32 bytes each, in a file beside the partial CAR.

Places follow from the layout, so digests are all that is needed to go on after an interruption, and at the end to name
ranges and write the index, without reading the CAR again.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from common.content import cid as cids

_READ_BLOCKS = 1 << 15


class Journal:
    """A journal over an open file, which it owns."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def put(self, block: int, digests: bytes) -> None:
        """Record the digests of blocks ``block``, ``block + 1``, ..."""
        write_at(self._descriptor, memoryview(digests), block * cids.DIGEST_LENGTH)

    def get(self, block: int, count: int) -> bytes:
        """Return the digests of ``count`` blocks; fewer when fewer were recorded."""
        return os.pread(self._descriptor, count * cids.DIGEST_LENGTH, block * cids.DIGEST_LENGTH)

    def sync(self) -> None:
        os.fdatasync(self._descriptor)

    def close(self) -> None:
        os.close(self._descriptor)


class JournalReader:
    """Takes the digests of a journal from the first block on, read ahead in pieces of 1 MiB."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._held = b""
        self._at = 0
        self._next = 0

    def take(self, count: int) -> bytes:
        """Return the digests of the next ``count`` blocks. Raises EOFError when they are not there."""
        wanted = count * cids.DIGEST_LENGTH
        parts = []
        while wanted:
            if self._at == len(self._held):
                self._held, self._at = self._journal.get(self._next, _READ_BLOCKS), 0
                self._next += _READ_BLOCKS
                if not self._held:
                    raise EOFError("the journal is too short")
            part = self._held[self._at : self._at + wanted]
            parts.append(part)
            self._at += len(part)
            wanted -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def each(self, count: int) -> Iterator[bytes]:
        """Yield the digests of the next ``count`` blocks one by one."""
        digests = self.take(count)
        for at in range(0, len(digests), cids.DIGEST_LENGTH):
            yield digests[at : at + cids.DIGEST_LENGTH]


def write_at(descriptor: int, data: memoryview, offset: int) -> None:
    """Write all of ``data`` at ``offset``."""
    while data:
        count = os.pwrite(descriptor, data, offset)
        data = data[count:]
        offset += count
