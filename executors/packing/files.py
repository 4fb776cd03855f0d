"""The files of a pack while it is made: names, taking them over from an earlier attempt, room on the disk.

::

    .{task}-{attempt}.car.part           the CAR as far as it is (not for inline)
    .{task}-{attempt}.car.blocks.part    the journal of its digests
    .{task}-{attempt}.car.idx.part       the index, at the end

They lie in the output folder, for inline packs in a folder of the service's own. All are declared before they are created. A
later attempt declares its names and then renames what it finds of the same task, so a kill in between loses nothing.
"""

from __future__ import annotations

import ctypes
import errno
import os
import random
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from common.errors import ExecutorError, MayPass
from common.storage.local import LocalStorage, free_space
from executors.base import TaskContext
from executors.packing.journal import Journal

CAR, BLOCKS, INDEX = "car", "car.blocks", "car.idx"
_LEAST_FREE, _LITTLE_FREE = 0.01, 0.05
_UNSUPPORTED = (errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)
_libc = ctypes.CDLL(None, use_errno=True)
_libc.fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)


@dataclass(kw_only=True)
class Files:
    """The open files of an attempt. ``car`` is None for inline packs."""

    folder: Path
    stem: str  # "{task}-{attempt}"
    car: int | None
    blocks: Journal

    def part(self, kind: str) -> Path:
        """Return the temporary path of one of the files."""
        return self.folder / f".{self.stem}.{kind}.part"

    def sync(self) -> None:
        """Bring everything that is written to the disk."""
        if self.car is not None:
            os.fdatasync(self.car)
        self.blocks.sync()

    def close(self) -> None:
        if self.car is not None:
            os.close(self.car)
            self.car = None
        self.blocks.close()


def open_files(ctx: TaskContext, folder: Path, *, inline: bool, car_length: int, blocks: int) -> tuple[Files, bool]:
    """Open the files of this attempt; those of an earlier one are taken over and cut to what its checkpoint counts.

    Returns False when what the checkpoint speaks of is not all there; the files are then empty.
    """
    stem = f"{ctx.task_id}-{ctx.attempt}"
    kinds = (BLOCKS,) if inline else (CAR, BLOCKS)
    names = {kind: folder / f".{stem}.{kind}.part" for kind in (*kinds, INDEX)}
    ctx.own([str(name) for name in names.values()])
    for kind in kinds:
        for other in _earlier(folder, ctx.task_id, kind):
            if other != names[kind]:
                other.rename(names[kind])
    opened = {kind: os.open(names[kind], os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666) for kind in kinds}
    journal = Journal(opened[BLOCKS])
    wanted = {CAR: car_length, BLOCKS: blocks * 32}
    whole = all(os.fstat(opened[kind]).st_size >= wanted[kind] for kind in kinds)
    for kind in kinds:
        os.ftruncate(opened[kind], wanted[kind] if whole else 0)
    return Files(folder=folder, stem=stem, car=opened.get(CAR), blocks=journal), whole


def _earlier(folder: Path, task_id: int, kind: str) -> Sequence[Path]:
    """Return what attempts of a task have left of one kind, the latest first."""
    pattern = re.compile(rf"\.{task_id}-(\d+)\.{re.escape(kind)}\.part")
    found = []
    for name in os.listdir(folder):
        match = pattern.fullmatch(name)
        if match:
            found.append((int(match.group(1)), folder / name))
    found.sort()
    return [path for _, path in found]


def make_room(descriptor: int, length: int, where: str) -> None:
    """Reserve disk space for the whole CAR. Raises MayPass when there is not enough, and gives back what was reserved."""
    size = os.fstat(descriptor).st_size
    if length <= size:
        return
    while _libc.fallocate(descriptor, 0, 0, length) != 0:
        code = ctypes.get_errno()
        if code == errno.EINTR:
            continue
        if code in _UNSUPPORTED:
            return
        os.ftruncate(descriptor, size)
        if code in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise MayPass(f"{where}: no room for a CAR of {length} bytes: {os.strerror(code)}")
        raise ExecutorError(f"{where}: {os.strerror(code)}")


def choose_output(outputs: Sequence[LocalStorage], ctx: TaskContext) -> LocalStorage:
    """Return the output to write to: at random, weighted by the free part; one with 1 % free or less is left out.

    Raises MayPass when none is left.
    """
    weights = []
    for output in outputs:
        free, total = free_space(output)
        part = free / total if total else 1.0
        if part <= _LEAST_FREE:
            ctx.log(f"{output.root}: {free} of {total} bytes are free; the storage is left out", "WARN")
            part = 0.0
        elif part <= _LITTLE_FREE:
            ctx.log(f"{output.root}: only {free} of {total} bytes are free", "WARN")
        weights.append(part)
    if not any(weights):
        raise MayPass("storage not available: " + ", ".join(f"{output.root} is full" for output in outputs))
    return random.choices(outputs, weights)[0]  # noqa: S311 - spreads load


def is_writable(folder: Path) -> None:
    """Raises ExecutorError with the path when files cannot be made in this folder."""
    if not folder.is_dir():
        raise ExecutorError(f"{folder}: there is no such folder")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ExecutorError(f"{folder}: files cannot be written there: {os.strerror(errno.EACCES)}")


def sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove(path: Path) -> None:
    with suppress(FileNotFoundError):
        path.unlink()
