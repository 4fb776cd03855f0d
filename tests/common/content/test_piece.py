"""Piece commitments."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
import reference
from hypothesis import given, settings
from hypothesis import strategies as st

from common.content import cid, piece
from common.content.faults import BadCheckpoint, BadSize, PieceTooLarge, PieceTooSmall
from common.content.kernel import SLAB_PAYLOAD, Kernel
from common.content.kernel.base import as_bytes
from common.content.kernel.portable import fr32_expand, tree_root
from common.content.piece import PieceHasher, SlabTree


def test_the_known_fr32_expansion(vectors: Callable[[str], Any]) -> None:
    row = vectors("commp")["fr32Sample"]
    assert fr32_expand(as_bytes(bytes.fromhex(row["inputHex"]))).tobytes().hex() == row["outputHex"]


def test_known_pieces_of_one_repeated_byte(vectors: Callable[[str], Any], hasher: Kernel) -> None:
    for rows in vectors("commp")["repeatedByte"]:
        for size, piece_size, text in rows["rows"]:
            made = piece.commitment(bytes([int(rows["byte"], 16)]) * size, hasher)
            assert (made.piece_size, cid.to_text(made.cid_v1)) == (piece_size, text)


def test_known_pieces_of_the_derived_buffer(
    vectors: Callable[[str], Any], derived_buffer: Callable[[int], bytes], hasher: Kernel
) -> None:
    known = vectors("commp")["derivedBuffer"]
    assert derived_buffer(64).hex() == known["first64Hex"]
    for row in known["rows"]:
        data = derived_buffer(row["size"])
        made = piece.commitment(data, hasher)
        assert cid.to_text(cid.of_raw(data)) == row["rawCid"]
        assert (made.piece_size, cid.to_text(made.cid_v1)) == (row["pieceSize"], row["pieceCidV1"])
        assert made.piece_size * 127 // 128 == row["unpaddedPieceSize"]
        if row["pieceCidV2"]:
            assert cid.to_text(made.cid_v2) == row["pieceCidV2"]


def test_known_pieces_of_other_tools_around_every_border(
    vectors: Callable[[str], Any], content: Callable[..., bytes], hasher: Kernel
) -> None:
    for row in vectors("pack")["commp"]:
        if row["size"] > 6_000_000:
            continue
        check_pack_row(row, content, hasher)


@pytest.mark.slow
def test_known_large_pieces_of_other_tools(
    vectors: Callable[[str], Any], content: Callable[..., bytes], hasher: Kernel
) -> None:
    for row in vectors("pack")["commp"]:
        if row["size"] > 6_000_000:
            check_pack_row(row, content, hasher)


def check_pack_row(row: Any, content: Callable[..., bytes], hasher: Kernel) -> None:
    made = piece.commitment(content(row["rule"], row["size"], row.get("seed", "")), hasher)
    assert (made.root.hex(), made.piece_size) == (row["commp"], row["pieceSize"]), row["size"]
    assert (cid.to_text(made.cid_v1), cid.to_text(made.cid_v2)) == (row["pieceCidV1"], row["pieceCidV2"])


def test_known_lifted_pieces(vectors: Callable[[str], Any], content: Callable[..., bytes], hasher: Kernel) -> None:
    for row in vectors("pack")["padded"]:
        data = content("sha256ctr", row["size"], row["seed"])
        small, large = piece.commitment(data, hasher), piece.commitment(data, hasher, row["toPieceSize"])
        assert small.piece_size == row["fromPieceSize"]
        assert (large.root.hex(), large.piece_size) == (row["commp"], row["toPieceSize"])
        assert cid.to_text(large.cid_v1) == row["pieceCidV1"]
        assert piece.lift(small.root, small.piece_size, large.piece_size) == large.root


def test_known_zero_commitments(vectors: Callable[[str], Any]) -> None:
    for row in vectors("commp")["zeroPieces"]["rows"]:
        assert piece.zero_commitment(row["height"]).hex() == row["commitmentHex"]
        assert 32 << row["height"] == row["pieceSize"]
    for row in vectors("pack")["zeroSubtrees"]:
        assert piece.zero_commitment((row["bytes"] // 32).bit_length() - 1).hex() == row["commitment"]


@settings(max_examples=40)
@given(st.binary(min_size=65, max_size=3000), st.lists(st.integers(1, 500), min_size=1), st.integers(7, 14))
def test_a_stream_in_any_pieces_has_the_commitment_of_the_reference(
    hasher: Kernel, data: bytes, steps: list[int], power: int
) -> None:
    stream = PieceHasher(hasher)
    at = n = 0
    while at < len(data):
        stream.update(data[at : at + steps[n % len(steps)]])
        at, n = at + steps[n % len(steps)], n + 1
    made = stream.finish(1 << power)
    root, natural = reference.commp(data)
    assert made.piece_size == max(natural, 1 << power)
    assert made.root == reference.lift(root, natural, made.piece_size)
    assert cid.to_text(made.cid_v2) == reference.piece_cid_v2(made.root, made.piece_size, len(data))


@pytest.mark.parametrize("slabs", [1, 3, 5])
@pytest.mark.parametrize("more", [-1, 0, 1, 64])
def test_slab_borders_do_not_show(derived_buffer: Callable[[int], bytes], hasher: Kernel, slabs: int, more: int) -> None:
    size = slabs * SLAB_PAYLOAD + more
    data = derived_buffer(size)
    stream = PieceHasher(hasher)
    for at in range(0, size, 700_001):
        stream.update(data[at : at + 700_001])
    assert stream.payload_size == size
    made = stream.finish()
    assert made.root == tree_root(data + bytes(made.piece_size // 128 * 127 - size))


@pytest.mark.parametrize("size", [0, 1, 64])
def test_under_65_bytes_there_is_no_piece(hasher: Kernel, size: int) -> None:
    with pytest.raises(PieceTooSmall, match=f"{size} bytes are too few"):
        piece.commitment(bytes(size), hasher)


def test_piece_sizes_at_their_borders() -> None:
    assert piece.piece_size_of(65) == piece.piece_size_of(127) == 128
    assert piece.piece_size_of(128) == 256
    assert piece.piece_size_of(piece.MAX_PAYLOAD) == piece.MAX_PIECE_SIZE
    with pytest.raises(PieceTooLarge):
        piece.piece_size_of(piece.MAX_PAYLOAD + 1)


@pytest.mark.parametrize(("small", "large"), [(128, 100), (96, 128), (256, 128), (64, 128)])
def test_sizes_that_cannot_be_lifted_are_refused(small: int, large: int) -> None:
    with pytest.raises(BadSize):
        piece.lift(bytes(32), small, large)


def test_nothing_is_lifted_over_the_largest_piece() -> None:
    with pytest.raises(PieceTooLarge):
        piece.lift(bytes(32), 128, 1 << 37)


def roots(count: int) -> list[bytes]:
    return [piece.parent(bytes([n % 256]) * 32, bytes(32)) for n in range(count)]


def plain_root(slabs: list[bytes]) -> tuple[bytes, int]:
    height, level = 15, slabs
    while len(level) > 1:
        if len(level) % 2:
            level = [*level, reference.ZERO[height]]
        level = [reference.parent(level[n], level[n + 1]) for n in range(0, len(level), 2)]
        height += 1
    return level[0], 32 << height


@given(st.integers(1, 70), st.integers(0, 70), st.integers(1, 9), st.randoms(use_true_random=False))
def test_slabs_in_any_order_saved_and_loaded_anywhere_give_the_same_root(
    count: int, saved_at: int, step: int, rng: random.Random
) -> None:
    slabs = roots(count)
    batches = [(first, slabs[first : first + step]) for first in range(0, count, step)]
    rng.shuffle(batches)
    tree = SlabTree()
    for first, batch in batches:
        tree.add(first, b"".join(batch))
    assert tree.complete == count
    if saved_at <= count:
        state = tree.save(saved_at)
        assert len(state) < 1024
        again = SlabTree.load(state)
        assert again.complete == saved_at
        again.add(saved_at, b"".join(slabs[saved_at:]))
        assert again.root() == plain_root(slabs)
    assert tree.root() == plain_root(slabs)


def test_complete_counts_up_to_the_first_gap() -> None:
    tree = SlabTree()
    tree.add(0, bytes(32))
    tree.add(2, bytes(32))
    assert tree.complete == 1
    with pytest.raises(ValueError, match="missing"):
        tree.root()
    with pytest.raises(ValueError, match="cannot save at 2 slabs"):
        tree.save(2)
    with pytest.raises(ValueError, match="slab 2 comes twice"):
        tree.add(2, bytes(32))


def test_the_state_of_the_largest_piece_is_small() -> None:
    tree = SlabTree()
    tree.add(0, bytes(32) * 65535)
    assert len(tree.save(65535)) < 600


def test_a_hasher_goes_on_from_a_saved_tree(derived_buffer: Callable[[int], bytes], hasher: Kernel) -> None:
    data = derived_buffer(3 * SLAB_PAYLOAD + 12345)
    first = PieceHasher(hasher)
    first.update(data[: 2 * SLAB_PAYLOAD + 99])
    second = PieceHasher(hasher, SlabTree.load(first.slabs.save(first.slabs.complete)))
    second.update(data[second.payload_size :])
    assert second.finish() == piece.commitment(data, hasher)


@pytest.mark.parametrize("tail", [0, 1, 100, SLAB_PAYLOAD - 1])
def test_slabs_from_any_thread_and_the_tail_after_them_make_the_piece(
    derived_buffer: Callable[[int], bytes], hasher: Kernel, tail: int
) -> None:
    data = derived_buffer(3 * SLAB_PAYLOAD + tail)
    tree = SlabTree()
    for first, count in ((1, 2), (0, 1)):
        tree.add(first, hasher.slab_roots(data, first * SLAB_PAYLOAD, count))
    made = piece.finish(tree, data[3 * SLAB_PAYLOAD :], hasher, 1 << 23)
    assert made == piece.commitment(data, hasher, 1 << 23)


def test_a_tail_of_a_whole_slab_is_a_bug_of_the_caller(hasher: Kernel) -> None:
    with pytest.raises(ValueError, match="a slab or more"):
        piece.finish(SlabTree(), bytes(SLAB_PAYLOAD), hasher)


@given(st.binary(max_size=200))
def test_what_is_no_state_is_refused(state: bytes) -> None:
    with pytest.raises(BadCheckpoint):
        SlabTree.load(state)


def test_a_damaged_state_is_refused() -> None:
    tree = SlabTree()
    tree.add(0, b"".join(roots(5)))
    state = bytearray(tree.save(5))
    for at in range(len(state)):
        damaged = bytearray(state)
        damaged[at] ^= 1
        with pytest.raises(BadCheckpoint):
            SlabTree.load(bytes(damaged))


def test_known_paddings(vectors: Callable[[str], Any]) -> None:
    """Data CARs and DAG CARs of whole preparations."""
    for name in ("derived_e2e", "extra_e2e"):
        for case in vectors(name)["cases"]:
            lengths = {row["id"]: row["length"] for row in case.get("fileRanges", [])}
            for row in case["cars"]:
                if "..." in row["fileRangeIds"]:
                    continue
                total = sum(lengths[number] for number in row["fileRangeIds"])
                check_padding(row, row["pieceSize"], case["minPieceSize"], "data", total)
            check_padding(case["dagCar"], case["dagCar"]["pieceSize"], case["minPieceSize"], "dag", 0)


def check_padding(row: Any, piece_size: int, minimum: int, kind: Any, total: int) -> None:
    for inline, key in ((True, "inline"), (False, "exported")):
        made = piece.padding_rule(row["carBytes"], kind=kind, inline=inline, min_piece_size=minimum, ranges_size=total)
        assert made.piece_size == piece_size
        if key in row:
            assert (made.file_size, made.virtual) == (row[key]["fileSize"], row[key]["minPieceSizePadding"])
        elif "fileSize" in row and not inline:
            assert made.file_size == row["fileSize"]
        assert made.file_size == row["carBytes"] + made.virtual + made.appended


def test_known_paddings_of_singularitys_own_tests(vectors: Callable[[str], Any]) -> None:
    def rule(car_size: int, ranges_size: int, minimum: int) -> piece.Padding:
        return piece.padding_rule(car_size, kind="data", inline=False, min_piece_size=minimum, ranges_size=ranges_size)

    five, split, half, large = vectors("singularity")["carSizes"]
    assert rule(101, 5, 1).file_size == five["fileSize"]
    assert rule(138, 5, 1).file_size == split["fileSize"]
    made = rule(500_000 + 39 + 59, 500_000, 1 << 20)
    assert (made.file_size, made.piece_size) == (half["fileSize"], half["pieceSize"])
    made = rule(large["fileSize"], 1_500_000, 1 << 20)
    assert (made.file_size, made.piece_size) == (large["fileSize"], large["pieceSize"])


def test_padding_an_inline_dag_car_is_virtual_and_an_exported_one_is_written() -> None:
    inline = piece.padding_rule(300, kind="dag", inline=True, min_piece_size=1 << 20)
    written = piece.padding_rule(300, kind="dag", inline=False, min_piece_size=1 << 20)
    assert (inline.virtual, inline.appended) == (SLAB_PAYLOAD - 300, 0)
    assert (written.virtual, written.appended) == (0, SLAB_PAYLOAD - 300)
