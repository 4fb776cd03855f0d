"""Files to measure with: random, the same for the same seed."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.measure import MIB

FILES_PER_FOLDER = 500  # no program makes a sharded directory of so few; they differ in when they do
_SEED = 20_260_101


def random_bytes(size: int) -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
    """Return ``size`` random bytes."""
    return np.frombuffer(np.random.default_rng(_SEED).bytes(size), np.uint8)


def large_file(path: Path, size: int) -> Path:
    """Make a file of ``size`` random bytes; return its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    chance = np.random.default_rng(_SEED)
    with path.open("wb") as file:
        while size:
            part = min(size, 64 * MIB)
            file.write(chance.bytes(part))
            size -= part
    return path.parent


def small_files(folder: Path, count: int, smallest: int, largest: int) -> int:
    """Make ``count`` files of random sizes (inclusive, in bytes) in at least two folders; return their bytes in all."""
    chance = np.random.default_rng(_SEED)
    sizes = chance.integers(smallest, largest, count, endpoint=True)
    each = min(FILES_PER_FOLDER, -(-count // 2))
    for number, size in enumerate(sizes):
        below = folder / f"d{number // each:05d}"
        if number % each == 0:
            below.mkdir(parents=True, exist_ok=True)
        (below / f"f{number:07d}").write_bytes(number.to_bytes(4, "little") + chance.bytes(int(size) - 4))
    return int(sizes.sum())
