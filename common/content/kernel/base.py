"""The contract of the hashing kernels: the two loops in which packing spends its time.

A kernel is stateless between calls and may be called from several threads at once. It works on one buffer, a batch of
the CAR as it will be written, and reads and writes nothing outside the places it is told.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from mmap import mmap
from typing import Any, Protocol

import numpy as np

Buffer = bytes | bytearray | memoryview | mmap | np.ndarray[Any, np.dtype[np.uint8]]
"""What holds bytes in one piece; to be written to, it must not be ``bytes``."""

QUAD_PAYLOAD = 127
"""Bytes of payload in one FR32 unit, which becomes 128 bytes: four leaves of the tree."""
SLAB_QUADS = 8192
SLAB_PAYLOAD = SLAB_QUADS * QUAD_PAYLOAD
"""1,040,384 bytes of payload: 1 MiB of tree, one node of height 15."""
SLAB_HEIGHT = 15
NODE_LENGTH = 32

Positions = Sequence[int] | np.ndarray[tuple[int], np.dtype[np.int64]]


@dataclass(frozen=True, kw_only=True)
class Description:
    """Which kernel runs, for logs and ``doctor``."""

    tier: str
    """``avx512``, ``shani``, ``avx2`` or ``portable``."""
    leaves: str
    """What hashes the leaves: ``16 lanes`` or ``hashlib``."""
    releases_gil: bool
    """Whether threads bring anything: False for the portable kernel, whose tree holds the interpreter lock."""
    reason: str
    """Why this one and not a faster one; empty for the fastest."""


class Kernel(Protocol):
    """Hashes leaves and slabs of a batch buffer."""

    description: Description

    def hash_slots(self, buffer: Buffer, offsets: Positions, lengths: Positions, holes: Positions) -> None:
        """SHA-256 ``buffer[offset : offset + length]`` for every slot and write the 32 bytes at its hole.

        The buffer is writable; no hole lies inside a slot.
        """
        ...

    def slab_roots(self, buffer: Buffer, offset: int, count: int) -> bytes:
        """Return the tree roots, 32 bytes each, of ``count`` whole slabs that lie side by side from ``offset``."""
        ...


def as_bytes(buffer: Buffer) -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
    """Return the buffer as an array of bytes, without a copy."""
    return np.frombuffer(buffer, np.uint8)


def as_view(buffer: Buffer) -> memoryview:
    """Return the buffer as a view of bytes, without a copy; it can be written to if the buffer can."""
    return as_bytes(buffer).data


def check_slots(size: int, offsets: Positions, lengths: Positions, holes: Positions) -> tuple[Any, Any, Any]:
    """Return the three lists as int64 arrays after holding every place against the size of the buffer.

    Raises:
        ValueError: lists of different length, or a place outside the buffer; both are bugs of the caller.
    """
    starts, sizes, targets = (np.asarray(list_, np.int64) for list_ in (offsets, lengths, holes))
    if not starts.shape == sizes.shape == targets.shape:
        raise ValueError("as many offsets as lengths as holes")
    if starts.size and (
        min(starts.min(), sizes.min(), targets.min()) < 0
        or (starts + sizes).max() > size
        or targets.max() + NODE_LENGTH > size
    ):
        raise ValueError(f"a slot or hole lies outside the buffer of {size} bytes")
    return starts, sizes, targets


def check_slabs(size: int, offset: int, count: int) -> None:
    """Hold a run of slabs against the size of the buffer.

    Raises:
        ValueError: it does not lie inside.
    """
    if offset < 0 or count < 0 or offset + count * SLAB_PAYLOAD > size:
        raise ValueError(f"{count} slabs from {offset} do not lie in a buffer of {size} bytes")
