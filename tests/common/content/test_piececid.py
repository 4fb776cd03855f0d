"""CIDs of pieces."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.content import cid, piececid, varint
from common.content.faults import BadCid

ROOTS = st.binary(min_size=32, max_size=32).map(lambda root: root[:31] + bytes([root[31] & 0x3F]))


@given(ROOTS, st.integers(7, 63), st.data())
def test_v2_comes_back_with_every_payload_that_fits(root: bytes, power: int, draw: st.DataObject) -> None:
    size = 1 << power
    payload = draw.draw(st.integers(0, size // 128 * 127))
    made = piececid.decode(piececid.encode_v2(root, size, payload))
    assert (made.version, made.root, made.piece_size, made.payload_size) == (2, root, size, payload)
    assert made.to_v1() == piececid.encode_v1(root)


@given(ROOTS)
def test_v1_comes_back(root: bytes) -> None:
    made = piececid.decode(piececid.encode_v1(root))
    assert (made.version, made.root, made.piece_size, made.payload_size) == (1, root, None, None)


def test_known_cids_of_both_versions(vectors: Callable[[str], Any]) -> None:
    for row in vectors("commp")["pieceCidV2"]["rows"]:
        one, two = piececid.parse(row["pieceCidV1"]), piececid.parse(row["pieceCidV2"])
        assert one.root == two.root
        assert two.payload_size == row["payloadSize"]
        assert two.piece_size == 32 << piececid.height_of(row["payloadSize"])
        assert cid.to_text(piececid.encode_v2(one.root, two.piece_size, two.payload_size)) == row["pieceCidV2"]
        assert cid.to_text(two.to_v1()) == row["pieceCidV1"]
        assert row["pieceCidV1"].startswith("baga6ea4seaq")
        assert row["pieceCidV2"].startswith("bafkzcib")


def test_known_tree_heights(vectors: Callable[[str], Any]) -> None:
    for size, height, *_ in vectors("commp")["treeHeight"]["rows"]:
        assert piececid.height_of(size) == height
    assert piececid.height_of(0) == piececid.height_of(65) == piececid.height_of(127) == 2


ROOT = bytes(32)
V2 = b"\x01\x55\x91\x20"


def v2(digest: bytes) -> bytes:
    return V2 + varint.encode(len(digest)) + digest


@pytest.mark.parametrize(
    "data",
    [
        b"",
        cid.EMPTY_RAW,
        b"\x12\x20" + bytes(32),
        b"\x01\x81\xe2\x03\x92\x20\x1f" + bytes(31),
        b"\x01\x82\xe2\x03\x92\x20\x20" + ROOT,  # fil-commitment-sealed
        b"\x01\x81\xe2\x03\x12\x20" + ROOT,
        b"\x01\x81\xe2\x03\x92\x20\x20" + bytes(31) + b"\x40",
        piececid.encode_v1(ROOT) + b"\0",
        v2(b"\x00\x02" + bytes(31)),
        v2(b"\x00\x02" + bytes(33)),
        v2(b"\x80\x00\x02" + ROOT),
        v2(b"\x00\x01" + ROOT),
        v2(b"\x00\x3b" + ROOT),
        v2(b"\x80\x01\x02" + ROOT),  # padding 128 of 127
        v2(b"\xff" * 10 + b"\x02" + ROOT),
        v2(b"\x00\x02" + bytes(31) + b"\x80"),
        v2(b""),
    ],
)
def test_what_is_no_piece_cid_is_refused(data: bytes) -> None:
    with pytest.raises(BadCid):
        piececid.decode(data)


@pytest.mark.parametrize(("size", "payload"), [(96, 0), (64, 0), (0, 0), (128, 128), (128, -1), (1 << 64, 0)])
def test_sizes_that_do_not_fit_are_refused(size: int, payload: int) -> None:
    with pytest.raises(BadCid):
        piececid.encode_v2(ROOT, size, payload)


@given(st.binary(max_size=80))
def test_random_bytes_are_a_piece_cid_or_a_fault(data: bytes) -> None:
    for candidate in (data, V2 + data):
        try:
            made = piececid.decode(candidate)
        except BadCid:
            continue
        if made.piece_size is not None and made.payload_size is not None:
            assert piececid.encode_v2(made.root, made.piece_size, made.payload_size) == candidate
        else:
            assert made.to_v1() == candidate
