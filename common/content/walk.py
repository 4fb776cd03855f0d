"""Reading a UnixFS DAG: what lies in a directory, and which leaves hold a range of a file.

Blocks come from a function ``get_block(cid) -> bytes`` that checks them against their CIDs. Every walk is held to a
depth, and to what the nodes above have said of sizes, so a hostile DAG ends in a fault and not in a loop.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from common.content import cid as cids
from common.content import dagpb, murmur3, unixfs
from common.content.directory import FANOUT, HASH_TYPE, MAX_DEPTH, Entry
from common.content.faults import BadBlock, LimitExceeded

GetBlock = Callable[[bytes], bytes]

MAX_FILE_DEPTH = 16
"""Levels of a file tree: even 2 links per node and 1 MiB chunks hold 64 GiB in 16."""

_SLOT_DIGITS = 2


class Segment(NamedTuple):
    """A run of bytes of a file inside one block: ``offset`` in the file, ``start`` and ``stop`` in the leaf's data."""

    cid: bytes
    offset: int
    start: int
    stop: int
    inline: bytes | None
    """The bytes themselves when they lie in a dag-pb node (files of other programs), else None: a raw block."""


def is_directory(cid: bytes, get_block: GetBlock) -> bool:
    """Whether this is a directory, flat or HAMT."""
    parts, _ = cids.split(cid)
    if parts.codec != cids.DAG_PB:
        return False
    return _node(cid, get_block)[1].kind in (unixfs.DIRECTORY, unixfs.HAMT_SHARD)


def entries(cid: bytes, get_block: GetBlock) -> Iterator[Entry]:
    """Yield the entries of a directory: in order of names when it is flat, of hashes when it is a HAMT.

    Holds one node per level of the HAMT.

    Raises:
        BadBlock: not a directory, or a shard that contradicts itself.
    """
    node, data = _node(cid, get_block)
    if data.kind == unixfs.DIRECTORY:
        for link in node.links:
            yield Entry(link.name, link.cid, link.tsize)
        return
    if data.kind != unixfs.HAMT_SHARD:
        raise BadBlock(f"{cids.to_text(cid)} is not a directory")
    yield from _shard_entries(cid, node, data, get_block, 0)


def lookup(cid: bytes, name: bytes, get_block: GetBlock) -> Entry | None:
    """Return the entry of this name in a directory, or None; reads one node per level of a HAMT.

    Raises:
        BadBlock: not a directory, or a shard that contradicts itself.
    """
    node, data = _node(cid, get_block)
    if data.kind == unixfs.DIRECTORY:
        return next((Entry(link.name, link.cid, link.tsize) for link in node.links if link.name == name), None)
    name_hash = murmur3.hash64(name)
    for depth in range(MAX_DEPTH):
        if data.kind != unixfs.HAMT_SHARD:
            raise BadBlock(f"{cids.to_text(cid)} is not a directory")
        link = _shard_links(cid, node, data).get(name_hash[depth])
        if link is None:
            return None
        rest = link.name[_SLOT_DIGITS:]
        if rest:
            return Entry(rest, link.cid, link.tsize) if rest == name else None
        cid = link.cid
        node, data = _node(cid, get_block)
    raise LimitExceeded(f"the HAMT below {cids.to_text(cid)} is deeper than {MAX_DEPTH} levels")


def file_size(cid: bytes, get_block: GetBlock) -> int:
    """Return the bytes of a file; reads its root block.

    Raises:
        BadBlock: not a file.
    """
    parts, _ = cids.split(cid)
    if parts.codec == cids.RAW:
        return len(get_block(cid))
    _, data = _node(cid, get_block)
    if data.kind not in (unixfs.FILE, unixfs.RAW):
        raise BadBlock(f"{cids.to_text(cid)} is not a file")
    return data.filesize if data.filesize is not None else sum(data.block_sizes) + len(data.data)


def segments(
    cid: bytes, get_block: GetBlock, start: int = 0, stop: int | None = None, *, size: int | None = None
) -> Iterator[Segment]:
    """Yield the segments of bytes ``start`` to ``stop`` of a file, in order, without reading its raw leaves.

    ``stop`` beyond the end is cut to it. ``size`` spares the read of a lone raw leaf. Holds one node per level.

    Raises:
        BadBlock: not a file, or a node that contradicts the one above it.
    """
    total = file_size(cid, get_block) if size is None else size
    end = total if stop is None else min(stop, total)
    if start < end:
        yield from _file_segments(cid, get_block, 0, total, start, end, 0)


def _file_segments(
    cid: bytes, get_block: GetBlock, offset: int, size: int, start: int, stop: int, depth: int
) -> Iterator[Segment]:
    if depth > MAX_FILE_DEPTH:
        raise LimitExceeded(f"the file tree is deeper than {MAX_FILE_DEPTH} levels at {cids.to_text(cid)}")
    first, last = max(start, offset), min(stop, offset + size)
    parts, _ = cids.split(cid)
    if parts.codec == cids.RAW:
        if first < last:
            yield Segment(cid, first, first - offset, last - offset, None)
        return
    node, data = _node(cid, get_block)
    if data.kind not in (unixfs.FILE, unixfs.RAW):
        raise BadBlock(f"{cids.to_text(cid)} is not a file")
    if len(data.block_sizes) != len(node.links):
        raise BadBlock(f"{cids.to_text(cid)} has {len(node.links)} links and {len(data.block_sizes)} block sizes")
    if sum(data.block_sizes) + len(data.data) != size or data.filesize not in (size, None):
        raise BadBlock(f"{cids.to_text(cid)} holds another number of bytes than the {size} of the link to it")
    at = offset
    if data.data:
        first, last = max(start, at), min(stop, at + len(data.data))
        if first < last:
            yield Segment(cid, first, first - at, last - at, data.data)
        at += len(data.data)
    for link, length in zip(node.links, data.block_sizes, strict=True):
        if at < stop and at + length > start:
            yield from _file_segments(link.cid, get_block, at, length, start, stop, depth + 1)
        at += length


def _shard_entries(
    cid: bytes, node: dagpb.Node, data: unixfs.UnixFSData, get_block: GetBlock, depth: int
) -> Iterator[Entry]:
    if depth == MAX_DEPTH:
        raise LimitExceeded(f"the HAMT at {cids.to_text(cid)} is deeper than {MAX_DEPTH} levels")
    for link in _shard_links(cid, node, data).values():
        name = link.name[_SLOT_DIGITS:]
        if name:
            yield Entry(name, link.cid, link.tsize)
            continue
        below, below_data = _node(link.cid, get_block)
        if below_data.kind != unixfs.HAMT_SHARD:
            raise BadBlock(f"{cids.to_text(link.cid)} is not a shard, though a shard links it as one")
        yield from _shard_entries(link.cid, below, below_data, get_block, depth + 1)


def _shard_links(cid: bytes, node: dagpb.Node, data: unixfs.UnixFSData) -> dict[int, dagpb.Link]:
    """Return the links of a shard by slot, after holding them against its bitfield."""
    if data.hash_type != HASH_TYPE or data.fanout != FANOUT:
        raise BadBlock(f"{cids.to_text(cid)} is a shard of hash 0x{data.hash_type:x} and fanout {data.fanout}")
    links: dict[int, dagpb.Link] = {}
    last = -1
    for link in node.links:
        try:
            slot = int(link.name[:_SLOT_DIGITS].decode("ascii"), 16)
        except ValueError:
            slot = -1
        if slot <= last or link.name[:_SLOT_DIGITS] != b"%02X" % slot:
            raise BadBlock(f"{cids.to_text(cid)} has a link {link.name[:64]!r} that is no slot, or out of order")
        last = slot
        links[slot] = link
    if int.from_bytes(data.data, "big") != sum(1 << slot for slot in links):
        raise BadBlock(f"{cids.to_text(cid)} has a bitfield that does not agree with its links")
    return links


def _node(cid: bytes, get_block: GetBlock) -> tuple[dagpb.Node, unixfs.UnixFSData]:
    parts, _ = cids.split(cid)
    if parts.codec != cids.DAG_PB:
        raise BadBlock(f"{cids.to_text(cid)} is not a dag-pb node")
    node = dagpb.decode_node(get_block(cid))
    if node.data is None:
        raise BadBlock(f"{cids.to_text(cid)} has no UnixFS data")
    return node, unixfs.decode_data(node.data)
