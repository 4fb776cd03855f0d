"""daggen: the directories of a source as one CAR.

A directory's node follows from what is recorded of the files in it, so it is made here, once, and not after each pack:
results do not depend on the order in which packs ended. Only directories are made anew that a CAR has touched which is in no
DAG CAR yet, and those above them; the others are linked as they were.

::

    touched folders and all above      ->  deepest first: entries, node or HAMT shards, nodes of files of several ranges
    blocks by folder id, kind, CID     ->  CAR, piece, index

Blocks wait in a scratch file, places in a scratch database, both in the attempt's own folder; memory holds one directory's
pages. An attempt that was interrupted starts over. Source of the rules: sections 5.9 and 5.10 of the Singularity contract.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from functools import partial
from itertools import groupby, islice
from operator import itemgetter
from pathlib import Path
from typing import IO, Any, ClassVar, Generic, TypeVar

from marshmallow import fields

from common.content import car as cars
from common.content import cid as cids
from common.content import estimate, piececid
from common.content.directory import DirectoryBuilder, Entry
from common.content.index import SUFFIX, IndexWriter
from common.content.piece import PieceHasher, padding_rule
from common.content.scratch import unnamed_file
from common.content.unixfs import Block
from common.db.catalogue import PAGE_ROWS, Attachment, Car, Catalogue, Child, PackedFile, Preparation
from common.db.catalogue.store import pages
from common.errors import ExecutorError
from executors.base import Column, Stage, TaskContext
from executors.packing import inline
from executors.packing.files import CAR, INDEX, open_files, open_output
from executors.packing.finish import write_index
from executors.packing.journal import write_at
from executors.packing.trees import file_nodes
from executors.params import Params
from executors.preparing import CAR_COLUMNS, Ref, car_row, find_source, load_kernel, now_ms

STEP_SECONDS = 0.25
BATCH_ROWS = 4_000
FOLDERS_AT_ONCE = 500  # read with one question
_NODE, _FILE_NODE = 0, 1  # the order of blocks in a directory
_WRITE_BYTES = 1 << 20

_SCHEMA = """
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
PRAGMA cache_size = -16384;
CREATE TABLE folders (id INTEGER PRIMARY KEY, depth INTEGER, cid BLOB, tsize INTEGER);
CREATE TABLE blocks (folder INTEGER, kind INTEGER, cid BLOB, at INTEGER, length INTEGER, PRIMARY KEY (folder, kind, cid))
    WITHOUT ROWID;
"""


Row = TypeVar("Row")


class DaggenParams(Params):
    """A source of a preparation."""

    preparation = Ref(required=True, metadata={"title": "Preparation", "description": "Name or id."})
    source = Ref(required=True, metadata={"title": "Source", "description": "Name or id of the source storage."})
    wait = fields.Boolean(
        load_default=False,
        metadata={"title": "Wait", "description": "Start when all packs of the source are complete."},
    )
    job = fields.Integer(metadata={"title": "Job", "description": "Given by the service."})


class Daggen:
    """See the module."""

    name: ClassVar[str] = "daggen"
    summary: ClassVar[str] = "Make the CAR of a preparation's directories"
    params: ClassVar[type[Params]] = DaggenParams
    columns: ClassVar[tuple[Column, ...]] = CAR_COLUMNS
    cores: ClassVar[float] = 1.0

    def run(self, ctx: TaskContext) -> Sequence[Sequence[Any]] | None:
        """See ``Executor``; no row when there was nothing to export."""
        catalogue: Catalogue = ctx.catalogue
        done = [car for car in catalogue.cars_of_task(ctx.task_id) if car.type == "dag"]
        if done:
            return [car_row(car) for car in done]
        preparation, source, _ = find_source(catalogue, ctx.params["preparation"], ctx.params["source"])
        if preparation.no_dag:
            raise ExecutorError("dag generation is disabled for this preparation")
        scratch = Scratch(ctx.workdir)
        try:
            return Export(ctx, catalogue, preparation, source, scratch).run()
        finally:
            scratch.close()


class Scratch:
    """What a daggen keeps on disk while it runs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        path = folder / "dag.sqlite"
        path.unlink(missing_ok=True)
        self.db = sqlite3.connect(path, isolation_level=None)
        self.db.executescript(_SCHEMA)
        self.db.execute("BEGIN")
        self._data: IO[bytes] = unnamed_file(folder)
        self._end = 0
        self.blocks = 0

    def add(self, folder: int, kind: int, block: Block) -> None:
        """Keep a block of a folder; the same CID again is dropped."""
        added = self.db.execute(
            "INSERT OR IGNORE INTO blocks VALUES (?, ?, ?, ?, ?)", (folder, kind, block.cid, self._end, len(block.data))
        )
        if added.rowcount:
            self._data.write(block.data)
            self._end += len(block.data)
            self.blocks += 1

    def in_order(self) -> Iterator[Block]:
        """Yield all blocks: by folder, nodes of the directory before those of its files, each by CID."""
        for cid, at, length in self.db.execute("SELECT cid, at, length FROM blocks ORDER BY folder, kind, cid"):
            self._data.seek(at)
            yield Block(cid, self._data.read(length))

    def close(self) -> None:
        self.db.close()
        self._data.close()


class Export:
    """One attempt."""

    def __init__(
        self, ctx: TaskContext, catalogue: Catalogue, preparation: Preparation, source: Attachment, scratch: Scratch
    ) -> None:
        self._ctx, self._catalogue, self._preparation, self._source = ctx, catalogue, preparation, source
        self._scratch, self._db = scratch, scratch.db
        self._profile = preparation.profile
        self._split = estimate.split_size(preparation.max_size)
        # Packs may go on while this runs: what is exported are the CARs that are there now, and nothing of later ones.
        self._cars = set(pages(lambda a, n: catalogue.data_car_ids(source, a, n), 0, lambda r: r))
        self._fresh: list[int] = []
        self._next_step = 0.0
        self._done = self._total = 0

    def run(self) -> Sequence[Sequence[Any]]:
        self._find_touched()
        self._build_all()
        root = self._catalogue.root(self._source.id)
        assert root is not None, "a source has a root folder"
        found = self._db.execute("SELECT cid FROM folders WHERE id = ?", (root.id,)).fetchone()
        cid = found[0] if found is not None else None
        if cid is None and self._catalogue.directory_node(root.id) is None:
            raise ExecutorError("dag is not ready to be generated")
        if cid is None or not self._scratch.blocks:
            self._ctx.log("no directory has changed since the last DAG CAR: nothing to export")
            return []
        return [car_row(self._write(cid))]

    # ---- which folders

    def _find_touched(self) -> None:
        catalogue = self._catalogue
        for car in pages(lambda a, n: catalogue.unexported(self._source, a, n), 0, lambda c: c.id):
            if car.id not in self._cars:
                continue
            self._fresh.append(car.id)
            if car.job_id is None:
                continue
            touched = pages(partial(catalogue.touched, car.job_id, car.id), 0, lambda r: r[0])
            last = 0
            for _, folder_id in touched:
                if folder_id != last:
                    self._db.execute("INSERT OR IGNORE INTO folders (id) VALUES (?)", (folder_id,))
                    last = folder_id
                self._maybe_step()
        if self._profile.empty_directories:
            for folder in pages(lambda a, n: catalogue.unbuilt(self._source.id, a, n), 0, lambda d: d.id):
                self._db.execute("INSERT OR IGNORE INTO folders (id) VALUES (?)", (folder.id,))
        self._add_ancestors()

    def _add_ancestors(self) -> None:
        """Complete the rows of all folders, and add those above them."""
        while rows := self._db.execute("SELECT id FROM folders WHERE depth IS NULL LIMIT 10000").fetchall():
            folders = self._catalogue.directories([row[0] for row in rows])
            assert len(folders) == len(rows), "files lie in folders that are there"
            self._db.executemany(
                "UPDATE folders SET depth = ? WHERE id = ?",
                [(folder.path.count("/") + 1 if folder.path else 0, folder.id) for folder in folders],
            )
            above = {folder.parent_id for folder in folders if folder.parent_id is not None}
            self._db.executemany("INSERT OR IGNORE INTO folders (id) VALUES (?)", [(folder,) for folder in above])
            self._maybe_step()

    # ---- their nodes

    def _build_all(self) -> None:
        self._total = self._db.execute("SELECT count(*) FROM folders").fetchone()[0]
        deepest_first = self._db.execute(
            "SELECT depth, id FROM folders ORDER BY depth DESC, id"
        )  # sorted before the first row
        for _, level in groupby(deepest_first, key=itemgetter(0)):
            while batch := [row[1] for row in islice(level, FOLDERS_AT_ONCE)]:
                files, folders = _ByFolder(self._packed_files(batch)), _ByFolder(self._children(batch))
                for folder_id in batch:
                    self._build(folder_id, files.of(folder_id), folders.of(folder_id))
                    self._done += 1
                    self._maybe_step()

    def _build(self, folder_id: int, packed: Iterator[PackedFile], children: Iterator[Child]) -> None:
        builder = DirectoryBuilder(self._profile, spill_folder=self._scratch.folder)
        count = 0
        for entry in _merged(self._files(folder_id, packed), self._folders(children)):
            builder.add(entry)
            count += 1
            if not count % 1024:
                self._maybe_step()
        if not count and not self._profile.empty_directories:
            return
        for block in builder.blocks():
            self._scratch.add(folder_id, _NODE, block)
            self._maybe_step()
        made = builder.result
        self._db.execute("UPDATE folders SET cid = ?, tsize = ? WHERE id = ?", (made.cid, made.tsize, folder_id))

    def _packed_files(self, batch: Sequence[int]) -> Iterator[tuple[int, PackedFile]]:
        """Yield (folder, file) of all files in folders, which are given in order of their ids."""
        catalogue = self._catalogue
        while batch:
            page = catalogue.packed_files_in(batch)
            yield from page
            if len(page) < PAGE_ROWS:
                return
            folder, file = page[-1]
            rest = pages(partial(catalogue.packed_files, folder), (file.name, file.id), lambda f: (f.name, f.id))
            yield from ((folder, file) for file in rest)
            batch = batch[batch.index(folder) + 1 :]

    def _children(self, batch: Sequence[int]) -> Iterator[tuple[int, Child]]:
        """Yield (folder, folder in it) of all folders in folders, which are given in order of their ids."""
        catalogue = self._catalogue
        while batch:
            page = catalogue.children_in(batch)
            yield from page
            if len(page) < PAGE_ROWS:
                return
            folder, child = page[-1]
            rest = pages(partial(catalogue.children, folder), child.name, lambda c: c.name)
            yield from ((folder, child) for child in rest)
            batch = batch[batch.index(folder) + 1 :]

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
            self._scratch.add(folder_id, _FILE_NODE, block)

    # ---- the CAR

    def _write(self, root: bytes) -> Car:
        ctx, preparation = self._ctx, self._preparation
        car_id = ctx.ids("cars", 1)
        output = open_output(ctx, self._catalogue, preparation.id)
        files, _ = open_files(ctx, output.folder, inline=output.inline, car_length=0, blocks=0)
        try:
            index = IndexWriter(ctx.workdir)
            nodes = inline.NodeSpool(ctx.workdir) if output.inline else None
            hasher = PieceHasher(load_kernel(self._catalogue))
            stream = _Stream(files.car, hasher)
            stream.write(cars.header(root))
            blocks = 0
            for block in self._scratch.in_order():
                index.add(block.cid, stream.length)
                stream.write(cars.section_prefix(block.cid, len(block.data)) + block.data)
                if nodes is not None:
                    nodes.add(block.cid, block.data)
                    files.blocks.put(blocks, block.cid[cids.PREFIX_LENGTH :])
                blocks += 1
                self._maybe_step()
            stream.flush()
            minimum = preparation.min_piece_size or 1 << 20
            padding = padding_rule(stream.length, kind="dag", inline=output.inline, min_piece_size=minimum)
            piece = hasher.finish(minimum)
            if files.car is not None:
                os.ftruncate(files.car, padding.file_size)
            index_part = files.part(INDEX)
            write_index(index_part, index, files.blocks, nodes)
            files.sync()
            name = f"{cids.to_text(piece.cid_v1)}.car"
            made = Car(
                id=car_id,
                type="dag",
                piece_cid=piece.cid_v1,
                piece_cid_v2=piececid.encode_v2(piece.root, piece.piece_size, stream.length),
                piece_size=piece.piece_size,
                root_cid=root,
                car_size=stream.length,
                file_size=padding.file_size,
                virtual_padding=padding.virtual,
                storage_id=output.storage_id,
                storage_path="" if output.inline else name,
                files=0,
                blocks=blocks,
                preparation_id=preparation.id,
                attachment_id=self._source.id,
                job_id=None,
                task_id=ctx.task_id,
                created_at=now_ms(),
            )
            pairs = [(str(index_part), f"{output.folder / name}{SUFFIX}")]
            if files.car is not None:
                pairs.insert(0, (str(files.part(CAR)), str(output.folder / name)))
            rows = self._hand_over_rows(car_id)
            ctx.publish(pairs, [*rows, ("cars", tuple(Car.__dataclass_fields__), [tuple(asdict(made).values())])])
        finally:
            files.close()
        ctx.log(f"{name}: {self._total} directories in {blocks} blocks, {made.file_size} bytes, root {cids.to_text(root)}")
        return made

    def _hand_over_rows(self, car_id: int) -> list[tuple[str, Sequence[str], Sequence[Sequence[Any]]]]:
        """Hand over what is known now of directories and CARs; return the last rows, for the publication."""
        nodes_columns = ("directory_id", "car_id", "cid", "tsize")
        rows: list[Sequence[Any]] = []
        for folder, cid, tsize in self._db.execute("SELECT id, cid, tsize FROM folders WHERE cid IS NOT NULL"):
            rows.append((folder, car_id, cid, tsize))
            if len(rows) >= BATCH_ROWS:
                self._ctx.rows("directory_nodes", rows, nodes_columns)
                self._count_rows()
                rows = []
        exported_columns = ("car_id", "attachment_id", "dag_car_id")
        exported = [(car, self._source.id, car_id) for car in self._fresh]
        while len(exported) > BATCH_ROWS:
            self._ctx.rows("exported", exported[:BATCH_ROWS], exported_columns)
            self._count_rows()
            exported = exported[BATCH_ROWS:]
        return [("directory_nodes", nodes_columns, rows), ("exported", exported_columns, exported)]

    # ---- progress

    def _maybe_step(self) -> None:
        now = time.monotonic()
        if now >= self._next_step:
            self._next_step = now + STEP_SECONDS
            self._ctx.step(self._done, self._total, stages=self._stages())

    def _count_rows(self) -> None:
        """A checkpoint only lets the rows count; there is nothing in it to go on from."""
        self._ctx.step(self._done, self._total, b"-", stages=self._stages())

    def _stages(self) -> list[Stage]:
        return [Stage(name="daggen", target=self._preparation.name, done=self._done, total=self._total)]


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


class _Stream:
    """Writes a CAR to its file, if there is one, and to the commitment; in pieces of 1 MiB."""

    def __init__(self, descriptor: int | None, hasher: PieceHasher) -> None:
        self._descriptor, self._hasher = descriptor, hasher
        self._held = bytearray()
        self.length = 0

    def write(self, data: bytes) -> None:
        self._held += data
        self.length += len(data)
        if len(self._held) >= _WRITE_BYTES:
            self.flush()

    def flush(self) -> None:
        self._hasher.update(self._held)
        if self._descriptor is not None:
            write_at(self._descriptor, memoryview(self._held), self.length - len(self._held))
        self._held = bytearray()
