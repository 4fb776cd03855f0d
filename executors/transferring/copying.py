"""Copies one file from a storage to another, whole and checked or not at all.

Into a folder: to a temporary file beside the final one, synced, read back, then published. Into a bucket: small files in one
request; large ones part after part as a multipart upload, of which each part that the store has acknowledged is used again
after a crash. A part that is on its way when the process dies is the only one that is sent twice: parts of one file are
never sent side by side, files are.

What ``verify`` checks: that the bytes read are those of the source's checksum (where the store keeps one), and that what
lies at the target is what was read (the store's checksum of each part and of the whole, or the bytes read back).
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from common.db.transfers import FileFault
from common.errors import (
    BadInput,
    ExecutorError,
    MayPass,
    StorageForbidden,
    StorageNotFound,
    StorageUnavailable,
)
from common.storage.base import Entry, Part, Reader, Storage
from common.storage.local import LocalStorage, is_inside
from common.storage.objects import ObjectStorage, is_md5
from executors.transferring.book import Book, Outcome, Status
from executors.transferring.desk import Desk
from executors.transferring.sums import Expected, composite, md5, parts_in
from executors.transferring.walk import Item

BLOCK_BYTES = 1 << 20
SYNC_BYTES = 64 << 20
SMALL_BYTES = 8 << 20
"""A file up to this size is copied again from its start after a crash."""

MEMORY_PART_BYTES = 32 << 20
"""Larger parts (of files over 320 GiB) are not held in memory: they are read once for the checksum and once to be sent."""

SKEW_MS = 15 * 60_000
"""How far the clocks of a store and ours may be apart; signed requests fail beyond it."""

TRIES = 3
_RETRY_SECONDS = 0.5


class Differs(ExecutorError):
    """The bytes are not what they should be."""


class Changed(StorageUnavailable):
    """It was changed while it was read."""


class UploadGone(StorageUnavailable):
    """Its upload is not there any more: somebody else has completed or aborted it."""


def upload_text(storage: str, path: str, since_ms: int) -> str:
    """Return the declaration (``ctx.own``, kind ``upload``) of uploads to one path, begun since then by this task."""
    return json.dumps({"storage": storage, "path": path, "since": since_ms}, sort_keys=True)


def join(folder: str, path: str) -> str:
    return f"{folder}/{path}" if folder else path


class Copier:
    """Copies files of one transfer; used by several threads."""

    def __init__(
        self,
        *,
        source: Storage,
        target: Storage,
        from_path: Callable[[Item], str],
        to_path: Callable[[Item], str],
        overwrite: str,
        verify: bool,
        task_id: int,
        first: bool,
        stale: Collection[str],
        book: Book,
        desk: Desk,
    ) -> None:
        """``first``: no attempt was made before, so nothing of one can be there. ``stale``: paths of files that an earlier
        attempt has listed; they may have changed since."""
        self._source, self._target, self._from, self._to = source, target, from_path, to_path
        self._overwrite, self._verify, self._task_id, self._first = overwrite, verify, task_id, first
        self._stale, self._book, self._desk = frozenset(stale), book, desk

    def copy(self, item: Item) -> Outcome:
        """Copy a file as it is now, trying again what may pass; return what became of it. Raises Stopped."""
        look = item.path in self._stale
        for _ in range(TRIES):
            try:
                if look:
                    item = self._now(item)
                return self._copy(item)
            except StorageUnavailable as error:
                look = look or isinstance(error, Changed)
                found = Outcome(item=item, status=Status.FAILED, message=str(error), fault=FileFault.STORE, again=True)
            except Differs as error:
                found = Outcome(item=item, status=Status.FAILED, message=str(error), fault=FileFault.FORMAT)
            except StorageForbidden as error:
                return Outcome(item=item, status=Status.FAILED, message=str(error), fault=FileFault.FORBIDDEN)
            except StorageNotFound as error:
                return Outcome(item=item, status=Status.FAILED, message=str(error), fault=FileFault.NOT_FOUND)
            except MayPass:
                raise
            except ExecutorError as error:
                return Outcome(item=item, status=Status.FAILED, message=str(error), fault=FileFault.OTHER)
            self._book.moved(item, 0)
            self._desk.stop.wait(_RETRY_SECONDS)
            self._desk.check()
        return found

    def _now(self, item: Item) -> Item:
        entry = self._source.stat(self._from(item))
        return Item(path=item.path, size=entry.size, modified_ns=entry.modified_ns, hash=entry.hash)

    def _copy(self, item: Item) -> Outcome:
        self._desk.check()
        if self._first or not self._book.upload_of(item)[0]:
            reason = self._standing(item)
            if reason:
                return Outcome(item=item, status=Status.UNCHANGED, message=reason)
        if isinstance(self._target, LocalStorage):
            self._to_folder(item, self._target)
        elif isinstance(self._target, ObjectStorage):
            if item.size <= self._target.part_bytes(item.size):
                self._in_one_request(item, self._target)
            else:
                self._in_parts(item, self._target)
        else:
            raise BadInput(f"nothing can be written to a storage of type {self._target.type}")
        return Outcome(item=item, status=Status.COPIED)

    def _standing(self, item: Item) -> str:
        """Return why what lies at the target may stay there; "" when it must be (over)written."""
        if self._overwrite == "always":
            return ""
        try:
            there = self._target.stat(self._to(item))
        except StorageNotFound:
            return ""
        if there.is_dir:
            return ""
        if self._overwrite == "never":
            return "it exists"
        return "it is the same" if same(item, there) else ""

    # ---- into a bucket

    def _in_one_request(self, item: Item, target: ObjectStorage) -> None:
        path = self._to(item)
        with _opened(self._source, self._from(item)) as reader:
            data = _read(reader, 0, item.size)
            self._still(item, reader)
        if self._verify and item.hash and md5_of(data) != item.hash:
            raise Differs("what was read is not what the checksum of its store says")
        tag = target.put_bytes(path, data)
        self._book.moved(item, item.size)
        if not self._verify:
            return
        if is_md5(tag):
            if tag != md5_of(data):
                raise Differs("the store has other bytes than were sent")
        elif _sum_of(target, path) != md5_of(data):
            raise Differs("the store has other bytes than were sent")

    def _in_parts(self, item: Item, target: ObjectStorage) -> None:
        path = self._to(item)
        size = target.part_bytes(item.size)
        count = -(-item.size // size)
        with _opened(self._source, self._from(item)) as reader:
            upload, there = self._upload(item, target)
            if upload is None and not self._first and self._is_complete(item, target, reader, size):
                return  # the process died between the last call and the checkpoint
            if upload is None:
                upload, there = self._begin(item, target), {}
            parts: list[Part] = []
            arrived = 0
            for number in range(1, count + 1):
                self._desk.check()
                offset = (number - 1) * size
                length = min(size, item.size - offset)
                part = there.get(number)
                if part is None or part.size != length or not self._fits(part, reader, offset, length):
                    part = self._send(target, path, upload, number, reader, offset, length)
                parts.append(part)
                arrived += length
                self._book.moved(item, arrived)
            self._still(item, reader)
            self._desk.check()
            with _upload_there():
                tag = target.complete(path, upload, parts)
            if self._verify:
                self._check_whole(item, target, parts, tag, size)

    def _upload(self, item: Item, target: ObjectStorage) -> tuple[str | None, dict[int, Part]]:
        """Return the upload that an earlier attempt has begun for this very file, with the parts that are there."""
        path = self._to(item)
        known, same_file = self._book.upload_of(item)
        found: tuple[str | None, dict[int, Part]] = (None, {})
        if known is not None and same_file:
            try:
                found = known, {part.number: part for part in target.parts(path, known)}
            except StorageNotFound:
                known = None  # another one of this file is as good
        if self._first or found[0] is not None:
            return found
        begun: list[str] = []
        with suppress(StorageForbidden):  # who may not list uploads has none to find
            since = self._book.since_ms - SKEW_MS
            begun = [u.id for u in target.uploads(path) if u.path == path and u.begun_ms >= since]
        for upload in begun:
            if found[0] is None and known is None:
                with suppress(StorageNotFound):
                    found = upload, {part.number: part for part in target.parts(path, upload)}
                    self._book.set_upload(item, upload)
            else:
                target.abort(path, upload)
        return found

    def _begin(self, item: Item, target: ObjectStorage) -> str:
        path = self._to(item)
        self._desk.own([upload_text(target.name, path, self._book.since_ms)], "upload")
        upload = target.begin(path)
        self._book.set_upload(item, upload)
        return upload

    def _fits(self, part: Part, reader: Reader, offset: int, length: int) -> bool:
        """Whether a part that the store has holds the source's bytes."""
        if not self._verify or not is_md5(part.tag):
            return True  # the file is still the same
        return part.tag == _sum(_blocks(reader, offset, length))

    def _send(
        self, target: ObjectStorage, path: str, upload: str, number: int, reader: Reader, offset: int, length: int
    ) -> Part:
        if length <= MEMORY_PART_BYTES:
            data = _read(reader, offset, length)
            made = md5_of(data)
            with _upload_there():
                part = target.send_part(path, upload, number, data)
        else:
            made = _sum(_blocks(reader, offset, length))
            window = io.BufferedReader(_Window(reader, offset, length), BLOCK_BYTES)
            with _upload_there():
                part = target.send_part(path, upload, number, window)
        if self._verify and is_md5(part.tag) and part.tag != made:
            raise Differs(f"the store has other bytes than were sent as part {number}")
        return Part(number=number, size=length, tag=part.tag)

    def _is_complete(self, item: Item, target: ObjectStorage, reader: Reader, part_bytes: int) -> bool:
        """Whether the object at the target is this very file, in parts of ours."""
        try:
            there = target.stat(self._to(item))
            tag = target.tag(self._to(item))
        except StorageNotFound:
            return False
        count = -(-item.size // part_bytes)
        if there.size != item.size or parts_in(tag) != count:
            return False
        ranges = [(n * part_bytes, min(part_bytes, item.size - n * part_bytes)) for n in range(count)]
        return composite([_sum(_blocks(reader, *each)) for each in ranges]) == tag

    def _check_whole(self, item: Item, target: ObjectStorage, parts: list[Part], tag: str, part_bytes: int) -> None:
        path = self._to(item)
        if target.stat(path).size != item.size:
            raise Differs("the store has another number of bytes than were sent")
        if parts_in(tag) and all(is_md5(part.tag) for part in parts):
            if tag != composite([part.tag for part in parts]):
                raise Differs("the store has put the parts together otherwise than they were sent")
        elif _sum_of(target, path) != _sum_of(self._source, self._from(item)):
            raise Differs("the store has other bytes than were sent")

    # ---- into a folder

    def _to_folder(self, item: Item, target: LocalStorage) -> None:
        path = self._to(item)
        try:
            path.encode()
        except UnicodeEncodeError:
            self._put(item, target, path)  # such a name cannot be published
            return
        folder, _, name = path.rpartition("/")
        temporary = join(folder, f".{self._task_id}-{hashlib.sha256(name.encode()).hexdigest()[:16]}.part")
        root = str(target.root)
        self._desk.own([f"{root}/{temporary}"], "path")
        descriptor = target.create(temporary)
        try:
            real = os.path.realpath(f"{root}/{folder}")
            if not is_inside(real, os.path.realpath(root)):
                raise StorageForbidden("its folder leads outside of the storage")
            self._fill(item, descriptor)
            os.utime(descriptor, ns=(time.time_ns(), item.modified_ns))
            os.fsync(descriptor)
        except BaseException as error:
            os.close(descriptor)
            if isinstance(error, Differs | StorageForbidden | StorageNotFound):
                with suppress(StorageNotFound, StorageForbidden):
                    target.delete(temporary)
            raise
        os.close(descriptor)
        self._desk.publish(f"{root}/{temporary}", f"{root}/{path}")

    def _fill(self, item: Item, descriptor: int) -> None:
        """Write the source's bytes, from where an earlier attempt has certainly come; sync and check them."""
        expected = self._expected(item)
        begin = min(self._book.partial_of(item), os.fstat(descriptor).st_size, item.size)
        os.ftruncate(descriptor, begin)
        os.lseek(descriptor, 0, os.SEEK_SET)
        for block in _file_blocks(descriptor, begin):
            self._desk.check()
            expected.update(block)
        at = synced = begin
        with self._source.open(self._from(item), begin, item.size - begin) as stream:
            while at < item.size and (block := stream.read(BLOCK_BYTES)):
                self._desk.check()
                _write(descriptor, block)
                expected.update(block)
                at += len(block)
                self._book.moved(item, at)
                if at - synced >= SYNC_BYTES:
                    os.fdatasync(descriptor)
                    synced = at
                    self._book.set_partial(item, at)
        if at != item.size:
            raise Changed
        if isinstance(self._source, LocalStorage):
            with _opened(self._source, self._from(item)) as reader:
                self._still(item, reader)
        os.fsync(descriptor)
        if item.size > SMALL_BYTES:
            self._book.set_partial(item, at)
        if not self._verify:
            return
        if expected.fits() is False:
            self._book.set_partial(item, 0)
            raise Differs("what was read is not what the checksum of its store says")
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)  # from the disk, where that can be had
        os.lseek(descriptor, 0, os.SEEK_SET)
        if _sum(_file_blocks(descriptor, item.size)) != expected.whole.hexdigest():
            self._book.set_partial(item, 0)
            raise Differs("the file on disk is not what was written")

    def _expected(self, item: Item) -> Expected:
        """Return what the source's store says of the bytes."""
        if not self._verify or not isinstance(self._source, ObjectStorage):
            return Expected(item.hash)
        tag = self._source.tag(self._from(item))
        part_bytes = 0
        if parts_in(tag):
            with suppress(StorageNotFound, StorageForbidden, StorageUnavailable):  # not every store tells
                part_bytes = self._source.part_size_of(self._from(item))
        return Expected(tag, part_bytes)

    def _put(self, item: Item, target: LocalStorage, path: str) -> None:
        read = md5()

        def blocks() -> Iterator[bytes]:
            with self._source.open(self._from(item)) as stream:
                for block in iter(lambda: stream.read(BLOCK_BYTES), b""):
                    self._desk.check()
                    read.update(block)
                    yield block

        target.put(path, blocks(), item.size)
        self._book.moved(item, item.size)
        if self._verify and _sum_of(target, path) != read.hexdigest():
            raise Differs("the file on disk is not what was written")

    def _still(self, item: Item, reader: Reader) -> None:
        """Raises StorageUnavailable when the source has changed since it was listed."""
        now = reader.stat()
        if (now.size, now.modified_ns) != (item.size, item.modified_ns):
            raise Changed


def same(item: Item, there: Entry) -> bool:
    """Whether what lies at the target need not be written again: same size, and the same checksum where both have one, else
    not older than the source."""
    if there.size != item.size:
        return False
    if item.hash and there.hash:
        return item.hash == there.hash
    return there.modified_ns >= item.modified_ns


@contextmanager
def _upload_there() -> Iterator[None]:
    """Tell an upload that has gone from a source that has: the first is tried again, which sees the second."""
    try:
        yield
    except StorageNotFound as error:
        raise UploadGone(f"its upload has gone: {error}") from error


class _opened:  # noqa: N801 - used like a function
    """A reader that is closed at the end."""

    def __init__(self, storage: Storage, path: str) -> None:
        self._reader = storage.reader(path)

    def __enter__(self) -> Reader:
        return self._reader

    def __exit__(self, *_: object) -> None:
        self._reader.close()


class _Window(io.RawIOBase):
    """A range of an object as a file that can be read more than once."""

    def __init__(self, reader: Reader, offset: int, length: int) -> None:
        self._reader, self._offset, self._length, self._at = reader, offset, length, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._length}[whence]
        return self._at

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        slot = memoryview(buffer)[: max(0, self._length - self._at)]
        count = self._reader.read_into([slot], self._offset + self._at) if slot else 0
        self._at += count
        return count


def _read(reader: Reader, offset: int, length: int) -> bytearray:
    data = bytearray(length)
    if length and reader.read_into([memoryview(data)], offset) != length:
        raise Changed
    return data


def _blocks(reader: Reader, offset: int, length: int) -> Iterator[bytearray]:
    for at in range(0, length, BLOCK_BYTES):
        yield _read(reader, offset + at, min(BLOCK_BYTES, length - at))


def _file_blocks(descriptor: int, length: int) -> Iterator[bytes]:
    while length > 0 and (block := os.read(descriptor, min(BLOCK_BYTES, length))):
        length -= len(block)
        yield block


def _write(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def md5_of(data: bytes | bytearray) -> str:
    made = md5()
    made.update(data)
    return made.hexdigest()


def _sum(blocks: Iterator[bytes] | Iterator[bytearray]) -> str:
    made = md5()
    for block in blocks:
        made.update(block)
    return made.hexdigest()


def _sum_of(storage: Storage, path: str) -> str:
    with storage.open(path) as stream:
        return _sum(iter(lambda: stream.read(BLOCK_BYTES), b""))


def resolved(storage: Storage) -> Path | None:
    """Return the real folder of a local storage."""
    return storage.root.resolve() if isinstance(storage, LocalStorage) else None
