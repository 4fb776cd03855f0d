"""Unsigned LEB128 numbers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.content import varint
from common.content.faults import BadVarint

NUMBERS = st.integers(0, varint.MAX_VALUE)


@given(NUMBERS, st.binary(max_size=4), st.binary(max_size=4))
def test_a_number_comes_back_with_the_offset_behind_it(number: int, before: bytes, after: bytes) -> None:
    encoded = varint.encode(number)
    assert len(encoded) == varint.size(number)
    assert varint.decode(before + encoded + after, len(before)) == (number, len(before) + len(encoded))


@pytest.mark.parametrize(
    ("number", "encoded"), [(0, "00"), (1, "01"), (127, "7f"), (128, "8001"), (300, "ac02"), (16384, "808001")]
)
def test_known_numbers(number: int, encoded: str) -> None:
    assert varint.encode(number).hex() == encoded


@pytest.mark.parametrize(
    "encoded", ["", "80", "8000", "ff00", "ffffffffffffffffff01", "80808080808080808001", "ffffffffffffffffff"]
)
def test_what_is_cut_too_long_or_not_shortest_is_refused(encoded: str) -> None:
    with pytest.raises(BadVarint):
        varint.decode(bytes.fromhex(encoded))


@given(NUMBERS.filter(lambda number: number > 127))
def test_nothing_behind_the_end_is_read(number: int) -> None:
    encoded = varint.encode(number)
    with pytest.raises(BadVarint):
        varint.decode(encoded, 0, len(encoded) - 1)


@given(st.binary(max_size=24), st.integers(0, 24))
def test_random_bytes_give_a_number_in_its_only_form_or_a_fault(data: bytes, offset: int) -> None:
    try:
        value, end = varint.decode(data, offset)
    except BadVarint:
        return
    assert data[offset:end] == varint.encode(value)


@pytest.mark.parametrize("number", [-1, varint.MAX_VALUE + 1])
def test_numbers_outside_63_bits_are_refused(number: int) -> None:
    with pytest.raises(BadVarint):
        varint.encode(number)
