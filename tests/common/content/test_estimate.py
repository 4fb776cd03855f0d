"""Ranges and groups."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.content import car, estimate, unixfs
from common.content.chunker import chunks
from common.content.estimate import EMPTY_GROUP, Fill, Range
from common.content.profile import SINGULARITY


def test_known_split_sizes(vectors: Callable[[str], Any]) -> None:
    for max_size, split in vectors("unixfs")["splitSize"]["rows"]:
        assert estimate.split_size(max_size) == split
    for name in ("derived_e2e", "extra_e2e"):
        for case in vectors(name)["cases"]:
            assert estimate.split_size(case["maxSize"]) == case["splitSize"]
    scan = vectors("singularity")["scan"]
    assert estimate.split_size(scan["maxSize"]) == scan["splitSize"]
    assert estimate.split_size(33822867456) == 1 << 30


def test_known_estimates_and_the_true_lengths_behind_them(vectors: Callable[[str], Any]) -> None:
    for length, cost, actual in vectors("unixfs")["car"]["rangeSizeEstimate"]["rows"]:
        assert estimate.range_cost(length) == cost
        leaves = sum(car.section_length(part.length) for part in chunks(0, length, SINGULARITY.chunk_size))
        nodes = sum(car.section_length(node) for node in unixfs.node_lengths(length, SINGULARITY))
        assert leaves + nodes == actual
    assert estimate.range_cost(estimate.UNKNOWN) == 38


def test_known_car_lengths(vectors: Callable[[str], Any]) -> None:
    def length_of(size: int) -> int:
        nodes = unixfs.node_lengths(size, SINGULARITY)
        leaves = [part.length for part in chunks(0, size, SINGULARITY.chunk_size)]
        return sum(car.section_length(part) for part in [*leaves, *nodes])

    rows = vectors("unixfs")["car"]
    for size, length in rows["singleFileCarBytes"]:
        assert car.HEADER_LENGTH + length_of(size) == length
    many = rows["concatenation"]
    assert car.HEADER_LENGTH + sum(map(length_of, many["fileSizes"])) == many["carBytes"]


def test_ranges_of_empty_and_unknown_files() -> None:
    assert list(estimate.ranges(0, 100)) == [Range(0, 0)]
    assert list(estimate.ranges(estimate.UNKNOWN, 100)) == [Range(0, -1)]


@given(st.integers(1, 10_000), st.integers(1, 3000))
def test_ranges_cover_the_file(size: int, split: int) -> None:
    parts = list(estimate.ranges(size, split))
    assert [part.offset for part in parts] == list(range(0, size, split))
    assert sum(part.length for part in parts) == size
    assert all(part.length == split for part in parts[:-1])


def test_whole_preparations_are_cut_and_grouped_as_known(vectors: Callable[[str], Any]) -> None:
    for name in ("derived_e2e", "extra_e2e"):
        for case in vectors(name)["cases"]:
            if "files" not in case:
                continue
            split = estimate.split_size(case["maxSize"])
            found = [
                (file["id"], part.offset, part.length)
                for file in case["files"]
                for part in estimate.ranges(file["size"], split)
            ]
            assert found == [(row["fileId"], row["offset"], row["length"]) for row in case["fileRanges"]]
            numbered = [(row["id"], row["length"]) for row in case["fileRanges"]]
            groups = list(estimate.group(numbered, case["maxSize"]))
            assert groups == [row["fileRangeIds"] for row in case["cars"]]


def test_the_scan_of_singularitys_own_test_makes_its_number_of_jobs(vectors: Callable[[str], Any]) -> None:
    scan = vectors("singularity")["scan"]
    sizes = {path: size for path, size in scan["tree"].items() if size is not None}
    by_level = sorted(sizes, key=lambda path: (path.count("/"), path.rsplit("/", 1)[0] if "/" in path else "", path))
    split = estimate.split_size(scan["maxSize"])
    parts = [(path, part.length) for path in by_level for part in estimate.ranges(sizes[path], split)]
    assert len(list(estimate.group(parts, scan["maxSize"]))) == scan["packJobs"]


def test_the_push_of_singularitys_own_test_makes_its_number_of_ranges(vectors: Callable[[str], Any]) -> None:
    push = vectors("singularity")["push"]
    assert len(list(estimate.ranges(push["fileSize"], estimate.split_size(push["maxSize"])))) == push["fileRanges"]


@given(st.lists(st.integers(-1, 5000), min_size=1, max_size=60), st.integers(60, 6000))
def test_groups_keep_order_are_never_empty_and_are_closed_only_when_full(lengths: list[int], limit: int) -> None:
    groups = list(estimate.group(enumerate(lengths), limit))
    assert [n for members in groups for n in members] == list(range(len(lengths)))
    costs = [EMPTY_GROUP + sum(estimate.range_cost(lengths[n]) for n in members) for members in groups]
    for members, cost, after in zip(groups, costs, groups[1:], strict=False):
        assert cost <= limit or len(members) == 1
        assert cost + estimate.range_cost(lengths[after[0]]) > limit


def test_the_push_group_fills_while_ranges_fit() -> None:
    assert estimate.fill(EMPTY_GROUP, [41, 42, 5], 59 + 80 + 81) == Fill(2, 220)
    assert estimate.fill(220, [5], 220) == Fill(0, 220)


def test_an_empty_push_group_takes_one_range_that_is_too_large() -> None:
    assert estimate.fill(EMPTY_GROUP, [1000, 1], 100) == Fill(1, 59 + 1039)


@pytest.mark.parametrize(("value", "power"), [(0, 1), (1, 1), (2, 2), (3, 4), (1 << 40, 1 << 40), ((1 << 40) + 1, 1 << 41)])
def test_next_power_of_two(value: int, power: int) -> None:
    assert estimate.next_power_of_two(value) == power
