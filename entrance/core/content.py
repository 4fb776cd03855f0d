"""ContentService: the bytes of pieces and files, from CAR files, or put together from the sources.

What is returned is opened and checked; it is read in blocks of at most 1 MiB, in any native thread but one at a time, and
must be closed. It holds its own reading connection, since it may live for long.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp
from typing import NamedTuple, Protocol

from common.content import car as cars
from common.content import cid as cids
from common.content import estimate, varint
from common.content.faults import TruncatedCar
from common.content.piececid import PieceCid
from common.db.catalogue import Car, Catalogue, File, JobRange, Preparation, StorageRecord, open_readonly
from common.errors import EntranceError, ExecutorError, NotFound
from common.storage.base import Entry, Reader, Storage
from common.storage.local import LocalStorage
from common.storage.prepared import index_beside, read_section
from entrance.core.data import DataService, FileView, may
from entrance.core.model import Caller
from executors.packed import Packing, open_prepared
from executors.packing.inline import Sidecar, sidecar_path
from executors.packing.layout import leaf_head
from executors.packing.remake import Leaf, packed_ranges, sections, stream_car

BLOCK_BYTES = 1 << 20
MOST_BLOCKS = 250_000  # of a piece, in one answer


class Readable(Protocol):
    """Bytes that can be read from any place."""

    @property
    def size(self) -> int: ...

    @property
    def modified_ns(self) -> int:
        """When they were last changed; 0 = nobody knows."""
        ...

    def read(self, first: int, length: int) -> Iterator[bytes]:
        """Yield ``length`` bytes from ``first`` on, in pieces of at most 1 MiB, none of them empty."""
        ...

    def close(self) -> None: ...


class Block(NamedTuple):
    """A block of a CAR: where its section begins, and its data (None: a leaf, at ``file_offset`` of a file)."""

    number: int
    cid: bytes
    offset: int
    head: bytes  # the length varint
    length: int  # of the whole section
    data: bytes | None
    file_offset: int
    file_id: int | None


@dataclass(frozen=True, kw_only=True)
class PieceMetadata:
    """All that is needed to put a piece together from its source."""

    car: Car
    storage: StorageRecord
    blocks: Sequence[Block]
    files: Sequence[tuple[File, str]]  # with their paths


class ContentService:
    """See the module."""

    def __init__(self, *, data: DataService, database: Path) -> None:
        self._data, self._database = data, database

    # ---- pieces

    def piece(self, caller: Caller, piece: PieceCid) -> Readable:
        """Open a piece: any CAR file of it that is whole, else put together from its source.

        Raises NotFound; EntranceError, when it is known and can be had from nowhere.
        """
        found = self._data.read(lambda catalogue: _cars_of(catalogue, caller, piece))
        if not found:
            raise NotFound("piece not found")
        return self._data.offload(self._open_piece, found)

    def _open_piece(self, found: Sequence[tuple[Car, StorageRecord | None]]) -> Readable:
        faults = []
        for car, record in found:
            if car.storage_path:
                try:
                    return self._open_car(car, record)
                except EntranceError as error:
                    faults.append(str(error))
        for car, _ in found:
            if not car.storage_path and car.storage_id is None and car.attachment_id is not None:  # made here
                return _Remade(car, self._connect(), self._data)
        raise EntranceError(f"failed to find piece: {faults[0] if faults else 'no file of it is known'}")

    def _open_car(self, car: Car, record: StorageRecord | None) -> Readable:
        if record is not None:
            storage, path = self._data.open(record), car.storage_path
        else:
            place = Path(car.storage_path)
            storage, path = LocalStorage("piece", place.parent), place.name
        reader = storage.reader(path)
        size = reader.stat().size
        if size != car.file_size:
            reader.close()
            raise ExecutorError(f"{car.storage_path} has {size} bytes, not {car.file_size}")
        return _Stored(reader)

    # ---- files

    def file(self, caller: Caller, file_id: int) -> Readable:
        """Open a version of a file: in its source while it is unchanged there, else out of CARs. Raises NotFound."""
        view = self._data.file(caller, file_id)
        return self._data.offload(self._open_file, view)

    def _open_file(self, view: FileView) -> Readable:
        catalogue = self._connect()
        try:
            attachment = catalogue.attachment(view.file.attachment_id)
            source = catalogue.storage(attachment.storage_id) if attachment is not None else None
            preparation = catalogue.preparation(attachment.preparation_id) if attachment is not None else None
            if source is None or preparation is None:
                raise NotFound(f"file '{view.file.id}' does not exist")
            try:
                reader = self._data.open(source).reader(view.raw_path)
            except EntranceError:
                return self._packed_file(catalogue, preparation, view)
            if _is_unchanged(reader, view):
                return _Stored(reader)
            reader.close()
            return self._packed_file(catalogue, preparation, view)
        finally:
            catalogue.tx.connection.close()

    def _packed_file(self, catalogue: Catalogue, preparation: Preparation, view: FileView) -> Readable:
        opened: dict[str, Storage] = {}

        def storage_of(name: str) -> Storage:
            record = catalogue.storage(name)
            if record is None:
                raise ExecutorError(f"storage {name} does not exist any more")
            return opened.setdefault(name, self._data.open(record))

        workdir = Path(mkdtemp(prefix="entrance-"))
        storage = open_prepared(catalogue, preparation, storage_of, workdir)
        packing = Packing(catalogue, preparation, storage_of, workdir)
        entry = Entry(path=view.path, size=view.file.size, modified_ns=view.file.modified_ns)
        try:
            parts = packing.parts_of(view.file.id, view.path)
            for car_id in {part.car_id for part in parts}:
                car = catalogue.car(car_id)
                if car is None or car.storage_id is None:
                    raise ExecutorError("its CAR has no file")
                storage.hold(car_id)
        except EntranceError as error:
            storage.close()
            shutil.rmtree(workdir, ignore_errors=True)
            raise NotFound(f"file '{view.file.id}' is neither in its source nor in a CAR: {error}") from error
        after = (storage.close, lambda: shutil.rmtree(workdir, ignore_errors=True))
        return _Stored(storage.reader_of(entry, parts), after)

    # ---- metadata

    def metadata(self, caller: Caller, piece: PieceCid) -> PieceMetadata:
        """Return what a piece is made of. Raises NotFound; EntranceError for a piece of too many blocks."""

        def look(catalogue: Catalogue) -> PieceMetadata:
            found = [car for car, _ in _cars_of(catalogue, caller, piece) if car.attachment_id is not None]
            if not found:
                raise NotFound("piece not found")
            car = found[0]
            if car.blocks > MOST_BLOCKS:
                raise EntranceError(f"the piece has {car.blocks} blocks, more than the {MOST_BLOCKS} that one answer holds")
            attachment = catalogue.attachment(car.attachment_id or 0)
            source = catalogue.storage(attachment.storage_id) if attachment is not None else None
            if source is None:
                raise NotFound("piece not found")
            files: dict[int, tuple[File, str]] = {}
            if car.job_id is not None:
                for part, _ in packed_ranges(catalogue, car):
                    file = catalogue.file(part.file_id)
                    if file is not None:
                        files.setdefault(file.id, (file, part.path))
            return PieceMetadata(car=car, storage=source, blocks=self._blocks(catalogue, car), files=list(files.values()))

        return self._data.read(look)

    def _blocks(self, catalogue: Catalogue, car: Car) -> list[Block]:
        if car.storage_id is None and not car.storage_path:
            return list(self._inline_blocks(catalogue, car))
        record = catalogue.storage(car.storage_id) if car.storage_id is not None else None
        preparation = catalogue.preparation(car.preparation_id)
        if record is None or preparation is None or preparation.no_inline:
            return []
        return list(_file_blocks(catalogue, car, self._data.open(record)))

    def _inline_blocks(self, catalogue: Catalogue, car: Car) -> Iterator[Block]:
        sidecar = Sidecar(sidecar_path(self._database.parent, car.piece_cid))
        try:
            nodes = sidecar.nodes()
            at = cars.HEADER_LENGTH
            for number, (part, section) in enumerate(_layout(catalogue, car), 1):
                if isinstance(section, Leaf):
                    cid = cids.RAW_PREFIX + sidecar.digests(number - 1, 1)
                    block = _block(number, cid, at, section.length, None, section.at, part.file_id if part else None)
                else:
                    cid, data = next(nodes)
                    block = _block(number, cid, at, len(data), data, 0, None)
                yield block
                at += block.length
            for number, (cid, data) in enumerate(nodes, 1):  # of a DAG CAR
                block = _block(number, cid, at, len(data), data, 0, None)
                yield block
                at += block.length
        finally:
            sidecar.close()

    def _connect(self) -> Catalogue:
        return open_readonly(self._database)


def _is_unchanged(reader: Reader, view: FileView) -> bool:
    try:
        now = reader.stat()
    except EntranceError:
        return False
    return (now.size, now.modified_ns) == (view.file.size, view.file.modified_ns)


def _cars_of(catalogue: Catalogue, caller: Caller, piece: PieceCid) -> list[tuple[Car, StorageRecord | None]]:
    """Return the CARs of a piece that the caller may read, with the storages that they lie in."""
    found = []
    for car in catalogue.cars_of_piece(piece.to_v1()):
        preparation = catalogue.preparation(car.preparation_id)
        if preparation is None or not may(caller, preparation) or piece.piece_size not in (None, car.piece_size):
            continue
        found.append((car, catalogue.storage(car.storage_id) if car.storage_id is not None else None))
    return found


def _layout(catalogue: Catalogue, car: Car) -> Iterator[tuple[JobRange | None, Leaf | int]]:
    """Yield what lies in a data CAR, in order: leaves with their ranges, lengths of link nodes."""
    preparation = catalogue.preparation(car.preparation_id)
    if car.type != "data" or car.job_id is None or preparation is None:
        return
    split = estimate.split_size(preparation.max_size)
    for part, _ in packed_ranges(catalogue, car):
        for section in sections(part, split, preparation.profile):
            yield part, section


def _file_blocks(catalogue: Catalogue, car: Car, storage: Storage) -> Iterator[Block]:
    """Yield the blocks of a CAR file: CIDs of leaves, from its index or else from their heads, and link nodes whole."""
    if car.type == "dag":
        with storage.open(car.storage_path) as stream:
            for number, found in enumerate(cars.CarReader(stream), 1):
                yield _block(number, found.cid, found.offset, len(found.data), found.data, 0, None)
        return
    with TemporaryDirectory(prefix="entrance-") as workdir, closing(storage.reader(car.storage_path)) as reader:
        digests = _digests(storage, car, Path(workdir))
        at = cars.HEADER_LENGTH
        for number, (part, section) in enumerate(_layout(catalogue, car), 1):
            if isinstance(section, Leaf):
                cid = cids.RAW_PREFIX + (digests.get(at) or _leaf_digest(reader, at, section.length))
                block = _block(number, cid, at, section.length, None, section.at, part.file_id if part else None)
            else:
                cid_of, data = read_section(reader, at)
                block = _block(number, cid_of, at, len(data), data, 0, None)
            yield block
            at += block.length


def _digests(storage: Storage, car: Car, workdir: Path) -> Mapping[int, bytes]:
    """Return what the index beside a CAR says, by offset; nothing when it is not there, or another CAR's."""
    index = index_beside(storage, car.storage_path, workdir)
    if index is None:
        return {}
    with index:
        digests = {offset: digest for _, digest, offset in index.records()}
    is_its_own = len(digests) == car.blocks and digests.get(cars.HEADER_LENGTH) == car.root_cid[cids.PREFIX_LENGTH :]
    return digests if is_its_own else {}


def _leaf_digest(reader: Reader, offset: int, length: int) -> bytes:
    """Return the digest of a leaf of this length from the section at an offset of an open CAR."""
    digest = bytearray(cids.DIGEST_LENGTH)
    if reader.read_into([memoryview(digest)], offset + len(leaf_head(length))) < len(digest):
        raise TruncatedCar(f"the file ends before the section at offset {offset}")
    return bytes(digest)


def _block(
    number: int, cid: bytes, offset: int, length: int, data: bytes | None, file_offset: int, file_id: int | None
) -> Block:
    head = varint.encode(len(cid) + length)
    return Block(number, cid, offset, head, len(head) + len(cid) + length, data, file_offset, file_id)


class _Stored:
    """What a reader reads."""

    def __init__(self, reader: Reader, after: Sequence[Callable[[], object]] = ()) -> None:
        self._reader, self._after = reader, after
        entry = reader.stat()
        self.size, self.modified_ns = entry.size, entry.modified_ns

    def read(self, first: int, length: int) -> Iterator[bytes]:
        buffer = bytearray(min(BLOCK_BYTES, max(length, 1)))
        end = first + length
        while first < end:
            wanted = min(len(buffer), end - first)
            count = self._reader.read_into([memoryview(buffer)[:wanted]], first)
            if count < wanted:
                raise ExecutorError("the file has become shorter while it was read")
            yield bytes(buffer[:count])
            first += count

    def close(self) -> None:
        self._reader.close()
        for call in self._after:
            call()


class _Remade:
    """A CAR without a file."""

    modified_ns = 0

    def __init__(self, car: Car, catalogue: Catalogue, data: DataService) -> None:
        self._car, self._catalogue, self._data = car, catalogue, data
        self.size = car.file_size

    def read(self, first: int, length: int) -> Iterator[bytes]:
        folder = self._catalogue.data_folder
        assert folder is not None, "it was opened by its file"
        left = length
        for piece in stream_car(self._catalogue, self._car, self._source, folder, first):
            data = piece[:left]
            left -= len(data)
            if data:
                yield data
            if not left:
                return

    def _source(self, name: str) -> Storage:
        record = self._catalogue.storage(name)
        if record is None:
            raise ExecutorError(f"storage {name} does not exist any more")
        return self._data.open(record)

    def close(self) -> None:
        self._catalogue.tx.connection.close()
