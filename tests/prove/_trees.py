"""Random folders for claims: sizes around every border, deep and wide, unicode, folders that are sharded."""

from __future__ import annotations

import random
from pathlib import Path

NAMES = ["a", "b.txt", "b", "Ω", "файл.bin", "a b", "z" * 60, "-", "ä\u0301", "0", "b-", "日本", "#%?&", "'q\"", "..."]


def random_tree(chance: random.Random, folder: Path, split: int) -> None:
    """Make a random tree; ``split`` is the size at which files are cut into ranges."""
    folder.mkdir(parents=True, exist_ok=True)
    _fill(chance, folder, split, 0)
    if chance.random() < 0.06:
        wide = folder / "wide"
        wide.mkdir(exist_ok=True)
        for n in range(chance.choice([2600, 3277, 3600])):  # around the size at which a directory is sharded
            (wide / f"{n:05d}-{'w' * 38}").write_bytes(b"%d" % (n % 7))
    if chance.random() < 0.1:
        deep = folder
        for n in range(chance.randint(10, 40)):
            deep = deep / f"n{n}"
        deep.mkdir(parents=True, exist_ok=True)
        (deep / "bottom").write_bytes(chance.randbytes(chance.randint(0, 300)))


def _fill(chance: random.Random, folder: Path, split: int, depth: int) -> None:
    for name in chance.sample(NAMES, chance.randint(0, 6)):
        if chance.random() < 0.3 and depth < 4:
            (folder / name).mkdir(exist_ok=True)
            _fill(chance, folder / name, split, depth + 1)
        else:
            around = chance.choice([0, 1, 127, 1016, split, 2 * split, 3 * split, 1 << 20, 2 << 20])
            size = max(0, around + chance.choice([-1, 0, 0, 1, 17]))
            (folder / name).write_bytes(chance.randbytes(min(size, 3_200_000)))
