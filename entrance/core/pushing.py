"""The push API: files are registered one by one, and put into pack jobs as they come.

A source has at most one pack that is being filled. ``prepare_to_pack`` puts a file's ranges into it; when it is full it is
ready and the next one is opened. ``finalize`` does the same with all ranges that have no job, and closes what is open.
Source of the rules: sections 3.4 and 5.4 of the Singularity contract.
"""

from __future__ import annotations

from collections.abc import Sequence

from common.content import estimate
from common.db.catalogue import Catalogue, File
from common.db.catalogue.store import pages
from common.db.contents import Contents
from common.db.contents_changes import ContentsChanges
from common.db.sql import Tx
from common.errors import AlreadyExists, BadInput, EntranceError, NotFound
from common.storage.base import Entry
from entrance.core.data import DataService, FileView, Ref, find_attachment, find_file
from entrance.core.jobs import JobService
from entrance.core.model import Caller


class CannotCheck(BadInput):
    """A file that is pushed cannot be looked at."""


class PushService:
    """See the module."""

    def __init__(self, *, data: DataService, jobs: JobService) -> None:
        self._data, self._jobs = data, jobs

    def push(self, caller: Caller, preparation: Ref, source: Ref, path: str) -> FileView:
        """Register a file of a source, with its ranges and without a job. Raises NotFound, CannotCheck, AlreadyExists."""
        path = path.strip("/")
        storage = self._data.read(lambda c: c.storage(find_attachment(c, caller, preparation, source).storage_id))
        assert storage is not None, "an attached storage cannot be deleted"
        try:
            entry = self._data.offload(self._data.open(storage).stat, path)
            if entry.is_dir:
                raise BadInput("it is a folder")
        except EntranceError as error:
            raise CannotCheck(f"failed to check file '{path}': {error}") from error
        return self._data.change(lambda tx: _register(tx, caller, preparation, source, entry))

    def prepare_to_pack(self, caller: Caller, file_id: int) -> int:
        """Put a file's ranges that have no job into pack jobs; return the estimated bytes of the last CAR touched."""

        def change(tx: Tx) -> tuple[int, list[int]]:
            file = find_file(Catalogue(tx), Contents(tx), caller, file_id).file
            return _fill(tx, file.attachment_id, ContentsChanges(tx).loose_of_file(file_id))

        size, ready = self._data.change(change)
        self._jobs.start_ready(caller, ready)
        return size

    def finalize(self, caller: Caller, preparation: Ref, source: Ref) -> None:
        """Put all ranges of a source that have no job into packs, and queue every pack that waits. Raises NotFound."""

        def change(tx: Tx) -> list[int]:
            catalogue = Catalogue(tx)
            try:
                attachment = find_attachment(catalogue, caller, preparation, source)
            except NotFound as error:
                raise NotFound(f"source '{source}' does not exist") from error
            changes = ContentsChanges(tx)
            _fill(tx, attachment.id, changes.loose(attachment.id))
            for job_id in changes.filling(attachment.id):
                changes.filled(job_id)
            every = pages(lambda after, n: catalogue.jobs(attachment.id, "pack", after, n), 0, lambda j: j.id)
            return [job.id for job in every if job.state == "created"]

        self._jobs.start_ready(caller, self._data.change(change))


def _register(tx: Tx, caller: Caller, preparation: Ref, source: Ref, entry: Entry) -> FileView:
    catalogue, changes = Catalogue(tx), ContentsChanges(tx)
    attachment = find_attachment(catalogue, caller, preparation, source)
    head, _, name = entry.path.rpartition("/")
    folder = changes.folder(attachment.id, head)
    for known in catalogue.versions(folder.id, (name, 0), 1000):
        if known.name != name:
            break
        same_hash = not entry.hash or known.hash == entry.hash
        if known.modified_ns == entry.modified_ns and same_hash and entry.size in (-1, known.size):
            raise AlreadyExists(f"file '{entry.path}' already exists")
    found = catalogue.preparation(attachment.preparation_id)
    assert found is not None, "an attachment belongs to a preparation"
    file = changes.add_file(
        File(0, attachment.id, folder.id, name, None, entry.size, entry.modified_ns, entry.hash),
        list(estimate.ranges(entry.size, estimate.split_size(found.max_size))),
    )
    return find_file(catalogue, Contents(tx), caller, file.id)


def _fill(tx: Tx, attachment_id: int, ranges: Sequence[tuple[int, int]]) -> tuple[int, list[int]]:
    """Put ranges into the pack that is being filled, and further ones; return the size of the last, and what is full."""
    catalogue, changes = Catalogue(tx), ContentsChanges(tx)
    attachment = catalogue.attachment(attachment_id)
    preparation = catalogue.preparation(attachment.preparation_id) if attachment is not None else None
    assert preparation is not None, "an attachment belongs to a preparation"
    ready: list[int] = []
    open_jobs = changes.filling(attachment_id)
    size = estimate.EMPTY_GROUP
    while ranges:
        job_id = open_jobs[0] if open_jobs else catalogue.add_job(attachment_id, "pack", 0, filling=True)
        open_jobs = open_jobs[1:]
        begun = estimate.EMPTY_GROUP + sum(map(estimate.range_cost, changes.lengths(job_id)))
        took, size = estimate.fill(begun, [length for _, length in ranges], preparation.max_size)
        for range_id, _ in ranges[:took]:
            changes.assign(range_id, job_id)
        ranges = ranges[took:]
        if ranges:
            changes.filled(job_id)
            ready.append(job_id)
    return size, ready
