"""The blocks of a CAR without a file, one by one: leaves out of the source files, link nodes out of the sidecar.

The place of a leaf in its file follows from its place in the CAR, which the sidecar's index knows. Holds sixteen bytes for
each range of the CAR, its link nodes (50 KiB for a GiB), and one open source file. Every block is checked.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from common.content import car as cars
from common.content import cid as cids
from common.content import estimate
from common.content.faults import BadBlock
from common.content.index import SUFFIX, IndexReader
from common.db.catalogue import Car, Catalogue, JobRange
from common.errors import ContentError, ExecutorError
from common.storage.base import Reader, Storage
from executors.packing.inline import Sidecar, sidecar_path
from executors.packing.layout import leaf_head
from executors.packing.remake import Leaf, packed_ranges, sections
from executors.preparing import path_of

_COPY_BYTES = 1 << 20


class InlineBlocks:
    """Implements ``common.storage.prepared.Blocks``."""

    def __init__(self, catalogue: Catalogue, car: Car, source: Storage, data_folder: Path, workdir: Path) -> None:
        """Raises BadIndex when there is no sidecar or it was cut."""
        preparation = catalogue.preparation(car.preparation_id)
        if preparation is None or car.job_id is None:
            raise ExecutorError("the CAR belongs to no pack job")
        self._catalogue, self._job, self._source = catalogue, car.job_id, source
        self._chunk_size = preparation.profile.chunk_size
        self._label = cids.to_text(car.piece_cid)
        path = sidecar_path(data_folder, car.piece_cid)
        sidecar = Sidecar(path)
        try:
            self._nodes = dict(sidecar.nodes())
            self._index = IndexReader(_index_of(path, sidecar.index_offset, workdir))
        finally:
            sidecar.close()
        split = estimate.split_size(preparation.max_size)
        at, ids, starts = cars.HEADER_LENGTH, [], []
        for part, _ in packed_ranges(catalogue, car):
            ids.append(part.id)
            starts.append(at)
            at += sum(_length(section) for section in sections(part, split, preparation.profile))
        self._ids, self._starts = np.array(ids, np.int64), np.array(starts, np.int64)
        self._open: tuple[int, Reader] | None = None  # of which file

    def get(self, cid: bytes) -> bytes:
        """See ``Blocks``. Raises ExecutorError when the source file has changed."""
        if cid in self._nodes:
            cids.verify(cid, self._nodes[cid])
            return self._nodes[cid]
        fault: ContentError | None = None
        for offset in self._index.offsets(cid):
            part, first = self._range_at(offset)
            number = (offset - first) // (len(leaf_head(self._chunk_size)) + cids.DIGEST_LENGTH + self._chunk_size)
            at = number * self._chunk_size
            buffer = bytearray(min(self._chunk_size, part.length - at))
            reader = self._reader(part)
            if buffer and reader.read_into([memoryview(buffer)], part.offset + at) != len(buffer):
                raise ExecutorError(f"fileRange has been modified: {part.path}: file has been modified")
            data = bytes(buffer)
            try:
                cids.verify(cid, data)
            except ContentError as error:
                fault = fault or BadBlock(f"{part.path} at byte {part.offset + at}: {error}")
            else:
                return data
        raise fault or BadBlock(f"{self._label}: the block {cids.to_text(cid)} is not in this CAR")

    def close(self) -> None:
        self._index.close()
        if self._open is not None:
            self._open[1].close()
            self._open = None

    def _range_at(self, offset: int) -> tuple[JobRange, int]:
        """Return the range that a section belongs to, and where the range begins in the CAR."""
        number = int(np.searchsorted(self._starts, offset, "right")) - 1
        (part,) = self._catalogue.job_ranges(self._job, int(self._ids[number]) - 1, 1)
        return part, int(self._starts[number])

    def _reader(self, part: JobRange) -> Reader:
        if self._open is not None and self._open[0] == part.file_id:
            return self._open[1]
        reader = self._source.reader(path_of(part))
        try:
            now = reader.stat()
            if (now.size, now.modified_ns) != (part.size, part.modified_ns):
                raise ExecutorError(f"fileRange has been modified: {part.path}: file has been modified")
        except BaseException:
            reader.close()
            raise
        if self._open is not None:
            self._open[1].close()
        self._open = (part.file_id, reader)
        return reader


def _length(section: Leaf | int) -> int:
    return cars.section_length(section if isinstance(section, int) else section.length)


def _index_of(sidecar: Path, offset: int, workdir: Path) -> Path:
    """Return the index of a sidecar as a file of its own."""
    target = workdir / f"{sidecar.name[-120:]}{SUFFIX}"
    if not target.exists():
        with sidecar.open("rb") as source, target.open("wb") as file:
            source.seek(offset)
            while block := source.read(_COPY_BYTES):
                file.write(block)
    return target
