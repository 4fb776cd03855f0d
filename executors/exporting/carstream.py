"""The CAR of a daggen on its way to the disk, from wherever an earlier attempt has left it."""

from __future__ import annotations

import os

from common.content.kernel import SLAB_PAYLOAD, Kernel
from common.content.piece import Piece, PieceHasher, SlabTree
from executors.packing.journal import write_at

_WRITE_BYTES = 1 << 20


class CarStream:
    """Writes a CAR to its file, if there is one, and to the commitment; in pieces of 1 MiB.

    What ``slabs`` tells of is there already: the stream is to be written from its start all the same, and drops that.
    ``length`` counts all of it.
    """

    def __init__(self, descriptor: int | None, kernel: Kernel, slabs: SlabTree) -> None:
        self._descriptor, self._hasher = descriptor, PieceHasher(kernel, slabs)
        self._start = slabs.complete * SLAB_PAYLOAD
        self._held = bytearray()
        self.length = 0

    def skip(self, count: int) -> bool:
        """Go over the next bytes, if all of them are there already; False: they are to be written."""
        if self.length + count > self._start:
            return False
        self.length += count
        return True

    def write(self, data: bytes) -> None:
        """Take in the next bytes."""
        if self.length < self._start:
            there = min(len(data), self._start - self.length)
            self.length += there
            data = data[there:]
        self._held += data
        self.length += len(data)
        if len(self._held) >= _WRITE_BYTES:
            self._flush()

    def save(self) -> bytes:
        """Bring to the disk what is written; return the tree over the whole slabs of it."""
        slabs = self._hasher.slabs
        state = slabs.save(slabs.complete)
        if self._descriptor is not None:
            os.fdatasync(self._descriptor)
        return state

    def finish(self, min_piece_size: int) -> Piece:
        """Write the rest; return the commitment over all."""
        self._flush()
        return self._hasher.finish(min_piece_size)

    def _flush(self) -> None:
        self._hasher.update(self._held)
        if self._descriptor is not None:
            write_at(self._descriptor, memoryview(self._held), self.length - len(self._held))
        self._held = bytearray()
