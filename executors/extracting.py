"""Getting files back out of a packed preparation, every block checked against its CID: what ``extract`` does.

Files appear under their names whole, with their modification times, or not at all::

    .{task}.extract.part/  file, file, ...   ->  sync  ->  names of their own  ->  checkpoint

A batch of files is written into a folder of the task's own inside the target, synced, and renamed; the checkpoint names the
last file of the batch *before*, whose new names the same sync has brought to the disk. Of a large file it has the bytes that
are synced, so an interrupted task goes on within it. What is there already with the same size and time is left. Symbolic
links in the target are not followed.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import shutil
import stat as modes
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from hashlib import blake2b
from pathlib import Path

from common.errors import ExecutorError, MayPass
from common.storage.base import Entry, Reader
from common.storage.local import shown
from common.storage.prepared import PreparedStorage
from executors.base import Stage, TaskContext

BATCH_SECONDS = 1.0
BATCH_BYTES = 256 << 20
BATCH_FILES = 5_000
STEP_SECONDS = 0.25
_COPY_BYTES = 1 << 20
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(kw_only=True)
class Count:
    """What has come out so far."""

    files: int = 0
    bytes: int = 0
    kept: int = 0
    left_out: int = 0


@dataclass(kw_only=True)
class Place:
    """The checkpoint: the last path that is out, what was counted up to it, and how much is there of a file behind it."""

    after: str | None = None
    count: Count = field(default_factory=Count)
    begun: str = ""
    offset: int = 0

    @classmethod
    def load(cls, state: bytes) -> Place:
        values = json.loads(state)
        return cls(**{**values, "count": Count(**values["count"])})


class Work:
    """One attempt."""

    def __init__(self, ctx: TaskContext, storage: PreparedStorage, target: Path) -> None:
        self._ctx, self._storage, self._target = ctx, storage, target
        self._path = ctx.params["path"].strip("/")
        self._place = Place.load(ctx.checkpoint) if ctx.checkpoint else Place()
        self._count = replace(self._place.count)
        self._parts = target / f".{ctx.task_id}.extract.part"
        self._root = _open_target(target)
        self._folders = _Folders(self._root)
        self._waiting: list[tuple[str, str, str]] = []  # temporary name ("": it is there), name in the target, path
        self._named: tuple[str, Count] | None = None  # the last path that got its name since the last sync
        self._unsynced = 0
        self._next_sync = time.monotonic() + BATCH_SECONDS
        self._next_step = 0.0
        self._total_files = self._total_bytes = 0

    def run(self) -> Count:
        """Get out what is left."""
        ctx = self._ctx
        start = self._storage.stat(self._path)
        for entry in self._storage.list(self._path):
            self._total_files += 1
            self._total_bytes += entry.size
            self._tell()
        if start.is_dir:
            self._make_folders()
        if not self._total_files:
            raise ExecutorError(f"{shown(self._path) or 'the preparation'}: there are no packed files")
        ctx.own([str(self._parts)], "prefix")
        self._parts.mkdir(mode=0o700, exist_ok=True)
        cut = (
            len(self._path) + bool(self._path) if start.is_dir else len(self._path.rpartition("/")[0]) + ("/" in self._path)
        )
        for entry in self._storage.list(self._path, self._place.after):
            self._take_out(entry, entry.path[cut:])
            if self._due():
                self._sync()
            self._tell()
        self._sync()
        self._sync()  # a second time for the names that the first has given
        with suppress(OSError):
            shutil.rmtree(self._parts)
        count = self._count
        ctx.log(
            f"{count.files} files, {count.bytes} bytes came out of the CARs, every block checked"
            + (f"; {count.kept} were there already" if count.kept else "")
            + (f"; {count.left_out} are not packed" if count.left_out else "")
        )
        return count

    def _make_folders(self) -> None:
        """Make every folder, those without files too; at the first attempt, say which files are not packed."""
        fresh = self._ctx.checkpoint is None
        cut = len(self._path) + bool(self._path)

        def report(path: str, why: str) -> None:
            if fresh:
                self._count.left_out += 1
                self._ctx.log(f"{shown(path)}: {why}", "WARN")

        waiting = [self._path]
        while waiting:
            path = waiting.pop()
            self._folders.open(path[cut:])
            waiting.extend(e.path for e in self._storage.children(path, report) if e.is_dir)
            self._tell()
        self._place.count.left_out = self._count.left_out

    # ---- one file

    def _take_out(self, entry: Entry, name: str) -> None:
        if self._is_there(entry, name):
            self._count.kept += 1
            self._waiting.append(("", name, entry.path))
            return
        temporary = blake2b(os.fsencode(entry.path), digest_size=16).hexdigest()
        reader = self._storage.reader(entry.path)
        try:
            self._copy(reader, entry, self._parts / temporary)
        finally:
            reader.close()
        self._count.files += 1
        self._waiting.append((temporary, name, entry.path))

    def _copy(self, reader: Reader, entry: Entry, path: Path) -> None:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
        buffer = memoryview(bytearray(min(_COPY_BYTES, max(entry.size, 1))))
        try:
            offset = self._begin(descriptor, entry)
            while offset < entry.size:
                wanted = min(_COPY_BYTES, entry.size - offset)
                count = reader.read_into([buffer[:wanted]], offset)
                if count < wanted:
                    raise ExecutorError(f"{shown(entry.path)}: it ends at byte {offset + count} of {entry.size}")
                _write(descriptor, buffer[:count], offset)
                offset += count
                self._count.bytes += count
                self._unsynced += count
                if self._due():
                    self._sync(entry.path, offset)
                self._tell()
            os.utime(descriptor, ns=(entry.modified_ns, entry.modified_ns))
        finally:
            os.close(descriptor)

    def _begin(self, descriptor: int, entry: Entry) -> int:
        """Return where to go on within a file: an earlier attempt may have begun it."""
        place, offset = self._place, 0
        if place.begun == entry.path and 0 < place.offset <= os.fstat(descriptor).st_size:
            offset = place.offset
            self._count.bytes += offset
            self._ctx.log(f"{shown(entry.path)}: going on at byte {offset}")
        os.ftruncate(descriptor, offset)
        return offset

    def _is_there(self, entry: Entry, name: str) -> bool:
        head, _, last = name.rpartition("/")
        try:
            found = os.stat(last, dir_fd=self._folders.open(head), follow_symlinks=False)
        except FileNotFoundError:
            return False
        if modes.S_ISDIR(found.st_mode):
            raise ExecutorError(f"{self._target}/{shown(name)} is a folder; a file should come there")
        return modes.S_ISREG(found.st_mode) and (found.st_size, found.st_mtime_ns) == (entry.size, entry.modified_ns)

    # ---- batches

    def _due(self) -> bool:
        late = time.monotonic() >= self._next_sync
        return late or self._unsynced >= BATCH_BYTES or len(self._waiting) >= BATCH_FILES

    def _sync(self, begun: str = "", offset: int = 0) -> None:
        """Bring everything to the disk, give the files of the batch their names, and say what holds now."""
        if _libc.syncfs(self._root) != 0:
            raise MayPass(f"{self._target}: {os.strerror(ctypes.get_errno())}")
        place = self._place
        if self._named is not None:
            place.after, place.count = self._named
        for temporary, name, path in self._waiting:
            if temporary:
                self._rename(temporary, name)
            self._named = (path, replace(self._count))
        if self._waiting and offset:
            self._named = (self._waiting[-1][2], replace(self._count, bytes=self._count.bytes - offset))
        self._waiting.clear()
        self._unsynced = 0
        place.begun, place.offset = begun, offset
        self._step(json.dumps(asdict(place)).encode())
        self._next_sync = time.monotonic() + BATCH_SECONDS

    def _rename(self, temporary: str, name: str) -> None:
        head, _, last = name.rpartition("/")
        try:
            os.rename(self._parts / temporary, last, dst_dir_fd=self._folders.open(head))
        except OSError as error:
            raise ExecutorError(f"{self._target}/{shown(name)}: {error.strerror}") from error

    def _tell(self) -> None:
        if time.monotonic() >= self._next_step:
            self._step(None)

    def _step(self, state: bytes | None) -> None:
        count = self._count
        done = count.files + count.kept
        self._ctx.step(
            done,
            max(done, self._total_files),
            state,
            bytes_done=count.bytes,
            bytes_total=max(count.bytes, self._total_bytes),
            files_done=done,
            files_total=max(done, self._total_files),
            stages=[Stage(name="extract", target=shown(self._path), done=done, total=max(done, self._total_files))],
        )
        self._next_step = time.monotonic() + STEP_SECONDS


class _Folders:
    """Folders below the target, made as needed and reached without following links; the last one is kept open."""

    def __init__(self, root: int) -> None:
        self._root, self._name, self._open = root, "", root

    def open(self, name: str) -> int:
        """Return a descriptor of a folder, good until the next call. Raises ExecutorError when something is in the way."""
        if name == self._name:
            return self._open
        at = os.dup(self._root)
        done: list[str] = []
        for part in name.split("/") if name else ():
            done.append(part)
            try:
                with suppress(FileExistsError):
                    os.mkdir(part, dir_fd=at)
                below = os.open(part, _FOLDER, dir_fd=at)
            except OSError as error:
                in_the_way = error.errno in (errno.ENOTDIR, errno.ELOOP)
                why = "something that is no folder is in the way" if in_the_way else error.strerror
                raise ExecutorError(f"{shown('/'.join(done))}: {why}") from error
            finally:
                os.close(at)
            at = below
        if self._open != self._root:
            os.close(self._open)
        self._name, self._open = name, at
        return at


def _open_target(target: Path) -> int:
    try:
        return os.open(target, _FOLDER)
    except OSError as error:
        raise ExecutorError(f"{target}: {error.strerror}") from error


def _write(descriptor: int, data: memoryview, offset: int) -> None:
    while data:
        count = os.pwrite(descriptor, data, offset)
        data, offset = data[count:], offset + count
