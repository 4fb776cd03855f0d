"""The end of a pack: the CIDs of its ranges and files as catalogue rows, and the index of its CAR.

Both follow from the layout and the journal, read once more from the front; memory holds a page of ranges. A file of one
range is complete here; one of several is noted as *spanning* and completed when the CAR is published that brings the last.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from common.content import car, chunker
from common.content import cid as cids
from common.content.index import IndexWriter
from common.content.profile import Profile
from common.content.unixfs import Child, leaf
from common.db.catalogue import JobRange
from executors.packing.inline import NodeSpool, write_sidecar
from executors.packing.journal import Journal, JournalReader
from executors.packing.layout import leaf_head
from executors.packing.trees import range_node_lengths, range_nodes, save_tops

BATCH_ROWS = 4_000
_INDEX_BLOCKS = 1 << 14


class Names:
    """Goes over a job's ranges in order and names what is in them. ``files`` counts those that end in this CAR."""

    def __init__(
        self,
        *,
        car_id: int,
        split: int,
        profile: Profile,
        journal: JournalReader,
        index: IndexWriter,
        node: Callable[[bytes, bytes], None] | None = None,
    ) -> None:
        """``node`` is told CID and data of each link node, in order."""
        self._car_id, self._split, self._profile = car_id, split, profile
        self._journal, self._index, self._node = journal, index, node
        self._digests: list[bytes] = []
        self._offsets: list[int] = []
        self._end = car.HEADER_LENGTH
        self._rows: dict[str, list[Sequence[Any]]] = {"range_cids": [], "file_cids": [], "spanning": []}
        self._spanning = 0  # the last file noted
        self.files = 0
        self.blocks = 0

    @property
    def full(self) -> bool:
        """Whether there are as many rows as one checkpoint should carry."""
        return sum(map(len, self._rows.values())) >= BATCH_ROWS

    def take_rows(self) -> dict[str, list[Sequence[Any]]]:
        """Return the rows since the last call, by table."""
        rows, self._rows = self._rows, {table: [] for table in self._rows}
        return rows

    def add(self, part: JobRange) -> None:
        """Name the next range."""
        count = chunker.chunk_count(part.length, self._profile.chunk_size)
        lengths = range_node_lengths(part.offset, part.length, part.size, self._split, self._profile)
        whole = part.size == part.length
        if count == 1 and not lengths and (whole or self._profile.tree == "ranges"):
            digest = self._journal.take(1)
            cid, tops, tsize = cids.RAW_PREFIX + digest, None, part.length
            self._place(digest, len(leaf_head(part.length)) + cids.DIGEST_LENGTH + part.length)
        else:
            cid, tops, tsize = self._tree(part, count, lengths)
        self._rows["range_cids"].append((part.id, self._car_id, cid, tops))
        if whole:
            self._rows["file_cids"].append((part.file_id, self._car_id, cid, tsize))
        elif part.file_id != self._spanning:
            self._spanning = part.file_id
            self._rows["spanning"].append((self._car_id, part.file_id))
        if part.offset + part.length >= part.size:
            self.files += 1

    def finish(self) -> int:
        """Return the length of the CAR, once all ranges are named."""
        self._hand_over()
        return self._end

    def _tree(self, part: JobRange, count: int, lengths: tuple[int, ...]) -> tuple[bytes, bytes | None, int]:
        chunk_size = self._profile.chunk_size
        leaves: list[Child] = []
        for nth, digest in enumerate(self._journal.each(count)):
            length = min(chunk_size, part.length - nth * chunk_size)
            self._place(digest, len(leaf_head(length)) + cids.DIGEST_LENGTH + length)
            leaves.append(leaf(cids.RAW_PREFIX + digest, length))
        blocks, tops = range_nodes(leaves, part.offset, part.size, self._split, self._profile)
        for block, digest, length in zip(blocks, self._journal.each(len(lengths)), lengths, strict=True):
            if block.cid[cids.PREFIX_LENGTH :] != digest:
                raise AssertionError(f"the journal does not fit range {part.id}")
            self._place(digest, car.section_length(length))
            if self._node is not None:
                self._node(block.cid, block.data)
        if self._profile.tree == "ranges" or part.size == part.length:
            return tops[0].child.cid, None, tops[0].child.tsize
        return tops[0].child.cid if len(tops) == 1 else b"", save_tops(tops), 0

    def _place(self, digest: bytes, length: int) -> None:
        self._digests.append(digest)
        self._offsets.append(self._end)
        self._end += length
        self.blocks += 1
        if len(self._offsets) >= _INDEX_BLOCKS:
            self._hand_over()

    def _hand_over(self) -> None:
        if self._offsets:
            self._index.add_many(b"".join(self._digests), np.array(self._offsets, np.int64))
            self._digests, self._offsets = [], []


def write_index(path: Path, index: IndexWriter, journal: Journal, nodes: NodeSpool | None) -> None:
    """Write the index of a CAR and bring it to the disk; with ``nodes``, the sidecar of an inline CAR."""
    blocks = len(index)
    with path.open("wb") as stream:
        if nodes is None:
            index.write(stream)
        else:
            write_sidecar(stream, journal, blocks, nodes, index.write)
        stream.flush()
        os.fsync(stream.fileno())


def table_columns(rows: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Return the columns of the tables whose rows are given here."""
    known = {
        "range_cids": ("range_id", "car_id", "cid", "tops"),
        "file_cids": ("file_id", "car_id", "cid", "tsize"),
        "spanning": ("car_id", "file_id"),
        "skipped": ("range_id", "car_id"),
    }
    return {table: known[table] for table in rows}
