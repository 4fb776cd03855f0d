"""Where every block of a pack job lies in its CAR, before anything is hashed.

::

    CAR     header | range 1: leaf leaf ... node | range 2: leaf | range 3: leaf leaf ...
    batch   [ at most 16 MiB and 4,096 blocks, laid out in a buffer exactly as in the CAR ]

A leaf's section is ``varint | 01 55 12 20 | 32-byte hole | payload slot``; the lengths of link nodes depend on sizes alone,
so their places are known as well. The nodes of one range lie in one batch. Batches can be filled and written in any order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

from common.content import car, chunker, varint
from common.content import cid as cids
from common.content.kernel import SLAB_PAYLOAD
from common.content.profile import Profile
from common.db.catalogue import JobRange
from common.errors import ExecutorError
from executors.packing.trees import range_node_lengths

BATCH_BYTES = 16 * ((1 << 20) + 1024)
"""Sixteen chunks of 1 MiB with their heads: as many as a kernel has lanes."""
BATCH_BLOCKS = 4096


class Cursor(NamedTuple):
    """A place between two blocks: the next block is number ``nth`` of the range ``range_id`` (0: the first range)."""

    range_id: int
    nth: int
    offset: int  # in the CAR
    block: int  # number in the CAR


START = Cursor(0, 0, 0, 0)


@dataclass(slots=True)
class Leaves:
    """Neighbouring leaves of one range in a batch. ``tied``: link nodes above them follow."""

    part: JobRange
    first: int  # number of the first one in its range
    start: int  # its offset in the file
    places: list[int] = field(default_factory=list)  # of the payload slots in the buffer
    lengths: list[int] = field(default_factory=list)
    tied: bool = False


@dataclass(slots=True)
class Tie:
    """The link nodes of a range: where their data goes in the buffer, and how long it is, lowest level first."""

    part: JobRange
    places: list[int]
    lengths: list[int]


@dataclass(slots=True)
class Batch:
    """A piece of the CAR that is made in one buffer."""

    number: int
    offset: int  # in the CAR
    block: int  # number of the first block
    length: int = 0
    leaves: list[Leaves] = field(default_factory=list)
    ties: list[Tie] = field(default_factory=list)
    holes: list[int] = field(default_factory=list)  # of all digests, in the order of the blocks
    payload: int = 0  # bytes of files


@lru_cache(maxsize=1 << 16)
def leaf_head(length: int) -> bytes:
    """Return what stands before the digest of a leaf of this length."""
    return varint.encode(cids.CID_LENGTH + length) + cids.RAW_PREFIX


def node_head(length: int) -> bytes:
    """Return what stands before the digest of a node of this length."""
    return varint.encode(cids.CID_LENGTH + length) + cids.DAG_PB_PREFIX


def most_bytes(count: int, payload: int) -> int:
    """Return an upper limit of the length of a CAR of ``count`` ranges with ``payload`` bytes."""
    return car.HEADER_LENGTH + payload + 39 * count + (payload >> 20) * 300


class Planner:
    """Lays out the ranges of a job, in order, from a cursor on.

    ``left_out`` says for a range whether it is to be skipped. ``cursors`` gets, for every slab border of the CAR (by its
    number), the last place between two blocks that lies at or before it: where another attempt can take up the work.
    """

    def __init__(
        self,
        ranges: Iterable[JobRange],
        split: int,
        profile: Profile,
        cursor: Cursor = START,
        left_out: Callable[[JobRange], bool] | None = None,
    ) -> None:
        self._split, self._profile, self._left_out = split, profile, left_out
        self._cursor = cursor
        self.batch_bytes = BATCH_BYTES
        self.cursors: dict[int, Cursor] = {}
        self.end = cursor.offset  # of what is laid out
        self.blocks = cursor.block
        self.ranges = 0
        self.payload = 0
        self._border = cursor.offset // SLAB_PAYLOAD + 1
        self._batches = self._lay_out(ranges)

    def next(self) -> Batch | None:
        """Return the next batch, None at the end."""
        return next(self._batches, None)

    def _lay_out(self, ranges: Iterable[JobRange]) -> Iterator[Batch]:
        start = self._cursor
        batch = Batch(0, start.offset, start.block)
        if start == START:
            batch.length = self.end = car.HEADER_LENGTH
        chunk_size = self._profile.chunk_size
        for part in ranges:
            if self._left_out is not None and self._left_out(part):
                continue
            self.ranges += 1
            self.payload += part.length
            count = chunker.chunk_count(part.length, chunk_size)
            nodes = range_node_lengths(part.offset, part.length, part.size, self._split, self._profile)
            first = start.nth if part.id == start.range_id else 0
            run: Leaves | None = None
            for index in range(first, count):
                at = index * chunk_size
                length = min(chunk_size, part.length - at)
                head = len(leaf_head(length)) + cids.DIGEST_LENGTH
                if batch.length + head + length > self.batch_bytes or len(batch.holes) >= BATCH_BLOCKS:
                    yield batch
                    batch, run = self._following(batch), None
                if run is None:
                    run = Leaves(part, index, part.offset + at, tied=bool(nodes))
                    batch.leaves.append(run)
                place = batch.length + head
                run.places.append(place)
                run.lengths.append(length)
                batch.holes.append(place - cids.DIGEST_LENGTH)
                batch.payload += length
                batch.length = place + length
                self._laid(part, index, head + length, 1)
            if nodes:
                whole = sum(car.section_length(length) for length in nodes)
                if whole > self.batch_bytes:
                    raise ExecutorError(f"{part.path}: the link nodes of a range of {part.length} bytes are too large")
                if batch.length + whole > self.batch_bytes:
                    yield batch
                    batch = self._following(batch)
                batch.ties.append(self._tie(batch, part, nodes))
                self._laid(part, count, whole, len(nodes))
        if batch.holes:
            yield batch

    def _tie(self, batch: Batch, part: JobRange, nodes: tuple[int, ...]) -> Tie:
        tie = Tie(part, [], list(nodes))
        for length in nodes:
            place = batch.length + car.section_length(length) - length
            tie.places.append(place)
            batch.holes.append(place - cids.DIGEST_LENGTH)
            batch.length = place + length
        return tie

    def _following(self, batch: Batch) -> Batch:
        return Batch(batch.number + 1, batch.offset + batch.length, batch.block + len(batch.holes))

    def _laid(self, part: JobRange, index: int, length: int, blocks: int) -> None:
        """Note that the next ``blocks`` blocks, from number ``index`` of the range on, take ``length`` bytes."""
        start = self.end
        self.end += length
        while self._border * SLAB_PAYLOAD < self.end:
            self.cursors[self._border] = Cursor(part.id, index, start, self.blocks)
            self._border += 1
        self.blocks += blocks
