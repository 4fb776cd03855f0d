"""One attempt at the CAR of a source's directories.

A directory's node follows from what is recorded of the files in it, so it is made here, once, and not after each pack:
results do not depend on the order in which packs ended. Only directories are made anew that a CAR has touched which is in no
DAG CAR yet, and those above them; the others are linked as they were.

::

    touched folders and all above      ->  deepest first: entries, node or HAMT shards, nodes of files of several ranges
    blocks by folder id, kind, CID     ->  CAR, piece, index

Folders, blocks and how far the work is lie in scratch files of the task (``scratch``), so another attempt goes on
where the last commit was, at most a second or a folder behind; memory holds one directory's pages. Source of the rules:
sections 5.9 and 5.10 of the Singularity contract.
"""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Sequence
from dataclasses import asdict
from typing import Any

from common.content import car as cars
from common.content import cid as cids
from common.content import estimate, piececid
from common.content.index import SUFFIX, IndexWriter
from common.content.kernel import SLAB_PAYLOAD
from common.content.piece import SlabTree, padding_rule
from common.db.catalogue import PAGE_ROWS, Attachment, Car, Catalogue, Preparation
from common.db.catalogue.store import pages
from common.errors import ExecutorError
from common.storage.objects import ObjectStorage
from executors.base import Stage, StopRequested, TaskContext
from executors.exporting.carstream import CarStream
from executors.exporting.folders import Folders
from executors.exporting.scratch import Scratch
from executors.packing import inline
from executors.packing.files import CAR, INDEX, Files, Output, open_files, open_output
from executors.packing.finish import write_index
from executors.packing.outgoing import check_sent, send
from executors.preparing import car_row, load_kernel, now_ms

STEP_SECONDS = 0.25
COMMIT_SECONDS = 1.0
BATCH_ROWS = 4_000


class Export:
    """One attempt."""

    def __init__(
        self, ctx: TaskContext, catalogue: Catalogue, preparation: Preparation, source: Attachment, scratch: Scratch
    ) -> None:
        self._ctx, self._catalogue, self._preparation, self._source = ctx, catalogue, preparation, source
        self._scratch = scratch
        self._split = estimate.split_size(preparation.max_size)
        self._stream: CarStream | None = None
        self._next_step = self._next_commit = 0.0
        self._done = self._total = 0

    def run(self) -> Sequence[Sequence[Any]]:
        self._open()
        if self._scratch.place.depth is None:
            self._find_touched()
        self._make_folders()
        root = self._catalogue.root(self._source.id)
        assert root is not None, "a source has a root folder"
        found = self._scratch.db.execute("SELECT cid FROM folders WHERE id = ?", (root.id,)).fetchone()
        cid = found[0] if found is not None else None
        if cid is None and self._catalogue.directory_node(root.id) is None:
            raise ExecutorError("dag is not ready to be generated")
        if cid is None or not self._scratch.count("SELECT EXISTS (SELECT 1 FROM blocks)"):
            self._ctx.log("no directory has changed since the last DAG CAR: nothing to export")
            return []
        return [car_row(self._write(cid))]

    def _open(self) -> None:
        """Go on with what an earlier attempt has left, if it is still what is wanted, or begin."""
        ctx, catalogue, source, scratch = self._ctx, self._catalogue, self._source, self._scratch
        ctx.own(scratch.names)
        basis = repr((self._preparation.id, source.id, self._preparation.profile, self._preparation.max_size))
        # Packs may go on while this runs: what is exported are the CARs that were there at the first start, none of later.
        there = set(pages(lambda a, n: catalogue.data_car_ids(source, a, n), 0, lambda r: r))
        unexported = pages(lambda a, n: catalogue.unexported(source, a, n), 0, lambda c: c.id)
        fresh = {car.id: car.job_id for car in unexported if car.id in there}
        if scratch.open(ctx.checkpoint, basis) and self._known(there, fresh):
            return
        if ctx.checkpoint is not None:
            ctx.log("what an earlier attempt has made does not fit any more: the work starts over", "WARN")
        scratch.create(basis, ((car, car in fresh, fresh.get(car)) for car in sorted(there)))
        ctx.step(0, 0, scratch.place.mark)

    def _known(self, there: Collection[int], fresh: Collection[int]) -> bool:
        """Whether all CARs that this is about are ``there``, and those in no DAG CAR yet are still ``fresh``."""
        cars = self._scratch.db.execute("SELECT id, fresh FROM cars")
        return all(car in (fresh if is_fresh else there) for car, is_fresh in cars)

    # ---- which folders

    def _find_touched(self) -> None:
        catalogue, db = self._catalogue, self._scratch.db
        for car, job, after in db.execute("SELECT id, job, after FROM cars WHERE after IS NOT NULL").fetchall():
            while after is not None:
                page = catalogue.touched(job, car, after)
                self._add_folders({folder for _, folder in page})
                after = page[-1][0] if len(page) == PAGE_ROWS else None
                db.execute("UPDATE cars SET after = ? WHERE id = ?", (after, car))
                self._tick()
        if self._preparation.profile.empty_directories:
            for folder in pages(lambda a, n: catalogue.unbuilt(self._source.id, a, n), 0, lambda d: d.id):
                self._add_folders({folder.id})
        self._add_ancestors()
        db.execute("CREATE INDEX folders_by_depth ON folders (depth)")
        self._scratch.place.depth = self._scratch.count("SELECT coalesce(max(depth), -1) FROM folders")

    def _add_folders(self, ids: set[int]) -> None:
        self._scratch.db.executemany("INSERT OR IGNORE INTO folders (id) VALUES (?)", [(id,) for id in sorted(ids)])

    def _add_ancestors(self) -> None:
        """Complete the rows of all folders, and add those above them."""
        db = self._scratch.db
        while rows := db.execute("SELECT id FROM folders WHERE depth IS NULL LIMIT 10000").fetchall():
            folders = self._catalogue.directories([row[0] for row in rows])
            assert len(folders) == len(rows), "files lie in folders that are there"
            db.executemany(
                "UPDATE folders SET depth = ? WHERE id = ?",
                [(folder.path.count("/") + 1 if folder.path else 0, folder.id) for folder in folders],
            )
            self._add_folders({folder.parent_id for folder in folders if folder.parent_id is not None})
            self._tick()

    # ---- their nodes

    def _make_folders(self) -> None:
        place = self._scratch.place
        self._total = self._scratch.count("SELECT count(*) FROM folders")
        made = "SELECT count(*) FROM folders WHERE depth > ? OR depth = ? AND id <= ?"
        self._done = self._scratch.db.execute(made, (place.depth, place.depth, place.folder)).fetchone()[0]
        if self._done:
            self._ctx.log(f"going on behind {self._done} of {self._total} directories")
        Folders(
            catalogue=self._catalogue,
            preparation=self._preparation,
            split=self._split,
            cars={car for (car,) in self._scratch.db.execute("SELECT id FROM cars")},
            scratch=self._scratch,
            spill_folder=self._ctx.workdir,
            tick=self._tick,
        ).make()

    # ---- the CAR

    def _write(self, root: bytes) -> Car:
        ctx, place = self._ctx, self._scratch.place
        place.car_id = place.car_id or ctx.ids("cars", 1)
        output = open_output(ctx, self._catalogue, self._preparation.id, place.output)
        if output.name != place.output:
            place.output, place.slabs = output.name, b""
        place.since = place.since or now_ms()
        slabs = SlabTree.load(place.slabs) if place.slabs else SlabTree()
        start = slabs.complete * SLAB_PAYLOAD
        files, whole = open_files(ctx, output.folder, inline=output.inline, car_length=start, blocks=0)
        try:
            if not whole:
                ctx.log("the partial CAR is not there any more: it is written anew", "WARN")
                slabs = SlabTree()
            elif start:
                ctx.log(f"going on at byte {start} of the CAR")
            return self._write_car(root, slabs, files, output)
        finally:
            self._stream = None
            files.close()

    def _write_car(self, root: bytes, slabs: SlabTree, files: Files, output: Output) -> Car:
        ctx, preparation, car_id = self._ctx, self._preparation, self._scratch.place.car_id
        index = IndexWriter(ctx.workdir)
        nodes = inline.NodeSpool(ctx.workdir) if output.inline else None
        stream = self._stream = CarStream(files.car, load_kernel(self._catalogue), slabs)
        stream.write(cars.header(root))
        blocks = 0
        for cid, at, length in self._scratch.in_order():
            index.add(cid, stream.length)
            prefix = cars.section_prefix(cid, length)
            there = stream.skip(len(prefix) + length)
            data = self._scratch.read(at, length) if nodes is not None or not there else b""
            if nodes is not None:
                nodes.add(cid, data)
                files.blocks.put(blocks, cid[cids.PREFIX_LENGTH :])
            if not there:
                stream.write(prefix + data)
            blocks += 1
            self._tick()
        self._stream = None
        minimum = preparation.min_piece_size or 1 << 20
        piece = stream.finish(minimum)
        padding = padding_rule(stream.length, kind="dag", inline=output.inline, min_piece_size=minimum)
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
        pairs = [] if output.store is not None else [(str(index_part), f"{output.folder / name}{SUFFIX}")]
        if files.car is not None and output.store is None:
            pairs.insert(0, (str(files.part(CAR)), str(output.folder / name)))
        if output.store is not None:
            self._send(output.store, files, name)
        rows = self._hand_over_rows(car_id)
        if output.store is not None:
            check_sent(output.store, files, name)
        ctx.publish(pairs, [*rows, ("cars", tuple(Car.__dataclass_fields__), [tuple(asdict(made).values())])])
        ctx.log(f"{name}: {self._total} directories in {blocks} blocks, {made.file_size} bytes, root {cids.to_text(root)}")
        return made

    def _send(self, store: ObjectStorage, files: Files, name: str) -> None:
        """Bring the CAR into a store; an attempt that goes on from here finds what is there of it."""
        self._scratch.commit()

        def told(sent: int, size: int) -> None:
            stage = Stage(name="store", target=store.name, done=sent >> 20, total=-(-size >> 20))
            self._ctx.step(self._done, self._total, stages=[*self._stages(), stage])

        send(self._ctx, store, files, name, self._scratch.place.since, told)

    def _hand_over_rows(self, car_id: int) -> list[tuple[str, Sequence[str], Sequence[Sequence[Any]]]]:
        """Hand over what is known now of directories and CARs; return the last rows, for the publication."""
        nodes_columns = ("directory_id", "car_id", "cid", "tsize")
        rows: list[Sequence[Any]] = []
        for folder, cid, tsize in self._scratch.db.execute("SELECT id, cid, tsize FROM folders WHERE cid IS NOT NULL"):
            rows.append((folder, car_id, cid, tsize))
            if len(rows) >= BATCH_ROWS:
                self._ctx.rows("directory_nodes", rows, nodes_columns)
                self._count_rows()
                rows = []
        exported_columns = ("car_id", "attachment_id", "dag_car_id")
        fresh = self._scratch.db.execute("SELECT id FROM cars WHERE fresh ORDER BY id")
        exported = [(car, self._source.id, car_id) for (car,) in fresh]
        while len(exported) > BATCH_ROWS:
            self._ctx.rows("exported", exported[:BATCH_ROWS], exported_columns)
            self._count_rows()
            exported = exported[BATCH_ROWS:]
        return [("directory_nodes", nodes_columns, rows), ("exported", exported_columns, exported)]

    # ---- progress

    def _tick(self, made: int = 0) -> None:
        """Count folders that are made; now and then tell of it, and commit what is done."""
        self._done += made
        now = time.monotonic()
        if now < self._next_step:
            return
        self._next_step = now + STEP_SECONDS
        if now >= self._next_commit:
            self._next_commit = now + COMMIT_SECONDS
            self._commit()
        try:
            self._ctx.step(self._done, self._total, stages=self._stages())
        except StopRequested:
            self._commit()
            raise

    def _commit(self) -> None:
        if self._stream is not None:
            self._scratch.place.slabs = self._stream.save()
        self._scratch.commit()

    def _count_rows(self) -> None:
        """Let the rows count that were handed over; with the same CAR they are the same in another attempt."""
        self._ctx.step(self._done, self._total, self._scratch.place.mark, stages=self._stages())

    def _stages(self) -> list[Stage]:
        return [Stage(name="daggen", target=self._preparation.name, done=self._done, total=self._total)]
