"""How a file is cut into ranges and how ranges are grouped into pack jobs: arithmetic only.

Source: sections 5.3 and 5.4 of the Singularity contract. The numbers are estimates of CAR bytes and a little too high on
purpose; they decide which range goes into which CAR, so they must never be made "better".
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, TypeVar

UNKNOWN = -1
"""Length of a range of a file whose size is not known before it is read."""

EMPTY_GROUP = 59
"""What a group costs before it holds anything: the CAR header."""

MAX_RANGE = 1 << 30

_CHUNK = 1 << 20

T = TypeVar("T")


class Range(NamedTuple):
    """Part of a file: offset and length in bytes; the length may be ``UNKNOWN``."""

    offset: int
    length: int


def next_power_of_two(value: int) -> int:
    """Return the smallest power of two that is at least ``value`` (1 for 0)."""
    return 1 << max(value - 1, 0).bit_length()


def split_size(max_size: int) -> int:
    """Return the length of the ranges of a preparation with this maximal CAR size, at least 1."""
    return max(1, min(next_power_of_two(max_size) // 4, MAX_RANGE))


def ranges(size: int, split: int) -> Iterator[Range]:
    """Yield the ranges of a file; one empty range for an empty file, one of ``UNKNOWN`` for an unknown size."""
    if size <= 0:
        yield Range(0, size)
        return
    for offset in range(0, size, split):
        yield Range(offset, min(split, size - offset))


def range_cost(length: int) -> int:
    """Return the estimated CAR bytes of a range."""
    if length == 0:
        return 37
    if length == UNKNOWN:
        return 38
    blocks = -(-length // _CHUNK)
    cost = length + 39 * blocks
    return cost + 52 * blocks + 44 if blocks > 1 else cost


class Grouping:
    """The open group of a scan: says when a range has to begin a new pack job.

    A range that alone is over the limit gets a group to itself; an empty group is never closed.
    """

    def __init__(self, max_size: int, *, estimate: int = EMPTY_GROUP, count: int = 0) -> None:
        self.max_size = max_size
        self.estimate = estimate
        """Estimated CAR bytes of the open group."""
        self.count = count
        """Ranges in the open group."""

    def add(self, length: int) -> bool:
        """Count a range in; True when the open group was closed first and the range begins the next one."""
        cost = range_cost(length)
        closed = self.count > 0 and self.estimate + cost > self.max_size
        if closed:
            self.estimate, self.count = EMPTY_GROUP, 0
        self.estimate += cost
        self.count += 1
        return closed


def group(items: Iterable[tuple[T, int]], max_size: int) -> Iterator[list[T]]:
    """Yield the groups that a scan makes of (item, range length) pairs, in order; the last one may be small."""
    grouping = Grouping(max_size)
    members: list[T] = []
    for item, length in items:
        if grouping.add(length):
            yield members
            members = []
        members.append(item)
    if members:
        yield members


class Fill(NamedTuple):
    """What of the waiting ranges the open group of the push API takes."""

    taken: int
    """How many of them, from the front."""
    estimate: int
    """Estimated CAR bytes of the group after that."""


def fill(estimate: int, lengths: Sequence[int], max_size: int) -> Fill:
    """Fill the group that stands at ``estimate`` while ranges fit; an empty group takes one range in any case.

    When not all are taken, the caller makes the job ready, opens an empty one and calls again with the rest.
    """
    taken = 0
    for length in lengths:
        cost = range_cost(length)
        if estimate + cost > max_size and not (estimate == EMPTY_GROUP and taken == 0):
            break
        estimate += cost
        taken += 1
    return Fill(taken, estimate)
