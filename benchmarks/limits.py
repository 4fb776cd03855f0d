"""What the machine gives for the stages that are not hashing: plain system calls from one thread, data in memory."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.inputs import large_file, small_files
from benchmarks.kernels import hashlib_program
from benchmarks.measure import MIB, Bench, Program, timed
from benchmarks.peers import Peers
from benchmarks.sizes import Sizes
from benchmarks.small import LARGEST, SMALLEST

GROUP = "limits"
_BATCH = 16 * MIB


def measures(bench: Bench, sizes: Sizes, peers: Peers, scratch: Path) -> None:
    """See the package."""
    source = large_file(scratch / "limits" / "file.bin", sizes.hashed) / "file.bin"
    buffer = memoryview(bytearray(_BATCH))
    bench.compare(
        GROUP,
        "bytes",
        [
            Program(name=name, amount=sizes.hashed, run=partial(timed, work))
            for name, work in (
                ("read into one buffer", partial(_read, source, buffer)),
                ("write a fresh file", partial(_write, scratch / "written", sizes.hashed, buffer)),
                ("copy in memory", _copier(sizes.hashed)),
            )
        ],
        [hashlib_program(np.frombuffer(source.read_bytes(), np.uint8))],
    )
    files = scratch / "limits-small"
    total = small_files(files, sizes.small // 4, SMALLEST, LARGEST)
    paths = [str(path) for path in sorted(files.glob("*/*"))]
    bench.compare(
        GROUP,
        "files",
        [
            Program(name="open and close small files", amount=len(paths), run=partial(timed, partial(_open, paths, 0))),
            Program(name="open, read and close them", amount=len(paths), run=partial(timed, partial(_open, paths, LARGEST))),
        ],
    )
    bench.note(f"{GROUP}: {total / len(paths) / 1024:.1f} KiB a small file")
    shutil.rmtree(files)
    shutil.rmtree(source.parent)


def _read(source: Path, buffer: memoryview) -> str:
    descriptor = os.open(source, os.O_RDONLY)
    at = 0
    while count := os.preadv(descriptor, [buffer], at):
        at += count
    os.close(descriptor)
    return ""


def _write(path: Path, size: int, buffer: memoryview) -> str:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for at in range(0, size, len(buffer)):
        os.pwrite(descriptor, buffer, at)
    os.close(descriptor)
    path.unlink()  # it is counted too, as it is in a run that follows another
    return ""


def _copier(size: int) -> Callable[[], str]:
    source, target = np.zeros(_BATCH, np.uint8), np.zeros(_BATCH, np.uint8)

    def copy() -> str:
        for _ in range(size // _BATCH):
            np.copyto(target, source)
        return ""

    return copy


def _open(paths: list[str], read: int) -> str:
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        if read:
            os.read(descriptor, read)
        os.close(descriptor)
    return ""
