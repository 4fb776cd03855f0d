"""Reading directories and files back."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.content import cid, dagpb, directory, unixfs, walk
from common.content.chunker import chunks
from common.content.directory import Entry
from common.content.faults import BadBlock, ContentError, LimitExceeded
from common.content.profile import SINGULARITY, UNIXFS_V1_2025, Profile
from common.content.unixfs import Block, leaf

SHARDED = replace(SINGULARITY, hamt_threshold=0)


class Blocks(dict[bytes, bytes]):
    """A block store that counts what is read."""

    def __init__(self, blocks: Iterable[Block]) -> None:
        super().__init__((block.cid, block.data) for block in blocks)
        self.reads = 0

    def get_block(self, wanted: bytes) -> bytes:
        self.reads += 1
        return self[wanted]


def entries_of(count: int) -> list[Entry]:
    return [Entry(b"name %d" % n, cid.of_raw(b"%d" % n), n) for n in range(count)]


@pytest.mark.parametrize("profile", [SINGULARITY, SHARDED])
@pytest.mark.parametrize("count", [0, 1, 700])
def test_a_directory_lists_its_entries_and_finds_each(profile: Profile, count: int) -> None:
    entries = entries_of(count)
    blocks, made = directory.build(entries, profile)
    store = Blocks(blocks)
    assert walk.is_directory(made.cid, store.get_block)
    assert sorted(walk.entries(made.cid, store.get_block)) == sorted(entries)
    for entry in entries[::37]:
        assert walk.lookup(made.cid, entry.name, store.get_block) == entry
    assert walk.lookup(made.cid, b"not there", store.get_block) is None


def test_a_lookup_in_a_hamt_reads_one_node_per_level() -> None:
    blocks, made = directory.build(entries_of(5000), SHARDED)
    store = Blocks(blocks)
    walk.lookup(made.cid, b"name 77", store.get_block)
    assert store.reads <= 3


@settings(max_examples=80)
@given(st.integers(0, 300), st.integers(1, 20), st.integers(2, 4), st.integers(-5, 310), st.integers(-5, 310))
def test_segments_give_exactly_the_bytes_of_the_range(size: int, chunk: int, width: int, start: int, stop: int) -> None:
    content = (bytes(range(256)) * 2)[:size]
    profile = replace(UNIXFS_V1_2025, chunk_size=chunk, links_per_node=width)
    leaves = [(cid.of_raw(part), part) for part in (content[c.offset : c.offset + c.length] for c in chunks(0, size, chunk))]
    nodes, root = unixfs.parents([leaf(name, len(part)) for name, part in leaves], profile)
    store = Blocks([*nodes, *(Block(*item) for item in leaves)])
    start, stop = max(start, 0), max(stop, 0)
    found, at = b"", start
    for segment in walk.segments(root.cid, store.get_block, start, stop):
        assert segment.offset == at
        found += store[segment.cid][segment.start : segment.stop]
        at += segment.stop - segment.start
    assert found == content[start:stop]
    assert walk.file_size(root.cid, store.get_block) == size


def test_segments_read_no_leaves() -> None:
    leaves = [leaf(cid.of_raw(b"%d" % n), 1) for n in range(9)]
    nodes, root = unixfs.parents(leaves, replace(SINGULARITY, links_per_node=3))
    found = list(walk.segments(root.cid, Blocks(nodes).get_block, 4, 6))
    assert [segment.cid for segment in found] == [leaves[4].cid, leaves[5].cid]


def test_bytes_inside_nodes_of_other_programs_are_read() -> None:
    message = b"\x08\x02\x12\x05hello\x18\x05"
    block = dagpb.encode_node([], message)
    name = cid.of_dag_pb(block)
    (segment,) = walk.segments(name, {name: block}.__getitem__, 1, 4)
    assert (segment.inline, segment.start, segment.stop) == (b"hello", 1, 4)


def test_a_node_that_lies_about_its_size_is_a_fault() -> None:
    below, child = unixfs.file_node([leaf(cid.of_raw(b"ab"), 2)] * 2, SINGULARITY)
    above, root = unixfs.file_node([child._replace(content_size=5), leaf(cid.of_raw(b"z"), 1)], SINGULARITY)
    with pytest.raises(BadBlock, match="another number of bytes than the 5 of the link to it"):
        list(walk.segments(root.cid, Blocks([below, above]).get_block))


def test_a_file_tree_without_end_is_a_fault() -> None:
    block, child = unixfs.file_node([leaf(cid.of_raw(b"x"), 1)], SINGULARITY)
    blocks = [block]
    for _ in range(40):
        block, child = unixfs.file_node([child], SINGULARITY)
        blocks.append(block)
    with pytest.raises(LimitExceeded, match="deeper than 16 levels"):
        list(walk.segments(child.cid, Blocks(blocks).get_block))


def test_a_hamt_without_end_is_a_fault() -> None:
    data = directory.shard_data(1 << 7)
    name = cid.of_raw(b"x")
    store: dict[bytes, bytes] = {}
    for _ in range(20):
        block = dagpb.encode_node([(name, b"07", 1)], data)
        name = cid.of_dag_pb(block)
        store[name] = block
    with pytest.raises(LimitExceeded, match="deeper than 8 levels"):
        list(walk.entries(name, store.__getitem__))


@pytest.mark.parametrize(
    ("links", "bits", "fault"),
    [
        ([(b"07a", 7), (b"03b", 3)], None, "no slot, or out of order"),
        ([(b"07a", 7), (b"07b", 7)], None, "no slot, or out of order"),
        ([(b"zzb", 3)], None, "no slot"),
        ([(b"", 3)], None, "no slot"),
        ([(b"0aq", 10)], None, "no slot"),
        ([(b"+1q", 1)], None, "no slot"),
        ([(b"07a", 7)], 3, "bitfield that does not agree"),
    ],
)
def test_a_shard_that_contradicts_itself_is_a_fault(links: list[tuple[bytes, int]], bits: int | None, fault: str) -> None:
    field = sum({1 << slot for _, slot in links}) if bits is None else bits
    block = dagpb.encode_node([(cid.EMPTY_RAW, name, 0) for name, _ in links], directory.shard_data(field))
    name = cid.of_dag_pb(block)
    with pytest.raises(BadBlock, match=fault):
        list(walk.entries(name, {name: block}.__getitem__))


def test_a_file_is_no_directory_and_a_directory_no_file() -> None:
    node, root = unixfs.file_node([leaf(cid.EMPTY_RAW, 0)], SINGULARITY)
    folder, made = directory.build([], SINGULARITY)
    store = Blocks([node, *folder])
    assert not walk.is_directory(root.cid, store.get_block)
    assert not walk.is_directory(cid.EMPTY_RAW, store.get_block)
    for action in (
        lambda: list(walk.entries(root.cid, store.get_block)),
        lambda: walk.lookup(root.cid, b"a", store.get_block),
        lambda: list(walk.segments(made.cid, store.get_block)),
        lambda: list(walk.entries(cid.EMPTY_RAW, store.get_block)),
    ):
        with pytest.raises(BadBlock):
            action()


@given(st.binary(max_size=80), st.binary(max_size=40))
def test_random_nodes_give_entries_or_a_fault(message: bytes, name: bytes) -> None:
    block = dagpb.encode_node([(cid.EMPTY_RAW, name, 1)], message)
    root = cid.of_dag_pb(block)
    for action in (walk.entries, walk.segments):
        try:
            list(action(root, {root: block, cid.EMPTY_RAW: b""}.__getitem__))
        except ContentError:
            continue
