"""DataService: everything that can be asked of storages, preparations, their jobs, files and pieces.

What runs is a task (``accepting``, ``looking``, ``steering``); what it works on is here. Preparations and storages belong to
their maker; those of others are ``NotFound``, except for administrators. ``ref`` is an id (int) or a name (str). Reading is
done off the event loop, page by page. Texts of errors are those of the Singularity contract.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from common.clock import Clock
from common.db.catalogue import (
    Attachment,
    Car,
    Catalogue,
    Child,
    File,
    Job,
    Preparation,
    StorageRecord,
)
from common.db.catalogue.store import pages
from common.db.contents import Contents, PlacedFile, PlacedRange
from common.db.database import Readers
from common.db.sql import Tx
from common.db.writer import Writer
from common.errors import NotFound
from common.storage import open_storage
from common.storage.base import Storage
from common.storage.secrets import Secrets
from entrance.core.model import Caller
from entrance.core.preparations import settings_of

T = TypeVar("T")
Ref = int | str


@dataclass(frozen=True, kw_only=True)
class PreparationView:
    """A preparation with its storages, in the order in which they were attached."""

    preparation: Preparation
    sources: Sequence[StorageRecord]
    outputs: Sequence[StorageRecord]


@dataclass(frozen=True, kw_only=True)
class SourceView:
    """One source of a preparation and how its jobs stand, by id."""

    attachment: Attachment
    source: StorageRecord
    outputs: Sequence[StorageRecord]
    jobs: Sequence[Job]


@dataclass(frozen=True, kw_only=True)
class PieceList:
    """The CARs of one source, by id; without a source those that belong to none."""

    attachment: Attachment | None
    source: StorageRecord | None
    cars: Sequence[Car]


@dataclass(frozen=True, kw_only=True)
class Explored:
    """A folder of a source: its folders by name, then its files by name, each with all versions, oldest first."""

    path: str
    cid: bytes | None
    folders: Sequence[Child]
    files: Sequence[Sequence[PlacedFile]]


@dataclass(frozen=True, kw_only=True)
class FileView:
    """A version of a file with its ranges by offset; CIDs are None while not packed. ``raw_path`` is for storages."""

    file: File
    path: str
    raw_path: str
    cid: bytes | None
    ranges: Sequence[PlacedRange]


class Offload(Protocol):
    """Runs what blocks in a native thread and waits for it."""

    def __call__(self, function: Callable[..., T], /, *arguments: Any) -> T: ...


class DataService:
    """See the module."""

    def __init__(
        self,
        *,
        readers: Readers,
        writer: Writer,
        clock: Clock,
        offload: Offload,
        secrets: Callable[[], Secrets],
        allowed_endpoints: Sequence[str] = (),
    ) -> None:
        self._readers, self._writer, self._clock = readers, writer, clock
        self.offload, self.secrets, self.allowed_endpoints = offload, secrets, tuple(allowed_endpoints)

    # ---- how it reads and changes

    def now(self) -> int:
        return self._clock.now()

    def change(self, change: Callable[[Tx], T]) -> T:
        """Carry out a change in one transaction and return what it returns, after the commit."""
        return self._writer.call(change)

    def open(self, record: StorageRecord) -> Storage:
        """Open a storage in this process."""
        secrets = self.secrets() if record.secrets is not None else None
        return open_storage(record.name, settings_of(record, secrets, self.allowed_endpoints))

    def encrypt(self, secrets: Mapping[str, Any]) -> bytes | None:
        """Return the secrets of a storage as they are stored."""
        return self.secrets().encrypt(json.dumps(dict(secrets))) if secrets else None

    def read(self, look: Callable[[Catalogue], T]) -> T:
        """Return what ``look`` finds, off the event loop."""
        with self._readers.read() as tx:
            return self.offload(look, Catalogue(tx))

    def read_contents(self, look: Callable[[Catalogue, Contents], T]) -> T:
        """Return what ``look`` finds, off the event loop."""
        with self._readers.read() as tx:
            return self.offload(look, Catalogue(tx), Contents(tx))

    # ---- storages and preparations

    def storages(self, caller: Caller) -> list[StorageRecord]:
        return [s for s in self.read(Catalogue.storages) if may(caller, s)]

    def storage(self, caller: Caller, ref: Ref) -> StorageRecord:
        """Raises NotFound."""
        return self.read(lambda catalogue: find_storage(catalogue, caller, ref))

    def preparations(self, caller: Caller) -> list[PreparationView]:
        def look(catalogue: Catalogue) -> list[PreparationView]:
            return [view_of(catalogue, p) for p in catalogue.preparations() if may(caller, p)]

        return self.read(look)

    def preparation(self, caller: Caller, ref: Ref) -> PreparationView:
        """Raises NotFound."""
        return self.read(lambda catalogue: view_of(catalogue, find_preparation(catalogue, caller, ref)))

    def status(self, caller: Caller, ref: Ref) -> list[SourceView]:
        """Return the sources of a preparation and their jobs. Raises NotFound."""

        def look(catalogue: Catalogue) -> list[SourceView]:
            preparation = find_preparation(catalogue, caller, ref)
            outputs = catalogue.outputs(preparation.id)
            return [
                SourceView(attachment=a, source=_storage_of(catalogue, a), outputs=outputs, jobs=jobs_of(catalogue, a))
                for a in catalogue.attachments(preparation.id)
            ]

        return self.read(look)

    # ---- pieces

    def pieces(self, caller: Caller, ref: Ref) -> list[PieceList]:
        """Return the CARs of a preparation, one list for each source. Raises NotFound, also when it has no source."""

        def look(catalogue: Catalogue) -> list[PieceList]:
            preparation = find_preparation(catalogue, caller, ref)
            attachments = catalogue.attachments(preparation.id)
            if not attachments:
                raise NotFound(f"preparation '{ref}' has no source")
            cars = list(pages(lambda after, n: catalogue.cars(preparation.id, after, n), 0, lambda car: car.id))
            lists = [
                PieceList(
                    attachment=a,
                    source=_storage_of(catalogue, a),
                    cars=[car for car in cars if car.attachment_id == a.id],
                )
                for a in attachments
            ]
            known = {a.id for a in attachments}
            loose = [car for car in cars if car.attachment_id not in known]
            return [*lists, PieceList(attachment=None, source=None, cars=loose)] if loose else lists

        return self.read(look)

    # ---- files

    def explore(self, caller: Caller, preparation: Ref, source: Ref, path: str) -> Explored:
        """Return what lies in a folder of a source. Raises NotFound."""
        parts = [part for part in path.split("/") if part not in ("", ".")]

        def look(catalogue: Catalogue, contents: Contents) -> Explored:
            attachment = find_attachment(catalogue, caller, preparation, source)
            folder = catalogue.root(attachment.id)
            for part in parts:
                folder = catalogue.subdirectory(folder.id, part) if folder is not None else None
            if folder is None:
                raise NotFound(f"directory '{'/'.join(parts)}' does not exist")
            at = folder.id
            node = catalogue.directory_node(at)
            files: dict[str, list[PlacedFile]] = {}
            for file in pages(lambda a, n: contents.files(at, a, n), ("", 0), lambda f: (f.name, f.id)):
                files.setdefault(file.name, []).append(file)
            return Explored(
                path="/".join(parts),
                cid=node[0] if node else None,
                folders=list(pages(lambda a, n: catalogue.children(at, a, n), "", lambda c: c.name)),
                files=list(files.values()),
            )

        return self.read_contents(look)

    def file(self, caller: Caller, file_id: int) -> FileView:
        """Return a version of a file. Raises NotFound."""
        return self.read_contents(lambda catalogue, contents: find_file(catalogue, contents, caller, file_id))


# ---- finding, inside a read or a transaction


def may(caller: Caller, thing: StorageRecord | Preparation) -> bool:
    """Whether the caller may see and use it."""
    return caller.admin or thing.user == caller.name


def find_storage(catalogue: Catalogue, caller: Caller, ref: Ref) -> StorageRecord:
    """Raises NotFound."""
    found = catalogue.storage(ref)
    if found is None or not may(caller, found):
        raise NotFound(f"storage '{ref}' does not exist")
    return found


def find_preparation(catalogue: Catalogue, caller: Caller, ref: Ref) -> Preparation:
    """Raises NotFound."""
    found = catalogue.preparation(ref)
    if found is None or not may(caller, found):
        raise NotFound(f"preparation '{ref}' does not exist")
    return found


def find_attachment(catalogue: Catalogue, caller: Caller, preparation: Ref, source: Ref) -> Attachment:
    """Raises NotFound for an unknown preparation, too."""
    found, storage = catalogue.preparation(preparation), catalogue.storage(source)
    attachment = None
    if found is not None and storage is not None and may(caller, found):
        attachment = catalogue.attachment_of(found.id, storage.id)
    if attachment is None:
        raise NotFound(f"sourceAttachment '{source}' is not attached to preparation {preparation}")
    return attachment


def find_file(catalogue: Catalogue, contents: Contents, caller: Caller, file_id: int) -> FileView:
    """Raises NotFound."""
    file = catalogue.file(file_id)
    attachment = catalogue.attachment(file.attachment_id) if file else None
    preparation = catalogue.preparation(attachment.preparation_id) if attachment else None
    folder = catalogue.directory(file.directory_id) if file else None
    if file is None or folder is None or preparation is None or not may(caller, preparation):
        raise NotFound(f"file '{file_id}' does not exist")
    return FileView(
        file=file,
        path=_join(folder.path, file.name),
        raw_path=_join(
            os.fsdecode(folder.raw_path) if folder.raw_path is not None else folder.path,
            os.fsdecode(file.raw_name) if file.raw_name is not None else file.name,
        ),
        cid=catalogue.file_cid(file_id),
        ranges=list(pages(lambda a, n: contents.ranges(file_id, a, n), -1, lambda r: r.offset)),
    )


def _join(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name


def jobs_of(catalogue: Catalogue, attachment: Attachment) -> list[Job]:
    """Return all jobs of a source by id."""
    return list(pages(lambda after, n: catalogue.jobs(attachment.id, "", after, n), 0, lambda job: job.id))


def _storage_of(catalogue: Catalogue, attachment: Attachment) -> StorageRecord:
    found = catalogue.storage(attachment.storage_id)
    assert found is not None, "an attached storage cannot be deleted"
    return found


def view_of(catalogue: Catalogue, preparation: Preparation) -> PreparationView:
    """Return a preparation with its storages."""
    return PreparationView(
        preparation=preparation,
        sources=[_storage_of(catalogue, a) for a in catalogue.attachments(preparation.id)],
        outputs=catalogue.outputs(preparation.id),
    )
