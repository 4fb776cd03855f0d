"""CARs that are never written: what is needed to put them together again from the source files.

One sidecar file in the service's own folder, named ``{pieceCid}.car.idx`` as an index beside a CAR would be, with numbers of
eight bytes, little-endian::

    "entrance-inline\\0" | version = 1 | blocks | offset of the nodes | offset of the index | length of the file
    digests      32 bytes for each block, in the order of the CAR
    nodes        the sections of all link nodes, in the order of the CAR: varint | CID | data
    index        as beside a CAR (``common.content.index``)

The place of every block follows from the job's ranges (``layout``), so nothing more is stored for the leaves: their bytes
are in the source, and the digest says whether they still are. The CAR of a daggen is all nodes.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, BinaryIO

from common.content import car, varint
from common.content import cid as cids
from common.content.faults import BadIndex
from common.content.scratch import unnamed_file
from executors.packing.journal import Journal

FOLDER = "inline"
"""Name of the folder of the sidecars in the service's data folder."""
_HEAD = struct.Struct("<16s5Q")
_MAGIC = b"entrance-inline\0"
_COPY_BYTES = 1 << 20


def sidecar_path(data_folder: Path, piece_cid: bytes) -> Path:
    """Return where the sidecar of an inline CAR lies."""
    return data_folder / FOLDER / f"{cids.to_text(piece_cid)}.car{car.INDEX_SUFFIX}"


class NodeSpool:
    """Link nodes on their way into a sidecar, in an unnamed file."""

    def __init__(self, folder: Path) -> None:
        self._file: IO[bytes] = unnamed_file(folder)

    def add(self, cid: bytes, data: bytes) -> None:
        self._file.write(car.section_prefix(cid, len(data)))
        self._file.write(data)

    def copy_to(self, stream: BinaryIO) -> None:
        self._file.seek(0)
        while block := self._file.read(_COPY_BYTES):
            stream.write(block)
        self._file.close()


def write_sidecar(
    stream: BinaryIO, journal: Journal, blocks: int, nodes: NodeSpool, write_index: Callable[[BinaryIO], int]
) -> None:
    """Write a sidecar to an empty file."""
    stream.write(bytes(_HEAD.size))
    for first in range(0, blocks, 1 << 15):
        stream.write(journal.get(first, min(1 << 15, blocks - first)))
    nodes_at = stream.tell()
    nodes.copy_to(stream)
    index_at = stream.tell()
    length = index_at + write_index(stream)
    stream.seek(0)
    stream.write(_HEAD.pack(_MAGIC, 1, blocks, nodes_at, index_at, length))


class Sidecar:
    """Reads a sidecar. ``index_offset`` is where its index begins."""

    def __init__(self, path: Path) -> None:
        """Raises BadIndex when the file is no sidecar or was cut."""
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        head = os.pread(self._descriptor, _HEAD.size, 0)
        magic, version, self.blocks, self._nodes_at, self.index_offset, length = (
            _HEAD.unpack(head) if len(head) == _HEAD.size else (b"", 0, 0, 0, 0, -1)
        )
        if magic != _MAGIC or version != 1 or length != os.fstat(self._descriptor).st_size:
            os.close(self._descriptor)
            raise BadIndex(f"{path.name} is no sidecar of an inline CAR, or was cut")

    def digests(self, first: int, count: int) -> bytes:
        """Return the digests of ``count`` blocks from number ``first`` on."""
        count = max(0, min(count, self.blocks - first))
        return os.pread(self._descriptor, count * cids.DIGEST_LENGTH, _HEAD.size + first * cids.DIGEST_LENGTH)

    def nodes(self) -> Iterator[tuple[bytes, bytes]]:
        """Yield CID and data of the link nodes, in the order of the CAR."""
        at = self._nodes_at
        while at < self.index_offset:
            head = os.pread(self._descriptor, varint.MAX_LENGTH, at)
            length, size = varint.decode(head)
            body = os.pread(self._descriptor, length, at + size)
            yield body[: cids.CID_LENGTH], body[cids.CID_LENGTH :]
            at += size + length

    def close(self) -> None:
        os.close(self._descriptor)
