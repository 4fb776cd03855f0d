"""Unsigned LEB128 numbers, always in their shortest form, as multiformats and protobuf use them.

Source: https://github.com/multiformats/unsigned-varint (at most 9 bytes, so values under 2^63).
"""

from __future__ import annotations

from common.content.faults import BadVarint

MAX_LENGTH = 9
MAX_VALUE = (1 << 63) - 1

Buffer = bytes | bytearray | memoryview

_ONE_BYTE = tuple(bytes([n]) for n in range(128))


def encode(value: int) -> bytes:
    """Return ``value`` (0 to 2^63 - 1) in 1 to 9 bytes."""
    if 0 <= value < 128:
        return _ONE_BYTE[value]
    if not 0 <= value <= MAX_VALUE:
        raise BadVarint(f"{value} does not fit a varint of {MAX_LENGTH} bytes")
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def size(value: int) -> int:
    """Return how many bytes ``encode(value)`` has."""
    return (max(value.bit_length(), 1) + 6) // 7


def decode(buffer: Buffer, offset: int = 0, end: int | None = None) -> tuple[int, int]:
    """Return the number at ``offset`` and the offset behind it; nothing at or after ``end`` is read.

    Raises:
        BadVarint: cut by ``end``, longer than 9 bytes, or padded with zero bits.
    """
    limit = len(buffer) if end is None else min(end, len(buffer))
    value = shift = 0
    at = offset
    while at < limit:
        byte = buffer[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            if byte == 0 and shift:
                raise BadVarint(f"varint at offset {offset} is not in its shortest form")
            return value, at
        shift += 7
        if shift >= 7 * MAX_LENGTH:
            raise BadVarint(f"varint at offset {offset} has more than {MAX_LENGTH} bytes")
    raise BadVarint(f"varint at offset {offset} is cut after {at - offset} bytes")
