"""Where ranges are cut."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from common.content.chunker import Chunk, chunk_count, chunks


@given(st.integers(0, 1 << 40), st.integers(0, 5000), st.integers(1, 700))
def test_chunks_cover_the_range_in_order_and_all_but_the_last_are_full(offset: int, length: int, size: int) -> None:
    parts = list(chunks(offset, length, size))
    assert len(parts) == chunk_count(length, size)
    assert all(part.length == size for part in parts[:-1])
    at = offset
    for part in parts:
        assert part.offset == at
        at += part.length
    assert at == offset + length


def test_an_empty_range_is_one_empty_chunk() -> None:
    assert list(chunks(7, 0, 10)) == [Chunk(7, 0)]
