"""CAR index files: from multihash to the offset of its section, sorted, for binary search on disk.

The format is MultihashIndexSorted (0x0401) of CARv2, as a file of its own, numbers little-endian::

    varint 0x0401
    int32   number of hash functions
      uint64  multihash code (0x12 for SHA2-256), ascending
      int32   number of widths
        uint32  width = digest length + 8, ascending
        int64   bytes of the records that follow
        records: digest | uint64 offset of the section's length varint; sorted by digest

Source: https://ipld.io/specs/transport/car/carv2/#format-0x0401-multihashindexsorted. Ours has SHA2-256 alone; records of
equal digest (the same block twice in the CAR) are all kept, in order of offset.
"""

from __future__ import annotations

import heapq
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import IO, Any, BinaryIO, NamedTuple

import numpy as np

from common.content import car, varint
from common.content import cid as cids
from common.content.faults import BadIndex
from common.content.scratch import unnamed_file

CODEC = 0x0401
SUFFIX = car.INDEX_SUFFIX

RECORD_LENGTH = cids.DIGEST_LENGTH + 8
MAX_GROUPS = 64
"""Hash functions, and widths of each, that a reader accepts."""

_CODEC_BYTES = varint.encode(CODEC)
_HEAD = struct.Struct("<iQiIq")
HEADER_LENGTH = len(_CODEC_BYTES) + _HEAD.size

_RECORD = np.dtype([("digest", ">u8", 4), ("offset", "<u8")])
_PARTITIONS = 256
_SEARCH_BYTES = 4096

_Records = np.ndarray[tuple[int], np.dtype[np.void]]


class IndexWriter:
    """Collects digests and offsets in any order and writes the sorted index.

    Sorted runs of ``run_records`` go to an unnamed temporary file in ``spill_folder``, so it holds some 40 bytes for each
    record of a run (2.5 MiB by default), whatever the number of blocks.
    """

    def __init__(self, spill_folder: Path, *, run_records: int = 1 << 16) -> None:
        self._spill_folder = spill_folder
        self._run_records = run_records
        self._pending = bytearray()
        self._spill: IO[bytes] | None = None
        self._runs: list[np.ndarray[tuple[int], np.dtype[np.int64]]] = []
        self._count = 0

    def __len__(self) -> int:
        """Records taken in."""
        return self._count

    def add(self, cid: bytes, offset: int) -> None:
        """Take in one block: a CID of 36 bytes and the offset of its section."""
        if len(cid) != cids.CID_LENGTH:
            raise BadIndex(f"a CID of {len(cid)} bytes, where ours have {cids.CID_LENGTH}")
        self._pending += cid[cids.PREFIX_LENGTH :] + offset.to_bytes(8, "little")
        self._count += 1
        if len(self._pending) >= self._run_records * RECORD_LENGTH:
            self._close_run()

    def add_many(self, digests: bytes, offsets: np.ndarray[tuple[int], np.dtype[np.int64]]) -> None:
        """Take in a batch: digests of 32 bytes one after the other, and as many offsets."""
        records = np.empty(len(offsets), _RECORD)
        records["digest"] = np.frombuffer(digests, ">u8").reshape(-1, 4)
        records["offset"] = offsets
        self._pending += records.tobytes()
        self._count += len(offsets)
        if len(self._pending) >= self._run_records * RECORD_LENGTH:
            self._close_run()

    def write(self, stream: BinaryIO) -> int:
        """Write the index to a stream and return its length. To be called once, after the last ``add``."""
        size = self._count * RECORD_LENGTH
        head = _CODEC_BYTES + _HEAD.pack(1, cids.SHA2_256, 1, RECORD_LENGTH, size)
        stream.write(head)
        if self._spill is None:
            stream.write(_sorted(bytes(self._pending)))
            return len(head) + size
        self._close_run()
        try:
            for partition in range(_PARTITIONS):
                self._write_partition(stream, partition)
        finally:
            if self._spill is not None:
                self._spill.close()
                self._spill = None
        return len(head) + size

    def _write_partition(self, stream: BinaryIO, partition: int) -> None:
        """Merge what all runs have of the digests that begin with this byte."""
        spill = self._spill
        assert spill is not None
        extents = [(int(bounds[partition]), int(bounds[partition + 1])) for bounds in self._runs]
        extents = [(start, stop) for start, stop in extents if start < stop]
        if sum(stop - start for start, stop in extents) <= 4 * self._run_records:
            parts = []
            for start, stop in extents:
                spill.seek(start * RECORD_LENGTH)
                parts.append(spill.read((stop - start) * RECORD_LENGTH))
            stream.write(_sorted(b"".join(parts)))
            return
        # Far more records than an even spread gives, so one digest comes very often: merge the runs record by record.
        for record in heapq.merge(*(_read_records(spill, *extent) for extent in extents), key=_sort_key):
            stream.write(record)

    def _close_run(self) -> None:
        if not self._pending:
            return
        if self._spill is None:
            self._spill = unnamed_file(self._spill_folder)
        run = _sorted(bytes(self._pending))
        first = self._spill.seek(0, os.SEEK_END) // RECORD_LENGTH
        self._spill.write(run)
        leading = np.frombuffer(run, np.uint8)[::RECORD_LENGTH]
        self._runs.append(first + np.searchsorted(leading, np.arange(_PARTITIONS + 1)).astype(np.int64))
        self._pending.clear()


def _sorted(data: bytes) -> bytes:
    records = np.frombuffer(data, _RECORD)
    digest = records["digest"]
    first = digest[:, 0].astype(np.uint64)
    order = np.argsort(first)
    if np.any(np.diff(first[order]) == 0):  # the same block twice, or nearly so
        order = np.lexsort((records["offset"], digest[:, 3], digest[:, 2], digest[:, 1], digest[:, 0]))
    return records[order].tobytes()


def _sort_key(record: bytes) -> tuple[bytes, int]:
    return record[: cids.DIGEST_LENGTH], int.from_bytes(record[cids.DIGEST_LENGTH :], "little")


def _read_records(spill: IO[bytes], start: int, stop: int) -> Iterator[bytes]:
    step = _SEARCH_BYTES
    for first in range(start, stop, step):
        spill.seek(first * RECORD_LENGTH)
        data = spill.read(min(step, stop - first) * RECORD_LENGTH)
        for at in range(0, len(data), RECORD_LENGTH):
            yield data[at : at + RECORD_LENGTH]


class _Group(NamedTuple):
    """Records of one hash function and width: where they are in the file, and how many."""

    hash_code: int
    width: int
    offset: int
    records: int


class IndexReader:
    """Finds sections by CID in an index file; reads a few pages of it per search and holds none of it.

    A context manager over the file that it opens. Indexes of other programs are read too: any hash function and width.

    Raises:
        BadIndex: not such an index, or its lengths do not agree with the file.
    """

    def __init__(self, path: Path | str) -> None:
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            self._groups = self._read_groups(os.fstat(self._descriptor).st_size)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> IndexReader:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; a second time does nothing."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __len__(self) -> int:
        """Records in the index."""
        return sum(group.records for group in self._groups)

    def find(self, cid: bytes) -> list[int]:
        """Return the offsets of all sections with this CID's multihash, ascending; ``[]`` if there are none."""
        return sorted(self.offsets(cid))

    def offsets(self, cid: bytes) -> Iterator[int]:
        """Yield the offsets of the sections with this CID's multihash, ascending, found one after the other."""
        parts, _ = cids.split(cid)
        for group in self._groups:
            if group.hash_code == parts.hash_code and group.width == len(parts.digest) + 8:
                yield from self._search(group, parts.digest)

    def records(self) -> Iterator[tuple[int, bytes, int]]:
        """Yield (hash code, digest, offset) of every record in order of the file."""
        for group in self._groups:
            step = max(1, (1 << 20) // group.width)
            for first in range(0, group.records, step):
                data = self._read(group, first, min(step, group.records - first))
                for at in range(0, len(data), group.width):
                    end = at + group.width
                    yield group.hash_code, data[at : end - 8], int.from_bytes(data[end - 8 : end], "little")

    def _search(self, group: _Group, digest: bytes) -> Iterator[int]:
        low, high = 0, group.records  # the first record that is not below the digest lies in low..high
        page = max(1, _SEARCH_BYTES // group.width)
        while high - low > page:
            middle = (low + high) // 2
            if self._read(group, middle, 1)[:-8] < digest:
                low = middle + 1
            else:
                high = middle
        while low < group.records:
            data = self._read(group, low, min(page, group.records - low))
            for at in range(0, len(data), group.width):
                record = data[at : at + group.width]
                if record[:-8] > digest:
                    return
                if record[:-8] == digest:
                    yield int.from_bytes(record[-8:], "little")
            low += page

    def _read(self, group: _Group, first: int, count: int) -> bytes:
        length = count * group.width
        data = os.pread(self._descriptor, length, group.offset + first * group.width)
        if len(data) != length:
            raise BadIndex(f"the index ends before record {first + count} of {group.records}")
        return data

    def _read_groups(self, size: int) -> list[_Group]:
        head = os.pread(self._descriptor, len(_CODEC_BYTES), 0)
        if head != _CODEC_BYTES:
            raise BadIndex(f"the index begins with {head.hex()}, not with {_CODEC_BYTES.hex()}")
        at = len(_CODEC_BYTES)
        groups: list[_Group] = []
        hashes, at = self._number("<i", at)
        for _ in range(_checked("hash functions", hashes)):
            hash_code, at = self._number("<Q", at)
            widths, at = self._number("<i", at)
            for _ in range(_checked("widths", widths)):
                width, at = self._number("<I", at)
                length, at = self._number("<q", at)
                if not 8 <= width <= 8 + cids.MAX_DIGEST_LENGTH:
                    raise BadIndex(f"the index has records of {width} bytes, at offset {at - 12}")
                if length < 0 or length % width or at + length > size:
                    raise BadIndex(f"the index has {length} bytes of records at offset {at}, {size - at} are left")
                groups.append(_Group(hash_code, width, at, length // width))
                at += length
        return groups

    def _number(self, form: str, at: int) -> tuple[Any, int]:
        size = struct.calcsize(form)
        data = os.pread(self._descriptor, size, at)
        if len(data) != size:
            raise BadIndex(f"the index ends at offset {at + len(data)}, inside a number")
        return struct.unpack(form, data)[0], at + size


def _checked(what: str, count: int) -> int:
    if not 0 <= count <= MAX_GROUPS:
        raise BadIndex(f"the index has {count} {what}, more than the limit of {MAX_GROUPS}")
    return count
