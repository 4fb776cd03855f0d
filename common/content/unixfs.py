"""UnixFS file nodes: the tree of links above the chunks of a file, and the small protobuf inside every node.

::

    file of 2,050 chunks, 1,024 links per node            written to the CAR as
                    root                                  c0 c1 .. c2049  n0 n1 n2  root
         n0          n1          n2
     c0..c1023  c1024..c2047  c2048 c2049

Every group of links gets a parent, a last group of one link too; a file of one chunk *is* that chunk.
The rule ``tree="ranges"`` (Singularity) builds this over each range, and again over the roots of the ranges.
The rule ``tree="file"`` builds it once over all chunks of the file, so nodes may span ranges: ``reduce_tree``.
Source: https://specs.ipfs.tech/unixfs/ and section 7 of the Singularity contract.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

from common.content import chunker, dagpb, varint
from common.content import cid as cids
from common.content.faults import BadBlock, BadVarint
from common.content.profile import Profile

RAW, DIRECTORY, FILE, METADATA, SYMLINK, HAMT_SHARD = range(6)

_number = varint.encode
_NO_DIGEST = bytes(cids.DIGEST_LENGTH)


class Block(NamedTuple):
    """A block to be written: its CID (36 bytes) and its data."""

    cid: bytes
    data: bytes


class Child(NamedTuple):
    """What a parent needs to know of a leaf or node: CID, bytes of the file below it, Tsize of a link to it."""

    cid: bytes
    content_size: int
    tsize: int


def leaf(cid: bytes, length: int) -> Child:
    """Return the link target for a raw leaf of ``length`` bytes."""
    return Child(cid, length, length)


def encode_file_data(content_size: int, block_sizes: Iterable[int]) -> bytes:
    """Return the UnixFS message of a file node; one block size per link."""
    return b"\x08\x02\x18" + _number(content_size) + b"".join(b"\x20" + _number(size) for size in block_sizes)


def file_node(children: Sequence[Child], profile: Profile) -> tuple[Block, Child]:
    """Return the node over these children, and the child that it is for its own parent."""
    content_size = sum(child.content_size for child in children)
    fields = [dagpb.encode_link(child.cid, b"", child.tsize) for child in children]
    fields.append(dagpb.encode_data(encode_file_data(content_size, (child.content_size for child in children))))
    data = b"".join(fields)
    cid = cids.of_dag_pb(data)
    tsize = content_size
    if profile.link_size == "cumulative":
        tsize = len(data) + sum(child.tsize for child in children)
    return Block(cid, data), Child(cid, content_size, tsize)


def parents(children: Sequence[Child], profile: Profile) -> tuple[list[Block], Child]:
    """Return all nodes above ``children``, lowest level first, and the root; no nodes for a single child.

    Holds all nodes: about 50 bytes per child.
    """
    blocks: list[Block] = []
    level = list(children)
    while len(level) > 1:
        above = []
        for start in range(0, len(level), profile.links_per_node):
            block, child = file_node(level[start : start + profile.links_per_node], profile)
            blocks.append(block)
            above.append(child)
        level = above
    return blocks, level[0]


@lru_cache(maxsize=4096)
def node_lengths(length: int, profile: Profile) -> tuple[int, ...]:
    """Return the lengths of the nodes that ``parents`` makes for a range of ``length`` bytes, in its order.

    They depend on sizes alone, so the place of the nodes in a CAR is known before anything is hashed.
    """
    unhashed = cids.RAW_PREFIX + _NO_DIGEST
    children = [leaf(unhashed, chunk.length) for chunk in chunker.chunks(0, length, profile.chunk_size)]
    blocks, _ = parents(children, profile)
    return tuple(len(block.data) for block in blocks)


class Subtree(NamedTuple):
    """A finished subtree of a whole-file tree: ``level`` 0 is a chunk, and ``position`` counts within its level."""

    level: int
    position: int
    child: Child


def leaves_as_subtrees(first: int, children: Iterable[Child]) -> list[Subtree]:
    """Return chunks ``first``, ``first + 1``, ... of a file as subtrees of level 0."""
    return [Subtree(0, first + n, child) for n, child in enumerate(children)]


def reduce_tree(subtrees: Sequence[Subtree], chunk_count: int, profile: Profile) -> tuple[list[Block], list[Subtree]]:
    """Build every node of a whole-file tree that these subtrees complete (``tree="file"``).

    ``subtrees`` are neighbours, in order, without gaps: the chunks of one range, or the leftovers of all ranges of a
    file joined in order. ``chunk_count`` is of the whole file. Returns the new nodes, lowest level first, and what
    is left; for a whole file that is its root alone.
    """
    width = profile.links_per_node
    blocks: list[Block] = []
    rest = list(subtrees)
    level, count = 0, chunk_count
    while count > 1:
        above: list[Subtree] = []
        at = 0
        while at < len(rest):
            subtree = rest[at]
            members = min(width, count - subtree.position) if subtree.level == level else 0
            group = rest[at : at + members]
            if (
                members
                and subtree.position % width == 0
                and len(group) == members
                and all(member.level == level for member in group)
            ):
                block, child = file_node([member.child for member in group], profile)
                blocks.append(block)
                above.append(Subtree(level + 1, subtree.position // width, child))
                at += members
            else:
                above.append(subtree)
                at += 1
        rest = above
        level, count = level + 1, -(-count // width)
    return blocks, rest


class UnixFSData(NamedTuple):
    """A decoded UnixFS message. Absent numbers are 0 (``filesize`` None); ``data`` is a HAMT's bitfield or file bytes."""

    kind: int
    data: bytes
    filesize: int | None
    block_sizes: tuple[int, ...]
    hash_type: int
    fanout: int


def decode_data(message: bytes) -> UnixFSData:
    """Return the UnixFS message of a node; mode and mtime are skipped.

    Raises:
        BadBlock: not a UnixFS message.
    """
    numbers: dict[int, int] = {}
    block_sizes: list[int] = []
    data = b""
    at, end = 0, len(message)
    try:
        while at < end:
            key, at = varint.decode(message, at, end)
            field, wire = key >> 3, key & 7
            if wire == 0:
                value, at = varint.decode(message, at, end)
                if field == 4:
                    block_sizes.append(value)
                else:
                    numbers[field] = value
            elif wire == 2:
                length, at = varint.decode(message, at, end)
                if at + length > end:
                    raise BadBlock(f"UnixFS: a field of {length} bytes at offset {at}, {end - at} are left")
                chunk, at = message[at : at + length], at + length
                if field == 2:
                    data = chunk
                elif field == 4:
                    block_sizes.extend(_packed(chunk))
            else:
                raise BadBlock(f"UnixFS: wire type {wire} at offset {at}")
    except BadVarint as error:
        raise BadBlock(f"UnixFS: {error}") from error
    kind = numbers.get(1, -1)
    if not RAW <= kind <= HAMT_SHARD:
        raise BadBlock(f"UnixFS: unknown type {kind}")
    return UnixFSData(kind, data, numbers.get(3), tuple(block_sizes), numbers.get(5, 0), numbers.get(6, 0))


def _packed(chunk: bytes) -> Iterator[int]:
    at = 0
    while at < len(chunk):
        value, at = varint.decode(chunk, at)
        yield value
