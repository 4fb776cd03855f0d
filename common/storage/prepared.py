"""A packed preparation as a storage that can only be read: files come out of CARs, every block checked against its CID.

::

    path -> file -> parts, by offset          each part is a tree of blocks in one CAR:
                                              CID -> index beside the CAR -> section -> hash

What lies where is asked of a ``Packed`` (the catalogue knows); this module follows the trees and checks bytes. A block that
does not hash to its CID, or is not there, is a ``ContentError`` that names the CAR and the offset.
"""

from __future__ import annotations

import os
import shutil
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, NamedTuple, Protocol, cast

from common.content import car as cars
from common.content import cid as cids
from common.content import varint, walk
from common.content.faults import BadBlock, BadIndex, BadVarint, TruncatedCar
from common.content.index import SUFFIX, IndexReader, IndexWriter
from common.errors import ContentError, StorageForbidden, StorageNotFound
from common.storage.base import Entry, Reader, Report, Storage
from common.storage.local import LocalStorage, shown

PREFIX = "prep:"
"""What the name of a packed preparation as a storage begins with."""

_KEPT_CARS = 8  # open at a time
_KEPT_NODES = 64  # link nodes in memory
_COPY_BYTES = 1 << 20
_READ_ONLY = "a packed preparation can only be read"


class Part(NamedTuple):
    """A run of bytes of a file that is one tree of blocks in one CAR."""

    offset: int
    size: int
    cid: bytes
    car_id: int


class Blocks(Protocol):
    """The blocks of one CAR."""

    def get(self, cid: bytes) -> bytes:
        """Return the data of a block, checked. Raises ContentError."""
        ...

    def close(self) -> None: ...


class Packed(Protocol):
    """What a preparation knows of its packed files: the latest packed version of each. Paths are those of ``Storage``."""

    def entry(self, path: str) -> Entry | None:
        """Return a file or folder ("" is the root), None when there is none."""
        ...

    def folders(self, path: str) -> Iterable[Entry]:
        """Yield the folders directly in a folder, in any order."""
        ...

    def files(self, path: str, report: Report) -> Iterable[Entry]:
        """Yield the packed files directly in a folder, sorted bytewise by name; others are reported."""
        ...

    def parts(self, path: str) -> Sequence[Part]:
        """Return the parts of a file, by offset, without gaps."""
        ...

    def blocks(self, car_id: int) -> Blocks:
        """Open a CAR."""
        ...


class PreparedStorage:
    """See the module. Safe to call from several threads; they take turns."""

    type = "prepared"

    def __init__(self, name: str, packed: Packed) -> None:
        self.name = name
        self._packed = packed
        self._lock = threading.RLock()
        self._cars: OrderedDict[int, Blocks] = OrderedDict()
        self._nodes: OrderedDict[bytes, bytes] = OrderedDict()

    # ---- listing

    def children(self, path: str, report: Report, spill_folder: Path | None = None) -> Iterator[Entry]:
        """See ``Storage``."""
        path = path.strip("/")
        entry = self.stat(path)
        if not entry.is_dir:
            raise StorageForbidden(f"{shown(path)} is no folder")
        with self._lock:
            found = [*self._packed.folders(path), *self._packed.files(path, report)]
        yield from sorted(found, key=lambda e: shown(e.path).encode())

    def list(self, prefix: str = "", after: str | None = None) -> Iterator[Entry]:
        """See ``Storage``."""
        prefix = prefix.strip("/")
        entry = self.stat(prefix)
        last = None if after is None else os.fsencode(after)
        if entry.is_dir:
            yield from self._below(prefix, last)
        elif last is None or os.fsencode(prefix) > last:
            yield entry

    def _below(self, path: str, after: bytes | None) -> Iterator[Entry]:
        found = [(os.fsencode(e.path) + (b"/" if e.is_dir else b""), e) for e in self.children(path, lambda p, why: None)]
        found.sort(key=lambda pair: pair[0])
        for key, entry in found:
            if not entry.is_dir:
                if after is None or key > after:
                    yield entry
            elif after is None or key[:-1] + b"0" > after:  # "0" comes next after "/"
                yield from self._below(entry.path, after)

    def stat(self, path: str) -> Entry:
        """See ``Storage``."""
        with self._lock:
            entry = self._packed.entry(path.strip("/"))
        if entry is None:
            raise StorageNotFound(f"{shown(path)} is not there, or not packed")
        return entry

    # ---- reading

    def reader(self, path: str) -> Reader:
        """See ``Storage``."""
        entry = self.stat(path)
        if entry.is_dir:
            raise StorageForbidden(f"{shown(path)} is a folder")
        with self._lock:
            return self.reader_of(entry, self._packed.parts(entry.path))

    def reader_of(self, entry: Entry, parts: Sequence[Part]) -> Reader:
        """Open a file whose parts are known: any version of it."""
        return _PackedReader(self, entry, parts)

    def hold(self, car_id: int) -> None:
        """Open a CAR now, to see whether it is there. Raises what opening it raises."""
        with self._lock:
            self._open(car_id)

    def open(self, path: str, offset: int = 0, length: int | None = None) -> BinaryIO:
        """See ``Storage``."""
        return cast(BinaryIO, _Stream(self.reader(path), offset, length))

    def put(self, path: str, data: BinaryIO | Iterable[bytes], size: int | None = None) -> None:
        """Raises StorageForbidden."""
        raise StorageForbidden(_READ_ONLY)

    def delete(self, path: str) -> None:
        """Raises StorageForbidden."""
        raise StorageForbidden(_READ_ONLY)

    def close(self) -> None:
        """Close the CARs that are open; they are opened again when needed."""
        with self._lock:
            while self._cars:
                self._cars.popitem()[1].close()

    def block(self, car_id: int, cid: bytes) -> bytes:
        """Return a block of a CAR, checked. Raises ContentError."""
        with self._lock:
            kept = self._nodes.get(cid)
            if kept is not None:
                self._nodes.move_to_end(cid)
                return kept
            data = self._open(car_id).get(cid)
            if not cid.startswith(cids.RAW_PREFIX):
                self._nodes[cid] = data
                if len(self._nodes) > _KEPT_NODES:
                    self._nodes.popitem(last=False)
            return data

    def _open(self, car_id: int) -> Blocks:
        blocks = self._cars.get(car_id)
        if blocks is None:
            blocks = self._cars[car_id] = self._packed.blocks(car_id)
            if len(self._cars) > _KEPT_CARS:
                self._cars.popitem(last=False)[1].close()
        else:
            self._cars.move_to_end(car_id)
        return blocks


class _PackedReader:
    """A packed file. Holds one block."""

    def __init__(self, storage: PreparedStorage, entry: Entry, parts: Sequence[Part]) -> None:
        self._storage, self._entry, self._parts = storage, entry, parts
        self._last: tuple[bytes, bytes] = (b"", b"")

    def stat(self) -> Entry:
        return self._entry

    def read_into(self, slots: Sequence[memoryview], offset: int) -> int:
        total = 0
        for slot in slots:
            view, filled = slot.cast("B"), 0
            for data in self._runs(offset + total, offset + total + len(view)):
                view[filled : filled + len(data)] = data
                filled += len(data)
            total += filled
            if filled < len(view):
                break
        return total

    def _runs(self, start: int, stop: int) -> Iterator[memoryview]:
        """Yield the bytes from ``start`` to ``stop``, or to the end, block by block."""
        for part in self._parts:
            if part.offset >= stop or part.offset + part.size <= start:
                continue
            first, last = max(start - part.offset, 0), min(stop - part.offset, part.size)
            get = self._get_of(part.car_id)
            for segment in walk.segments(part.cid, get, first, last, size=part.size):
                data = segment.inline if segment.inline is not None else get(segment.cid)
                if len(data) < segment.stop:
                    raise BadBlock(f"{shown(self._entry.path)}: {cids.to_text(segment.cid)} is shorter than its file says")
                yield memoryview(data)[segment.start : segment.stop]

    def _get_of(self, car_id: int) -> Callable[[bytes], bytes]:
        def get(cid: bytes) -> bytes:
            if self._last[0] != cid:
                self._last = (cid, self._storage.block(car_id, cid))
            return self._last[1]

        return get

    def close(self) -> None:
        self._last = (b"", b"")


class _Stream:
    """A stream over a part of a file, as far as readers use one."""

    def __init__(self, reader: Reader, offset: int, length: int | None) -> None:
        self._reader, self._offset = reader, offset
        size = reader.stat().size
        self._end = size if length is None else min(size, offset + length)
        self.closed = False

    def read(self, size: int | None = -1) -> bytes:
        """Return up to ``size`` bytes, all that is left when it is negative or None."""
        left = max(0, self._end - self._offset)
        wanted = left if size is None or size < 0 else min(size, left)
        buffer = bytearray(wanted)
        count = self._reader.read_into([memoryview(buffer)], self._offset) if wanted else 0
        self._offset += count
        return bytes(memoryview(buffer)[:count])

    def readable(self) -> bool:
        return True

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            self._reader.close()

    def __enter__(self) -> _Stream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


# ---- CAR files ----------------------------------------------------------------------------------------------------


class CarBlocks:
    """The blocks of a CAR file, found through the index beside it.

    An index that is missing or broken is made again in ``workdir``, which reads the whole CAR once.
    """

    def __init__(self, storage: Storage, path: str, workdir: Path) -> None:
        self._label = path
        self._reader = storage.reader(path)
        try:
            self._index = _open_index(storage, path, workdir)
        except BaseException:
            self._reader.close()
            raise

    def get(self, cid: bytes) -> bytes:
        """See ``Blocks``. Of several copies the first good one counts."""
        fault: ContentError | None = None
        for offset in self._index.offsets(cid):
            try:
                found, data = read_section(self._reader, offset)
                cids.verify(cid, data)
            except ContentError as error:
                fault = fault or BadBlock(f"{self._label}, block at offset {offset}: {error}")
            else:
                if found[-cids.DIGEST_LENGTH :] == cid[-cids.DIGEST_LENGTH :]:
                    return data
                fault = fault or BadBlock(f"{self._label}, block at offset {offset}: it is {cids.to_text(found)}")
        raise fault or BadBlock(f"{self._label}: the block {cids.to_text(cid)} is not in this CAR")

    def close(self) -> None:
        self._reader.close()
        self._index.close()


def read_section(reader: Reader, offset: int, limits: cars.Limits = cars.DEFAULT_LIMITS) -> tuple[bytes, bytes]:
    """Return CID and data of the section at an offset of an open CAR. Raises ContentError."""
    head = bytearray(varint.MAX_LENGTH)
    count = reader.read_into([memoryview(head)], offset)
    try:
        length, size = varint.decode(bytes(head[:count]))
    except BadVarint as error:
        raise TruncatedCar(f"there is no section ({error})") from error
    if not 0 < length <= limits.max_section:
        raise BadBlock(f"a section of {length} bytes")
    body = bytearray(length)
    if reader.read_into([memoryview(body)], offset + size) < length:
        raise TruncatedCar(f"the file ends before the {length} bytes of the section")
    data = bytes(body)
    parts, start = cids.split(data)
    return parts.cid, data[start:]


def index_beside(storage: Storage, path: str, workdir: Path) -> IndexReader | None:
    """Open the index beside a CAR; of a store a copy of it in ``workdir``. None when it is not there, or broken."""
    if isinstance(storage, LocalStorage):
        with suppress(OSError, BadIndex):
            return IndexReader(storage.root / (path + SUFFIX))
        return None
    target = _copy_of_index(path, workdir)
    with suppress(StorageNotFound, BadIndex):
        _fetch(storage, path + SUFFIX, target)
        return IndexReader(target)
    target.unlink(missing_ok=True)
    return None


def _open_index(storage: Storage, path: str, workdir: Path) -> IndexReader:
    """Open the index of a CAR; one that is not beside it is made in ``workdir``, from the CAR."""
    target = _copy_of_index(path, workdir)
    if not target.exists() or isinstance(storage, LocalStorage):
        beside = index_beside(storage, path, workdir)
        if beside is not None:
            return beside
    if not target.exists():
        writer = IndexWriter(workdir)
        with storage.open(path) as stream:
            for section in cars.CarReader(stream):
                if len(section.cid) == cids.CID_LENGTH:
                    writer.add(section.cid, section.offset)
        temporary = target.with_suffix(".part")
        with temporary.open("wb") as file:
            writer.write(file)
        temporary.replace(target)
    return IndexReader(target)


def _copy_of_index(path: str, workdir: Path) -> Path:
    return workdir / f"{path.replace('/', '_')[-120:]}{SUFFIX}"


def _fetch(storage: Storage, path: str, target: Path) -> None:
    temporary = target.with_suffix(".part")
    with storage.open(path) as stream, temporary.open("wb") as file:
        shutil.copyfileobj(stream, file, _COPY_BYTES)
    temporary.replace(target)
