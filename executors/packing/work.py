"""One attempt at the CAR of a job: the books of a pack.

The layout is planned, threads make batches of it, and this module keeps the books. It syncs and names ranges and files
beside the hashing, speaks of synced bytes only in its checkpoints, and at the end writes the index and publishes all with
one commit; a CAR for an object store is sent there before (``outgoing``). Another attempt goes on at the last slab border,
so a fraction of a second is done again, and bytes never differ. Source of the rules: sections 5.5 to 5.7 of the Singularity
contract.
"""

from __future__ import annotations

import errno
import json
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from itertools import islice
from typing import Any

from common.content import cid as cids
from common.content import estimate, piececid
from common.content.faults import BadCheckpoint
from common.content.index import SUFFIX, IndexWriter
from common.content.piece import SlabTree, padding_rule
from common.content.unixfs import Child, leaf
from common.db.catalogue import Attachment, Car, Catalogue, Job, JobRange, Preparation, StorageRecord
from common.db.catalogue.store import pages
from common.db.contents import Contents
from common.errors import ExecutorError, MayPass, StorageForbidden, StorageNotFound, StorageUnavailable
from common.storage.objects import ObjectStorage
from executors.base import Stage, StopRequested, TaskContext
from executors.packing import inline
from executors.packing.carfile import CarFile
from executors.packing.files import CAR, INDEX, Files, Output, Room, open_files, open_output
from executors.packing.finish import BATCH_ROWS, TABLE_COLUMNS, Names, write_index
from executors.packing.journal import JournalReader
from executors.packing.layout import START, Cursor, Planner, most_bytes
from executors.packing.line import Line
from executors.packing.outgoing import check_sent, send
from executors.preparing import car_row, load_kernel, now_ms, path_of

TICK_SECONDS = 0.05
CHECKPOINT_SECONDS = 0.1
"""What the service was told counts when the task dies; when the service does, what it stores once a second."""
CHECKPOINT_PART = 0.1  # of the time, at most: where bringing it to the disk takes long, checkpoints are rarer
SYNC_BYTES = 64 << 20


@dataclass(frozen=True, kw_only=True)
class Books:
    """The checkpoint of a pack, beside the tree of its piece."""

    car_id: int
    output: str  # name of the output storage; "" for inline
    cursor: Cursor = START
    payload: int = 0  # bytes of files before the cursor
    slabs: str = ""  # hexadecimal
    since: int = 0  # when the task began with it, in ms since 1970

    def anew(self, output: str) -> Books:
        """Return those of the same CAR from its beginning."""
        return Books(car_id=self.car_id, output=output, since=self.since)

    def save(self) -> bytes:
        return json.dumps(asdict(self), separators=(",", ":")).encode()

    @classmethod
    def load(cls, state: bytes) -> Books:
        values = json.loads(state)
        return cls(**{**values, "cursor": Cursor(*values["cursor"])})


def _reserve(room: Room | None, line: Line) -> bool:
    """Reserve the next step of the CAR's room; whether there are more. When there is not enough, what was reserved goes."""
    try:
        return room is not None and room.more()
    except MayPass:
        line.stop()
        if room is not None:
            room.give_back(line.reached().offset)
        raise


class Work:
    """One attempt at the CAR of a job."""

    def __init__(self, ctx: TaskContext, catalogue: Catalogue, job: Job, attachment: Attachment) -> None:
        self._ctx, self._catalogue, self._job, self._attachment = ctx, catalogue, job, attachment
        preparation, source = catalogue.preparation(attachment.preparation_id), catalogue.storage(attachment.storage_id)
        if preparation is None or source is None:
            raise ExecutorError(f"the preparation of pack job {job.id} does not exist any more")
        self._preparation: Preparation = preparation
        self._source: StorageRecord = source
        self._storage = ctx.storage(source.name)
        self._split = estimate.split_size(preparation.max_size)
        self._may_skip = bool(source.client_config.get("skipInaccessibleFile", False))
        self._contents = Contents(catalogue.tx)
        self._again = self._contents.failed_before(job.id, ctx.task_id)
        self._skipped: set[int] = set()
        self._skips: list[int] = []  # ids of what this attempt has skipped; threads of the line append to it
        self._skips_given = 0
        self._last_skipped_file = 0
        self._count, self._total = catalogue.job_totals(job.id)
        self._store_name, self._to_send = "", 0  # when the CAR goes into an object store

    # ---- the CAR

    def make(self) -> Sequence[Sequence[Any]]:
        """Make and publish the CAR; return its row, none when everything was left out of a job that had failed."""
        ctx = self._ctx
        if not self._count:
            raise ExecutorError("no content to pack")
        books, slabs = self._open_books()
        output = open_output(ctx, self._catalogue, self._preparation.id, books.output if books else "")
        if books is None:
            books = Books(car_id=ctx.ids("cars", 1), output=output.name, since=now_ms())
        elif books.output != output.name:
            books, slabs = books.anew(output.name), SlabTree()
        if output.store is not None:
            self._store_name, self._to_send = output.name, self._total  # about as much
        files, whole = open_files(
            ctx, output.folder, inline=output.inline, car_length=books.cursor.offset, blocks=books.cursor.block
        )
        try:
            if not whole:
                ctx.log("the partial CAR is not there any more: the work starts over", "WARN")
                books, slabs = books.anew(books.output), SlabTree()
            elif books.cursor != START:
                ctx.log(f"going on at byte {books.cursor.offset} of the CAR")
            return self._make(books, slabs, files, output)
        finally:
            files.close()

    def _open_books(self) -> tuple[Books | None, SlabTree]:
        if self._ctx.checkpoint is None:
            return None, SlabTree()
        books = Books.load(self._ctx.checkpoint)
        self._skipped = set(pages(lambda a, n: self._catalogue.skipped(books.car_id, a, n), 0, lambda r: r))
        try:
            return books, SlabTree.load(bytes.fromhex(books.slabs)) if books.slabs else SlabTree()
        except BadCheckpoint:
            return books.anew(books.output), SlabTree()

    def _make(self, books: Books, slabs: SlabTree, files: Files, output: Output) -> Sequence[Any]:
        car = room = None
        if files.car is not None:
            car = CarFile(files.car, books.cursor.offset)
            room = Room(files.car, most_bytes(self._count, self._total), output.where)
        planner = Planner(
            self._ranges(max(0, books.cursor.range_id - 1)),
            self._split,
            self._preparation.profile,
            books.cursor,
            self._left_out if self._may_skip or self._again else None,
        )
        line = Line(
            planner=planner,
            start=books.cursor,
            payload=books.payload,
            storage=self._storage,
            path_of=path_of,
            kernel=load_kernel(self._catalogue),
            profile=self._preparation.profile,
            split=self._split,
            car=car,
            journal=files.blocks,
            slabs=slabs,
        )
        line.open_range(self._children_before(books.cursor, files))
        index = IndexWriter(self._ctx.workdir)
        nodes = inline.NodeSpool(self._ctx.workdir) if output.inline else None
        names = Names(
            car_id=books.car_id,
            split=self._split,
            profile=self._preparation.profile,
            journal=JournalReader(files.blocks),
            index=index,
            node=nodes.add if nodes is not None else None,
        )
        try:
            books = self._run(line, room, names, books, files)
            line.stop()
            if car is not None:
                car.finish(line.reached().offset)
            first = cids.RAW_PREFIX + files.blocks.get(0, 1)
            made = self._made(line, names, first, books, output)
            if made is None:
                return []
            self._give_skips(books, self._total)
            write_index(files.part(INDEX), index, files.blocks, nodes)
            if files.car is not None:
                os.ftruncate(files.car, made.file_size)
            files.sync()
            if output.store is not None:
                self._send(output.store, made, files, books)
            self._publish(made, names.take_rows(), files, output)
            return [car_row(made)]
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
                raise MayPass(f"{output.where}: the CAR cannot be written: {error.strerror}") from error
            raise
        finally:
            line.stop()

    def _run(self, line: Line, room: Room | None, names: Names, books: Books, files: Files) -> Books:
        """Let the line work to the end; name, sync, report, and keep the checkpoint. Returns the last one."""
        ctx = self._ctx
        next_checkpoint = time.monotonic() + CHECKPOINT_SECONDS
        synced = books.cursor.offset
        reserving = room is not None
        try:
            self._name(names, self._ranges_before(books.cursor), line, books)
            line.staff(ctx.cores)  # from here on the catalogue is read by its threads
            while not line.wait(0 if reserving else TICK_SECONDS):
                reserving = reserving and _reserve(room, line)
                self._name(names, line.ended(), line, books)
                reached = line.reached()
                begin = time.monotonic()
                saved = None
                if begin >= next_checkpoint or reached.offset - synced >= SYNC_BYTES:
                    synced = reached.offset
                    saved = self._save(line, books, files)
                if saved is not None:
                    end = time.monotonic()
                    books, next_checkpoint = saved, end + max(CHECKPOINT_SECONDS, (end - begin) / CHECKPOINT_PART)
                self._step(reached.payload, saved)
                line.staff(ctx.cores)
            self._name(names, line.ended(), line, books)
        except StopRequested:
            self._save_last(line, books, files)
            raise
        return books

    def _name(self, names: Names, parts: Iterable[JobRange], line: Line, books: Books) -> None:
        """Name ranges that the line has reached; rows go in batches with the last checkpoint, ``books``.

        Another attempt gives them all again, those of ranges before its checkpoint too.
        """
        parts = iter(parts)
        while some := list(islice(parts, BATCH_ROWS // 4)):
            reached = line.reached()
            names.add(some, reached.blocks)
            if names.full:
                for table, rows in names.take_rows().items():
                    self._ctx.rows(table, rows, TABLE_COLUMNS[table])
                self._step(reached.payload, books)

    def _save(self, line: Line, books: Books, files: Files) -> Books | None:
        """Sync what the line has made; return the checkpoint that follows, None when it would be the last one again."""
        saved, reached = line.save(), line.reached()
        files.sync()
        line.synced(reached.offset)
        if saved is None or saved[0] == books.cursor:
            return None
        cursor, state = saved
        self._give_skips(books, reached.payload)
        payload = max(0, reached.payload - (reached.offset - cursor.offset))
        return replace(books, cursor=cursor, payload=payload, slabs=state.hex())

    def _save_last(self, line: Line, books: Books, files: Files) -> None:
        """Give the checkpoint of an attempt that has been asked to stop."""
        line.stop()
        saved = self._save(line, books, files)
        if saved is not None:
            with suppress(StopRequested):
                self._step(line.reached().payload, saved)

    def _step(self, done: int, books: Books | None = None, sent: int = 0) -> None:
        total = max(self._total, done)
        stages = [Stage(name="pack", target=f"job {self._job.id}", done=done >> 20, total=-(-total >> 20))]
        if self._store_name:
            stages.append(Stage(name="store", target=self._store_name, done=sent >> 20, total=-(-self._to_send >> 20)))
        self._ctx.step(
            done + sent,
            total + self._to_send,
            None if books is None else books.save(),
            bytes_done=done + sent,
            bytes_total=total + self._to_send,
            stages=stages,
        )

    def _children_before(self, cursor: Cursor, files: Files) -> list[Child]:
        """Return the leaves, from the journal, of the range that the cursor lies in."""
        if not cursor.nth:
            return []
        part = next(iter(self._catalogue.job_ranges(self._job.id, cursor.range_id - 1, 1)))
        chunk_size = self._preparation.profile.chunk_size
        digests = files.blocks.get(cursor.block - cursor.nth, cursor.nth)
        return [
            leaf(
                cids.RAW_PREFIX + digests[nth * cids.DIGEST_LENGTH : (nth + 1) * cids.DIGEST_LENGTH],
                min(chunk_size, part.length - nth * chunk_size),
            )
            for nth in range(cursor.nth)
        ]

    # ---- ranges

    def _ranges(self, after: int) -> Iterator[JobRange]:
        catalogue, job = self._catalogue, self._job.id
        for part in pages(lambda a, n: catalogue.job_ranges(job, a, n), after, lambda r: r.id):
            if part.length < 0:
                raise ExecutorError(f"{part.path}: its size is not known")
            yield part

    def _ranges_before(self, cursor: Cursor) -> Iterator[JobRange]:
        """Yield the ranges that an earlier attempt has completed."""
        for part in self._ranges(0) if cursor != START else ():
            if part.id >= cursor.range_id:
                return
            if part.id not in self._skipped:
                yield part

    def _left_out(self, part: JobRange) -> bool:
        """Whether a range is skipped; what is skipped is told to the log once."""
        if part.id in self._skipped:
            return True
        why = self._why_left_out(part)
        if why is None:
            return False
        if part.file_id != self._last_skipped_file:
            self._last_skipped_file = part.file_id
            self._ctx.log(f"{why}: left out of the CAR", "WARN")
        self._skipped.add(part.id)
        self._skips.append(part.id)
        return True

    def _why_left_out(self, part: JobRange) -> str | None:
        if self._again and self._contents.superseded(part.file_id):
            return f"{part.path} has a newer version"
        try:
            with closing(self._storage.reader(path_of(part))) as reader:
                reader.stat()
        except StorageNotFound as error:
            return str(error) if self._may_skip or self._source_holds_anything else None
        except (StorageForbidden, StorageUnavailable) as error:
            return str(error) if self._may_skip else None  # else the work fails of it
        return None

    @cached_property
    def _source_holds_anything(self) -> bool:
        """Whether there is anything in the source: an empty one is rather not mounted than deleted file by file."""
        return any(True for _ in self._storage.children("", lambda path, why: None, self._ctx.workdir))

    def _give_skips(self, books: Books, done: int) -> None:
        """Hand over what was skipped, before the checkpoint that counts on it; very many go with the last one, ``books``."""
        end = len(self._skips)
        while self._skips_given < end:
            given = self._skips[self._skips_given : min(self._skips_given + 4_000, end)]
            self._ctx.rows("skipped", [(range_id, books.car_id) for range_id in given], ("range_id", "car_id"))
            self._skips_given += len(given)
            if self._skips_given < end:
                self._step(done, books)

    # ---- the end

    def _made(self, line: Line, names: Names, first: bytes, books: Books, output: Output) -> Car | None:
        """Return the CAR that is made; None when nothing was left to pack of a job that had failed."""
        ctx, preparation = self._ctx, self._preparation
        reached = line.reached()
        if not reached.blocks:
            if not self._again:
                raise ExecutorError("no content to pack")
            ctx.log("nothing of this job is left to pack", "WARN")
            return None
        assert (names.end, names.blocks) == (reached.offset, reached.blocks), "names and line agree"
        minimum = preparation.min_piece_size or 1 << 20
        payload = self._total - self._bytes_skipped()
        padding = padding_rule(
            reached.offset, kind="data", inline=output.inline, min_piece_size=minimum, ranges_size=payload
        )
        root, piece_size = line.commitment(minimum)
        if piece_size > preparation.piece_size:
            ctx.log(f"the piece has {piece_size} bytes, more than the {preparation.piece_size} of the preparation", "WARN")
        piece_cid = piececid.encode_v1(root)
        return Car(
            id=books.car_id,
            type="data",
            piece_cid=piece_cid,
            piece_cid_v2=piececid.encode_v2(root, piece_size, reached.offset),
            piece_size=piece_size,
            root_cid=first,
            car_size=reached.offset,
            file_size=padding.file_size,
            virtual_padding=padding.virtual,
            storage_id=output.storage_id,
            storage_path="" if output.inline else f"{cids.to_text(piece_cid)}.car",
            files=names.files,
            blocks=reached.blocks,
            preparation_id=preparation.id,
            attachment_id=self._attachment.id,
            job_id=self._job.id,
            task_id=ctx.task_id,
            created_at=now_ms(),
        )

    def _send(self, store: ObjectStorage, made: Car, files: Files, books: Books) -> None:
        """Bring the CAR into a store; an attempt that goes on from here finds what is there of it."""
        self._step(self._total, books)

        def told(sent: int, size: int) -> None:
            self._to_send = size
            self._step(self._total, sent=sent)

        send(self._ctx, store, files, made.storage_path, books.since, told)

    def _publish(self, made: Car, rows: dict[str, list[Sequence[Any]]], files: Files, output: Output) -> None:
        ctx = self._ctx
        final = output.folder / f"{cids.to_text(made.piece_cid)}.car"
        if files.car is not None and final.exists() and not self._catalogue.cars_of_piece(made.piece_cid):
            ctx.log(f"{final}: a file of this name is there already; it is replaced", "WARN")
        pairs = [] if output.store is not None else [(str(files.part(INDEX)), f"{final}{SUFFIX}")]
        if files.car is not None and output.store is None:
            pairs.insert(0, (str(files.part(CAR)), str(final)))
        named = [(table, TABLE_COLUMNS[table], of) for table, of in rows.items() if of]
        if output.store is not None:
            check_sent(output.store, files, made.storage_path)
        ctx.publish(pairs, [*named, ("cars", tuple(Car.__dataclass_fields__), [tuple(asdict(made).values())])])
        ctx.log(f"{final.name}: {made.blocks} blocks, {made.file_size} bytes, piece of {made.piece_size} bytes")

    def _bytes_skipped(self) -> int:
        if not self._skipped:
            return 0
        return sum(part.length for part in self._ranges(0) if part.id in self._skipped)

    # ---- after it

    def delete_sources(self) -> None:
        """Delete the source files that are whole in CARs now, if the preparation says so; failures are only logged."""
        if not self._preparation.delete_after_export or not self._catalogue.outputs(self._preparation.id):
            return
        last = 0
        for part in self._ranges(0):
            if part.file_id == last or self._catalogue.file_cid(part.file_id) is None:
                continue
            last = part.file_id
            path = path_of(part)
            try:
                now = self._storage.stat(path)
                if (now.size, now.modified_ns) == (part.size, part.modified_ns):
                    self._storage.delete(path)
            except StorageNotFound:
                continue
            except (StorageForbidden, StorageUnavailable) as error:
                self._ctx.log(f"{error}: not deleted", "WARN")
