"""The files of a pack while it is made: names, taking them over from an earlier attempt, room on the disk.

::

    .{task}-{attempt}.car.part           the CAR as far as it is (not for inline)
    .{task}-{attempt}.car.blocks.part    the journal of its digests
    .{task}-{attempt}.car.idx.part       the index, at the end

They lie in the output folder; for inline packs, and for CARs that go into an object store, in folders of the service's own.
All are declared before they are created. A later attempt declares its names and then renames what it finds of the same task,
so a kill in between loses nothing.
"""

from __future__ import annotations

import ctypes
import errno
import os
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from common.db.catalogue import Catalogue
from common.errors import ExecutorError, MayPass
from common.storage.local import LocalStorage, free_space
from common.storage.objects import ObjectStorage
from executors.base import TaskContext
from executors.packing.inline import FOLDER as SIDECARS
from executors.packing.journal import Journal

CAR, BLOCKS, INDEX = "car", "car.blocks", "car.idx"
OUTGOING = "outgoing"
"""Name of the folder in the service's data folder in which CARs are made that go into an object store."""

_LEAST_FREE, _LITTLE_FREE = 0.01, 0.05
_ROOM_BYTES = 256 << 20
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

    Returns False when what the checkpoint speaks of is not all there; the files are then empty. Raises ExecutorError with
    the path when files cannot be made there (MayPass when the disk is full).
    """
    stem = f"{ctx.task_id}-{ctx.attempt}"
    kinds = (BLOCKS,) if inline else (CAR, BLOCKS)
    names = {kind: folder / f".{stem}.{kind}.part" for kind in (*kinds, INDEX)}
    ctx.own([str(name) for name in names.values()])
    try:
        for kind in kinds:
            for other in _earlier(folder, ctx.task_id, kind):
                if other != names[kind]:
                    other.rename(names[kind])
        opened = {kind: os.open(names[kind], os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666) for kind in kinds}
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise (MayPass if full else ExecutorError)(f"{folder}: files cannot be made there: {error.strerror}") from error
    journal = Journal(opened[BLOCKS])
    wanted = {CAR: car_length, BLOCKS: blocks * 32}
    whole = all(os.fstat(opened[kind]).st_size >= wanted[kind] for kind in kinds)
    for kind in kinds:
        os.ftruncate(opened[kind], wanted[kind] if whole else 0)
    return Files(folder=folder, stem=stem, car=opened.get(CAR), blocks=journal), whole


def _earlier(folder: Path, task_id: int, kind: str) -> Sequence[Path]:
    """Return what attempts of a task have left of one kind, the latest last."""
    pattern = re.compile(rf"\.{task_id}-(\d+)\.{re.escape(kind)}\.part")
    found = []
    for path in folder.iterdir():
        match = pattern.fullmatch(path.name)
        if match:
            found.append((int(match.group(1)), path))
    found.sort()
    return [path for _, path in found]


class Room:
    """Disk space for a whole CAR, reserved in steps beside the work: a full disk is told of early, and nothing waits."""

    def __init__(self, descriptor: int, length: int, where: str) -> None:
        self._descriptor, self._length, self._where = descriptor, length, where
        self._at = os.fstat(descriptor).st_size

    def more(self) -> bool:
        """Reserve the next step; returns whether there is one after it. Raises MayPass when there is not enough."""
        count = min(_ROOM_BYTES, self._length - self._at)
        while count > 0 and _libc.fallocate(self._descriptor, 0, self._at, count) != 0:
            code = ctypes.get_errno()
            if code == errno.EINTR:
                continue
            if code in _UNSUPPORTED:
                return False
            if code in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise MayPass(f"{self._where}: no room for a CAR of {self._length} bytes: {os.strerror(code)}")
            raise ExecutorError(f"{self._where}: {os.strerror(code)}")
        self._at += max(0, count)
        return self._at < self._length

    def give_back(self, length: int) -> None:
        """Cut the file to what is written of it."""
        os.ftruncate(self._descriptor, length)


def choose_output(outputs: Sequence[LocalStorage | ObjectStorage], ctx: TaskContext) -> LocalStorage | ObjectStorage:
    """Return the output to write to: at random, weighted by the free part (a store has no end); one with 1 % free or less is
    left out.

    Raises MayPass when none is left.
    """
    weights = []
    for output in outputs:
        if isinstance(output, ObjectStorage):
            weights.append(1.0)
            continue
        free, total = free_space(output)
        part = free / total if total else 1.0
        if part <= _LEAST_FREE:
            ctx.log(f"{output.root}: {free} of {total} bytes are free; the storage is left out", "WARN")
            part = 0.0
        elif part <= _LITTLE_FREE:
            ctx.log(f"{output.root}: only {free} of {total} bytes are free", "WARN")
        weights.append(part)
    if not any(weights):
        full = [str(output.root) for output in outputs if isinstance(output, LocalStorage)]
        raise MayPass("storage not available: " + ", ".join(f"{root} is full" for root in full))
    return random.choices(outputs, weights)[0]  # noqa: S311 - spreads load


@dataclass(frozen=True, kw_only=True)
class Output:
    """Where the CARs of a preparation go: a storage, or, for inline, nowhere.

    ``folder`` is where their files are made: a local storage's own, else one of the service's, from where they are sent to
    the ``store``, or in which the sidecars of inline CARs stay.
    """

    folder: Path
    name: str = ""
    storage_id: int | None = None
    store: ObjectStorage | None = None

    @property
    def inline(self) -> bool:
        return self.storage_id is None

    @property
    def where(self) -> str:
        """The folder in words."""
        return f"{self.folder}" if self.store is None else f"{self.folder}, from where CARs go to storage {self.name}"


def open_output(ctx: TaskContext, catalogue: Catalogue, preparation_id: int, chosen: str = "") -> Output:
    """Return where to write, the storage of name ``chosen`` if it is still attached.

    Raises ExecutorError with the path when there is no such folder, or with the name of a store that cannot be used; MayPass
    when every output is full, a store does not answer, or the service's own folder is not there.
    """
    records = {record.name: record for record in catalogue.outputs(preparation_id)}
    if not records:
        return Output(folder=_own_folder(catalogue, SIDECARS))
    outputs: list[LocalStorage | ObjectStorage] = []
    for record in [records[chosen]] if chosen in records else records.values():
        storage = ctx.storage(record.name)
        if not isinstance(storage, LocalStorage | ObjectStorage):
            raise ExecutorError(f"{record.name}: CARs cannot be written to a storage of type {record.type}")
        if isinstance(storage, LocalStorage) and not storage.root.is_dir():
            raise ExecutorError(f"{storage.root}: there is no such folder")
        outputs.append(storage)
    found = outputs[0] if len(outputs) == 1 else choose_output(outputs, ctx)
    storage_id = records[found.name].id
    if isinstance(found, LocalStorage):
        return Output(folder=found.root, name=found.name, storage_id=storage_id)
    found.check()  # now, not when all is hashed
    return Output(folder=_own_folder(catalogue, OUTGOING), name=found.name, storage_id=storage_id, store=found)


def _own_folder(catalogue: Catalogue, name: str) -> Path:
    if catalogue.data_folder is None:
        raise ExecutorError("the service's data folder is not known here")
    folder = catalogue.data_folder / name
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except FileExistsError:
        raise MayPass(f"{folder}: it is no folder, or a link to one that is not there") from None
    except OSError as error:
        raise MayPass(f"{folder}: the folder cannot be made: {error.strerror}") from error
    return folder
