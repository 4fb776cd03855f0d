"""CARs without a file: put together again from the job's ranges, the sidecar and the source files.

What comes out is the CAR, byte for byte, zeros at the end included, from any offset on. Each file is checked when it is
opened (size and modification time as scanned); whoever reads checks the blocks, or the piece.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from common.content import car as cars
from common.content import chunker, estimate
from common.content import cid as cids
from common.content.profile import Profile
from common.db.catalogue import Car, Catalogue, JobRange
from common.db.catalogue.store import pages
from common.errors import ExecutorError
from common.storage.base import Storage
from executors.packing.inline import Sidecar, sidecar_path
from executors.packing.layout import leaf_head
from executors.packing.trees import range_node_lengths
from executors.preparing import path_of

_ZEROS = bytes(1 << 16)
_DIGESTS = 1 << 12


class Leaf(NamedTuple):
    """A leaf of a CAR: where it comes from."""

    part: JobRange
    at: int  # in the file
    length: int


Section = Leaf | int
"""A leaf, or the length of a link node."""


def packed_ranges(catalogue: Catalogue, car: Car) -> Iterator[tuple[JobRange, bytes]]:
    """Yield the ranges that are in a data CAR, in order, each with its recorded CID; without those that were skipped."""
    assert car.job_id is not None
    job, of = car.job_id, car.id
    named = pages(lambda a, n: catalogue.named_ranges(job, of, a, n), 0, lambda r: r[0])
    current = next(named, None)
    for part in pages(lambda a, n: catalogue.job_ranges(job, a, n), 0, lambda r: r.id):
        if current is not None and current[0] == part.id:
            yield part, current[1]
            current = next(named, None)


def sections(part: JobRange, split: int, profile: Profile) -> Iterator[Section]:
    """Yield what a range puts into its CAR, in order."""
    for chunk in chunker.chunks(part.offset, part.length, profile.chunk_size):
        yield Leaf(part, chunk.offset, chunk.length)
    yield from range_node_lengths(part.offset, part.length, part.size, split, profile)


def stream_car(
    catalogue: Catalogue, car: Car, open_source: Callable[[str], Storage], data_folder: Path, start: int = 0
) -> Iterator[bytes]:
    """Yield the bytes of an inline CAR from ``start`` on, in pieces of a block or less.

    Raises ExecutorError (a source file has changed), the storage's errors, BadIndex (no sidecar).
    """
    sidecar = Sidecar(sidecar_path(data_folder, car.piece_cid))
    try:
        yield from _from(start, 0, cars.header(car.root_cid))
        if car.type == "dag":
            at = cars.HEADER_LENGTH
            for cid, data in sidecar.nodes():
                body = cars.section_prefix(cid, len(data)) + data
                yield from _from(start, at, body)
                at += len(body)
        else:
            yield from _data_sections(catalogue, car, open_source, sidecar, start)
        left = car.file_size - max(start, car.car_size)
        while left > 0:
            yield _ZEROS[: min(left, len(_ZEROS))]
            left -= len(_ZEROS)
    finally:
        sidecar.close()


def _data_sections(
    catalogue: Catalogue, car: Car, open_source: Callable[[str], Storage], sidecar: Sidecar, start: int
) -> Iterator[bytes]:
    preparation = catalogue.preparation(car.preparation_id)
    attachment = catalogue.attachment(car.attachment_id or 0)
    record = catalogue.storage(attachment.storage_id) if attachment is not None else None
    if preparation is None or record is None:
        raise ExecutorError(f"the source of piece {cids.to_text(car.piece_cid)} is not there any more")
    source = open_source(record.name)
    split, profile = estimate.split_size(preparation.max_size), preparation.profile
    nodes = sidecar.nodes()
    digests = _digests(sidecar)
    at = cars.HEADER_LENGTH
    for part, _ in packed_ranges(catalogue, car):
        reader = None
        try:
            for section in sections(part, split, profile):
                digest = next(digests)
                if isinstance(section, int):
                    cid, data = next(nodes)
                    body = cars.section_prefix(cid, len(data)) + data
                    yield from _from(start, at, body)
                    at += len(body)
                    continue
                head = leaf_head(section.length) + digest
                end = at + len(head) + section.length
                if end > start:
                    if reader is None:
                        reader = source.reader(path_of(part))
                        now = reader.stat()
                        if (now.size, now.modified_ns) != (part.size, part.modified_ns):
                            raise ExecutorError(f"fileRange has been modified: {part.path}: file has been modified")
                    buffer = bytearray(section.length)
                    if section.length and reader.read_into([memoryview(buffer)], section.at) != section.length:
                        raise ExecutorError(f"fileRange has been modified: {part.path}: file has been modified")
                    yield from _from(start, at, head)
                    yield from _from(start, at + len(head), bytes(buffer))
                at = end
        finally:
            if reader is not None:
                reader.close()


def _digests(sidecar: Sidecar) -> Iterator[bytes]:
    for first in range(0, sidecar.blocks, _DIGESTS):
        block = sidecar.digests(first, _DIGESTS)
        for at in range(0, len(block), cids.DIGEST_LENGTH):
            yield block[at : at + cids.DIGEST_LENGTH]


def _from(start: int, at: int, data: bytes) -> Iterator[bytes]:
    """Yield what of ``data``, which lies at ``at``, is not before ``start``."""
    if start <= at:
        yield data
    elif start < at + len(data):
        yield data[start - at :]


class IteratorStream:
    """Reads from an iterator of bytes as from a file."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._held = b""
        self._at = 0

    def read(self, size: int = -1) -> bytes:
        """Return up to ``size`` bytes, at least one unless it is the end; all when negative."""
        if size < 0:
            rest = b"".join([self._held[self._at :], *self._pieces])
            self._held, self._at = b"", 0
            return rest
        while self._at == len(self._held):
            piece = next(self._pieces, None)
            if piece is None:
                return b""
            self._held, self._at = piece, 0
        data = self._held[self._at : self._at + size]
        self._at += len(data)
        return data
