"""A folder of this machine as a storage.

Every path is walked from the folder down, component by component, and no symbolic link is followed on the way, so nothing
outside is ever reached, not even when somebody swaps a folder for a link meanwhile. With ``copy_links = "true"`` links are
followed after all, but only to targets inside the folder. Only regular files are objects.
"""

from __future__ import annotations

import errno
import heapq
import os
import stat as modes
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from itertools import islice
from pathlib import Path
from typing import IO, BinaryIO

from common.content.scratch import unnamed_file
from common.errors import BadInput, ExecutorError, StorageForbidden, StorageNotFound, StorageUnavailable
from common.storage.base import Entry, Reader, Report

SORT_NAMES = 400_000
"""Names of one folder that are sorted in memory; more are sorted in runs on disk."""

HELD_ENTRIES = 16_384
"""Entries of one folder that are kept as the system lists them, which are the fastest to look at; of more only the names."""

_KEPT_FOLDERS = 16  # open descriptors, for each thread
_COPY_BYTES = 1 << 20
_SLOTS = 1024  # IOV_MAX
_CALL_BYTES = 1 << 20  # many kernels take the processor from nobody within a call: 16 MiB are 20 to 40 ms for all others
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # a pipe that was swapped in must not hang us

_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.ELOOP, errno.EROFS)
_NO_NAMES = frozenset(("", ".", ".."))
_MISSING = (errno.ENOENT, errno.ENOTDIR)
_KINDS = {
    modes.S_IFLNK: "a symbolic link",
    modes.S_IFSOCK: "a socket",
    modes.S_IFIFO: "a named pipe",
    modes.S_IFBLK: "a device",
    modes.S_IFCHR: "a device",
}


def shown(path: str) -> str:
    """Return a path as people see it: bytes that are not UTF-8 become U+FFFD."""
    if path.isascii():
        return path
    return os.fsencode(path).decode(errors="replace")


def is_inside(path: str, folder: str) -> bool:
    """Whether an absolute path is this folder or lies below it; both without links and dots."""
    return path == folder or path.startswith(folder.rstrip("/") + "/")


class LocalStorage:
    """See the module. ``root`` is absolute."""

    type = "local"

    def __init__(self, name: str, path: str | Path, config: Mapping[str, str] | None = None) -> None:
        if not Path(path).is_absolute():
            raise BadInput(f"the path of storage {name} is not absolute: {path}")
        self.name = name
        self.root = Path(path)
        self._follow = (config or {}).get("copy_links", "false").lower() == "true"
        self._folders = threading.local()

    # ---- listing

    def children(self, path: str, report: Report, spill_folder: Path | None = None) -> Iterator[Entry]:
        """See ``Storage``."""
        with _named(path):
            descriptor = os.open(".", _FOLDER, dir_fd=self._folder(path))  # ours while the listing lasts
        try:
            above = f"{path}/" if path else ""
            for name, look in _sorted(descriptor, spill_folder):
                entry = self._look(look, above + name, report)
                if entry is not None:
                    yield entry
        finally:
            os.close(descriptor)

    def list(self, prefix: str = "", after: str | None = None) -> Iterator[Entry]:
        """See ``Storage``: all files below the folder ``prefix`` (or the file of that path)."""
        prefix = prefix.strip("/")
        if prefix:
            entry = self.stat(prefix)
            if not entry.is_dir:
                if after is None or os.fsencode(prefix) > os.fsencode(after):
                    yield entry
                return
        yield from self._below(prefix, None if after is None else os.fsencode(after))

    def _below(self, folder: str, after: bytes | None) -> Iterator[Entry]:
        found = list(self.children(folder, lambda path, why: None))
        found.sort(key=lambda entry: os.fsencode(entry.path) + (b"/" if entry.is_dir else b""))
        for entry in found:
            path = os.fsencode(entry.path)
            if not entry.is_dir:
                if after is None or path > after:
                    yield entry
            elif after is None or path + b"0" > after:  # "0" comes next after "/"
                with suppress(StorageForbidden, StorageNotFound):
                    yield from self._below(entry.path, after)

    def _look(self, look: Callable[..., os.stat_result], path: str, report: Report) -> Entry | None:
        """Return what lies there, or report why it is left out."""
        try:
            found = look(follow_symlinks=False)
            kind = modes.S_IFMT(found.st_mode)
            if kind == modes.S_IFREG:
                return Entry(path, found.st_size, found.st_mtime_ns)
            if kind == modes.S_IFLNK and self._follow:
                target = self._target(path)
                if target is None:
                    report(
                        path, "it is a symbolic link that leads nowhere, outside of the storage or back to a folder above it"
                    )
                    return None
                found = Path(target).stat()
                kind = modes.S_IFMT(found.st_mode)
        except OSError as error:
            report(path, error.strerror or str(error))
            return None
        if kind == modes.S_IFREG:
            return Entry(path, found.st_size, found.st_mtime_ns)
        if kind == modes.S_IFDIR:
            return Entry(path, -1, found.st_mtime_ns, is_dir=True)
        report(path, f"it is {_KINDS.get(kind, 'no regular file')}")
        return None

    # ---- single objects

    def stat(self, path: str) -> Entry:
        """See ``Storage``; folders have a size of -1."""
        with _named(path):
            if not path:
                found = os.fstat(self._folder(""))
            else:
                found = self._stat(path)
            if modes.S_ISDIR(found.st_mode):
                return Entry(path=path, size=-1, modified_ns=found.st_mtime_ns, is_dir=True)
            if not modes.S_ISREG(found.st_mode):
                raise StorageForbidden(f"{shown(path)} is {_KINDS.get(modes.S_IFMT(found.st_mode), 'no regular file')}")
            return Entry(path=path, size=found.st_size, modified_ns=found.st_mtime_ns)

    def reader(self, path: str) -> Reader:
        """See ``Storage``."""
        return _FileReader(path, self._open_any(path))

    def open(self, path: str, offset: int = 0, length: int | None = None) -> BinaryIO:
        """See ``Storage``."""
        return _Part(path, self._open_file(path), offset, length)  # type: ignore[return-value]

    def put(self, path: str, data: BinaryIO | Iterable[bytes], size: int | None = None) -> None:
        """See ``Storage``: the file appears whole and synced, or not at all. Folders are made as needed."""
        parts = _parts(path)
        with _named(path):
            folder = self._make_folders(parts[:-1])
            temporary = f".{parts[-1][:200]}.{os.getpid()}-{os.urandom(4).hex()}.part"
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666, dir_fd=folder)
            try:
                written = _write_all(descriptor, data)
                if size is not None and written != size:
                    raise StorageUnavailable(f"{shown(path)}: {written} of {size} bytes came")
                os.fsync(descriptor)
                os.rename(temporary, parts[-1], src_dir_fd=folder, dst_dir_fd=folder)
                os.fsync(folder)
            except BaseException:
                with suppress(FileNotFoundError):
                    os.unlink(temporary, dir_fd=folder)
                raise
            finally:
                os.close(descriptor)

    def create(self, path: str) -> int:
        """Return a descriptor of a file to read and write, opened as it is or made empty, with its folders as needed."""
        parts = _parts(path)
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        with _named(path):
            return os.open(parts[-1], flags, 0o666, dir_fd=self._make_folders(parts[:-1]))

    def delete(self, path: str) -> None:
        """See ``Storage``; raises StorageNotFound when there is no such file."""
        parts = _parts(path)
        with _named(path):
            os.unlink(parts[-1], dir_fd=self._folder("/".join(parts[:-1])))

    # ---- the way down

    def _open_file(self, path: str) -> int:
        descriptor = self._open_any(path)
        try:
            _stat_file(path, descriptor)
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    def _open_any(self, path: str) -> int:
        """Open what lies there; it may turn out to be no file."""
        folder, _, name = path.rpartition("/")
        if name in _NO_NAMES or "\0" in name or path.startswith("/"):
            raise StorageForbidden(f"{shown(path)!r} is no path inside a storage")
        try:
            try:
                return os.open(name, _READ, dir_fd=self._folder(folder))
            except OSError as error:
                if not self._follow or error.errno not in (errno.ELOOP, errno.ENOTDIR):
                    raise
                return self._open_target(path)
        except OSError as error:
            raise _fault(path, error) from error

    def _stat(self, path: str) -> os.stat_result:
        parts = _parts(path)
        if self._follow:
            target = self._target(path)
            if target is None:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
            return Path(target).stat()
        return os.stat(parts[-1], dir_fd=self._folder("/".join(parts[:-1])), follow_symlinks=False)

    def _folder(self, path: str) -> int:
        """Return a descriptor of a folder, kept for the next call of this thread."""
        kept: OrderedDict[str, int] | None = getattr(self._folders, "kept", None)
        if kept is None:
            kept = self._folders.kept = OrderedDict()
        descriptor = kept.get(path)
        if descriptor is not None:
            kept.move_to_end(path)
            return descriptor
        descriptor = self._open_folder(path)
        kept[path] = descriptor
        if len(kept) > _KEPT_FOLDERS:
            os.close(kept.popitem(last=False)[1])
        return descriptor

    def _open_folder(self, path: str) -> int:
        if not path:
            return os.open(self.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            return self._descend(_parts(path))
        except OSError as error:
            if not self._follow or error.errno not in (errno.ELOOP, errno.ENOTDIR):
                raise
        target = self._target(path)
        if target is None:
            raise StorageForbidden(f"{shown(path)} leads nowhere or outside of the storage")
        return self._descend(_parts(os.path.relpath(target, os.path.realpath(self.root))))

    def _descend(self, parts: Sequence[str]) -> int:
        descriptor = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        for part in parts:
            try:
                below = os.open(part, _FOLDER, dir_fd=descriptor)
            finally:
                os.close(descriptor)
            descriptor = below
        return descriptor

    def _make_folders(self, parts: Sequence[str]) -> int:
        for n in range(len(parts)):
            above = self._folder("/".join(parts[:n]))
            with suppress(FileExistsError):
                os.mkdir(parts[n], dir_fd=above)
        return self._folder("/".join(parts))

    def _open_target(self, path: str) -> int:
        target = self._target(path)
        if target is None:
            raise StorageForbidden(f"{shown(path)} leads nowhere or outside of the storage")
        parts = _parts(os.path.relpath(target, os.path.realpath(self.root)))
        folder = self._descend(parts[:-1])
        try:
            return os.open(parts[-1], _READ, dir_fd=folder)
        finally:
            os.close(folder)

    def _target(self, path: str) -> str | None:
        """Return where a path with links really leads; None: nowhere, outside, or into a folder that it came through."""
        root = os.path.realpath(self.root)
        passed = [root]
        for n in range(1, path.count("/") + 2):
            try:
                real = os.path.realpath("/".join((root, *path.split("/")[:n])), strict=True)
            except OSError:
                return None
            if not is_inside(real, root) or real in passed:
                return None
            passed.append(real)
        return passed[-1]


# ---- reading ------------------------------------------------------------------------------------------------------


class _FileReader:
    """What was opened on this machine. That it is a file is looked at when it is asked for, or cannot be read."""

    __slots__ = ("_descriptor", "_path")

    def __init__(self, path: str, descriptor: int) -> None:
        self._path, self._descriptor = path, descriptor

    def stat(self) -> Entry:
        found = _stat_file(self._path, self._descriptor)
        return Entry(self._path, found.st_size, found.st_mtime_ns)

    def read_into(self, slots: Sequence[memoryview], offset: int) -> int:
        total = 0
        try:
            for part in _calls(slots):
                wanted = sum(map(len, part))
                count = os.preadv(self._descriptor, part, offset + total)
                while 0 < count < wanted:
                    more = os.preadv(self._descriptor, _rest(part, count), offset + total + count)
                    if not more:
                        break
                    count += more
                total += count
                if count < wanted:
                    break
        except OSError as error:
            _stat_file(self._path, self._descriptor)
            raise StorageUnavailable(f"{shown(self._path)} cannot be read: {error.strerror}") from error
        return total

    def close(self) -> None:
        os.close(self._descriptor)


def _stat_file(path: str, descriptor: int) -> os.stat_result:
    """Raises StorageForbidden when it is no file."""
    found = os.fstat(descriptor)
    if not modes.S_ISREG(found.st_mode):
        raise StorageForbidden(f"{shown(path)} is no regular file")
    return found


class _Part:
    """A stream over a part of a file, as far as readers use one."""

    def __init__(self, path: str, descriptor: int, offset: int, length: int | None) -> None:
        self._path, self._descriptor, self._offset = path, descriptor, offset
        self._left = length
        self.closed = False

    def read(self, size: int | None = -1) -> bytes:
        """Return up to ``size`` bytes, all that is left when it is negative or None."""
        if size is None or size < 0:
            return b"".join(iter(lambda: self.read(_COPY_BYTES), b""))
        if self._left is not None:
            size = min(size, self._left)
        if not size:
            return b""
        try:
            data = os.pread(self._descriptor, size, self._offset)
        except OSError as error:
            raise StorageUnavailable(f"{shown(self._path)} cannot be read: {error.strerror}") from error
        self._offset += len(data)
        if self._left is not None:
            self._left -= len(data)
        return data

    def readable(self) -> bool:
        return True

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            os.close(self._descriptor)

    def __enter__(self) -> _Part:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _calls(slots: Sequence[memoryview]) -> Iterator[list[memoryview]]:
    """Yield all of the slots in order, as much at a time as one system call is asked for."""
    part: list[memoryview] = []
    free = _CALL_BYTES
    for slot in slots:
        while slot:
            if not free or len(part) == _SLOTS:
                yield part
                part, free = [], _CALL_BYTES
            part.append(slot[:free])
            slot = slot[free:]
            free -= len(part[-1])
    if part:
        yield part


def _rest(slots: Sequence[memoryview], done: int) -> list[memoryview]:
    """Return what is left of the slots behind their first ``done`` bytes."""
    rest = []
    for slot in slots:
        if done >= len(slot):
            done -= len(slot)
        else:
            rest.append(slot[done:])
            done = 0
    return rest


def _write_all(descriptor: int, data: BinaryIO | Iterable[bytes]) -> int:
    read = getattr(data, "read", None)
    blocks: Iterable[bytes] = iter(lambda: read(_COPY_BYTES), b"") if read is not None else data
    written = 0
    for block in blocks:
        view = memoryview(block)
        while view:
            count = os.write(descriptor, view)
            view = view[count:]
            written += count
    return written


# ---- names --------------------------------------------------------------------------------------------------------


def _sorted(descriptor: int, spill_folder: Path | None) -> Iterator[tuple[str, Callable[..., os.stat_result]]]:
    """Yield what is in a folder in order of the names' text: each name, and what looks at it."""
    with os.scandir(descriptor) as found:
        most = min(HELD_ENTRIES, SORT_NAMES)
        held = list(islice(found, most))
        if len(held) < most:
            entries = {_record(item.name): item for item in held}
            del held
            for record in sorted(entries):
                item = entries[record]
                yield item.name, item.stat
            return
        names = [_record(item.name) for item in held]
        del held
        runs: list[Iterator[bytes]] = []
        for item in found:
            if len(names) >= SORT_NAMES and spill_folder is not None:
                runs.append(_spill(names, spill_folder))
                names = []
            names.append(_record(item.name))
    names.sort()
    for record in heapq.merge(*runs, names) if runs else names:
        name = _name_of(record)
        yield name, partial(os.stat, name, dir_fd=descriptor)


def _record(name: str) -> bytes:
    """Return a name in a form that sorts as its text: the bytes, or, for what is not UTF-8, text, NUL and bytes."""
    if name.isascii():
        return name.encode()
    raw = os.fsencode(name)
    text = raw.decode(errors="replace").encode()
    return raw if text == raw else text + b"\0" + raw


def _name_of(record: bytes) -> str:
    return os.fsdecode(record.rpartition(b"\0")[2])


def _spill(names: list[bytes], folder: Path) -> Iterator[bytes]:
    """Write a sorted run to an unnamed file and return an iterator over it. Names end with a slash, which none has."""
    names.sort()
    run = unnamed_file(folder)
    run.write(b"/".join(names))
    run.seek(0)
    return _read_run(run)


def _read_run(run: IO[bytes]) -> Iterator[bytes]:
    rest = b""
    while block := run.read(_COPY_BYTES):
        *whole, rest = (rest + block).split(b"/")
        yield from whole
    if rest:
        yield rest


def _parts(path: str) -> list[str]:
    """Return the components of a path. Raises StorageForbidden for one that does not name something below the root."""
    parts = path.split("/")
    if "\0" in path or any(part in _NO_NAMES for part in parts):
        raise StorageForbidden(f"{shown(path)!r} is no path inside a storage")
    return parts


@contextmanager
def _named(path: str) -> Iterator[None]:
    """Turn the system's errors into the three of the contract, with the path."""
    try:
        yield
    except OSError as error:
        raise _fault(path, error) from error


def _fault(path: str, error: OSError) -> ExecutorError:
    where = shown(path) or "the folder"
    if error.errno in _MISSING:
        return StorageNotFound(f"{where} is not there")
    if error.errno == errno.ELOOP:
        return StorageForbidden(f"{where} is or lies behind a symbolic link, which is not followed")
    if error.errno in _FORBIDDEN:
        return StorageForbidden(f"{where}: {error.strerror}")
    return StorageUnavailable(f"{where}: {error.strerror or error}")


def free_space(storage: LocalStorage) -> tuple[int, int]:
    """Return the bytes that are free for us, and the size of the file system, of a storage's folder."""
    try:
        found = os.statvfs(storage.root)
    except OSError as error:
        raise ExecutorError(f"the folder of storage {storage.name} cannot be used: {error.strerror}") from error
    return found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize
