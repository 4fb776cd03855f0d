"""Every setting that changes a CID, as one frozen value with named presets.

``singularity`` (the default) copies Singularity byte for byte. ``unixfs-v1-2025`` is the profile of IPIP-0499 as
Kubo implements it: one tree over the whole file, cumulative Tsizes, empty folders linked, and a HAMT only when the
flat node would be *larger* than 256 KiB.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from common.content.faults import BadSize


@dataclass(frozen=True, kw_only=True)
class Profile:
    """How bytes become blocks. Sizes in bytes."""

    name: str
    chunk_size: int = 1 << 20
    links_per_node: int = 1024
    """Most links of one file node."""
    link_size: Literal["content", "cumulative"] = "content"
    """Tsize of a link in a file node, and of a file in a directory: the bytes of the file, or of its whole DAG."""
    tree: Literal["ranges", "file"] = "ranges"
    """A file of several ranges: one tree per range and one above them, or one tree over all chunks."""
    hamt_estimate: Literal["links", "block"] = "links"
    """What is held against the threshold: names and CIDs of all links, or the length of the flat node."""
    hamt_threshold: int = 262_144
    hamt_at_threshold: bool = True
    """Whether a directory of exactly the threshold is sharded already."""
    empty_directories: bool = False
    """Whether folders without files get a node and a link."""

    def __post_init__(self) -> None:
        if self.chunk_size < 1 or self.links_per_node < 2:
            raise BadSize(f"profile {self.name}: chunks of at least 1 byte, nodes of at least 2 links")

    def is_sharded(self, estimate: int) -> bool:
        """Whether a directory of this estimated size is a HAMT."""
        return estimate > self.hamt_threshold or (self.hamt_at_threshold and estimate == self.hamt_threshold)


SINGULARITY = Profile(name="singularity")
UNIXFS_V1_2025 = Profile(
    name="unixfs-v1-2025",
    link_size="cumulative",
    tree="file",
    hamt_estimate="block",
    hamt_at_threshold=False,
    empty_directories=True,
)

_PRESETS = {profile.name: profile for profile in (SINGULARITY, UNIXFS_V1_2025)}
NAMES = tuple(_PRESETS)


def named(name: str) -> Profile:
    """Return the preset of this name.

    Raises:
        BadSize: there is none.
    """
    try:
        return _PRESETS[name]
    except KeyError:
        raise BadSize(f"no profile {name!r}; there are: {', '.join(NAMES)}") from None
