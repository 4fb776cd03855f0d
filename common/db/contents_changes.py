"""Verbs that change what lies in preparations: files that are pushed, ranges that go into jobs, and removing it all again.

Bound to the writer's transaction; ``Contents`` reads. Removing is done in steps of a bounded number of rows, so that nobody
else waits for a large preparation to go.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Table, bindparam, delete, insert, null, select, update
from sqlalchemy.dialects.sqlite import insert as upsert

from common.db import tables as t
from common.db.catalogue import Catalogue, Directory, File
from common.db.sql import Sql, Tx

STEP_ROWS = 5_000

_p = bindparam


def _insert(table: Table) -> Sql:
    return Sql(insert(table).values({c.name: _p(c.name) for c in table.c}))


_ADD_DIRECTORY, _ADD_FILE, _ADD_RANGE = _insert(t.directories), _insert(t.files), _insert(t.ranges)
_ASSIGN = Sql(update(t.ranges).where(t.ranges.c.id == _p("range_id")).values(job_id=_p("job")))
_FREE = Sql(update(t.ranges).where(t.ranges.c.job_id == _p("job")).values(job_id=null()))
_FILLING = Sql(
    select(t.jobs.c.id).where(t.jobs.c.attachment_id == _p("attachment_id"), t.jobs.c.filling == 1).order_by(t.jobs.c.id)
)
_FILLED = Sql(update(t.jobs).where(t.jobs.c.id == _p("job"), t.jobs.c.filling == 1).values(filling=0, follow=1))
_LENGTHS = Sql(select(t.ranges.c.length).where(t.ranges.c.job_id == _p("job_id")))
_LOOSE_OF_FILE = Sql(
    select(t.ranges.c.id, t.ranges.c.length)
    .where(t.ranges.c.file_id == _p("file_id"), t.ranges.c.job_id.is_(None))
    .order_by(t.ranges.c.id)
)
_LOOSE = Sql(
    select(t.ranges.c.id, t.ranges.c.length)
    .where(t.ranges.c.attachment_id == _p("attachment_id"), t.ranges.c.job_id.is_(None))
    .order_by(t.ranges.c.id)
)
_put_value = upsert(t.meta).values(key=_p("key"), value=_p("value"))
_SET_VALUE = Sql(_put_value.on_conflict_do_update(index_elements=["key"], set_={"value": _put_value.excluded.value}))
_DELETE_CAR = Sql(delete(t.cars).where(t.cars.c.id == _p("id")))
_DELETE_OUTPUT = Sql(
    delete(t.outputs).where(t.outputs.c.preparation_id == _p("preparation"), t.outputs.c.storage_id == _p("storage"))
)
_RENAME_PREPARATION = Sql(
    update(t.preparations).where(t.preparations.c.id == _p("key")).values(name=_p("to"), updated_at=_p("at"))
)
_RENAME_STORAGE = Sql(update(t.storages).where(t.storages.c.id == _p("key")).values(name=_p("to"), updated_at=_p("at")))
_UPDATE_STORAGE = Sql(
    update(t.storages)
    .where(t.storages.c.id == _p("key"))
    .values(config=_p("new_config"), client_config=_p("new_client"), secrets=_p("new_secrets"), updated_at=_p("at"))
)
_DELETE_STORAGE = Sql(delete(t.storages).where(t.storages.c.id == _p("key")))
_IN_USE = tuple(
    Sql(select(table.c.id).where(table.c.storage_id == _p("storage_id")).limit(1)) for table in (t.attachments, t.outputs)
)
_DELETE_PREPARATION = Sql(delete(t.preparations).where(t.preparations.c.id == _p("key")))
_DELETE_OUTPUTS = Sql(delete(t.outputs).where(t.outputs.c.preparation_id == _p("key")))
_DELETE_ATTACHMENTS = Sql(delete(t.attachments).where(t.attachments.c.preparation_id == _p("key")))
_DELETE_ROOTS = Sql(delete(t.roots).where(t.roots.c.preparation_id == _p("key")))


_FIRST_DIRECTORY = Sql(
    select(t.directories.c.id)
    .where(t.directories.c.attachment_id == _p("attachment_id"))
    .order_by(t.directories.c.id)
    .limit(1)
)
_SOME_FILES = Sql(select(t.files.c.id).where(t.files.c.directory_id == _p("directory_id")).limit(_p("limit")))
_RANGES_OF_FILE = select(t.ranges.c.id).where(t.ranges.c.file_id == _p("file")).scalar_subquery()
_REMOVE_FILE = (
    Sql(delete(t.range_cids).where(t.range_cids.c.range_id.in_(_RANGES_OF_FILE))),
    Sql(delete(t.ranges).where(t.ranges.c.file_id == _p("file"))),
    Sql(delete(t.file_cids).where(t.file_cids.c.file_id == _p("file"))),
    Sql(delete(t.files).where(t.files.c.id == _p("file"))),
)
_REMOVE_DIRECTORY = (
    Sql(delete(t.directory_nodes).where(t.directory_nodes.c.directory_id == _p("directory"))),
    Sql(delete(t.directories).where(t.directories.c.id == _p("directory"))),
)
_CARS_OF = select(t.cars.c.id).where(t.cars.c.attachment_id == _p("attachment")).scalar_subquery()
_REMOVE_REST = (
    Sql(delete(t.exported).where(t.exported.c.attachment_id == _p("attachment"))),
    Sql(delete(t.spanning).where(t.spanning.c.car_id.in_(_CARS_OF))),
    Sql(delete(t.skipped).where(t.skipped.c.car_id.in_(_CARS_OF))),
    Sql(delete(t.cars).where(t.cars.c.attachment_id == _p("attachment"))),
    Sql(delete(t.groups).where(t.groups.c.attachment_id == _p("attachment"))),
    Sql(delete(t.jobs).where(t.jobs.c.attachment_id == _p("attachment"))),
    Sql(delete(t.walk).where(t.walk.c.attachment_id == _p("attachment"))),
    Sql(delete(t.scans).where(t.scans.c.attachment_id == _p("attachment"))),
)


class ContentsChanges:
    """See the module."""

    def __init__(self, tx: Tx) -> None:
        self._tx = tx
        self._catalogue = Catalogue(tx)

    # ---- pushed files

    def folder(self, attachment_id: int, path: str) -> Directory:
        """Return a folder of a source ("" is the root), made with all above it when it is not known."""
        found = self._catalogue.root(attachment_id)
        assert found is not None, "a source has a root folder"
        for part in path.split("/") if path else ():
            below = self._catalogue.subdirectory(found.id, part)
            if below is None:
                below = Directory(
                    self._catalogue.take_ids("directories"),
                    attachment_id,
                    found.id,
                    part,
                    f"{found.path}/{part}" if found.path else part,
                    None,
                )
                self._tx.run(_ADD_DIRECTORY, **below._asdict())
            found = below
        return found

    def add_file(self, file: File, ranges: Sequence[tuple[int, int]]) -> File:
        """Store a version of a file (its id is given here) with its ranges (offset, length), which have no job yet."""
        file = file._replace(id=self._catalogue.take_ids("files"))
        self._tx.run(_ADD_FILE, **file._asdict())
        first = self._catalogue.take_ids("ranges", len(ranges))
        for number, (offset, length) in enumerate(ranges, first):
            self._tx.run(
                _ADD_RANGE,
                id=number,
                attachment_id=file.attachment_id,
                file_id=file.id,
                offset=offset,
                length=length,
                job_id=None,
            )
        return file

    # ---- ranges and jobs

    def loose_of_file(self, file_id: int) -> list[tuple[int, int]]:
        """Return (range, length) of the ranges of a file that have no job, by id."""
        return [(r[0], r[1]) for r in self._tx.all(_LOOSE_OF_FILE, file_id=file_id)]

    def loose(self, attachment_id: int) -> list[tuple[int, int]]:
        """Return (range, length) of the ranges of a source that have no job, by id."""
        return [(r[0], r[1]) for r in self._tx.all(_LOOSE, attachment_id=attachment_id)]

    def lengths(self, job_id: int) -> list[int]:
        """Return the lengths of a job's ranges."""
        return [r[0] for r in self._tx.all(_LENGTHS, job_id=job_id)]

    def filling(self, attachment_id: int) -> list[int]:
        """Return the packs of a source that are being filled, by id."""
        return [r[0] for r in self._tx.all(_FILLING, attachment_id=attachment_id)]

    def assign(self, range_id: int, job_id: int) -> None:
        self._tx.run(_ASSIGN, range_id=range_id, job=job_id)

    def filled(self, *job_ids: int) -> None:
        """Nothing more goes into these packs; a task for each is to follow."""
        for job_id in job_ids:
            self._tx.run(_FILLED, job=job_id)

    # ---- pieces

    def remove_car(self, car_id: int, job_id: int | None) -> None:
        """Forget a CAR; the ranges of its job have no job then, so that the next scan packs them again."""
        self._tx.run(_DELETE_CAR, id=car_id)
        if job_id is not None:
            self._tx.run(_FREE, job=job_id)

    # ---- storages and preparations

    def set_value(self, key: str, value: str) -> None:
        """Keep a text under a name."""
        self._tx.run(_SET_VALUE, key=key, value=value)

    def rename_preparation(self, preparation_id: int, name: str, now: int) -> None:
        self._tx.run(_RENAME_PREPARATION, key=preparation_id, to=name, at=now)

    def detach_output(self, preparation_id: int, storage_id: int) -> bool:
        """Return whether it was attached."""
        return bool(self._tx.run(_DELETE_OUTPUT, preparation=preparation_id, storage=storage_id))

    def rename_storage(self, storage_id: int, name: str, now: int) -> None:
        self._tx.run(_RENAME_STORAGE, key=storage_id, to=name, at=now)

    def update_storage(self, storage_id: int, config: str, client_config: str, secrets: bytes | None, now: int) -> None:
        """Store new settings: JSON texts, and the encrypted secrets."""
        self._tx.run(
            _UPDATE_STORAGE, key=storage_id, new_config=config, new_client=client_config, new_secrets=secrets, at=now
        )

    def storage_in_use(self, storage_id: int) -> bool:
        return any(self._tx.one(sql, storage_id=storage_id) is not None for sql in _IN_USE)

    def remove_storage(self, storage_id: int) -> None:
        self._tx.run(_DELETE_STORAGE, key=storage_id)

    def remove_preparation(self, preparation_id: int) -> None:
        """Forget a preparation; what lies in its sources goes with ``remove_rows``."""
        for sql in (_DELETE_PREPARATION, _DELETE_OUTPUTS, _DELETE_ATTACHMENTS, _DELETE_ROOTS):
            self._tx.run(sql, key=preparation_id)

    def remove_rows(self, attachment_id: int) -> bool:
        """Remove some rows of a source that is gone; returns whether there may be more."""
        left = STEP_ROWS
        while left > 0:
            row = self._tx.one(_FIRST_DIRECTORY, attachment_id=attachment_id)
            if row is None:
                for sql in _REMOVE_REST:
                    self._tx.run(sql, attachment=attachment_id)
                return False
            files = self._tx.all(_SOME_FILES, directory_id=row[0], limit=left)
            for (file,) in files:
                for sql in _REMOVE_FILE:
                    self._tx.run(sql, file=file)
            if len(files) < left:
                for sql in _REMOVE_DIRECTORY:
                    self._tx.run(sql, directory=row[0])
            left -= len(files) + 1
        return True
