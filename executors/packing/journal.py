"""The digests of a CAR in order of its blocks, 32 bytes each, in a file beside the partial CAR.

Places follow from the layout, so digests are all that is needed to go on after an interruption, and at the end to name
ranges and write the index, without reading the CAR again.
"""

from __future__ import annotations

import os

from common.content import cid as cids

_READ_BLOCKS = 1 << 15
_CALL_BYTES = 1 << 20  # of one system call: see common.storage.local


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
    """Takes the digests of a journal from the first block on, read ahead in pieces of 1 MiB at most.

    ``end`` is how many blocks are there without a gap: what lies behind them may be written in another order.
    """

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._held = b""
        self._at = 0
        self._next = 0
        self.end = 0

    def take(self, count: int) -> bytes:
        """Return the digests of the next ``count`` blocks. Raises EOFError when they are not there."""
        wanted = count * cids.DIGEST_LENGTH
        parts = []
        while wanted:
            if self._at == len(self._held):
                self._held, self._at = self._journal.get(self._next, min(_READ_BLOCKS, self.end - self._next)), 0
                self._next += len(self._held) // cids.DIGEST_LENGTH
                if not self._held:
                    raise EOFError("the journal is too short")
            part = self._held[self._at : self._at + wanted]
            parts.append(part)
            self._at += len(part)
            wanted -= len(part)
        return b"".join(parts)


def write_at(descriptor: int, data: memoryview, offset: int) -> None:
    """Write all of ``data`` at ``offset``."""
    while data:
        count = os.pwrite(descriptor, data[:_CALL_BYTES], offset)
        data = data[count:]
        offset += count
