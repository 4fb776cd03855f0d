"""Settings that change CIDs."""

from __future__ import annotations

import dataclasses

import pytest

from common.content import profile
from common.content.faults import BadSize


def test_presets_are_found_by_name() -> None:
    assert {name: profile.named(name).name for name in profile.NAMES} == {name: name for name in profile.NAMES}
    assert profile.named("singularity") is profile.SINGULARITY


def test_an_unknown_name_is_a_fault_that_lists_the_known_ones() -> None:
    with pytest.raises(BadSize, match=r"no profile 'kubo'; there are: singularity, unixfs-v1-2025"):
        profile.named("kubo")


def test_a_profile_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        profile.SINGULARITY.__setattr__("chunk_size", 1)


def test_only_singularity_shards_at_exactly_the_threshold() -> None:
    assert profile.SINGULARITY.is_sharded(262_144)
    assert not profile.UNIXFS_V1_2025.is_sharded(262_144)
    assert profile.UNIXFS_V1_2025.is_sharded(262_145)
