"""CIDs as bytes and as text; the oracle for text is multiformats, which the product does not use."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multiformats import CID, multihash

from common.content import cid
from common.content.faults import BadCid, WrongDigest


def test_known_leaves(vectors: Callable[[str], Any]) -> None:
    texts = {"empty": b"", 'utf8 "hello world"': b"hello world", 'utf8 "test"': b"test"}
    for row in vectors("unixfs")["raw"]:
        assert cid.to_text(cid.of_raw(texts[row["input"]])) == row["cid"]
    assert cid.to_text(cid.EMPTY_RAW) == vectors("unixfs")["raw"][0]["cid"]


def test_known_empty_directory(vectors: Callable[[str], Any]) -> None:
    row = vectors("unixfs")["emptyDirectory"]
    assert cid.to_text(cid.of_dag_pb(bytes.fromhex(row["blockHex"]))) == row["cid"]


@given(
    st.binary(max_size=64),
    st.sampled_from(["raw", "dag-pb", "dag-cbor"]),
    st.sampled_from(["base32", "base58btc", "base36"]),
)
def test_text_agrees_with_multiformats(data: bytes, codec: str, base: str) -> None:
    other = CID(base, 1, codec, multihash.digest(data, "sha2-256"))
    ours = cid.from_text(str(other))
    assert ours == bytes(other)
    assert cid.to_text(ours) == str(other.set(base="base32"))


def test_version_0_is_read_and_written() -> None:
    text = "QmY89TkSEVHykWMHDmyejSWFj9CYNtvzw4UwnT9xbc4Zjc"
    assert cid.from_text(text) == bytes(CID.decode(text))
    assert cid.to_text(cid.from_text(text)) == text


def test_no_cid_is_empty_text() -> None:
    assert cid.to_text(b"") == ""
    assert cid.from_text("") == b""


@pytest.mark.parametrize(
    "text",
    ["b", "bafk", "nonsense", "zQm", "QmY89TkSEVHykWMHDmyejSWFj9CYNtvzw4UwnT9xbc4Zj0", "é", "\ud800", "b" * 600,
     "zQmY89TkSEVHykWMHDmyejSWFj9CYNtvzw4UwnT9xbc4Zjc", cid.to_text(cid.EMPTY_RAW) + "aaaaaaaa"],
)  # fmt: skip
def test_texts_that_are_no_cid_are_refused(text: str) -> None:
    with pytest.raises(BadCid):
        cid.from_text(text)


@given(st.text(max_size=80))
def test_random_text_is_a_cid_or_a_fault(text: str) -> None:
    try:
        data = cid.from_text(text)
    except BadCid:
        return
    assert data == b"" or cid.split(data)[1] == len(data)


@given(st.binary(max_size=60), st.integers(0, 60), st.integers(0, 60))
def test_random_bytes_are_a_cid_inside_the_bounds_or_a_fault(data: bytes, start: int, end: int) -> None:
    try:
        parts, stop = cid.split(data, start, end)
    except BadCid:
        return
    assert start < stop <= min(end, len(data))
    assert parts.cid == data[start:stop]


@given(st.binary(min_size=1, max_size=40))
def test_a_cid_is_taken_apart(digest: bytes) -> None:
    data = b"\x01\x55\x13" + bytes([len(digest)]) + digest
    parts, end = cid.split(b"??" + data + b"!", 2)
    assert (parts.version, parts.codec, parts.hash_code, parts.digest, end) == (1, 0x55, 0x13, digest, 2 + len(data))


def test_a_digest_of_hostile_length_is_refused_before_it_is_read() -> None:
    with pytest.raises(BadCid, match="digest of 1048576 bytes"):
        cid.split(b"\x01\x55\x12\x80\x80\x40" + bytes(100))


def test_data_is_held_against_its_cid() -> None:
    cid.verify(cid.of_raw(b"abc"), b"abc")
    cid.verify(b"\x12\x20" + hashlib.sha256(b"abc").digest(), b"abc")
    cid.verify(b"\x01\x55\x00\x03abc", b"abc")
    with pytest.raises(WrongDigest, match="3 bytes do not hash to bafkrei"):
        cid.verify(cid.of_raw(b"abc"), b"abd")
    with pytest.raises(BadCid, match="hash 0x13"):
        cid.verify(b"\x01\x55\x13\x03abc", b"abc")
