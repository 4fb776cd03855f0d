"""The name hash of HAMT directories: first 8 bytes (h1, big-endian) of MurmurHash3 x64 128, seed 0.

Source: multicodec ``murmur3-x64-64`` (0x22) as Kubo uses it; https://specs.ipfs.tech/unixfs/#hamt-structure.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

HASH_LENGTH = 8
BATCH = 8192
"""How many names ``hash64_many`` is best given at once."""

_C1 = np.uint64(0x87C37B91114253D5)
_C2 = np.uint64(0x4CF5AD432745937F)
_M1 = np.uint64(0x52DCE729)
_M2 = np.uint64(0x38495AB5)
_FIVE = np.uint64(5)
_F1 = np.uint64(0xFF51AFD7ED558CCD)
_F2 = np.uint64(0xC4CEB9FE1A85EC53)

_Words = np.ndarray[tuple[int, ...], np.dtype[np.uint64]]


def hash64(name: bytes) -> bytes:
    """Return the 8 hash bytes of one name; byte ``d`` chooses the slot at level ``d``."""
    return hash64_many([name])


def hash64_many(names: Sequence[bytes]) -> bytes:
    """Return the hashes of all names, 8 bytes each, one after the other.

    Works on all names at once; the scratch memory is that of the longest name times their number.
    """
    if not names:
        return b""
    count = len(names)
    lengths = np.fromiter(map(len, names), np.uint64, count)
    width = (int(lengths.max()) // 16 + 1) * 16
    padded = b"".join([name.ljust(width, b"\0") for name in names])
    words = np.frombuffer(padded, "<u8").astype(np.uint64, copy=False).reshape(count, width // 16, 2)
    whole = (lengths // np.uint64(16)).astype(np.int64)
    h1 = np.zeros(count, np.uint64)
    h2 = np.zeros(count, np.uint64)
    for block in range(width // 16 - 1):
        rows = whole > block
        if not rows.any():
            break
        a = h1 ^ _mix1(words[:, block, 0])
        a = (_rotate(a, 27) + h2) * _FIVE + _M1
        b = h2 ^ _mix2(words[:, block, 1])
        b = (_rotate(b, 31) + a) * _FIVE + _M2
        h1 = np.where(rows, a, h1)
        h2 = np.where(rows, b, h2)
    tail = words[np.arange(count), whole]  # zero padded, and a tail of no bytes changes nothing
    h1 = (h1 ^ _mix1(tail[:, 0])) ^ lengths
    h2 = (h2 ^ _mix2(tail[:, 1])) ^ lengths
    h1 = h1 + h2
    h2 = h2 + h1
    h1 = _finish(h1) + _finish(h2)
    return h1.astype(">u8").tobytes()


def _rotate(values: _Words, bits: int) -> _Words:
    return (values << np.uint64(bits)) | (values >> np.uint64(64 - bits))


def _mix1(words: _Words) -> _Words:
    return _rotate(words * _C1, 31) * _C2


def _mix2(words: _Words) -> _Words:
    return _rotate(words * _C2, 33) * _C1


def _finish(values: _Words) -> _Words:
    shift = np.uint64(33)
    values = (values ^ (values >> shift)) * _F1
    values = (values ^ (values >> shift)) * _F2
    return values ^ (values >> shift)
