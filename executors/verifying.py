"""Reading CARs again and holding everything against what it should be: what ``verify`` does.

Every block against its CID, the header, the structure, the zeros at the end, the piece commitment of the whole file, and the
index beside it. The structure of a data CAR is held against its job: the same leaves in the same order and the very link
nodes that follow from them, so a file cannot be put together wrongly and pass. An inline CAR is put together from the
sources as it is read. A row per fault; what was found is told to the log, too.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import IO, BinaryIO, cast

from common.content import car as cars
from common.content import chunker, dagpb, estimate, piececid, unixfs
from common.content import cid as cids
from common.content.faults import BadBlock, BadCid
from common.content.index import SUFFIX, IndexWriter
from common.content.kernel import Kernel
from common.content.piece import MAX_PAYLOAD, MAX_PIECE_SIZE, MIN_PAYLOAD, PieceHasher, lift
from common.content.profile import Profile
from common.content.scratch import unnamed_file
from common.content.unixfs import Child, leaf
from common.db.catalogue import Car, Catalogue, Preparation
from common.db.catalogue.store import pages
from common.errors import ContentError, ExecutorError, MayPass, StorageNotFound
from common.storage.base import Storage
from executors.base import Stage, TaskContext
from executors.packing.inline import sidecar_path
from executors.packing.remake import IteratorStream, packed_ranges, stream_car
from executors.packing.trees import range_nodes
from executors.preparing import find_preparation, load_kernel

STEP_SECONDS = 0.25
MOST_FAULTS = 10_000
_COPY_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Target:
    """A CAR to verify. ``car`` None: nothing is known of it but its name."""

    label: str
    storage: str = ""  # "": inline
    path: str = ""
    car: Car | None = None


class Inspection:
    """One attempt. The checkpoint is how many targets are done and how many faults were found."""

    def __init__(self, ctx: TaskContext, catalogue: Catalogue) -> None:
        self._ctx, self._catalogue = ctx, catalogue
        self._state = ctx.checkpoint or b"{}"
        state = json.loads(self._state)
        self._targets_done: int = state.get("targets", 0)
        self._faults: int = state.get("faults", 0)
        self._bytes: int = state.get("bytes", 0)
        self._total = 0
        self._rows: list[tuple[int, int, str, int, str, str, str]] = []
        self._next_step = 0.0
        self._target = Target(label="")
        self._kernel = load_kernel(catalogue)

    def run(self) -> int:
        """Verify what is left; return the number of faults."""
        self._total = sum(target.car.file_size for target in self._targets() if target.car is not None)
        number = -1
        for number, target in enumerate(self._targets()):
            if number < self._targets_done:
                continue
            self._target = target
            before = self._faults
            try:
                self._verify(target)
            except (ContentError, ExecutorError) as error:
                if isinstance(error, MayPass):
                    raise
                self._fault(-1, "", "", str(error))
            self._ctx.log(
                f"{target.label}: " + (f"{self._faults - before} faults" if self._faults > before else "as it should be")
            )
            self._targets_done = number + 1
            self._flush()
        if number < 0:
            self._ctx.log("there are no CARs to verify", "WARN")
        return self._faults

    # ---- what to verify

    def _targets(self) -> Iterator[Target]:
        params, catalogue = self._ctx.params, self._catalogue
        if "storage" in params:
            record = catalogue.storage(params["storage"])
            if record is None:
                raise ExecutorError(f"storage {params['storage']} does not exist")
            known = self._known_piece(params["path"])
            yield Target(label=params["path"], storage=record.name, path=params["path"], car=known)
        elif "pieceCid" in params:
            yield from map(self._target_of, filter(None, map(catalogue.car, params.get("cars", ()))))
        else:
            preparation = find_preparation(catalogue, params["preparation"])
            every = pages(lambda a, n: catalogue.cars(preparation.id, a, n), 0, lambda c: c.id)
            yield from map(self._target_of, every)

    def _target_of(self, car: Car) -> Target:
        piece = f"{cids.to_text(car.piece_cid)}.car"
        record = self._catalogue.storage(car.storage_id) if car.storage_id is not None else None
        if record is None:
            return Target(label=piece, car=car)
        return Target(label=car.storage_path, storage=record.name, path=car.storage_path, car=car)

    def _known_piece(self, path: str) -> Car | None:
        found = self._catalogue.cars_of_text(path.rpartition("/")[2].removesuffix(".car"))
        return found[0] if found else None

    # ---- one CAR

    def _verify(self, target: Target) -> None:
        car = target.car
        if not target.storage:
            assert car is not None
            self._verify_inline(car)
            return
        storage = self._ctx.storage(target.storage)
        size = storage.stat(target.path).size
        if car is not None and size != car.file_size:
            self._fault(-1, str(car.file_size), str(size), "the file has another length")
        stream = storage.open(target.path)
        try:
            index = self._read_car(stream, car)
        finally:
            stream.close()
        if car is not None and index is not None:
            self._check_index(storage, target.path + SUFFIX, index)

    def _verify_inline(self, car: Car) -> None:
        """Put the CAR together from the sources and verify that."""
        folder = self._catalogue.data_folder
        if folder is None:
            raise ExecutorError("the service's data folder is not known here")
        try:
            pieces = stream_car(self._catalogue, car, self._ctx.storage, folder)
            self._read_car(cast(BinaryIO, IteratorStream(pieces)), car)
        except FileNotFoundError:
            self._fault(-1, sidecar_path(folder, car.piece_cid).name, "", "the sidecar is not there")

    def _read_car(self, stream: BinaryIO, car: Car | None) -> IndexWriter | None:
        """Read a CAR to its end; return the index that it should have, None when it could not be read to the end."""
        tee = _Tee(stream, self._kernel, self._progress)
        index: IndexWriter | None = IndexWriter(self._ctx.workdir)
        end = 0  # of the last block that could be read
        try:
            reader = cars.CarReader(cast(BinaryIO, tee))
            self._check_root(reader, car)
            shape = self._shape_of(car)
            count = 0
            for section in reader:
                assert index is not None
                self._check_block(section)
                if shape is not None:
                    shape.check(section)
                if len(section.cid) == cids.CID_LENGTH:
                    index.add(section.cid, section.offset)
                count += 1
                end = section.end
            if shape is not None:
                shape.end(reader.padding_offset or 0)
            if car is not None and count != car.blocks:
                self._fault(
                    reader.padding_offset or -1, f"{car.blocks} blocks", f"{count} blocks", "blocks are missing or too many"
                )
            reader.check_padding()
        except ContentError as error:
            self._fault(end, "", "", str(error))
            index = None
        while tee.read(_COPY_BYTES):
            pass
        self._check_piece(tee, car)
        return index

    def _check_root(self, reader: cars.CarReader, car: Car | None) -> None:
        if car is None:
            return
        found = reader.roots[0] if len(reader.roots) == 1 else b""
        if found != car.root_cid:
            self._fault(0, cids.to_text(car.root_cid), cids.to_text(found), "the header names another root")

    def _check_block(self, section: cars.Section) -> None:
        try:
            cids.verify(section.cid, section.data)
        except BadBlock:
            raw = section.cid.startswith(cids.RAW_PREFIX)
            found = cids.of_raw(section.data) if raw else cids.of_dag_pb(section.data)
            self._fault(section.offset, cids.to_text(section.cid), cids.to_text(found), "the bytes do not hash to the CID")
            return
        except BadCid as error:
            self._fault(section.offset, "", cids.to_text(section.cid), str(error))
            return
        if section.cid.startswith(cids.DAG_PB_PREFIX):
            try:
                unixfs.decode_data(dagpb.decode_node(section.data).data or b"")
            except BadBlock as error:
                self._fault(section.offset, "", cids.to_text(section.cid), str(error))

    def _check_piece(self, tee: _Tee, car: Car | None) -> None:
        wanted = car.piece_cid if car is not None else _piece_of_name(self._target.path)
        if wanted is None:
            return
        if not MIN_PAYLOAD <= tee.offset <= MAX_PAYLOAD:
            self._fault(-1, cids.to_text(wanted), "", f"{tee.offset} bytes cannot be a piece")
            return
        found = tee.hasher.finish(car.piece_size if car is not None else 128)
        if car is None:  # a piece may have been lifted: any size up to 64 GiB may be meant
            if not any(found_cid == wanted for found_cid in _lifted(found.root, found.piece_size)):
                self._fault(-1, cids.to_text(wanted), cids.to_text(found.cid_v1), "the piece CID is another one")
        elif found.cid_v1 != wanted:
            self._fault(-1, cids.to_text(wanted), cids.to_text(found.cid_v1), "the piece CID is another one")

    def _check_index(self, storage: Storage, path: str, index: IndexWriter) -> None:
        with unnamed_file(self._ctx.workdir) as wanted:
            index.write(cast(BinaryIO, wanted))
            wanted.seek(0)
            try:
                found = storage.open(path)
            except StorageNotFound:
                self._fault(-1, path, "", "the index is not there")
                return
            try:
                if not _same(wanted, found):
                    self._fault(-1, path, "", "the index is not that of the CAR")
            finally:
                found.close()

    def _shape_of(self, car: Car | None) -> Shape | None:
        if car is None or car.type != "data" or car.job_id is None:
            return None
        preparation = self._catalogue.preparation(car.preparation_id)
        return None if preparation is None else Shape(self._catalogue, car, preparation, self._fault)

    # ---- what is found

    def _fault(self, offset: int, expected: str, found: str, message: str) -> None:
        self._faults += 1
        if self._faults > MOST_FAULTS:
            return
        label = self._target.label
        self._rows.append((self._ctx.task_id, self._faults - 1, label, offset, expected, found, message))
        where = f" at offset {offset}" if offset >= 0 else ""
        what = f" (expected {expected}, found {found})" if expected and found else ""
        self._ctx.log(f"{label}{where}: {message}{what}", "ERROR")
        if len(self._rows) >= 4_000:
            self._flush_rows()

    def _flush_rows(self) -> None:
        """The rows count with a checkpoint that starts this target again; their numbers are then used again."""
        rows, self._rows = self._rows, []
        columns = ("task_id", "number", "object", "offset", "expected", "found", "message")
        self._ctx.rows("faults", rows, columns)
        self._ctx.step(self._bytes, max(self._total, self._bytes), self._state, stages=self._stages())

    def _flush(self) -> None:
        columns = ("task_id", "number", "object", "offset", "expected", "found", "message")
        rows, self._rows = self._rows, []
        self._ctx.rows("faults", rows, columns)
        state = {"targets": self._targets_done, "faults": self._faults, "bytes": self._bytes}
        self._state = json.dumps(state).encode()
        self._ctx.step(
            self._bytes,
            max(self._total, self._bytes),
            self._state,
            bytes_done=self._bytes,
            bytes_total=max(self._total, self._bytes),
            stages=self._stages(),
        )

    def _progress(self, count: int) -> None:
        self._bytes += count
        self._maybe_step()

    def _maybe_step(self) -> None:
        now = time.monotonic()
        if now >= self._next_step and not self._rows:
            self._next_step = now + STEP_SECONDS
            total = max(self._total, self._bytes)
            self._ctx.step(self._bytes, total, bytes_done=self._bytes, bytes_total=total, stages=self._stages())

    def _stages(self) -> list[Stage]:
        return [Stage(name="verify", target=self._target.label, done=self._targets_done, total=self._targets_done + 1)]


class Shape:
    """Holds the sections of a data CAR against the ranges of its job, as they come."""

    def __init__(
        self, catalogue: Catalogue, car: Car, preparation: Preparation, fault: Callable[[int, str, str, str], None]
    ) -> None:
        self._catalogue, self._car, self._fault = catalogue, car, fault
        self._profile: Profile = preparation.profile
        self._split = estimate.split_size(preparation.max_size)
        self._broken = False
        self._waits_for = ""
        self._course = self._go_over()
        self._ended = next(self._course, None) is None

    def check(self, section: cars.Section) -> None:
        """Take in the next section. After a first fault in the structure nothing more can be said of it."""
        if self._broken:
            return
        if self._ended:
            self._break(section.offset, "the end", cids.to_text(section.cid), "a block that belongs to no file")
            return
        try:
            self._course.send(section)
        except StopIteration:
            self._ended = True

    def end(self, offset: int) -> None:
        """There are no more sections."""
        if not self._broken and not self._ended:
            self._break(offset, self._waits_for, "the end", "the CAR ends too early")

    def _go_over(self) -> Generator[bool, cars.Section, None]:
        for part, recorded in packed_ranges(self._catalogue, self._car):
            leaves: list[Child] = []
            for chunk in chunker.chunks(part.offset, part.length, self._profile.chunk_size):
                self._waits_for = f"a leaf of {part.path}"
                section = yield True
                if not section.cid.startswith(cids.RAW_PREFIX) or len(section.data) != chunk.length:
                    found = f"{cids.to_text(section.cid)}, {len(section.data)} bytes"
                    self._break(
                        section.offset, f"{chunk.length} bytes", found, f"not the leaf of {part.path} at {chunk.offset}"
                    )
                    return
                leaves.append(leaf(section.cid, chunk.length))
            blocks, tops = range_nodes(leaves, part.offset, part.size, self._split, self._profile)
            for block in blocks:
                self._waits_for = f"a link node of {part.path}"
                section = yield True
                if section.cid != block.cid:
                    wanted, found = cids.to_text(block.cid), cids.to_text(section.cid)
                    self._break(section.offset, wanted, found, f"not the link node of {part.path}")
                    return
            if recorded and (len(tops) != 1 or tops[0].child.cid != recorded):
                found = cids.to_text(tops[0].child.cid)
                self._fault(-1, cids.to_text(recorded), found, f"{part.path} has another CID than was recorded")

    def _break(self, offset: int, expected: str, found: str, message: str) -> None:
        self._broken = True
        self._fault(offset, expected, found, message)


class _Tee:
    """Reads a stream, and takes what was read into the commitment of the piece."""

    def __init__(self, stream: BinaryIO, kernel: Kernel, told: Callable[[int], None]) -> None:
        self._stream, self._told = stream, told
        self.hasher = PieceHasher(kernel)
        self.offset = 0

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(size)
        self.hasher.update(data)
        self.offset += len(data)
        self._told(len(data))
        return data


def _piece_of_name(path: str) -> bytes | None:
    """Return the piece CID (v1) that a file name says, if it says one."""
    try:
        return piececid.parse(path.rpartition("/")[2].removesuffix(".car")).to_v1()
    except ContentError:
        return None


def _lifted(root: bytes, size: int) -> Iterator[bytes]:
    """Yield the piece CIDs of a payload in its smallest piece and in all larger ones."""
    wanted = size
    while wanted <= MAX_PIECE_SIZE:
        yield piececid.encode_v1(lift(root, size, wanted))
        wanted *= 2


def _same(one: IO[bytes], other: BinaryIO) -> bool:
    while True:
        a = one.read(_COPY_BYTES)
        b = other.read(max(len(a), 1))
        while b and len(b) < len(a):
            more = other.read(len(a) - len(b))
            if not more:
                break
            b += more
        if a != b:
            return False
        if not a:
            return True
