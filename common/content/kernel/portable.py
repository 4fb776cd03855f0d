"""FR32 with numpy and SHA-256 with ``hashlib``: works everywhere, and is the yardstick of every other kernel.

``hashlib`` releases the interpreter lock for the leaves (messages of 2 KiB and more) and keeps it for the nodes of
the tree (64 bytes), so several tasks speed up as processes, not as threads.
"""

from __future__ import annotations

from hashlib import sha256

import numpy as np

from common.content.kernel.base import (
    NODE_LENGTH,
    QUAD_PAYLOAD,
    SLAB_PAYLOAD,
    Buffer,
    Description,
    Positions,
    as_bytes,
    as_view,
    check_slabs,
    check_slots,
)

_Bytes = np.ndarray[tuple[int, ...], np.dtype[np.uint8]]

_TRUNCATED = 0x3F
"""Mask of the last byte of a node and of a leaf: they are numbers of 254 bits."""


def fr32_expand(payload: _Bytes) -> _Bytes:
    """Return 128 bytes for every 127: four leaves of 254 bits, each in 32 bytes, little-endian.

    Leaf i begins at bit 254 * i of the quad, which is bit 0, 6, 4, 2 of byte 0, 31, 63, 95.
    """
    quads = payload.reshape(-1, QUAD_PAYLOAD)
    leaves = np.empty((len(quads), 4, NODE_LENGTH), np.uint8)
    leaves[:, 0] = quads[:, 0:32]
    leaves[:, 1] = quads[:, 31:63] >> 6 | quads[:, 32:64] << 2
    leaves[:, 2] = quads[:, 63:95] >> 4 | quads[:, 64:96] << 4
    leaves[:, 3] = quads[:, 95:127] >> 2
    leaves[:, 3, :31] |= quads[:, 96:127] << 6
    leaves[:, :, 31] &= _TRUNCATED
    return leaves.reshape(-1)


def hash_level(nodes: bytes) -> bytes:
    """Return the parents of a level: half as many nodes."""
    view = memoryview(nodes)
    digests = b"".join([sha256(view[at : at + 2 * NODE_LENGTH]).digest() for at in range(0, len(view), 2 * NODE_LENGTH)])
    parents = np.frombuffer(bytearray(digests), np.uint8)
    parents[NODE_LENGTH - 1 :: NODE_LENGTH] &= _TRUNCATED
    return parents.tobytes()


def tree_root(payload: Buffer) -> bytes:
    """Return the root over 127 * 2^k bytes of payload."""
    nodes = fr32_expand(as_bytes(payload)).tobytes()
    while len(nodes) > NODE_LENGTH:
        nodes = hash_level(nodes)
    return nodes


class PortableKernel:
    """The kernel of machines without a faster one."""

    def __init__(self, reason: str = "") -> None:
        self.description = Description(tier="portable", leaves="hashlib", releases_gil=False, reason=reason)

    def hash_slots(self, buffer: Buffer, offsets: Positions, lengths: Positions, holes: Positions) -> None:
        """See ``Kernel``."""
        hash_slots(buffer, offsets, lengths, holes)

    def slab_roots(self, buffer: Buffer, offset: int, count: int) -> bytes:
        """See ``Kernel``."""
        data = as_bytes(buffer)
        check_slabs(len(data), offset, count)
        starts = range(offset, offset + count * SLAB_PAYLOAD, SLAB_PAYLOAD)
        return b"".join([tree_root(data[start : start + SLAB_PAYLOAD]) for start in starts])


def hash_slots(buffer: Buffer, offsets: Positions, lengths: Positions, holes: Positions) -> None:
    """Hash leaves one after the other; also the leaf half of the kernels whose lanes are slower than SHA-NI."""
    view = as_view(buffer)
    slots = check_slots(len(view), offsets, lengths, holes)
    for offset, length, hole in zip(*(part.tolist() for part in slots), strict=True):
        view[hole : hole + NODE_LENGTH] = sha256(view[offset : offset + length]).digest()
