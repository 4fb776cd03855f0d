"""The verbs of the catalogue, bound to one transaction or one reading connection.

Lists that can be long come as pages of at most 10,000 rows: ``after`` is the key of the last row seen. Nothing stays open
between two calls. A range, file or directory *has* a CID when its side row is there and so is the CAR that the row names.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from common.content import piececid
from common.content.profile import Profile
from common.db import database
from common.db.catalogue import statements as s
from common.db.catalogue.values import (
    Attachment,
    Car,
    Child,
    Directory,
    File,
    FileRange,
    Job,
    JobRange,
    PackedFile,
    Preparation,
    RangeCid,
    StorageRecord,
)
from common.db.ids import take_ids
from common.db.sql import Tx
from common.errors import ContentError
from common.task import State

if TYPE_CHECKING:
    from common.db.transfers import TransferFile

PAGE_ROWS = 10_000

Row = TypeVar("Row")


def open_readonly(database: Path | str) -> Catalogue:
    """Open the catalogue of a database file for reading, in a task process. May be used by one thread at a time."""
    return Catalogue(Tx(_connect(database)), Path(_file_of(database)).parent)


class Catalogue:
    """See the module. ``data_folder`` is where the service keeps its own files; None when it is not known here."""

    def __init__(self, tx: Tx, data_folder: Path | None = None) -> None:
        self._tx = tx
        self.data_folder = data_folder

    @property
    def tx(self) -> Tx:
        """The transaction or connection that it is bound to."""
        return self._tx

    # ---- storages and preparations

    def storage(self, ref: int | str) -> StorageRecord | None:
        """Return a storage by id (int) or name (str)."""
        row = self._tx.one(s.STORAGE_BY_ID, id=ref) if isinstance(ref, int) else self._tx.one(s.STORAGE_BY_NAME, name=ref)
        return None if row is None else _storage(row)

    def storages(self) -> list[StorageRecord]:
        return [_storage(row) for row in self._tx.all(s.STORAGES)]

    def preparation(self, ref: int | str) -> Preparation | None:
        """Return a preparation by id (int) or name (str)."""
        if isinstance(ref, int):
            row = self._tx.one(s.PREPARATION_BY_ID, id=ref)
        else:
            row = self._tx.one(s.PREPARATION_BY_NAME, name=ref)
        return None if row is None else _preparation(row)

    def preparations(self) -> list[Preparation]:
        return [_preparation(row) for row in self._tx.all(s.PREPARATIONS)]

    def outputs(self, preparation_id: int) -> list[StorageRecord]:
        """Return the output storages in the order in which they were attached."""
        return [_storage(row) for row in self._tx.all(s.OUTPUTS, preparation_id=preparation_id)]

    def attachments(self, preparation_id: int) -> list[Attachment]:
        """Return the sources in the order in which they were attached."""
        return [_attachment(row) for row in self._tx.all(s.ATTACHMENTS, preparation_id=preparation_id)]

    def attachment(self, attachment_id: int) -> Attachment | None:
        row = self._tx.one(s.ATTACHMENT, id=attachment_id)
        return None if row is None else _attachment(row)

    def attachment_of(self, preparation_id: int, storage_id: int) -> Attachment | None:
        row = self._tx.one(s.ATTACHMENT_OF, preparation_id=preparation_id, storage_id=storage_id)
        return None if row is None else _attachment(row)

    def preparations_of_folder(self, user: str, path: str) -> list[tuple[int, int]]:
        """Return (preparation, storage) of a user's preparations with this local folder as a source, newest first."""
        return [(row[0], row[1]) for row in self._tx.all(s.PREPARATIONS_OF_FOLDER, user=user, path=path)]

    def storages_of_folder(self, user: str, path: str) -> list[StorageRecord]:
        """Return a user's storages of this local folder."""
        return [_storage(row) for row in self._tx.all(s.STORAGES_OF_FOLDER, user=user, path=path)]

    # ---- jobs

    def job(self, job_id: int) -> Job | None:
        row = self._tx.one(s.JOB_BY_ID, id=job_id)
        return None if row is None else _job(row)

    def jobs(self, attachment_id: int, type: str = "", after: int = 0, limit: int = PAGE_ROWS) -> list[Job]:
        """Return a page of the jobs of a source by id, each with its latest task; ``type`` "" is all of them."""
        if type:
            rows = self._tx.all(s.JOBS_OF_TYPE, attachment_id=attachment_id, type=type, after=after, limit=limit)
        else:
            rows = self._tx.all(s.JOBS, attachment_id=attachment_id, after=after, limit=limit)
        return [_job(row) for row in rows]

    def open_groups(self, attachment_id: int) -> list[int]:
        """Return the ids of packs that a scan has not closed: their ranges belong to no job yet."""
        return [row[0] for row in self._tx.all(s.OPEN_GROUPS, attachment_id=attachment_id)]

    # ---- files and ranges

    def file(self, file_id: int) -> File | None:
        row = self._tx.one(s.FILE, id=file_id)
        return None if row is None else File(*row)

    def versions(self, directory_id: int, after: tuple[str, int] = ("", 0), limit: int = PAGE_ROWS) -> list[File]:
        """Return a page of a folder's files, all versions, by name and id; ``after`` is (name, id)."""
        rows = self._tx.all(s.VERSIONS, directory_id=directory_id, after=after[0], after_id=after[1], limit=limit)
        return [File(*row) for row in rows]

    def loose_ranges(self, attachment_id: int, after: int = 0, limit: int = PAGE_ROWS) -> list[FileRange]:
        """Return a page of the ranges that have no job at all, by id."""
        rows = self._tx.all(s.LOOSE_RANGES, attachment_id=attachment_id, after=after, limit=limit)
        return [FileRange(*row) for row in rows]

    def ranges_of(self, job_id: int, after: int = 0, limit: int = PAGE_ROWS) -> list[FileRange]:
        """Return a page of a job's ranges by id."""
        return [FileRange(*row) for row in self._tx.all(s.PLAIN_JOB_RANGES, job_id=job_id, after=after, limit=limit)]

    def job_ranges(self, job_id: int, after: int = 0, limit: int = PAGE_ROWS) -> list[JobRange]:
        """Return a page of a job's ranges by id, with what is needed to read them."""
        return [JobRange(*row) for row in self._tx.all(s.JOB_RANGES, job_id=job_id, after=after, limit=limit)]

    def job_totals(self, job_id: int) -> tuple[int, int]:
        """Return number and bytes of a job's ranges."""
        count, size = self._tx.one(s.JOB_TOTALS, job_id=job_id) or (0, 0)
        return count, size

    def skipped(self, car_id: int, after: int = 0, limit: int = PAGE_ROWS) -> list[int]:
        """Return a page of the ids of ranges that the making of a CAR has left out."""
        return [row[0] for row in self._tx.all(s.SKIPPED, car_id=car_id, after=after, limit=limit)]

    def range_cids(self, file_id: int, after: int = -1, limit: int = PAGE_ROWS) -> list[RangeCid]:
        """Return a page of a file's ranges by offset, with their CIDs; ``after`` is an offset."""
        return [RangeCid(*row) for row in self._tx.all(s.RANGE_CIDS, file_id=file_id, after=after, limit=limit)]

    def ranges_end(self, file_id: int) -> int:
        """Return where the last range of a file ends: its size, unless a scan was killed while it registered them."""
        row = self._tx.one(s.LAST_RANGE, file_id=file_id)
        return 0 if row is None else int(row[0])

    def named_ranges(self, job_id: int, car_id: int, after: int = 0, limit: int = PAGE_ROWS) -> list[tuple[int, bytes]]:
        """Return a page of (id, CID) of the ranges of a job that are in its CAR, by id."""
        rows = self._tx.all(s.NAMED_RANGES, job_id=job_id, car_id=car_id, after=after, limit=limit)
        return [(row[0], row[1]) for row in rows]

    def spanning(self, car_id: int) -> list[int]:
        """Return the ids of files that a CAR holds a part of only."""
        return [row[0] for row in self._tx.all(s.SPANNING, car_id=car_id)]

    def file_cid(self, file_id: int) -> bytes | None:
        row = self._tx.one(s.FILE_CID, file_id=file_id)
        return None if row is None else row[0]

    def packed_files(self, directory_id: int, after: tuple[str, int] = ("", 0), limit: int = PAGE_ROWS) -> list[PackedFile]:
        """Return a page of a folder's packed files, all versions, by name and id."""
        rows = self._tx.all(s.PACKED_FILES, directory_id=directory_id, after=after[0], after_id=after[1], limit=limit)
        return [PackedFile(*row) for row in rows]

    def packed_files_in(self, directories: Sequence[int], limit: int = PAGE_ROWS) -> list[tuple[int, PackedFile]]:
        """Return (folder, packed file) of the first packed files in folders, by folder, name and id, all versions."""
        rows = self._tx.all(s.PACKED_FILES_IN, ids=json.dumps(directories), limit=limit)
        return [(row[0], PackedFile(*row[1:])) for row in rows]

    # ---- directories

    def root(self, attachment_id: int) -> Directory | None:
        row = self._tx.one(s.ROOT, attachment_id=attachment_id)
        return None if row is None else Directory(*row)

    def directory(self, directory_id: int) -> Directory | None:
        row = self._tx.one(s.DIRECTORY_BY_ID, id=directory_id)
        return None if row is None else Directory(*row)

    def directories(self, ids: Sequence[int]) -> list[Directory]:
        """Return the folders with these ids, in no order."""
        return [Directory(*row) for row in self._tx.all(s.DIRECTORIES_BY_ID, ids=json.dumps(ids))]

    def subdirectory(self, parent_id: int, name: str) -> Directory | None:
        row = self._tx.one(s.SUBDIRECTORY, parent_id=parent_id, name=name)
        return None if row is None else Directory(*row)

    def children(self, directory_id: int, after: str = "", limit: int = PAGE_ROWS) -> list[Child]:
        """Return a page of the folders in a folder, by name."""
        return [Child(*row) for row in self._tx.all(s.CHILDREN, parent_id=directory_id, after=after, limit=limit)]

    def children_in(self, directories: Sequence[int], limit: int = PAGE_ROWS) -> list[tuple[int, Child]]:
        """Return (folder, folder in it) of the first folders in folders, by folder and name."""
        rows = self._tx.all(s.CHILDREN_IN, ids=json.dumps(directories), limit=limit)
        return [(row[0], Child(*row[1:])) for row in rows]

    def walk(self, attachment_id: int, task_id: int, position: int, limit: int = PAGE_ROWS) -> list[tuple[int, Directory]]:
        """Return a page of the folders that the latest scan, if it is this task, visits from ``position`` on."""
        rows = self._tx.all(s.WALK, attachment_id=attachment_id, task_id=task_id, position=position, limit=limit)
        return [(row[0], Directory(*row[1:])) for row in rows]

    def directory_node(self, directory_id: int) -> tuple[bytes, int] | None:
        """Return CID and Tsize of a folder as of the last daggen."""
        row = self._tx.one(s.DIRECTORY_NODE, directory_id=directory_id)
        return None if row is None else (row[0], row[1])

    def unbuilt(self, attachment_id: int, after: int = 0, limit: int = PAGE_ROWS) -> list[Directory]:
        """Return a page of the folders of a source that have no CID, by id."""
        return [Directory(*r) for r in self._tx.all(s.UNBUILT, attachment_id=attachment_id, after=after, limit=limit)]

    def touched(self, job_id: int, car_id: int, after: int = 0, limit: int = PAGE_ROWS) -> list[tuple[int, int]]:
        """Return a page of (range, folder) of the files that a CAR has completed."""
        return [(r[0], r[1]) for r in self._tx.all(s.TOUCHED, job_id=job_id, car_id=car_id, after=after, limit=limit)]

    # ---- CARs

    def car(self, car_id: int) -> Car | None:
        row = self._tx.one(s.CAR_BY_ID, id=car_id)
        return None if row is None else _car(row)

    def car_of_job(self, job_id: int) -> Car | None:
        """Return the CAR of a pack job, the latest if there are several."""
        rows = self._tx.all(s.CARS_OF_JOB, job_id=job_id)
        return _car(rows[-1]) if rows else None

    def cars_of_task(self, task_id: int) -> list[Car]:
        return [_car(row) for row in self._tx.all(s.CARS_OF_TASK, task_id=task_id)]

    def cars_of_piece(self, piece_cid: bytes) -> list[Car]:
        """Return all CARs of a piece CID (v1, binary)."""
        return [_car(row) for row in self._tx.all(s.CARS_OF_PIECE, piece_cid=piece_cid)]

    def cars_of_text(self, piece_cid: str) -> list[Car]:
        """Return all CARs of a piece CID as people write it, v1 or v2; none for what is no piece CID."""
        try:
            return self.cars_of_piece(piececid.parse(piece_cid).to_v1())
        except ContentError:
            return []

    def cars(self, preparation_id: int, after: int = 0, limit: int = PAGE_ROWS) -> list[Car]:
        """Return a page of the CARs of a preparation, by id."""
        return [_car(row) for row in self._tx.all(s.CARS, preparation_id=preparation_id, after=after, limit=limit)]

    def transfer_files(self, task_id: int, after: str = "", limit: int = PAGE_ROWS) -> list[TransferFile]:
        """Return a page of the files of a transfer, by path."""
        from common.db import transfers  # which reads storages through this module

        return transfers.files(self._tx, task_id, after, limit)

    def data_car_ids(self, attachment: Attachment, after: int = 0, limit: int = PAGE_ROWS) -> list[int]:
        """Return a page of the ids of the data CARs of a source."""
        rows = self._tx.all(
            s.CAR_IDS,
            preparation_id=attachment.preparation_id,
            attachment_id=attachment.id,
            after=after,
            limit=limit,
        )
        return [row[0] for row in rows]

    def unexported(self, attachment: Attachment, after: int = 0, limit: int = PAGE_ROWS) -> list[Car]:
        """Return a page of the data CARs of a source whose files are in no DAG CAR yet."""
        rows = self._tx.all(
            s.UNEXPORTED,
            preparation_id=attachment.preparation_id,
            attachment_id=attachment.id,
            after=after,
            limit=limit,
        )
        return [_car(row) for row in rows]

    # ---- results of tasks

    def scanned(self, task_id: int, offset: int, limit: int) -> tuple[list[tuple[Any, ...]], int]:
        """Return rows (path, size, mtime in ns, hash, ranges) that a scan registered, from ``offset``, and their number."""
        total = self.scan_count(task_id)
        end = min(offset + min(limit, PAGE_ROWS), total)
        rows: list[tuple[Any, ...]] = []
        for before, first, files in self._tx.all(s.SCAN_BATCHES, task_id=task_id, offset=offset, end=end):
            start, stop = max(offset - before, 0), min(end - before, files)
            if start < stop:
                rows += self._tx.all(s.SCANNED, first=first + start, end=first + stop)
        return rows, total

    def scan_count(self, task_id: int) -> int:
        """Return how many files a scan has registered."""
        return int((self._tx.one(s.SCAN_COUNT, task_id=task_id) or (0,))[0])

    def faults(self, task_id: int, offset: int, limit: int) -> tuple[list[tuple[Any, ...]], int]:
        """Return rows (object, offset, expected, found, message) of a verify task, from ``offset``, and their number."""
        total = (self._tx.one(s.FAULT_COUNT, task_id=task_id) or (0,))[0]
        return self._tx.all(s.FAULTS, task_id=task_id, first=offset, limit=min(limit, PAGE_ROWS)), total

    # ---- verbs that change something (the service's)

    def take_ids(self, table: str, n: int = 1) -> int:
        return take_ids(self._tx, table, n)

    def add_storage(self, storage: StorageRecord) -> None:
        values = asdict(storage)
        values["config"] = json.dumps(dict(storage.config))
        values["client_config"] = json.dumps(dict(storage.client_config))
        self._tx.run(s.ADD_STORAGE, **values)

    def add_preparation(self, preparation: Preparation) -> None:
        values = asdict(preparation)
        values["profile"] = json.dumps(asdict(preparation.profile))
        for name in ("delete_after_export", "no_inline", "no_dag"):
            values[name] = int(values[name])
        self._tx.run(s.ADD_PREPARATION, **values)

    def add_output(self, preparation_id: int, storage_id: int) -> None:
        self._tx.run(s.ADD_OUTPUT, id=self.take_ids("outputs"), preparation_id=preparation_id, storage_id=storage_id)

    def add_attachment(self, preparation_id: int, storage_id: int, now: int) -> Attachment:
        """Attach a source; its root folder and its scan and daggen jobs are made with it."""
        attachment = Attachment(id=self.take_ids("attachments"), preparation_id=preparation_id, storage_id=storage_id)
        self._tx.run(s.ADD_ATTACHMENT, **asdict(attachment))
        self._tx.run(
            s.ADD_DIRECTORY,
            id=self.take_ids("directories"),
            attachment_id=attachment.id,
            parent_id=None,
            name="",
            path="",
            raw_path=None,
        )
        for type in ("scan", "daggen"):
            self.add_job(attachment.id, type, now)
        return attachment

    def add_job(self, attachment_id: int, type: str, now: int, *, filling: bool = False, follow: bool = False) -> int:
        """Make a job and return its id."""
        job_id = self.take_ids("jobs")
        self._tx.run(
            s.ADD_JOB,
            id=job_id,
            attachment_id=attachment_id,
            type=type,
            filling=int(filling),
            follow=int(follow),
            created_at=now,
        )
        return job_id

    def finish_file(self, file_id: int, car_id: int, cid: bytes, tsize: int) -> None:
        """Record the CID of a file whose last missing range came with this CAR."""
        self._tx.run(s.FINISH_FILE, file_id=file_id, car_id=car_id, cid=cid, tsize=tsize)

    def drop_cars(self, task_id: int, name: str) -> None:
        """Forget the CARs of a task with this file name: the file did not become final."""
        self._tx.run(s.DELETE_CARS_NAMED, task=task_id, name=name)

    def following(self, after: int = 0, limit: int = PAGE_ROWS) -> list[tuple[int, str, int]]:
        """Return a page of (id, type, source) of the jobs that are to follow by themselves and have no task."""
        return [(r[0], r[1], r[2]) for r in self._tx.all(s.FOLLOWING, after=after, limit=limit)]

    def waiting_daggens(self, attachment_id: int) -> list[tuple[int, int | None]]:
        """Return the tasks (with their parents) that wait for the packs of a source."""
        return [(row[0], row[1]) for row in self._tx.all(s.WAITING_DAGGENS, attachment_id=attachment_id)]

    def open_scan(self, attachment_id: int) -> tuple[int, bool] | None:
        """Return the unfinished scan task of a source, and whether it only waits for its children."""
        row = self._tx.one(s.OPEN_SCAN, attachment_id=attachment_id)
        return None if row is None else (row[0], bool(row[1]))

    def unfinished_pack(self, attachment_id: int) -> tuple[int, int | None, State | None, str | None] | None:
        """Return (job, last task, its state, its reason) of a pack of the source that is not complete; ended ones first."""
        row = self._tx.one(s.UNFINISHED_PACK, attachment_id=attachment_id)
        if row is None:
            return None
        return row[0], row[1], None if row[2] is None else State(row[2]), row[3]

    def bind_root(self, root: str, preparation_id: int) -> None:
        """Give a folder that was allowed for a preparation yet to be made (0) to this one."""
        self._tx.run(s.BIND_ROOT, root=root, preparation=preparation_id)


def pages(read: Callable[[Any, int], Sequence[Row]], after: Any, key: Callable[[Row], Any]) -> Iterator[Row]:
    """Yield the rows of all pages of ``read(after, limit)``; between two pages nothing is open."""
    while True:
        page = read(after, PAGE_ROWS)
        yield from page
        if len(page) < PAGE_ROWS:
            return
        after = key(page[-1])


def _file_of(database_url: Path | str) -> str:
    text = str(database_url)
    return text.removeprefix("sqlite:///") if text.startswith("sqlite:///") else text


def _connect(database_url: Path | str) -> Any:
    return database.open_readonly(Path(_file_of(database_url)).absolute())


def _storage(row: Sequence[Any]) -> StorageRecord:
    id, name, user, type, path, config, client_config, secrets, created_at, updated_at = row
    return StorageRecord(
        id=id,
        name=name,
        user=user,
        type=type,
        path=path,
        config=json.loads(config),
        client_config=json.loads(client_config),
        secrets=secrets,
        created_at=created_at,
        updated_at=updated_at,
    )


def _preparation(row: Sequence[Any]) -> Preparation:
    return Preparation(
        id=row[0],
        name=row[1],
        user=row[2],
        max_size=row[3],
        piece_size=row[4],
        min_piece_size=row[5],
        delete_after_export=bool(row[6]),
        no_inline=bool(row[7]),
        no_dag=bool(row[8]),
        profile=Profile(**json.loads(row[9])),
        created_at=row[10],
        updated_at=row[11],
    )


def _attachment(row: Sequence[Any]) -> Attachment:
    return Attachment(id=row[0], preparation_id=row[1], storage_id=row[2])


def _job(row: Sequence[Any]) -> Job:
    id, attachment_id, type, filling, follow, created_at, task_id, state, pause_requested, reason = row
    return Job(
        id=id,
        attachment_id=attachment_id,
        type=type,
        filling=bool(filling),
        follow=bool(follow),
        created_at=created_at,
        task_id=task_id,
        task_state=None if state is None else State(state),
        pause_requested=bool(pause_requested),
        reason=reason,
    )


_CAR_NAMES = tuple(Car.__dataclass_fields__)


def _car(row: Sequence[Any]) -> Car:
    return Car(**dict(zip(_CAR_NAMES, row, strict=True)))
