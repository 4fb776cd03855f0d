"""Sizes as people write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.content.faults import BadSize
from common.content.sizes import MAX_SIZE, parse_size


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("31.5GiB", 33822867456),
        ("3MB", 3_000_000),
        ("1MiB", 1 << 20),
        ("1 mib", 1 << 20),
        ("1Mi", 1 << 20),
        ("1m", 1_000_000),
        ("64G", 64_000_000_000),
        ("2 TiB", 2 << 40),
        ("1PB", 10**15),
        ("1eib", 1 << 60),
        ("1E", 10**18),
        ("1,048,576", 1 << 20),
        ("1,000.5 KB", 1_000_500),
        ("0", 0),
        ("12B", 12),
        (".5KiB", 512),
        ("5.KiB", 5120),
        ("1.0009765625KiB", 1025),
        ("1.9999B", 1),
        ("0.1GB", 100_000_000),
        ("1.001KB", 1000),  # a double, as in Singularity: 1000.9999999999999
    ],
)
def test_known_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text",
    ["", " ", "GiB", "-1", "-1GiB", "+1", "1.2.3", "1e5", "1XB", "1 G B", "1GiBs", "0x10", ".", ",", "١٢", "9EiB", "8EiB",
     "1" * 65, "1kb\n2", " 1KB"],
)  # fmt: skip
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(BadSize):
        parse_size(text)


@given(st.text(max_size=70))
def test_any_text_is_a_size_or_a_fault(text: str) -> None:
    try:
        size = parse_size(text)
    except BadSize:
        return
    assert 0 <= size <= MAX_SIZE


@given(st.integers(0, 1 << 50))
def test_whole_bytes_stay_what_they_are(size: int) -> None:
    assert parse_size(str(size)) == parse_size(f"{size:,} B") == size
