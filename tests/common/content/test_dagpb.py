"""dag-pb nodes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.content import cid, dagpb, varint
from common.content.dagpb import Link, Node
from common.content.faults import BadBlock

CIDS = st.binary(max_size=8).map(cid.of_raw) | st.binary(max_size=8).map(cid.of_dag_pb)
LINKS = st.builds(Link, CIDS, st.binary(max_size=200), st.integers(0, varint.MAX_VALUE))

A_LINK = dagpb.encode_link(cid.EMPTY_RAW, b"a", 7)
SOME_DATA = dagpb.encode_data(b"\x08\x01")


@given(st.lists(LINKS, max_size=8), st.none() | st.binary(max_size=300))
def test_a_node_comes_back_as_it_was(links: list[Link], data: bytes | None) -> None:
    assert dagpb.decode_node(dagpb.encode_node(links, data)) == Node(tuple(links), data)


def test_a_known_node_is_read_and_written(vectors: Callable[[str], Any]) -> None:
    row = vectors("unixfs")["fileNodes"][0]
    block = bytes.fromhex(row["rootBlockHex"])
    node = dagpb.decode_node(block)
    assert [(link.cid, link.name, link.tsize) for link in node.links] == [
        (cid.of_raw(b"hello"), b"", 5),
        (cid.of_raw(b"world"), b"", 5),
    ]
    assert dagpb.encode_node(node.links, node.data) == block
    assert cid.to_text(cid.of_dag_pb(block)) == row["rootCid"]


def test_name_and_tsize_may_be_absent() -> None:
    body = b"\x0a\x24" + cid.EMPTY_RAW
    assert dagpb.decode_node(b"\x12" + bytes([len(body)]) + body).links == (Link(cid.EMPTY_RAW, b"", 0),)


def test_an_empty_block_is_a_node_without_data() -> None:
    assert dagpb.decode_node(b"") == Node((), None)


@pytest.mark.parametrize(
    ("block", "fault"),
    [
        (SOME_DATA + A_LINK, "a field after the data, at offset 4"),
        (SOME_DATA + SOME_DATA, "a field after the data, at offset 4"),
        (A_LINK[:-1], "the field at offset 0 has 43 bytes, 42 are left"),
        (b"\x1a\x00", "unknown field tag 0x1a at offset 0"),
        (b"\x12\x00", "the link at offset 2 has no CID"),
        (b"\x12\x02\x18\x01", "the link at offset 2 has no CID"),
        (b"\x12\x04\x18\x01\x12\x00", "field tag 0x12 at offset 4 is unknown, twice or out of order"),
        (b"\x12\x03\x0a\x05\x01", "the link field at offset 4 has 5 bytes, 1 are left"),
        (b"\x12\x04\x0a\x02\x01\x55", "CID at offset 4 cannot be read"),
        (b"\x12\x02\x18\x80", "varint at offset 3 is cut after 1 bytes"),
        (b"\x12\x83\x00\x18\x01\x01", "varint at offset 1 is not in its shortest form"),
        (b"\x0a", "varint at offset 1 is cut after 0 bytes"),
    ],
)
def test_each_defect_is_named_with_its_offset(block: bytes, fault: str) -> None:
    with pytest.raises(BadBlock, match=fault):
        dagpb.decode_node(block)


@given(st.binary(max_size=120))
def test_random_bytes_are_a_node_or_a_fault(block: bytes) -> None:
    try:
        dagpb.decode_node(block)
    except BadBlock:
        return


@given(st.lists(LINKS, min_size=1, max_size=3), st.binary(max_size=20), st.data())
def test_a_damaged_node_is_a_node_or_a_fault(links: list[Link], data: bytes, draw: st.DataObject) -> None:
    block = bytearray(dagpb.encode_node(links, data))
    at = draw.draw(st.integers(0, len(block) - 1))
    block[at] ^= draw.draw(st.integers(1, 255))
    try:
        dagpb.decode_node(bytes(block))
    except BadBlock:
        return
