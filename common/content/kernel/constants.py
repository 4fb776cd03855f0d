"""The constants of SHA-256, computed from their definition (FIPS 180-4)."""

from __future__ import annotations

from math import isqrt

MASK32 = 0xFFFFFFFF
ROUNDS = 64


def _primes(count: int) -> list[int]:
    found: list[int] = []
    candidate = 2
    while len(found) < count:
        if all(candidate % prime for prime in found):
            found.append(candidate)
        candidate += 1
    return found


def _cube_root(value: int) -> int:
    """Return the integer cube root, by Newton's method from above."""
    root = 1 << (value.bit_length() // 3 + 1)
    while (lower := (2 * root + value // root**2) // 3) < root:
        root = lower
    return root


def _rotate_right(value: int, bits: int) -> int:
    return (value >> bits | value << (32 - bits)) & MASK32


def _schedule(words: list[int]) -> list[int]:
    """Return the 64 words of the message schedule of one block."""
    words = list(words)
    for t in range(16, ROUNDS):
        a, b = words[t - 15], words[t - 2]
        low = _rotate_right(a, 7) ^ _rotate_right(a, 18) ^ a >> 3
        high = _rotate_right(b, 17) ^ _rotate_right(b, 19) ^ b >> 10
        words.append((words[t - 16] + low + words[t - 7] + high) & MASK32)
    return words


K = tuple(_cube_root(prime << 96) & MASK32 for prime in _primes(ROUNDS))
"""Round constants: fractional parts of the cube roots of the first 64 primes."""

INITIAL = tuple(isqrt(prime << 64) & MASK32 for prime in _primes(8))
"""Initial state: fractional parts of the square roots of the first 8 primes."""

PADDING_KW = tuple((k + w) & MASK32 for k, w in zip(K, _schedule([0x80000000] + [0] * 14 + [512]), strict=True))
"""K + W of the second block of a 64-byte message, which is always the same padding: a tree node needs no schedule there."""

TRUNCATE_WORD = 0xFFFFFF3F
"""Mask of the last big-endian word of a tree node: the top two bits of byte 31 are cleared."""
