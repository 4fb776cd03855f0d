"""Flat directories and HAMTs."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import reference
from hypothesis import given, settings
from hypothesis import strategies as st

from common.content import cid, directory, murmur3
from common.content.directory import DirectoryBuilder, Entry
from common.content.faults import BadDirectory
from common.content.profile import SINGULARITY, UNIXFS_V1_2025
from common.content.unixfs import Block

ALWAYS_SHARDED = replace(SINGULARITY, hamt_threshold=0)


def file(name: bytes, content: bytes) -> Entry:
    return Entry(name, cid.of_raw(content), len(content))


def long_names(count: int) -> Iterable[Entry]:
    text = (
        b"long name to fill out bytes to make the sharded directory test flip over the sharded directory limit "
        b"because link names are included in the directory entry "
    )
    for n in range(count):
        name = text + b"%d" % n
        yield file(name, name)


def check(row: Any, entries: Iterable[Entry], profile: Any = SINGULARITY) -> None:
    blocks, made = directory.build(entries, profile)
    assert cid.to_text(made.cid) == row["cid"]
    assert blocks[-1].cid == made.cid
    assert made.tsize == row.get("cumulativeSize", made.tsize)
    assert len(blocks) == row.get("blocks", len(blocks))
    assert made.sharded == (row.get("kind", "hamt") == "hamt")


def test_known_name_hashes(vectors: Callable[[str], Any]) -> None:
    rows = vectors("unixfs")["murmur3"]["rows"]
    names = [row["name"].encode() for row in rows]
    assert [murmur3.hash64(name).hex() for name in names] == [row["hashHex"] for row in rows]
    assert murmur3.hash64_many(names).hex() == "".join(row["hashHex"] for row in rows)


@given(st.lists(st.binary(max_size=70), max_size=30))
def test_many_hashes_at_once_are_those_of_the_plain_reference(names: list[bytes]) -> None:
    assert murmur3.hash64_many(names) == b"".join(map(reference.murmur3_h1, names))


def test_the_known_empty_directory(vectors: Callable[[str], Any]) -> None:
    blocks, made = directory.build([], SINGULARITY)
    row = vectors("unixfs")["emptyDirectory"]
    assert (cid.to_text(made.cid), blocks[0].data.hex()) == (row["cid"], row["blockHex"])


def test_the_known_directory_of_singularitys_own_test(vectors: Callable[[str], Any]) -> None:
    row = vectors("unixfs")["directory"]
    two = reference.file_tree([(cid.of_raw(word), 5, 5) for word in (b"test2", b"test3")], cumulative=False)
    check(row | {"kind": "flat"}, [Entry(b"test2", two[1][0], 108), file(b"test", b"test")])


def test_known_hamts_of_kubo_and_js(vectors: Callable[[str], Any]) -> None:
    kubo, flat, sharded, _ = vectors("unixfs")["hamt"]
    check(kubo, (file(b"file%d" % n, b"%d\n" % n) for n in range(1, 2001)), ALWAYS_SHARDED)
    check(flat, long_names(1343))
    check(sharded, long_names(1344))
    check(sharded, long_names(1344), UNIXFS_V1_2025)


def test_the_known_threshold(vectors: Callable[[str], Any]) -> None:
    known = vectors("unixfs")["hamtThreshold"]
    for row in known["rows"]:
        entries = [file(b"f%027d" % n, b"x") for n in range(row["entries"])]
        check(row, entries)
        assert sum(len(entry.name) + len(entry.cid) for entry in entries) == row["estimatedSize"]
    entries = [file(b"f%027d" % n, b"x") for n in range(4096)]
    later = replace(SINGULARITY, hamt_at_threshold=False)
    check({"cid": known["flatCidAt4096"], "kind": "flat"}, entries, later)


def test_the_block_estimate_counts_the_flat_node_and_shards_above_the_threshold() -> None:
    entries = [file(b"f%027d" % n, b"x") for n in range(3600)]
    flat, made = directory.build(entries, replace(UNIXFS_V1_2025, hamt_threshold=1 << 40))
    assert not made.sharded
    size = len(flat[0].data)
    assert not directory.build(entries, replace(UNIXFS_V1_2025, hamt_threshold=size))[1].sharded
    assert directory.build(entries, replace(UNIXFS_V1_2025, hamt_threshold=size - 1))[1].sharded


NAMES = st.binary(min_size=1, max_size=12).filter(lambda name: b"/" not in name)


@settings(max_examples=60)
@given(st.lists(NAMES, unique=True, max_size=60), st.randoms(use_true_random=False), st.booleans())
def test_order_does_not_matter_and_the_reference_agrees(names: list[bytes], rng: random.Random, sharded: bool) -> None:
    entries = [file(name, name) for name in names]
    profile = ALWAYS_SHARDED if sharded else SINGULARITY
    blocks, made = directory.build(entries, profile)
    rng.shuffle(entries)
    assert directory.build(entries, profile) == (blocks, made)
    plain = [(entry.name, entry.cid, entry.tsize) for entry in entries]
    wanted = reference.shard(plain, 0) if sharded else reference.directory(plain)
    assert ([tuple(block) for block in blocks], made.cid, made.tsize) == wanted


def test_a_large_directory_spilled_to_disk_is_the_same_as_in_memory(tmp_path: Path) -> None:
    entries = [file(b"name-%d" % n, b"%d" % (n % 10)) for n in range(30_000)]
    builder = DirectoryBuilder(SINGULARITY, spill_folder=tmp_path, memory_bytes=1 << 16)
    for entry in entries:
        builder.add(entry)
    blocks: list[Block] = list(builder.blocks())
    assert (blocks, builder.result) == directory.build(entries, SINGULARITY)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", [b"", b"a/b", b"x" * 70_000])
def test_names_that_cannot_be_are_refused(name: bytes) -> None:
    with pytest.raises(BadDirectory, match="cannot be the name of an entry"):
        directory.build([file(name, b"")], SINGULARITY)


@pytest.mark.parametrize("profile", [SINGULARITY, ALWAYS_SHARDED])
def test_a_name_that_comes_twice_is_refused(profile: Any) -> None:
    entries = [file(b"a", b"1"), file(b"b", b"2"), file(b"a", b"3")]
    with pytest.raises(BadDirectory, match="b'a' is in the directory twice"):
        directory.build(entries, profile)
