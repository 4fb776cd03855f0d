"""File trees over ranges.

With ``tree="ranges"`` every range is a tree of its own, and a file of several ranges has one more over their roots. With
``tree="file"`` there is one tree over all chunks of the file: what a range cannot finish alone are its *tops*, subtrees that
wait for their neighbours in other ranges. Either way the nodes above the ranges of a file follow from what is recorded of
each range, whatever the order in which the packs ended.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from functools import lru_cache

from common.content import chunker, estimate, unixfs
from common.content import cid as cids
from common.content.profile import Profile
from common.content.unixfs import Block, Child, Subtree
from common.db.catalogue import RangeCid

_TOP = struct.Struct("<BQQQ36s")  # level, position, content size, Tsize, CID
_NO_CID = cids.RAW_PREFIX + bytes(cids.DIGEST_LENGTH)


def save_tops(tops: Iterable[Subtree]) -> bytes:
    """Return the tops of a range as they are recorded."""
    return b"".join(_TOP.pack(t.level, t.position, t.child.content_size, t.child.tsize, t.child.cid) for t in tops)


def load_tops(data: bytes) -> list[Subtree]:
    """Return the tops that ``save_tops`` wrote."""
    return [Subtree(level, index, Child(cid, size, tsize)) for level, index, size, tsize, cid in _TOP.iter_unpack(data)]


def chunk_count(size: int, split: int, profile: Profile) -> int:
    """Return the number of chunks of a file: chunks never reach over the end of a range."""
    whole, rest = divmod(max(size, 0), split)
    count = whole * chunker.chunk_count(split, profile.chunk_size)
    return count + chunker.chunk_count(rest, profile.chunk_size) if rest or not count else count


def first_chunk(offset: int, split: int, profile: Profile) -> int:
    """Return the number of a range's first chunk in its file."""
    return offset // split * chunker.chunk_count(split, profile.chunk_size)


def range_nodes(
    leaves: Sequence[Child], offset: int, size: int, split: int, profile: Profile
) -> tuple[list[Block], list[Subtree]]:
    """Return the nodes that a range completes, in the order of the CAR, and its tops: with ``tree="ranges"`` its root."""
    if profile.tree == "ranges":
        blocks, root = unixfs.parents(leaves, profile)
        return blocks, [Subtree(0, 0, root)]
    subtrees = unixfs.leaves_as_subtrees(first_chunk(offset, split, profile), leaves)
    return unixfs.reduce_tree(subtrees, chunk_count(size, split, profile), profile)


def range_node_lengths(offset: int, length: int, size: int, split: int, profile: Profile) -> tuple[int, ...]:
    """Return the lengths of the nodes that ``range_nodes`` will return: they depend on sizes alone."""
    if length <= profile.chunk_size and (profile.tree == "ranges" or size <= length):
        return ()
    if profile.tree == "ranges":
        return unixfs.node_lengths(length, profile)
    return _whole_file_lengths(offset, length, size, split, profile)


@lru_cache(maxsize=1024)
def _whole_file_lengths(offset: int, length: int, size: int, split: int, profile: Profile) -> tuple[int, ...]:
    leaves = [unixfs.leaf(_NO_CID, chunk.length) for chunk in chunker.chunks(0, length, profile.chunk_size)]
    return tuple(len(block.data) for block in range_nodes(leaves, offset, size, split, profile)[0])


def file_nodes(ranges: Sequence[RangeCid], profile: Profile, max_size: int) -> tuple[list[Block], Child] | None:
    """Return the nodes above the ranges of a file (all of them, by offset), and its root; None while one has no CID.

    These nodes lie in no data CAR.
    """
    if any(part.cid is None for part in ranges):
        return None
    if profile.tree == "ranges":
        children = [Child(part.cid or b"", part.length, part.length) for part in ranges]
        return unixfs.parents(children, profile)
    size = sum(part.length for part in ranges)
    tops = [top for part in ranges for top in load_tops(part.tops or b"")]
    count = chunk_count(size, estimate.split_size(max_size), profile)
    blocks, rest = unixfs.reduce_tree(tops, count, profile)
    return blocks, rest[0].child
