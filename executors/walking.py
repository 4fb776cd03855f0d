"""The walk of a scan: folders breadth first, what is new becomes files, ranges and groups, handed over in batches.

    listing, sorted by name         files of a folder       ->  files, ranges, groups (pack jobs)
                                    folders in a folder     ->  directories, end of the queue
    queue of folders, first in first out: breadth first, a folder's own files before anything deeper

Each batch goes with a checkpoint that says where the walk stands: place in the queue, last name in the folder, the open
group. Ids are taken when a batch is closed, so they follow the order of discovery without gaps. Memory holds one batch and
one folder's names (400,000; more are sorted on disk). Source of the rules: sections 5.2 to 5.4 of the Singularity contract.
"""

from __future__ import annotations

import json
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import partial
from heapq import merge
from typing import Any, Generic, NamedTuple, TypeVar

from common.content import estimate
from common.content.estimate import Grouping
from common.db.catalogue import Attachment, Catalogue, Child, Directory, File, FileRange, Preparation, StorageRecord
from common.db.catalogue.store import pages
from common.errors import EntranceError, ExecutorError
from common.storage.base import Entry, Storage
from common.storage.local import is_inside, shown
from executors.base import Stage, TaskContext
from executors.preparing import now_ms, when_stored

BATCH_ROWS = 10_000
BATCH_SECONDS = 0.5
QUEUE_FOLDERS = 20_000  # kept in memory; the others wait in the catalogue
MOST_WARNINGS = 10_000

Row = TypeVar("Row")


@dataclass(kw_only=True)
class Place:
    """The checkpoint: all that another attempt needs to go on."""

    loose_after: int | None = 0  # last loose range that was fed; None: all are
    position: int = 0  # of the folder in the walk
    end: int = 0  # folders known
    name: str = ""  # last entry of the folder that is done
    group: int | None = None  # the open pack job
    estimate: int = estimate.EMPTY_GROUP
    count: int = 0
    file: int | None = None  # a file whose ranges are not all registered: id, size, next offset
    file_size: int = 0
    file_offset: int = 0
    due: list[int] = field(default_factory=list)  # packs of this batch that are to be queued
    files: int = 0
    new_files: int = 0
    bytes: int = 0
    new_bytes: int = 0
    packs: int = 0
    warnings: int = 0
    done: bool = False


def load_place(state: bytes) -> Place:
    """Return what a checkpoint says, also one of an earlier version, which may say more."""
    known = {each.name for each in fields(Place)}
    return Place(**{name: value for name, value in json.loads(state).items() if name in known})


@dataclass(eq=False, slots=True)
class Folder:
    """A folder of the walk; it gets its id when its batch is closed."""

    path: str  # as the storage has it
    name: str
    parent: Folder | None = None
    id: int = 0
    fresh: bool = False  # registered by this batch or attempt: nothing is known of its contents

    @classmethod
    def of(cls, row: Directory) -> Folder:
        path = row.path if row.raw_path is None else os.fsdecode(row.raw_path)
        return cls(path=path, name=row.name, id=row.id)


@dataclass(eq=False, slots=True)
class Group:
    """A pack job that is being filled; it gets its id when the batch is closed in which it was opened."""

    id: int = 0


class NewFile(NamedTuple):
    """A file version that is new; it gets its id when its batch is closed."""

    folder: Folder
    name: str
    raw_name: bytes | None
    size: int
    modified_ns: int
    hash: str


class NewRange(NamedTuple):
    """A range that gets its group; ``id`` None: a new one. ``file`` is an id, or ~n for the nth file of the batch."""

    id: int | None
    file: int
    offset: int
    length: int
    group: Group


class Walk:
    """One attempt of a scan."""

    def __init__(
        self, ctx: TaskContext, catalogue: Catalogue, preparation: Preparation, source: Attachment, storage: StorageRecord
    ) -> None:
        self._ctx, self._catalogue = ctx, catalogue
        self._preparation, self._source, self._record = preparation, source, storage
        self._storage: Storage = ctx.storage(storage.name)
        self._split = estimate.split_size(preparation.max_size)
        self.place = load_place(ctx.checkpoint) if ctx.checkpoint else Place()
        self._grouping = Grouping(preparation.max_size, estimate=self.place.estimate, count=self.place.count)
        self._group = Group(self.place.group) if self.place.group else None
        self._queue: deque[Folder] = deque()
        self._outputs = self._outputs_inside()
        self._next_step = 0.0
        # the batch
        self._rows = 0
        self._folders: list[tuple[Folder, int]] = []  # with their positions in the walk
        self._files: list[NewFile] = []
        self._first_file = 0  # the id of the first of them, once it is known
        self._ranges: list[NewRange] = []
        self._groups: list[Group] = []  # opened
        self._closed: list[Group] = []
        self._abandoned: list[int] = []

    def run(self) -> None:
        """Do what is left of the scan."""
        self._queue_packs()
        if not self.place.done:
            self._feed_loose_ranges()
            self._walk()
            self._close_group()
            self.place.done = True
            self._flush()
            self._say_end()
        if "pack" in self._ctx.params["follow"]:
            self._queue_left_packs()
        if "daggen" in self._ctx.params["follow"]:
            self._queue_daggen()

    # ---- ranges that are left from before

    def _feed_loose_ranges(self) -> None:
        place = self.place
        if place.loose_after is None:
            return
        stale = [group for group in self._catalogue.open_groups(self._source.id) if group != place.group]
        for loose in merge(*self._loose(stale, place.loose_after), key=lambda r: r.id):
            self._ranges.append(NewRange(loose.id, loose.file_id, loose.offset, loose.length, self._group_for(loose.length)))
            place.loose_after = loose.id
            self._count(1)
        place.loose_after = None
        self._abandoned = stale
        self._flush()

    def _loose(self, stale: Sequence[int], after: int) -> list[Iterator[FileRange]]:
        catalogue, source = self._catalogue, self._source.id
        loose = pages(lambda a, n: catalogue.loose_ranges(source, a, n), after, lambda r: r.id)
        return [loose, *(pages(partial(catalogue.ranges_of, group), after, lambda r: r.id) for group in stale)]

    # ---- the walk

    def _walk(self) -> None:
        place = self.place
        if place.end == 0:
            root = self._catalogue.root(self._source.id)
            assert root is not None, "a source has a root folder"
            self._enqueue(Folder.of(root))
        while place.position < place.end:
            folder = self._next_folder()
            try:
                self._visit(folder)
            except EntranceError as error:
                if place.position == 0:
                    raise
                self._warn(folder.path, f"the folder is left out: {error}")
            place.position += 1
            place.name = ""
            self._count(0)

    def _next_folder(self) -> Folder:
        if self._queue:
            return self._queue.popleft()
        if self._rows:
            self._flush()
        place = self.place

        def look() -> list[tuple[int, Directory]] | None:
            found = self._catalogue.walk(self._source.id, self._ctx.task_id, place.position, QUEUE_FOLDERS // 2)
            return found if found and found[0][0] == place.position else None

        rows = when_stored(look, "the folders of the scan")
        self._queue.extend(Folder.of(row) for _, row in rows)
        return self._queue.popleft()

    def _enqueue(self, folder: Folder) -> None:
        place = self.place
        in_memory = len(self._queue) >= place.end - place.position - 1  # all that wait behind the folder that is visited
        if in_memory and len(self._queue) < QUEUE_FOLDERS:
            self._queue.append(folder)
        self._folders.append((folder, place.end))
        self._rows += 2
        place.end += 1

    def _visit(self, folder: Folder) -> None:
        """Take in one folder, from the entry on that the checkpoint names."""
        place = self.place
        if place.file is not None:
            self._register_ranges(place.file, place.file_size, place.file_offset)
        after = last = place.name
        known, start = not folder.fresh, len(folder.path) + 1 if folder.path else 0
        files: _Known[File] = _Known(self._known_files(folder, after) if known else ())
        folders: _Known[Child] = _Known(self._known_folders(folder, after) if known else ())

        def report(path: str, why: str) -> None:
            if shown(_name_of(path)) > after:
                self._warn(path, f"left out: {why}")

        for entry in self._storage.children(folder.path, report, self._ctx.workdir):
            name = shown(entry.path[start:])
            if name <= last:
                if name <= after:
                    continue
                if name == last:
                    self._warn(entry.path, "left out: another name here looks the same once it is UTF-8")
                    continue
            last = name
            if entry.is_dir:
                self._meet_folder(folder, entry, name, folders.take(name) if known else ())
            else:
                self._meet_file(folder, entry, name, files.take(name) if known else ())
            place.name = name
            if self._rows >= BATCH_ROWS or time.monotonic() >= self._next_step:
                self._flush()

    def _known_files(self, folder: Folder, after: str) -> Iterator[File]:
        first = (after, 1 << 62) if after else ("", 0)
        return pages(lambda a, n: self._catalogue.versions(folder.id, a, n), first, lambda f: (f.name, f.id))

    def _known_folders(self, folder: Folder, after: str) -> Iterator[Child]:
        return pages(lambda a, n: self._catalogue.children(folder.id, a, n), after, lambda c: c.name)

    def _meet_folder(self, parent: Folder, entry: Entry, name: str, known: Sequence[Child]) -> None:
        if entry.path in self._outputs:
            self._warn(entry.path, "left out: it is an output folder of the preparation")
            return
        if not known and not entry.path.endswith(name):
            self._warn(entry.path, "the name is not UTF-8; it is recorded as shown here")
        self._enqueue(Folder(path=entry.path, name=name, parent=parent, id=known[0].id if known else 0, fresh=not known))

    def _meet_file(self, folder: Folder, entry: Entry, name: str, known: Sequence[File]) -> None:
        place = self.place
        path, size, modified_ns, file_hash, _ = entry
        place.files += 1
        if size > 0:
            place.bytes += size
        for version in known:
            same_hash = not file_hash or version.hash == file_hash
            same_size = size < 0 or version.size == size
            if version.modified_ns == modified_ns and same_hash and same_size:
                self._complete(version)
                return
        raw_name = None
        if not path.endswith(name):
            raw_name = os.fsencode(_name_of(path))
            self._warn(path, "the name is not UTF-8; it is recorded as shown here")
        place.new_files += 1
        place.name = name
        self._files.append(NewFile(folder, name, raw_name, size, modified_ns, file_hash))
        self._rows += 1
        if size <= self._split:
            place.new_bytes += max(size, 0)
            self._ranges.append(NewRange(None, -len(self._files), 0, size, self._group_for(size)))
            self._rows += 1
        else:
            place.new_bytes += size
            self._register_ranges(-len(self._files), size, 0)

    def _complete(self, known: File) -> None:
        """Register what is missing of a file's ranges: a scan that was killed may have come no further."""
        if known.size > self._split and (end := self._catalogue.ranges_end(known.id)) < known.size:
            self.place.name = known.name
            self._register_ranges(known.id, known.size, end)

    def _register_ranges(self, file: int, size: int, start: int) -> None:
        """Cut a file into ranges, from ``start`` on; a file of very many is spread over several batches."""
        place = self.place
        for offset in range(start, size, self._split):
            length = min(self._split, size - offset)
            self._ranges.append(NewRange(None, file, offset, length, self._group_for(length)))
            self._rows += 1
            following = offset + length
            if self._rows >= BATCH_ROWS and following < size:
                self._take_ids()
                place.file = file = self._id_of(file)
                place.file_size, place.file_offset = size, following
                self._flush()
        place.file = None

    # ---- groups

    def _group_for(self, length: int) -> Group:
        """Count a range in and return the group that it belongs to."""
        if self._grouping.add(length):
            self._close_group()
        if self._group is None:
            self._group = Group()
            self._groups.append(self._group)
        return self._group

    def _close_group(self) -> None:
        if self._group is not None:
            self._closed.append(self._group)
            self._group = None
            self._rows += 2
            self.place.packs += 1

    # ---- batches

    def _count(self, rows: int) -> None:
        """Count rows of the batch, and close it when it is large or old."""
        self._rows += rows
        if self._rows >= BATCH_ROWS or time.monotonic() >= self._next_step:
            self._flush()

    def _take_ids(self) -> None:
        ctx = self._ctx
        _number([folder for folder, _ in self._folders if not folder.id], lambda n: ctx.ids("directories", n))
        if self._files and not self._first_file:
            self._first_file = ctx.ids("files", len(self._files))
        _number([group for group in self._groups if not group.id], lambda n: ctx.ids("jobs", n))

    def _id_of(self, file: int) -> int:
        return file if file >= 0 else self._first_file + ~file

    def _flush(self) -> None:
        """Hand over the batch with the checkpoint that follows it, then queue the packs that it closed."""
        ctx, place, source = self._ctx, self.place, self._source.id
        self._take_ids()
        new_ranges = sum(known.id is None for known in self._ranges)
        range_id = ctx.ids("ranges", new_ranges) if new_ranges else 0
        ctx.rows("directories", [self._directory_row(f) for f, _ in self._folders if f.fresh and f.parent is not None])
        ctx.rows("walk", [(source, position, ctx.task_id, folder.id) for folder, position in self._folders])
        first = self._first_file
        ctx.rows(
            "files",
            [
                (n, source, folder.id, name, raw_name, size, modified_ns, file_hash)
                for n, (folder, name, raw_name, size, modified_ns, file_hash) in enumerate(self._files, first)
            ],
        )
        ranges = []
        for known_id, file, offset, length, group in self._ranges:
            if known_id is None:
                known_id, range_id = range_id, range_id + 1
            ranges.append((known_id, source, file if file >= 0 else first + ~file, offset, length, group.id))
        ctx.rows("ranges", ranges)
        groups = {group.id: 1 for group in self._groups} | {group.id: 0 for group in self._closed}
        groups |= dict.fromkeys(self._abandoned, 0)
        ctx.rows("groups", [(job, source, is_open) for job, is_open in groups.items()])
        follow = int("pack" in ctx.params["follow"])
        ctx.rows("jobs", [(group.id, source, "pack", 0, follow, now_ms()) for group in self._closed])
        if self._files:
            count = len(self._files)
            ctx.rows("scans", [(ctx.task_id, place.new_files - count, source, first, count)])
        place.due = [group.id for group in self._closed] if follow else []
        place.group = self._group.id if self._group else None
        place.estimate, place.count = self._grouping.estimate, self._grouping.count
        for folder, _ in self._folders:
            folder.parent = None  # let go of the chain of parents
        self._folders, self._files, self._ranges, self._groups, self._closed = [], [], [], [], []
        self._abandoned = []
        self._rows = self._first_file = 0
        self._step()
        self._queue_packs()

    def _step(self) -> None:
        place = self.place
        done, known = place.position + place.done, place.end + place.done
        self._ctx.step(
            done,
            known,
            json.dumps(asdict(place), separators=(",", ":")).encode(),
            files_done=place.files,
            files_total=place.files,
            stages=[
                Stage(name="scan", target=self._record.name, done=min(place.position, place.end), total=place.end),
                Stage(name="bytes", target=self._record.name, done=place.bytes, total=place.bytes),
                Stage(name="new bytes", target=self._record.name, done=place.new_bytes, total=place.new_bytes),
            ],
        )
        self._next_step = time.monotonic() + BATCH_SECONDS

    def _directory_row(self, folder: Folder) -> tuple[Any, ...]:
        assert folder.parent is not None
        path = shown(folder.path)
        raw = os.fsencode(folder.path)
        return folder.id, self._source.id, folder.parent.id, folder.name, path, raw if raw != path.encode() else None

    # ---- tasks that follow

    def _queue_packs(self) -> None:
        for job in self.place.due:
            self._ctx.child(f"pack-{job}", "pack", {"job": job}, job=job)
        self.place.due = []

    def _queue_left_packs(self) -> None:
        """Queue what was to follow an earlier scan that ended before it could say so."""
        for job in pages(lambda after, n: self._catalogue.jobs(self._source.id, "pack", after, n), 0, lambda j: j.id):
            if job.follow and not job.filling and job.task_id is None:
                self._ctx.child(f"pack-{job.id}", "pack", {"job": job.id}, job=job.id)

    def _queue_daggen(self) -> None:
        jobs = self._catalogue.jobs(self._source.id, "daggen")
        params = {"preparation": self._preparation.id, "source": self._record.id, "wait": True}
        self._ctx.child("daggen", "daggen", params, job=jobs[0].id if jobs else None)

    # ---- what is said

    def _warn(self, path: str, why: str) -> None:
        self.place.warnings += 1
        if self.place.warnings <= MOST_WARNINGS:
            self._ctx.log(f"{shown(path)}: {why}", "WARN")
        elif self.place.warnings == MOST_WARNINGS + 1:
            self._ctx.log(f"more than {MOST_WARNINGS} warnings; further ones are only counted", "WARN")

    def _say_end(self) -> None:
        place = self.place
        if not place.files:
            self._ctx.log(f"{self._record.path}: there are no files in it, so there is nothing to pack", "WARN")
        self._ctx.log(
            f"{place.files} files, {place.bytes} bytes in {place.end} folders; {place.new_files} are new or changed "
            f"({place.new_bytes} bytes), in {place.packs} packs; {place.warnings} warnings"
        )

    # ---- outputs inside the source

    def _outputs_inside(self) -> frozenset[str]:
        """Return the paths in the source that are output folders. Raises ExecutorError when one is the source itself."""
        if self._record.type != "local":
            return frozenset()
        source = os.path.realpath(self._record.path)
        inside = set()
        for output in self._catalogue.outputs(self._preparation.id):
            if output.type != "local":
                continue
            folder = os.path.realpath(output.path)
            if folder == source:
                raise ExecutorError(f"{output.path} is source and output at once: CARs would be packed into CARs")
            if is_inside(folder, source):
                inside.add(os.path.relpath(folder, source))
        return frozenset(inside)


class _Known(Generic[Row]):
    """Rows sorted by name, taken alongside a listing in the same order."""

    def __init__(self, rows: Iterable[Row]) -> None:
        self._rows = iter(rows)
        self._next: Any = next(self._rows, None)

    def take(self, name: str) -> list[Row]:
        """Return the rows of this name; those of names before it are gone."""
        found: list[Row] = []
        while self._next is not None and self._next.name <= name:
            if self._next.name == name:
                found.append(self._next)
            self._next = next(self._rows, None)
        return found


def _name_of(path: str) -> str:
    return path.rpartition("/")[2]


def _number(things: Sequence[Any], take: Callable[[int], int]) -> None:
    if things:
        for number, thing in enumerate(things, take(len(things))):
            thing.id = number
