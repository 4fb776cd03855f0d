"""Blocks in a temporary file, to be read back in order of their CIDs.

The DAG CAR wants the blocks of a directory sorted by CID and each once, while a large HAMT is made in another order and
does not fit in memory. The spool holds 48 bytes per block; the data lies in an unnamed file that vanishes with it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import numpy as np

from common.content import cid as cids
from common.content.faults import BadCid
from common.content.scratch import unnamed_file
from common.content.unixfs import Block

_RECORD = np.dtype([("prefix", ">u4"), ("digest", ">u8", 4), ("offset", "<u8"), ("length", "<u4")])


class BlockSpool:
    """A context manager: ``add`` blocks, then iterate over them sorted by CID bytes, each CID once."""

    def __init__(self, folder: Path) -> None:
        self._file = unnamed_file(folder)
        self._records = bytearray()
        self._end = 0

    def __enter__(self) -> BlockSpool:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._file.close()

    def __len__(self) -> int:
        """Blocks taken in, repeated ones included."""
        return len(self._records) // _RECORD.itemsize

    def add(self, block: Block) -> None:
        """Take one block in.

        Raises:
            BadCid: its CID does not have the 36 bytes of ours.
        """
        if len(block.cid) != cids.CID_LENGTH:
            raise BadCid(f"a CID of {len(block.cid)} bytes, where ours have {cids.CID_LENGTH}")
        self._file.write(block.data)
        length = len(block.data)
        self._records += block.cid + self._end.to_bytes(8, "little") + length.to_bytes(4, "little")
        self._end += length

    def __iter__(self) -> Iterator[Block]:
        """Yield the blocks in bytewise order of their CIDs; a CID that was added twice comes once."""
        records = np.frombuffer(bytes(self._records), _RECORD)
        digest = records["digest"]
        keys = (digest[:, 3], digest[:, 2], digest[:, 1], digest[:, 0], records["prefix"])
        last = b""
        for position in np.lexsort(keys).tolist():
            start = position * _RECORD.itemsize
            cid = bytes(self._records[start : start + cids.CID_LENGTH])
            if cid == last:
                continue
            last = cid
            self._file.seek(int(records["offset"][position]))
            yield Block(cid, self._file.read(int(records["length"][position])))
