"""The nodes of folders, made from what is recorded of the files and folders in them; deepest folders first.

Memory holds one folder's pages: many folders are read with one question, and taken from the answer one after the other.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Sequence
from functools import partial
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Generic, TypeVar

from common.content.directory import DirectoryBuilder, Entry
from common.db.catalogue import PAGE_ROWS, Catalogue, Child, PackedFile, Preparation
from common.db.catalogue.store import pages
from executors.exporting.scratch import Scratch
from executors.packing.trees import file_nodes

FOLDERS_AT_ONCE = 500  # read with one question
NODE, FILE_NODE = 0, 1  # the order of blocks in a directory

Row = TypeVar("Row")


class Folders:
    """Makes the nodes of all folders that the scratch database names, from its place on."""

    def __init__(
        self,
        *,
        catalogue: Catalogue,
        preparation: Preparation,
        split: int,
        cars: Container[int],
        scratch: Scratch,
        spill_folder: Path,
        tick: Callable[[int], None],
    ) -> None:
        """Files count that are in one of ``cars``; ``tick`` is called often, with the number of folders made since."""
        self._catalogue, self._preparation, self._split, self._cars = catalogue, preparation, split, cars
        self._scratch, self._db, self._spill_folder, self._tick = scratch, scratch.db, spill_folder, tick
        self._profile = preparation.profile

    def make(self) -> None:
        """Make them all."""
        place = self._scratch.place
        assert place.depth is not None, "all folders are known"
        while place.depth >= 0:
            batch = [
                row[0]
                for row in self._db.execute(
                    "SELECT id FROM folders WHERE depth = ? AND id > ? ORDER BY id LIMIT ?",
                    (place.depth, place.folder, FOLDERS_AT_ONCE),
                )
            ]
            files, folders = _ByFolder(self._packed_files(batch)), _ByFolder(self._children(batch))
            for folder_id in batch:
                self._make(folder_id, files.of(folder_id), folders.of(folder_id))
                place.folder = folder_id
                self._tick(1)
            if len(batch) < FOLDERS_AT_ONCE:
                place.depth, place.folder = place.depth - 1, 0

    def _make(self, folder_id: int, packed: Iterator[PackedFile], children: Iterator[Child]) -> None:
        builder = DirectoryBuilder(self._profile, spill_folder=self._spill_folder)
        count = 0
        for entry in _merged(self._files(folder_id, packed), self._folders(children)):
            builder.add(entry)
            count += 1
            if not count % 1024:
                self._tick(0)
        if not count and not self._profile.empty_directories:
            return
        for block in builder.blocks():
            self._scratch.add(folder_id, NODE, block)
            self._tick(0)
        made = builder.result
        self._db.execute("UPDATE folders SET cid = ?, tsize = ? WHERE id = ?", (made.cid, made.tsize, folder_id))

    def _packed_files(self, batch: Sequence[int]) -> Iterator[tuple[int, PackedFile]]:
        catalogue = self._catalogue
        return _in_folders(
            batch,
            catalogue.packed_files_in,
            lambda folder, f: pages(partial(catalogue.packed_files, folder), (f.name, f.id), lambda f: (f.name, f.id)),
        )

    def _children(self, batch: Sequence[int]) -> Iterator[tuple[int, Child]]:
        catalogue = self._catalogue
        return _in_folders(
            batch,
            catalogue.children_in,
            lambda folder, child: pages(partial(catalogue.children, folder), child.name, lambda c: c.name),
        )

    def _folders(self, children: Iterator[Child]) -> Iterator[Entry]:
        for child in children:
            made = self._db.execute("SELECT cid, tsize FROM folders WHERE id = ?", (child.id,)).fetchone()
            cid, tsize = made if made is not None else (child.cid, child.tsize)
            if cid is not None and tsize is not None:
                yield Entry(child.name.encode(), cid, tsize)

    def _files(self, folder_id: int, packed: Iterator[PackedFile]) -> Iterator[Entry]:
        """Yield the latest packed version of each file; the nodes over several ranges are kept of all versions."""
        held: PackedFile | None = None
        for file in packed:
            if file.car_id not in self._cars:
                continue
            if file.size > self._split:
                self._keep_file_nodes(folder_id, file)
            if held is not None and held.name != file.name:
                yield Entry(held.name.encode(), held.cid, held.tsize)
            held = file
        if held is not None:
            yield Entry(held.name.encode(), held.cid, held.tsize)

    def _keep_file_nodes(self, folder_id: int, file: PackedFile) -> None:
        ranges = list(pages(lambda a, n: self._catalogue.range_cids(file.id, a, n), -1, lambda r: r.offset))
        made = file_nodes(ranges, self._profile, self._preparation.max_size)
        for block in made[0] if made is not None else ():
            self._scratch.add(folder_id, FILE_NODE, block)


def _in_folders(
    batch: Sequence[int],
    first: Callable[[Sequence[int]], Sequence[tuple[int, Row]]],
    behind: Callable[[int, Row], Iterator[Row]],
) -> Iterator[tuple[int, Row]]:
    """Yield (folder, row) of all rows of folders, which are given in order of their ids.

    ``first`` returns the first page over many folders, ``behind`` what comes behind a row in its own folder.
    """
    while batch:
        page = first(batch)
        yield from page
        if len(page) < PAGE_ROWS:
            return
        folder, last = page[-1]
        yield from ((folder, row) for row in behind(folder, last))
        batch = batch[batch.index(folder) + 1 :]


class _ByFolder(Generic[Row]):
    """Rows of many folders, in order of the folders' ids, taken folder by folder."""

    def __init__(self, rows: Iterator[tuple[int, Row]]) -> None:
        self._groups = groupby(rows, key=itemgetter(0))
        self._next = next(self._groups, None)

    def of(self, folder_id: int) -> Iterator[Row]:
        """Yield the rows of one folder; all are to be taken before the next call."""
        if self._next is not None and self._next[0] == folder_id:
            for _, row in self._next[1]:
                yield row
            self._next = next(self._groups, None)


def _merged(files: Iterator[Entry], folders: Iterator[Entry]) -> Iterator[Entry]:
    """Yield both by name; a folder takes the place of a file that had its name before."""
    folder = next(folders, None)
    for file in files:
        while folder is not None and folder.name < file.name:
            yield folder
            folder = next(folders, None)
        if folder is None or folder.name != file.name:
            yield file
    if folder is not None:
        yield folder
        yield from folders
