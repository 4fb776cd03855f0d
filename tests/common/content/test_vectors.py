"""The golden values are the shared ones."""

from __future__ import annotations

from pathlib import Path

import pytest

COPIES = Path(__file__).parents[2] / "data" / "vectors"
ORIGINALS = Path(__file__).parents[4] / "shared" / "vectors"


@pytest.mark.skipif(not ORIGINALS.is_dir(), reason="the originals are not beside this checkout")
def test_vectors_are_the_shared_ones() -> None:
    names = sorted(path.name for path in ORIGINALS.glob("*.json"))
    assert names == sorted(path.name for path in COPIES.glob("*.json"))
    for name in names:
        assert (COPIES / name).read_bytes() == (ORIGINALS / name).read_bytes(), name
