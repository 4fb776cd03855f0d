"""Where a byte range is cut into chunks: fixed size, the last one shorter, an empty range is one empty chunk."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple


class Chunk(NamedTuple):
    """A chunk of a file: offset from the start of the file, and length, in bytes."""

    offset: int
    length: int


def chunk_count(length: int, chunk_size: int) -> int:
    """Return the number of chunks of a range of ``length`` bytes, at least one."""
    return max(1, -(-length // chunk_size))


def chunks(offset: int, length: int, chunk_size: int) -> Iterator[Chunk]:
    """Yield the chunks of the range that begins at ``offset`` of its file, in order."""
    if length == 0:
        yield Chunk(offset, 0)
        return
    end = offset + length
    for start in range(offset, end, chunk_size):
        yield Chunk(start, min(chunk_size, end - start))
