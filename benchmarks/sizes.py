"""How much of everything a run takes."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.measure import GIB, MIB


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Bytes, or numbers of files."""

    rounds: int
    hashed: int
    """What the kernels hash."""
    wasm: int
    javascript: int
    """What the slow packages hash."""
    entries: int
    """Of one directory."""
    large: int
    """The large file."""
    small: int
    """Files of 4 to 64 KiB."""
    tiny: int
    """Files of a few bytes, to scan."""
    growing_bytes: tuple[int, ...]
    """Sizes of one file; the second is what the others are held against."""
    growing_files: tuple[int, ...]
    """Numbers of tiny files; the same."""

    @property
    def room(self) -> int:
        """Bytes that the inputs and outputs of the largest measure take, with some to spare."""
        files = 5 * 1024 * max(self.tiny, *self.growing_files)  # what a tiny file costs in a file system of memory
        return max(5 * self.large // 2, 9 * max(self.growing_bytes) // 4, files, 3 * self.small * 36 * 1024) + GIB // 4


SIZES = {
    "tiny": Sizes(
        rounds=1,
        hashed=16 * MIB,
        wasm=2 * MIB,
        javascript=MIB,
        entries=6_000,
        large=8 * MIB,
        small=200,
        tiny=1_000,
        growing_bytes=(2 * MIB, 4 * MIB),
        growing_files=(100, 200),
    ),
    "default": Sizes(
        rounds=3,
        hashed=256 * MIB,
        wasm=64 * MIB,
        javascript=16 * MIB,
        entries=50_000,
        large=GIB,
        small=20_000,
        tiny=200_000,
        growing_bytes=(64 * MIB, 256 * MIB, GIB),
        growing_files=(1_000, 10_000, 100_000),
    ),
    "full": Sizes(
        rounds=5,
        hashed=GIB,
        wasm=256 * MIB,
        javascript=32 * MIB,
        entries=1_000_000,
        large=GIB,
        small=20_000,
        tiny=200_000,
        growing_bytes=(64 * MIB, 256 * MIB, GIB, 4 * GIB, 8 * GIB),
        growing_files=(1_000, 10_000, 100_000, 1_000_000),
    ),
}
