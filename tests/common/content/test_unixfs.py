"""Trees of file nodes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.content import cid, dagpb, unixfs
from common.content.chunker import chunk_count, chunks
from common.content.faults import BadBlock
from common.content.profile import SINGULARITY, UNIXFS_V1_2025
from common.content.unixfs import Child, leaf

SMALL = replace(UNIXFS_V1_2025, chunk_size=4, links_per_node=3)


def leaves_of(data: bytes, chunk_size: int) -> list[Child]:
    parts = [data[part.offset : part.offset + part.length] for part in chunks(0, len(data), chunk_size)]
    return [leaf(cid.of_raw(part), len(part)) for part in parts]


def cumulative_size(block: bytes) -> int:
    return len(block) + sum(link.tsize for link in dagpb.decode_node(block).links)


def test_a_known_node_of_two_links(vectors: Callable[[str], Any]) -> None:
    row = vectors("unixfs")["fileNodes"][0]
    block, child = unixfs.file_node([leaf(cid.of_raw(word), 5) for word in (b"hello", b"world")], SINGULARITY)
    assert block.data.hex() == row["rootBlockHex"]
    assert cid.to_text(child.cid) == row["rootCid"]
    assert (child.content_size, child.tsize) == (10, 10)
    assert cumulative_size(block.data) == row["cumulativeSize"]


def test_a_known_tree_of_2000_links(vectors: Callable[[str], Any]) -> None:
    row = vectors("unixfs")["fileNodes"][1]
    blocks, root = unixfs.parents([leaf(cid.of_raw(b"hello"), 5)] * 2000, SINGULARITY)
    assert cid.to_text(root.cid) == cid.to_text(blocks[-1].cid) == row["rootCid"]
    assert cid.to_text(blocks[0].cid) == row["firstBlockCid"]
    assert len(blocks) == row["blocks"]
    assert cumulative_size(blocks[-1].data) == row["cumulativeSize"]


def test_a_single_child_is_its_own_root() -> None:
    only = leaf(cid.EMPTY_RAW, 0)
    assert unixfs.parents([only], SINGULARITY) == ([], only)


def test_known_files_by_both_rules(vectors: Callable[[str], Any], content: Callable[..., bytes]) -> None:
    for row in vectors("pack")["files"]:
        data = content(row["rule"], row["size"], row.get("seed", ""))
        leaves = leaves_of(data, row["chunkSize"])
        assert len(leaves) == row["leaves"], row["id"]
        for base, wanted in ((UNIXFS_V1_2025, row["rootCid"]), (SINGULARITY, row["singularityRule"]["fileCid"])):
            rule = replace(base, chunk_size=row["chunkSize"], links_per_node=row["maxLinks"])
            blocks, root = unixfs.parents(leaves, rule)
            assert cid.to_text(root.cid) == wanted, row["id"]
            assert root.content_size == row["size"]
            assert len(blocks) == row["linkNodes"]
            assert tuple(len(block.data) for block in blocks) == unixfs.node_lengths(row["size"], rule)


def test_known_chacha_files_of_one_and_two_chunks(vectors: Callable[[str], Any]) -> None:
    for row in vectors("unixfs")["chacha"]["rows"]:
        if row["size"] > 2 << 20:
            continue
        leaves = leaves_of(chacha(row["seed"], row["size"]), SINGULARITY.chunk_size)
        for profile in (SINGULARITY, UNIXFS_V1_2025):
            assert cid.to_text(unixfs.parents(leaves, profile)[1].cid) == row["fileCid"]


@pytest.mark.slow
def test_known_chacha_files_of_a_gibibyte_agree_and_one_byte_more_differs(vectors: Callable[[str], Any]) -> None:
    chacha_rows = vectors("unixfs")["chacha"]
    row, other = chacha_rows["rows"][-1], chacha_rows["divergence"]
    stream = chacha_stream(row["seed"])
    leaves = [leaf(cid.of_raw(stream(1 << 20)), 1 << 20) for _ in range(1024)]
    _, whole = unixfs.parents(leaves, SINGULARITY)
    assert cid.to_text(whole.cid) == row["fileCid"]
    assert unixfs.parents(leaves, UNIXFS_V1_2025)[1].cid == whole.cid
    last = leaf(cid.of_raw(stream(1)), 1)
    _, joined = unixfs.parents([whole, last], SINGULARITY)
    assert cid.to_text(joined.cid) == other["singularityCid"]
    _, tree = unixfs.parents([*leaves, last], UNIXFS_V1_2025)
    assert cid.to_text(tree.cid) == other["kuboCid"]


def test_divergence_of_the_profiles_needs_no_gibibyte() -> None:
    data = bytes(range(40))
    by_range = replace(SINGULARITY, chunk_size=4, links_per_node=3)
    leaves = leaves_of(data, 4)
    roots = [unixfs.parents(leaves[n : n + 3], by_range)[1] for n in range(0, len(leaves), 3)]
    assert unixfs.parents(roots, by_range)[1].cid != unixfs.parents(leaves, SMALL)[1].cid


@settings(max_examples=60)
@given(st.integers(0, 400), st.integers(2, 5), st.integers(1, 9), st.integers(1, 60))
def test_a_whole_file_tree_is_the_same_however_the_file_is_cut(
    size: int, width: int, chunk_size: int, chunks_per_range: int
) -> None:
    rule = replace(UNIXFS_V1_2025, chunk_size=chunk_size, links_per_node=width)
    leaves = leaves_of((bytes(range(256)) * 2)[:size], chunk_size)
    count = chunk_count(size, chunk_size)
    made, rest = 0, []
    for first in range(0, count, chunks_per_range):
        part = unixfs.leaves_as_subtrees(first, leaves[first : first + chunks_per_range])
        blocks, tops = unixfs.reduce_tree(part, count, rule)
        made += len(blocks)
        rest += tops
    blocks, rest = unixfs.reduce_tree(rest, count, rule)
    wanted_blocks, wanted = unixfs.parents(leaves, rule)
    assert [subtree.child for subtree in rest] == [wanted]
    assert made + len(blocks) == len(wanted_blocks)


def test_ranges_of_1024_chunks_complete_one_node_each() -> None:
    leaves = [leaf(cid.EMPTY_RAW, 1 << 20)] * 2050
    for first, wanted in ((0, [(1, 0)]), (1024, [(1, 1)]), (2048, [(1, 2)])):
        part = unixfs.leaves_as_subtrees(first, leaves[first : first + 1024])
        blocks, tops = unixfs.reduce_tree(part, 2050, UNIXFS_V1_2025)
        assert len(blocks) == 1
        assert [(top.level, top.position) for top in tops] == wanted


def test_the_message_of_a_node_is_read_back() -> None:
    message = unixfs.encode_file_data(300, [200, 100])
    data = unixfs.decode_data(message)
    assert (data.kind, data.filesize, data.block_sizes) == (unixfs.FILE, 300, (200, 100))


def test_packed_block_sizes_and_mtime_of_other_programs_are_read() -> None:
    message = b"\x08\x02\x18\x03\x22\x02\x01\x02\x38\xa4\x03\x42\x02\x08\x01"
    assert unixfs.decode_data(message).block_sizes == (1, 2)


@pytest.mark.parametrize("message", [b"", b"\x08\x09", b"\x08", b"\x0d\x00\x00\x00\x00", b"\x08\x02\x12\x05ab"])
def test_what_is_no_unixfs_message_is_refused(message: bytes) -> None:
    with pytest.raises(BadBlock):
        unixfs.decode_data(message)


@given(st.binary(max_size=60))
def test_random_bytes_are_a_unixfs_message_or_a_fault(message: bytes) -> None:
    try:
        unixfs.decode_data(message)
    except BadBlock:
        return


def chacha_stream(seed: str) -> Callable[[int], bytes]:
    from hashlib import sha256

    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms

    key = sha256(seed.encode()).digest()
    encryptor = Cipher(algorithms.ChaCha20(key, bytes(16)), mode=None).encryptor()
    return lambda size: encryptor.update(bytes(size))


def chacha(seed: str, size: int) -> bytes:
    return chacha_stream(seed)(size)
