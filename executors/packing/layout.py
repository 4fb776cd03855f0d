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
    """Neighbouring leaves of one range in a batch: ``count`` of its blocks, from number ``block`` on."""

    part: JobRange
    first: int  # number of the first one in its range
    block: int
    tied: bool  # link nodes above them follow
    count: int = 0


@dataclass(frozen=True, slots=True)
class Tie:
    """The link nodes of a range, lowest level first: ``count`` blocks of a batch, from number ``block`` on."""

    part: JobRange
    block: int
    count: int


@dataclass(slots=True)
class Batch:
    """A piece of the CAR that is made in one buffer."""

    number: int
    offset: int  # in the CAR
    block: int  # number of the first block
    length: int = 0
    places: list[int] = field(default_factory=list)  # of the blocks' data in the buffer; their digests end there
    lengths: list[int] = field(default_factory=list)  # of the blocks' data
    leaves: list[Leaves] = field(default_factory=list)
    ties: list[Tie] = field(default_factory=list)
    ended: list[JobRange] = field(default_factory=list)  # the ranges that are complete with it
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
        self._border = cursor.offset // SLAB_PAYLOAD + 1
        self._batches = self._lay_out(ranges)

    def next(self) -> Batch | None:
        """Return the next batch, None at the end."""
        return next(self._batches, None)

    def _lay_out(self, ranges: Iterable[JobRange]) -> Iterator[Batch]:
        start = self._cursor
        batch = Batch(0, start.offset, start.block)
        if start == START:
            batch.length = car.HEADER_LENGTH
        chunk_size = self._profile.chunk_size
        for part in ranges:
            if self._left_out is not None and self._left_out(part):
                continue
            count = chunker.chunk_count(part.length, chunk_size)
            nodes = range_node_lengths(part.offset, part.length, part.size, self._split, self._profile)
            run: Leaves | None = None
            for nth in range(start.nth if part.id == start.range_id else 0, count):
                length = min(chunk_size, part.length - nth * chunk_size)
                head = len(leaf_head(length)) + cids.DIGEST_LENGTH
                if batch.length + head + length > self.batch_bytes or len(batch.places) >= BATCH_BLOCKS:
                    yield batch
                    batch, run = self._following(batch), None
                if run is None:
                    run = Leaves(part, nth, len(batch.places), bool(nodes))
                    batch.leaves.append(run)
                self._reach(batch, head + length, part, nth)
                place = batch.length + head
                batch.places.append(place)
                batch.lengths.append(length)
                batch.length = place + length
                batch.payload += length
                run.count += 1
            if nodes:
                whole = sum(map(car.section_length, nodes))
                if whole > self.batch_bytes:
                    raise ExecutorError(f"{part.path}: the link nodes of a range of {part.length} bytes are too large")
                if batch.length + whole > self.batch_bytes:
                    yield batch
                    batch = self._following(batch)
                self._reach(batch, whole, part, count)
                batch.ties.append(Tie(part, len(batch.places), len(nodes)))
                for length in nodes:
                    batch.length += car.section_length(length)
                    batch.places.append(batch.length - length)
                    batch.lengths.append(length)
            batch.ended.append(part)
        if batch.places:
            yield batch

    def _following(self, batch: Batch) -> Batch:
        return Batch(batch.number + 1, batch.offset + batch.length, batch.block + len(batch.places))

    def _reach(self, batch: Batch, length: int, part: JobRange, nth: int) -> None:
        """Note that the next ``length`` bytes are one or more blocks, from number ``nth`` of the range on."""
        start = batch.offset + batch.length
        while self._border * SLAB_PAYLOAD < start + length:
            self.cursors[self._border] = Cursor(part.id, nth, start, batch.block + len(batch.places))
            self._border += 1
