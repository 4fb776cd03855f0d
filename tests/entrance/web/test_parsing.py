"""entrance.web.parsing: JSON that can be stored, or a sentence."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import BadInput
from entrance.web.parsing import parse

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@pytest.mark.parametrize(
    ("raw", "what"),
    [
        (b"{bad", "at line 1 column 2"),
        (b'{"a": NaN}', "NaN is no JSON number"),
        (b'{"a": Infinity}', "Infinity"),
        (b"\xff\xfe", "not valid Unicode"),
        (rb'{"a": "\ud800"}', "not valid Unicode"),
        (b"[" * 5000, "not valid JSON"),
        (b"[" * 101 + b"]" * 101, "100 levels"),
        (b"1" * 5000, "not valid JSON"),
        (b"", "not valid JSON"),
    ],
)
def test_what_is_not_json_is_told_with_its_place(raw: bytes, what: str) -> None:
    with pytest.raises(BadInput, match="not valid JSON") as caught:
        parse(raw)
    assert what in str(caught.value)


@given(json_values)
def test_json_comes_back_as_it_was(value: object) -> None:
    assert parse(json.dumps(value)) == value
    assert parse(json.dumps(value, ensure_ascii=False).encode()) == value


@given(st.binary(max_size=200))
def test_no_bytes_break_the_parser(raw: bytes) -> None:
    with suppress(BadInput):
        parse(raw)
