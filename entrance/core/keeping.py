"""Making, changing and removing storages, preparations and pieces: what is asked for from outside, with its checks.

``making`` has the checks that are made inside the transaction; here is what needs more than the database: opening a storage
to see whether it is there, deleting files.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from common.content.car import INDEX_SUFFIX
from common.db.catalogue import Car, Catalogue, Preparation, StorageRecord
from common.db.catalogue.store import pages
from common.db.contents_changes import ContentsChanges
from common.db.sql import Tx
from common.errors import AlreadyExists, BadInput, EntranceError, NotFound, StorageNotFound
from common.storage import TYPES, open_storage
from common.storage.base import Entry, Storage
from common.task import OPEN
from entrance.core import making
from entrance.core.data import DataService, PreparationView, Ref, find_preparation, find_storage, jobs_of, view_of
from entrance.core.making import NewPreparation
from entrance.core.model import Caller
from entrance.core.preparations import settings_of
from entrance.core.steering import SteerService
from entrance.core.storage_secrets import join, merged_client, merged_config, split
from executors.packing.inline import sidecar_path

MOST_ENTRIES = 100_000  # of one folder, in one answer


class CannotOpen(BadInput):
    """A storage that is to be made cannot be used; the text is that of a lower error."""


@dataclass(frozen=True, kw_only=True)
class NewStorage:
    """A request for a storage. ``config`` is text to text, secrets in clear."""

    name: str
    type: str
    path: str
    config: Mapping[str, str] = field(default_factory=dict)
    client_config: Mapping[str, Any] = field(default_factory=dict)


class KeepService:
    """See the module."""

    def __init__(self, *, data: DataService, steer: SteerService, data_folder: Path) -> None:
        self._data, self._steer, self._folder = data, steer, data_folder

    # ---- storages

    def create_storage(self, caller: Caller, wanted: NewStorage) -> StorageRecord:
        """Store a storage, once its root could be listed. Raises BadInput, CannotOpen, AlreadyExists."""
        making.checked_name("storage", wanted.name)
        if wanted.type not in TYPES:
            raise BadInput(f"storage type {wanted.type} is not supported")
        path = wanted.path
        if wanted.type == "local":
            path = self._data.read(lambda c: making.checked_folder(c.tx, wanted.path, caller.name))
        stored = split(wanted.config, wanted.client_config)
        now = self._data.now()
        record = StorageRecord(
            id=0, name=wanted.name, user=caller.name, type=wanted.type, path=path, config=wanted.config,
            client_config=wanted.client_config,
        )  # fmt: skip
        self._try(record)
        encrypted = self._data.encrypt(stored.secrets)
        return self._data.change(
            lambda tx: making.create_storage(
                tx,
                user=caller.name,
                name=wanted.name,
                type=wanted.type,
                path=path,
                config=stored.config,
                client_config=stored.client,
                secrets=encrypted,
                now=now,
            )
        )

    def update_storage(
        self, caller: Caller, ref: Ref, config: Mapping[str, str], client_config: Mapping[str, Any]
    ) -> StorageRecord:
        """Change some settings of a storage; a masked value changes nothing. Raises NotFound, CannotOpen."""
        record = self._data.storage(caller, ref)
        known_config, known_client = join(record, self._data.secrets())
        whole, client = merged_config(known_config, config), merged_client(known_client, client_config)
        self._try(replace(record, config=whole, client_config=client, secrets=None))
        stored = split(whole, client)
        encrypted, now = self._data.encrypt(stored.secrets), self._data.now()

        def change(tx: Tx) -> StorageRecord:
            shown = (json.dumps(stored.config), json.dumps(stored.client))
            ContentsChanges(tx).update_storage(record.id, *shown, encrypted, now)
            return find_storage(Catalogue(tx), caller, record.id)

        return self._data.change(change)

    def rename_storage(self, caller: Caller, ref: Ref, name: str) -> StorageRecord:
        """Raises NotFound, BadInput, AlreadyExists."""
        making.checked_name("storage", name)
        now = self._data.now()

        def change(tx: Tx) -> StorageRecord:
            catalogue = Catalogue(tx)
            record, other = find_storage(catalogue, caller, ref), catalogue.storage(name)
            if other is not None and other.id != record.id:
                raise AlreadyExists(f"storage with name {name} already exists")
            ContentsChanges(tx).rename_storage(record.id, name, now)
            return find_storage(catalogue, caller, record.id)

        return self._data.change(change)

    def remove_storage(self, caller: Caller, ref: Ref) -> None:
        """Raises NotFound; BadInput while it is attached."""

        def change(tx: Tx) -> None:
            record, changes = find_storage(Catalogue(tx), caller, ref), ContentsChanges(tx)
            if changes.storage_in_use(record.id):
                raise BadInput(f"storage {ref} is still in use")
            changes.remove_storage(record.id)

        self._data.change(change)

    def explore(self, caller: Caller, ref: Ref, path: str, most: int = MOST_ENTRIES) -> list[Entry]:
        """Return at most so many entries of a folder of a storage. Raises NotFound, and the storage's errors."""
        storage = self._data.open(self._data.storage(caller, ref))

        def look() -> list[Entry]:
            found = []
            for entry in storage.children(path.strip("/"), lambda p, why: None):
                found.append(entry)
                if len(found) >= min(most, MOST_ENTRIES):
                    break
            return found

        return self._data.offload(look)

    def _try(self, record: StorageRecord) -> None:
        """Raises CannotOpen when a storage cannot be opened or listed."""
        try:
            storage = open_storage(record.name, settings_of(record, None, self._data.allowed_endpoints))
        except EntranceError as error:
            raise CannotOpen(f"creating rclone handler failed: {error}") from error

        def look() -> None:
            for _ in storage.children("", lambda p, why: None):
                break

        try:
            self._data.offload(look)
        except EntranceError as error:
            raise CannotOpen(f"listing the storage failed: {error}") from error

    # ---- preparations

    def create_preparation(self, caller: Caller, wanted: NewPreparation) -> PreparationView:
        """Raises BadInput, NotFound, AlreadyExists."""
        now = self._data.now()

        def change(tx: Tx) -> PreparationView:
            made = making.create_preparation(tx, user=caller.name, admin=caller.admin, wanted=wanted, now=now)
            return view_of(Catalogue(tx), made)

        return self._data.change(change)

    def attach_source(self, caller: Caller, preparation: Ref, storage: Ref) -> PreparationView:
        """Raises NotFound, AlreadyExists."""
        now = self._data.now()
        return self._attached(
            lambda tx: making.attach_source(
                tx, preparation=preparation, storage=storage, user=caller.name, admin=caller.admin, now=now
            )
        )

    def attach_output(self, caller: Caller, preparation: Ref, storage: Ref) -> PreparationView:
        """Raises NotFound, AlreadyExists."""
        return self._attached(
            lambda tx: making.attach_output(
                tx, preparation=preparation, storage=storage, user=caller.name, admin=caller.admin
            )
        )

    def detach_output(self, caller: Caller, preparation: Ref, storage: Ref) -> PreparationView:
        """Raises NotFound; BadInput when it is the last one and needed."""

        def change(tx: Tx) -> Preparation:
            catalogue = Catalogue(tx)
            record, found = catalogue.storage(storage), find_preparation(catalogue, caller, preparation)
            attached = [output.id for output in catalogue.outputs(found.id)]
            if record is None or record.id not in attached:
                raise NotFound(f"output storage '{storage}' is not attached to preparation {found.id}")
            if len(attached) == 1 and found.delete_after_export:
                raise BadInput("deleteAfterExport cannot be set without output storages")
            if len(attached) == 1 and found.no_inline:
                raise BadInput("inline preparation cannot be disabled without output storages")
            ContentsChanges(tx).detach_output(found.id, record.id)
            return found

        return self._attached(change)

    def _attached(self, change: Callable[[Tx], Preparation]) -> PreparationView:
        return self._data.change(lambda tx: view_of(Catalogue(tx), change(tx)))

    def rename_preparation(self, caller: Caller, ref: Ref, name: str) -> Preparation:
        """Raises NotFound, BadInput, AlreadyExists."""
        making.checked_name("preparation", name)
        now = self._data.now()

        def change(tx: Tx) -> Preparation:
            catalogue = Catalogue(tx)
            record, other = find_preparation(catalogue, caller, ref), catalogue.preparation(name)
            if other is not None and other.id != record.id:
                raise AlreadyExists(f"preparation with name {name} already exists")
            ContentsChanges(tx).rename_preparation(record.id, name, now)
            return find_preparation(catalogue, caller, record.id)

        return self._data.change(change)

    def remove_preparation(self, caller: Caller, ref: Ref, *, remove_cars: bool) -> None:
        """Remove a preparation and all that is known of it; with ``remove_cars`` its CAR files, too.

        Tasks that wait for it are killed. Raises NotFound; BadInput while jobs are processing; EntranceError when files
        could not be deleted (the rows are gone).
        """

        def change(tx: Tx) -> tuple[list[int], list[int], list[Car], dict[int, StorageRecord]]:
            catalogue = Catalogue(tx)
            found = find_preparation(catalogue, caller, ref)
            attachments = catalogue.attachments(found.id)
            jobs = [job for a in attachments for job in jobs_of(catalogue, a)]
            active = sum(job.state == "processing" for job in jobs)
            if active:
                raise BadInput(f"preparation {ref} has {active} active jobs")
            waiting = [j.task_id for j in jobs if j.task_id is not None and j.task_state in OPEN]
            every = pages(lambda after, n: catalogue.cars(found.id, after, n), 0, lambda car: car.id)
            cars = [car for car in every if not _held(catalogue, car)]
            outputs = {output.id: output for output in catalogue.outputs(found.id)}
            ContentsChanges(tx).remove_preparation(found.id)
            return waiting, [a.id for a in attachments], cars, outputs

        waiting, attachments, cars, outputs = self._data.change(change)
        self._steer.act(caller, "kill", waiting)
        for attachment in attachments:
            while self._data.change(lambda tx, a=attachment: ContentsChanges(tx).remove_rows(a)):  # type: ignore[misc]
                pass
        faults = self._data.offload(self._delete_cars, cars, outputs, remove_cars)
        if faults:
            raise EntranceError(f"{len(faults)} CAR files could not be deleted: {faults[0]}")

    def set_identity(self, identity: str) -> None:
        """Note who a deployment belongs to; nothing asks for it."""
        self._data.change(lambda tx: ContentsChanges(tx).set_value("identity", identity))

    # ---- pieces

    def remove_piece(self, caller: Caller, preparation: Ref, piece_cid: bytes, *, delete_car: bool) -> None:
        """Forget a piece: what it holds is packed again by the next scan or daggen. Raises NotFound."""

        def change(tx: Tx) -> tuple[list[Car], dict[int, StorageRecord]]:
            catalogue = Catalogue(tx)
            found = find_preparation(catalogue, caller, preparation)
            cars = [car for car in catalogue.cars_of_piece(piece_cid) if car.preparation_id == found.id]
            if not cars:
                raise NotFound(f"piece is not part of preparation '{preparation}'")
            for car in cars:
                ContentsChanges(tx).remove_car(car.id, car.job_id if car.type == "data" else None)
            cars = [car for car in cars if not _held(catalogue, car)]
            return cars, {output.id: output for output in catalogue.outputs(found.id)}

        cars, outputs = self._data.change(change)
        faults = self._data.offload(self._delete_cars, cars, outputs, delete_car)
        if faults:
            raise EntranceError(f"the CAR file could not be deleted: {faults[0]}")

    def _delete_cars(self, cars: list[Car], outputs: Mapping[int, StorageRecord], files: bool) -> list[str]:
        """Delete the sidecars of inline CARs, and if wanted CAR files with their indexes; return what went wrong."""
        faults = []
        opened: dict[int, Storage] = {}
        for car in cars:
            record = outputs.get(car.storage_id or 0)
            if car.storage_id is None:
                with suppress(OSError):
                    sidecar_path(self._folder, car.piece_cid).unlink()
            elif files and record is not None:
                try:
                    storage = opened.setdefault(record.id, self._data.open(record))
                    for name in (car.storage_path, car.storage_path + INDEX_SUFFIX):
                        with suppress(StorageNotFound):
                            storage.delete(name)
                except EntranceError as error:
                    faults.append(str(error))
        return faults


def _held(catalogue: Catalogue, car: Car) -> bool:
    """Whether another preparation has the very file (or sidecar) of a CAR; then it must stay."""
    place = (car.storage_id, car.storage_path)
    return any(
        other.preparation_id != car.preparation_id and (other.storage_id, other.storage_path) == place
        for other in catalogue.cars_of_piece(car.piece_cid)
    )
