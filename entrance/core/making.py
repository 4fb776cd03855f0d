"""Making storages and preparations, with every check that comes before: names, sizes, local folders, who may.

Functions for the writer's transaction: they raise an ``EntranceError`` and then nothing is stored. Texts are those of the
Singularity contract, without its suffix for the kind of error.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from common.content.profile import SINGULARITY, Profile
from common.db.accounts import Accounts
from common.db.catalogue import Catalogue, Preparation, StorageRecord
from common.db.sql import Tx
from common.errors import AlreadyExists, BadInput, NotFound
from common.storage import TYPES
from common.storage.local import is_inside
from entrance.core.sizes import Sizes, checked_sizes

NEXT_PREPARATION = 0
"""The preparation of a folder that is allowed for the preparation which is made next with it."""


@dataclass(frozen=True, kw_only=True)
class NewPreparation:
    """A request for a preparation; storages by id or name."""

    name: str
    sources: Sequence[int | str] = ()
    outputs: Sequence[int | str] = ()
    sizes: Sizes = field(default_factory=Sizes)
    delete_after_export: bool = False
    no_inline: bool = False
    no_dag: bool = False
    profile: Profile = SINGULARITY


def checked_name(kind: str, name: str) -> str:
    """Return the name. Raises BadInput for one that would be taken for an id."""
    if not name or (name.isascii() and name.isdigit()):
        shown = f" '{name}'" if kind == "preparation" else f" {name}"
        raise BadInput(f"{kind} name{shown} cannot be all digits or empty")
    return name


def checked_folder(tx: Tx, path: str, user: str, preparation_id: int | None = None) -> str:
    """Return a local folder without links and dots, if it lies in a folder that the administrator has allowed.

    A folder that is allowed for one preparation is allowed for that one and others of the same user.
    Raises BadInput when there is no such folder or it is not allowed.
    """
    if not path.startswith("/"):
        raise BadInput(f"{path}: the path must be absolute")
    real = os.path.realpath(path)
    catalogue = Catalogue(tx)
    for root in Accounts(tx).roots():
        if not is_inside(real, os.path.realpath(root.path)):
            continue
        if root.preparation_id in (None, NEXT_PREPARATION, preparation_id):
            break
        owner = catalogue.preparation(root.preparation_id or 0)
        if owner is not None and owner.user == user:
            break
    else:
        raise BadInput(f"{path} lies in no folder that is allowed here; an administrator can: entrance storage allow DIR")
    if not os.path.isdir(real):  # noqa: PTH112 - a text, not a Path
        raise BadInput(f"{path}: there is no such folder")
    return real


def create_storage(
    tx: Tx,
    *,
    user: str,
    name: str,
    type: str,
    path: str,
    config: Mapping[str, str] | None = None,
    client_config: Mapping[str, Any] | None = None,
    secrets: bytes | None = None,
    now: int,
) -> StorageRecord:
    """Store a storage. Raises BadInput, AlreadyExists."""
    checked_name("storage", name)
    if type not in TYPES:
        raise BadInput(f"storage type {type} is not supported")
    if type == "local":
        path = checked_folder(tx, path, user)
    catalogue = Catalogue(tx)
    if catalogue.storage(name) is not None:
        raise AlreadyExists(f"storage with name {name} already exists")
    made = StorageRecord(
        id=catalogue.take_ids("storages"),
        name=name,
        user=user,
        type=type,
        path=path,
        config=dict(config or {}),
        client_config=dict(client_config or {}),
        secrets=secrets,
        created_at=now,
        updated_at=now,
    )
    catalogue.add_storage(made)
    return made


def create_preparation(tx: Tx, *, user: str, admin: bool, wanted: NewPreparation, now: int) -> Preparation:
    """Store a preparation with its sources and outputs. Raises BadInput, NotFound, AlreadyExists."""
    checked_name("preparation", wanted.name)
    max_size, piece_size, min_piece_size = checked_sizes(wanted.sizes)
    catalogue = Catalogue(tx)
    sources = [_storage(catalogue, ref, user, admin, "source storage {} does not exist") for ref in wanted.sources]
    outputs = [_storage(catalogue, ref, user, admin, "output storage {} does not exist") for ref in wanted.outputs]
    if not outputs and wanted.delete_after_export:
        raise BadInput("deleteAfterExport cannot be set without output storages")
    if not outputs and wanted.no_inline:
        raise BadInput("inline preparation cannot be disabled without output storages")
    if catalogue.preparation(wanted.name) is not None:
        raise AlreadyExists(f"preparation with name {wanted.name} already exists")
    made = Preparation(
        id=catalogue.take_ids("preparations"),
        name=wanted.name,
        user=user,
        max_size=max_size,
        piece_size=piece_size,
        min_piece_size=min_piece_size,
        delete_after_export=wanted.delete_after_export,
        no_inline=wanted.no_inline,
        no_dag=wanted.no_dag,
        profile=wanted.profile,
        created_at=now,
        updated_at=now,
    )
    catalogue.add_preparation(made)
    for storage in dict.fromkeys(source.id for source in sources):
        catalogue.add_attachment(made.id, storage, now)
    for storage in dict.fromkeys(output.id for output in outputs):
        catalogue.add_output(made.id, storage)
    for record in (*sources, *outputs):
        if record.type == "local":
            catalogue.bind_root(record.path, made.id)
    return made


def find_preparation(tx: Tx, ref: int | str, user: str, admin: bool) -> Preparation:
    """Return a preparation that the user may use. Raises NotFound for those of others, too."""
    found = Catalogue(tx).preparation(ref)
    if found is None or not (admin or found.user == user):
        raise NotFound(f"preparation '{ref}' does not exist")
    return found


def attach_source(tx: Tx, *, preparation: int | str, storage: int | str, user: str, admin: bool, now: int) -> Preparation:
    """Make a storage a source of a preparation. Raises NotFound, AlreadyExists."""
    catalogue = Catalogue(tx)
    record = _storage(catalogue, storage, user, admin, "source storage '{}' does not exist")
    found = find_preparation(tx, preparation, user, admin)
    if catalogue.attachment_of(found.id, record.id) is not None:
        raise AlreadyExists(f"source storage '{storage}' is already attached to preparation {found.id}")
    catalogue.add_attachment(found.id, record.id, now)
    return found


def attach_output(tx: Tx, *, preparation: int | str, storage: int | str, user: str, admin: bool) -> Preparation:
    """Make a storage an output of a preparation. Raises NotFound, AlreadyExists."""
    catalogue = Catalogue(tx)
    record = _storage(catalogue, storage, user, admin, "output storage '{}' does not exist")
    found = find_preparation(tx, preparation, user, admin)
    if any(output.id == record.id for output in catalogue.outputs(found.id)):
        raise AlreadyExists(f"output storage '{storage}' is already attached to preparation {found.id}")
    catalogue.add_output(found.id, record.id)
    return found


def _storage(catalogue: Catalogue, ref: int | str, user: str, admin: bool, missing: str) -> StorageRecord:
    found = catalogue.storage(ref)
    if found is None or not (admin or found.user == user):
        raise NotFound(missing.format(ref))
    return found
