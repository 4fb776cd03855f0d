"""UnixFS directories: one flat node, or a HAMT of shards when the flat node would be too large.

::

    flat                          HAMT, fanout 256, level d takes byte d of the name's hash
    "a.txt" -> file               "1F" -> shard --> "07a.txt" -> file      two or more names in the slot: a shard
    "b"     -> directory          "D3b" -> directory                       one name in the slot: the entry itself

Links are in bytewise order of names, in a shard in order of slots (two upper-case hex digits). Tsize of a shard or
directory is the length of its node plus the Tsizes of its links. Source: section 7 of the Singularity contract,
https://specs.ipfs.tech/unixfs/#dag-pb-hamtdirectory.
"""

from __future__ import annotations

import struct
from collections.abc import Generator, Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import IO, NamedTuple

from common.content import cid as cids
from common.content import dagpb, murmur3
from common.content.faults import BadDirectory
from common.content.profile import Profile
from common.content.scratch import unnamed_file
from common.content.unixfs import Block

FANOUT = 256
HASH_TYPE = 0x22
MAX_DEPTH = murmur3.HASH_LENGTH

FLAT_DATA = b"\x08\x01"

_RECORD = struct.Struct("<HBQ")  # length of the name, length of the CID, Tsize; before them the hash
_RECORD_HEAD = murmur3.HASH_LENGTH + _RECORD.size
_MAX_NAME = 0xFFFF


class Entry(NamedTuple):
    """A file or folder in a directory: name in UTF-8 bytes, CID, Tsize as the profile defines it."""

    name: bytes
    cid: bytes
    tsize: int


class Directory(NamedTuple):
    """A finished directory: CID of its node, its Tsize for the parent's link, and whether it is a HAMT."""

    cid: bytes
    tsize: int
    sharded: bool


class _Hashed(NamedTuple):
    hash: bytes
    name: bytes
    cid: bytes
    tsize: int


def build(entries: Iterable[Entry], profile: Profile) -> tuple[list[Block], Directory]:
    """Return the blocks of a directory, its own node last, and what it is; everything is held in memory.

    Raises:
        BadDirectory: see ``DirectoryBuilder``.
    """
    builder = DirectoryBuilder(profile)
    for entry in entries:
        builder.add(entry)
    blocks = list(builder.blocks())
    return blocks, builder.result


class DirectoryBuilder:
    """Builds one directory from entries in any order; a million of them need no more memory than a thousand.

    Below the threshold of the profile the entries are kept (at most some 7,000). Above it they are hashed and sorted
    into 256 buckets, which go to an unnamed temporary file in ``spill_folder`` whenever they hold more than
    ``memory_bytes``; without a folder they stay in memory. ``blocks`` then makes one bucket after the other.

    Raises:
        BadDirectory: an empty name, one with ``/``, one that comes twice, or names that cannot be told apart by hash.
    """

    def __init__(self, profile: Profile, *, spill_folder: Path | None = None, memory_bytes: int = 16 << 20) -> None:
        self._profile = profile
        self._spill_folder = spill_folder
        self._memory_bytes = memory_bytes
        self._kept: list[Entry] = []
        self._estimate = 0 if profile.hamt_estimate == "links" else len(dagpb.encode_data(FLAT_DATA))
        self._sharded = profile.is_sharded(self._estimate)
        self._buckets = _Buckets(spill_folder, memory_bytes)
        self._result: Directory | None = None

    @property
    def result(self) -> Directory:
        """The directory, once ``blocks`` is exhausted."""
        if self._result is None:
            raise RuntimeError("the blocks have not been taken yet")
        return self._result

    def add(self, entry: Entry) -> None:
        """Take one entry in."""
        name = entry.name
        if not name or b"/" in name or len(name) > _MAX_NAME:
            raise BadDirectory(f"{name[:200]!r} cannot be the name of an entry")
        self._kept.append(entry)
        if not self._sharded:
            if self._profile.hamt_estimate == "links":
                self._estimate += len(name) + len(entry.cid)
            else:
                self._estimate += len(dagpb.encode_link(entry.cid, name, entry.tsize))
            self._sharded = self._profile.is_sharded(self._estimate)
        elif len(self._kept) >= murmur3.BATCH:
            self._move_to_buckets()

    def blocks(self) -> Iterator[Block]:
        """Yield the blocks, children before parents, the directory's own node last. To be called once."""
        if not self._sharded:
            yield self._flat()
            return
        self._move_to_buckets()
        shard = _Shard()
        try:
            for slot in range(FANOUT):
                records = self._buckets.take(slot)
                if records:
                    yield from _add_slot(shard, slot, records, 1)
        finally:
            self._buckets.close()
        block = shard.block()
        yield block
        self._result = Directory(block.cid, len(block.data) + shard.tsizes, True)

    def _flat(self) -> Block:
        entries = sorted(self._kept)
        for one, other in pairwise(entries):
            if one.name == other.name:
                raise BadDirectory(f"{one.name!r} is in the directory twice")
        data = dagpb.encode_node(((entry.cid, entry.name, entry.tsize) for entry in entries), FLAT_DATA)
        block = Block(cids.of_dag_pb(data), data)
        self._result = Directory(block.cid, len(data) + sum(entry.tsize for entry in entries), False)
        return block

    def _move_to_buckets(self) -> None:
        for start in range(0, len(self._kept), murmur3.BATCH):
            batch = self._kept[start : start + murmur3.BATCH]
            hashes = murmur3.hash64_many([entry.name for entry in batch])
            for n, (name, cid, tsize) in enumerate(batch):
                name_hash = hashes[n * 8 : n * 8 + 8]
                head = _RECORD.pack(len(name), len(cid), tsize)
                self._buckets.add(name_hash[0], b"".join((name_hash, head, name, cid)))
        self._kept.clear()


class _Shard:
    """A HAMT node while its links are collected, in order of slots."""

    def __init__(self) -> None:
        self._links: list[bytes] = []
        self._bits = 0
        self.tsizes = 0

    def add(self, slot: int, name: bytes, cid: bytes, tsize: int) -> None:
        self._links.append(dagpb.encode_link(cid, b"%02X" % slot + name, tsize))
        self._bits |= 1 << slot
        self.tsizes += tsize

    def block(self) -> Block:
        self._links.append(dagpb.encode_data(shard_data(self._bits)))
        data = b"".join(self._links)
        return Block(cids.of_dag_pb(data), data)


def shard_data(bits: int) -> bytes:
    """Return the UnixFS message of a shard; bit i of ``bits`` is set when slot i is in use."""
    bitfield = bits.to_bytes((bits.bit_length() + 7) // 8, "big")
    return b"\x08\x05\x12" + bytes([len(bitfield)]) + bitfield + b"\x28\x22\x30\x80\x02"


def _add_slot(shard: _Shard, slot: int, records: list[_Hashed], depth: int) -> Iterator[Block]:
    """Link what lies in one slot of ``shard``; ``depth`` is the level of a sub-shard there."""
    if len(records) == 1:
        only = records[0]
        shard.add(slot, only.name, only.cid, only.tsize)
        return
    block, tsize = yield from _sub_shard(records, depth)
    shard.add(slot, b"", block.cid, tsize)


def _sub_shard(records: list[_Hashed], depth: int) -> Generator[Block, None, tuple[Block, int]]:
    """Build the shard of these records (sorted by hash, equal in their first ``depth`` bytes)."""
    if depth == MAX_DEPTH:
        names = sorted(record.name for record in records)
        if len(set(names)) < len(names):
            twice = next(name for name, after in pairwise(names) if name == after)
            raise BadDirectory(f"{twice!r} is in the directory twice")
        raise BadDirectory(f"{names[0]!r} and {names[1]!r} have the same hash and cannot be told apart")
    shard = _Shard()
    start = 0
    while start < len(records):
        slot = records[start].hash[depth]
        stop = start + 1
        while stop < len(records) and records[stop].hash[depth] == slot:
            stop += 1
        yield from _add_slot(shard, slot, records[start:stop], depth + 1)
        start = stop
    block = shard.block()
    yield block
    return block, len(block.data) + shard.tsizes


class _Buckets:
    """Records by the first byte of their hash; in memory up to a limit, then in an unnamed temporary file."""

    def __init__(self, folder: Path | None, memory_bytes: int) -> None:
        self._folder = folder
        self._memory_bytes = memory_bytes
        self._held = 0
        self._memory: list[bytearray] = []  # made with the first record: most directories need none
        self._extents: list[list[tuple[int, int]]] = []
        self._file: IO[bytes] | None = None
        self._end = 0

    def add(self, bucket: int, record: bytes) -> None:
        if not self._memory:
            self._memory = [bytearray() for _ in range(FANOUT)]
            self._extents = [[] for _ in range(FANOUT)]
        self._memory[bucket] += record
        self._held += len(record)
        if self._held > self._memory_bytes and self._folder is not None:
            self._spill(self._folder)

    def take(self, bucket: int) -> list[_Hashed]:
        """Return the records of a bucket sorted by hash, and forget them."""
        if not self._memory:
            return []
        parts = []
        if self._file is not None:
            for offset, length in self._extents[bucket]:
                self._file.seek(offset)
                parts.append(self._file.read(length))
        parts.append(bytes(self._memory[bucket]))
        self._memory[bucket] = bytearray()
        data = b"".join(parts)
        records = []
        at = 0
        while at < len(data):
            name_length, cid_length, tsize = _RECORD.unpack_from(data, at + murmur3.HASH_LENGTH)
            middle = at + _RECORD_HEAD + name_length
            end = middle + cid_length
            records.append(
                _Hashed(data[at : at + murmur3.HASH_LENGTH], data[at + _RECORD_HEAD : middle], data[middle:end], tsize)
            )
            at = end
        records.sort()
        return records

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _spill(self, folder: Path) -> None:
        if self._file is None:
            self._file = unnamed_file(folder)
        for bucket, records in enumerate(self._memory):
            if records:
                self._file.write(records)
                self._extents[bucket].append((self._end, len(records)))
                self._end += len(records)
                self._memory[bucket] = bytearray()
        self._held = 0
