"""The CIDs of a pack's ranges and files as catalogue rows, and the index of its CAR.

Both follow from the ranges and the journal, beside the hashing, as far as that has come; memory holds one batch of rows. A
file of one range is complete with it; one of several is noted as *spanning* and completed when the CAR is published that
brings the last.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate, groupby
from pathlib import Path
from typing import Any

import numpy as np

from common.content import car, chunker
from common.content import cid as cids
from common.content.index import IndexWriter
from common.content.profile import Profile
from common.content.unixfs import leaf
from common.db.catalogue import JobRange
from executors.packing.inline import NodeSpool, write_sidecar
from executors.packing.journal import Journal, JournalReader
from executors.packing.layout import leaf_head
from executors.packing.trees import range_nodes, save_tops

BATCH_ROWS = 6_000
TABLE_COLUMNS = {
    "range_cids": ("range_id", "car_id", "cid", "tops"),
    "file_cids": ("file_id", "car_id", "cid", "tsize"),
    "spanning": ("car_id", "file_id"),
}
"""What the rows of the tables that are filled here say."""


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
        self.end = car.HEADER_LENGTH  # of what is named, in the CAR
        self._rows: dict[str, list[Sequence[Any]]] = {table: [] for table in TABLE_COLUMNS}
        self._spanning = 0  # the last file noted
        self.files = 0

    @property
    def blocks(self) -> int:
        """How many blocks are named."""
        return len(self._index)

    @property
    def full(self) -> bool:
        """Whether there are as many rows as should be handed over at once."""
        return sum(map(len, self._rows.values())) >= BATCH_ROWS

    def take_rows(self) -> dict[str, list[Sequence[Any]]]:
        """Return the rows since the last call, by table."""
        rows, self._rows = self._rows, {table: [] for table in self._rows}
        return rows

    def add(self, parts: Iterable[JobRange], blocks: int) -> None:
        """Name the next ranges. ``blocks`` are in the journal without a gap, theirs among them."""
        self._journal.end = blocks
        for is_leaf, neighbours in groupby(parts, self._is_leaf):
            if is_leaf:
                self._add_leaves(list(neighbours))
            else:
                for part in neighbours:
                    self._add_tree(part)

    def _is_leaf(self, part: JobRange) -> bool:
        """Whether all of a range is one leaf, with nothing above it."""
        return part.length <= self._profile.chunk_size and (part.length == part.size or self._profile.tree == "ranges")

    def _add_leaves(self, parts: Sequence[JobRange]) -> None:
        digests = self._journal.take(len(parts))
        self._place(digests, [len(leaf_head(part.length)) + cids.DIGEST_LENGTH + part.length for part in parts])
        named = list(zip(parts, (cids.RAW_PREFIX + digest for digest in _each(digests)), strict=True))
        of = self._car_id
        self._rows["range_cids"] += [(part.id, of, cid, None) for part, cid in named]
        whole = [(part.file_id, of, cid, part.length) for part, cid in named if part.length == part.size]
        self._rows["file_cids"] += whole
        self.files += len(whole)
        if len(whole) < len(parts):
            for part in parts:
                self._note_spanning(part)

    def _add_tree(self, part: JobRange) -> None:
        lengths = [chunk.length for chunk in chunker.chunks(part.offset, part.length, self._profile.chunk_size)]
        digests = self._journal.take(len(lengths))
        leaves = [leaf(cids.RAW_PREFIX + digest, of) for digest, of in zip(_each(digests), lengths, strict=True)]
        blocks, tops = range_nodes(leaves, part.offset, part.size, self._split, self._profile)
        above = self._journal.take(len(blocks))
        if above != b"".join([block.cid[cids.PREFIX_LENGTH :] for block in blocks]):
            raise AssertionError(f"the journal does not fit range {part.id}")
        self._place(digests + above, map(car.section_length, [*lengths, *(len(block.data) for block in blocks)]))
        if self._node is not None:
            for block in blocks:
                self._node(block.cid, block.data)
        root = tops[0].child
        whole = part.length == part.size
        if whole or self._profile.tree == "ranges":
            self._rows["range_cids"].append((part.id, self._car_id, root.cid, None))
        else:
            self._rows["range_cids"].append((part.id, self._car_id, root.cid if len(tops) == 1 else b"", save_tops(tops)))
        if whole:
            self._rows["file_cids"].append((part.file_id, self._car_id, root.cid, root.tsize))
            self.files += 1
        self._note_spanning(part)

    def _note_spanning(self, part: JobRange) -> None:
        """Note that a file is not whole in this range."""
        if part.length == part.size:
            return
        if part.file_id != self._spanning:
            self._spanning = part.file_id
            self._rows["spanning"].append((self._car_id, part.file_id))
        if part.offset + part.length >= part.size:
            self.files += 1

    def _place(self, digests: bytes, lengths: Iterable[int]) -> None:
        """Note where the next blocks lie, from the lengths of their sections."""
        *offsets, self.end = accumulate(lengths, initial=self.end)
        self._index.add_many(digests, np.array(offsets, np.int64))


def _each(digests: bytes) -> Iterator[bytes]:
    return (digests[at : at + cids.DIGEST_LENGTH] for at in range(0, len(digests), cids.DIGEST_LENGTH))


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
