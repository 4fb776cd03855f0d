"""What the claim ``commp`` runs in a process of its own: ratios and results of every kernel, as JSON on standard output.

A figure is a ratio to H, hashlib's SHA-256 of 1 MiB at a time in the same thread, in CPU time of that thread. H is taken
right before and after each short run of a kernel, kernels take turns, and the median counts, so that a clock or a neighbour
that changes meanwhile weighs on both.
"""

from __future__ import annotations

import hashlib
import json
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from trees import derived, vectors

from common.content import cid, kernel, piece
from common.content.faults import KernelUnavailable
from common.content.kernel import SLAB_PAYLOAD, Buffer, Kernel

TURNS = 41
SLABS = 8
ONE_MEBIBYTE = 1 << 20
SLOW = {"portable"}
"""Not worth many turns."""


def main() -> None:
    seed, folder = int(sys.argv[1]), Path(sys.argv[2])
    folder.mkdir(mode=0o700)
    kernels, missing = _kernels(folder)
    data = np.random.default_rng(seed).integers(0, 256, SLABS * SLAB_PAYLOAD + seed % 4096, dtype=np.uint8)
    ratios: dict[str, list[float]] = {name: [] for name in kernels}
    speeds = []
    for turn in range(TURNS):
        for name, each in kernels.items():
            if name not in SLOW or turn == 0:
                before, took, after = (
                    _hashlib(data.data),
                    _slabs(each, data, 1 if name in SLOW else SLABS),
                    _hashlib(data.data),
                )
                ratios[name].append((before + after) / 2 / took)
                speeds.append(1 / before / ONE_MEBIBYTE)
    start = seed % 4096
    roots = {name: each.slab_roots(data, start, SLABS).hex() for name, each in kernels.items()}
    report = {
        "processor": _processor(),
        "missing": missing,
        "h": round(statistics.median(speeds)),
        "ratios": {name: statistics.median(found) for name, found in ratios.items()},
        "differing": sorted(name for name, found in roots.items() if found != roots["portable"]),
        "wrong": [f"{name}: {what}" for name, each in kernels.items() for what in _wrong(each, name in SLOW)],
    }
    print(json.dumps(report))


def _kernels(folder: Path) -> tuple[dict[str, Kernel], dict[str, str]]:
    """Return every kernel of the ladder that runs here, each forced, and why the others do not."""
    found: dict[str, Kernel] = {}
    missing: dict[str, str] = {}
    for name in kernel.TIERS:
        try:
            found[name] = kernel.load(folder, tier=name, compile=True)
        except KernelUnavailable as error:
            missing[name] = str(error)
    return found, missing


def _hashlib(data: memoryview) -> float:
    """Return CPU seconds a byte."""
    begin = time.thread_time_ns()
    for at in range(0, 4 * ONE_MEBIBYTE, ONE_MEBIBYTE):
        hashlib.sha256(data[at : at + ONE_MEBIBYTE]).digest()
    return (time.thread_time_ns() - begin) / 1e9 / (4 * ONE_MEBIBYTE)


def _slabs(each: Kernel, data: Buffer, count: int) -> float:
    begin = time.thread_time_ns()
    each.slab_roots(data, 0, count)
    return (time.thread_time_ns() - begin) / 1e9 / (count * SLAB_PAYLOAD)


def _wrong(each: Kernel, slow: bool) -> Iterator[str]:
    """Yield the known pieces that this kernel does not give."""
    known = vectors("commp")
    for rows in known["repeatedByte"]:
        for size, piece_size, text in rows["rows"]:
            if not slow or size <= SLAB_PAYLOAD:
                made = piece.commitment(bytes([int(rows["byte"], 16)]) * size, each)
                if (made.piece_size, cid.to_text(made.cid_v1)) != (piece_size, text):
                    yield f"{size} bytes of {rows['byte']}"
    for row in known["derivedBuffer"]["rows"]:
        if not slow or row["size"] <= SLAB_PAYLOAD:
            made = piece.commitment(derived(row["size"]), each)
            if (made.piece_size, cid.to_text(made.cid_v1)) != (row["pieceSize"], row["pieceCidV1"]):
                yield f"the derived buffer of {row['size']} bytes"


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return "unknown"


if __name__ == "__main__":
    main()
