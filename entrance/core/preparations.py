"""Where preparations join the life of tasks: the hooks of the core, for scan, pack, daggen and verify.

Before a task is stored, its names become ids and what is missing is made (the short form of scan). When a pack publishes,
files whose last missing range it brought are completed: ranges of one file may be packed side by side and in any order, so
only this one transaction knows. When a pack or scan ends, daggens that wait for the packs of its source may be ready.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from common.clock import Clock
from common.content import profile
from common.db import transfers
from common.db.accounts import Accounts
from common.db.catalogue import Attachment, Catalogue, Preparation, RangeCid, StorageRecord
from common.db.catalogue.store import pages
from common.db.reports import stored_progress
from common.db.sql import Tx
from common.errors import BadInput, Fault, InvalidParams, NotFound
from common.storage.secrets import Secrets
from common.task import Hopeless, Ready, State, Task
from entrance.core.hooks import Wish
from entrance.core.intake import RESULT_ROWS
from entrance.core.making import NewPreparation, checked_folder, create_preparation, create_storage, find_preparation
from entrance.core.sizes import Sizes, checked_sizes
from entrance.core.storage_secrets import join
from executors.packing.trees import file_nodes
from executors.transferring.book import result_row

PRESETS = {
    "porep-32": Sizes(max_size=33_822_867_456, piece_size=32 << 30, min_piece_size=1 << 20),
    "pdp": Sizes(max_size=1_056_964_608, piece_size=1 << 30, min_piece_size=1 << 20),
}
"""Sets of sizes by name, each leaving a 64th of the piece free: 31.5 GiB for sealed sectors of 32 GiB, 1,008 MiB for proofs
of data possession over pieces of 1 GiB."""

_OURS = ("scan", "pack", "daggen", "verify", "extract")


class Preparations:
    """Implements ``entrance.core.hooks.Hooks``."""

    def __init__(
        self,
        clock: Clock,
        secrets: Secrets | None = None,
        data_space: str = "default",
        allowed_endpoints: Sequence[str] = (),
    ) -> None:
        """``data_space``: that of transfers which name none; ``allowed_endpoints``: stores that may be anywhere."""
        self._clock, self._secrets, self._data_space = clock, secrets, data_space
        self._allowed_endpoints = tuple(allowed_endpoints)

    # ---- before a task is stored

    def submitting(self, tx: Tx, user: str, admin: bool, executor: str, params: Mapping[str, Any]) -> Mapping[str, Any]:
        """See ``Hooks``. Raises InvalidParams, NotFound, Forbidden."""
        if executor == "scan" and "path" in params:
            params = self._expand(tx, user, admin, params)
        if executor == "pack" and "job" in params:
            self._check_pack(tx, user, admin, params["job"])
            return params
        if executor == "transfer":
            for side in ("from", "to"):
                _check_storage(tx, user, admin, params[side]["storage"])
            return params
        if executor == "verify" and "storage" in params:
            _check_storage(tx, user, admin, params["storage"])
            return params
        if executor == "verify" and "pieceCid" in params:
            return {**params, "cars": _cars_of_piece(tx, user, admin, params["pieceCid"])}
        if executor in _OURS and "preparation" in params:
            return self._resolve(tx, user, admin, executor, params)
        return params

    def job_of(self, executor: str, params: Mapping[str, Any]) -> int | None:
        """See ``Hooks``."""
        return params.get("job") if executor in ("scan", "pack", "daggen") else None

    def waits(self, executor: str, params: Mapping[str, Any]) -> bool:
        """Whether a task of these parameters stays ``created`` until a hook says that it is ready."""
        return executor == "daggen" and bool(params.get("wait"))

    # ---- in its life

    def added(self, tx: Tx, task: Task, params: Mapping[str, Any]) -> Sequence[Wish]:
        """See ``Hooks``."""
        if task.executor == "transfer":
            transfers.note(tx, task, params, default_space=self._data_space)
        if not self.waits(task.executor, params) or task.state is not State.CREATED or task.job_id is None:
            return ()
        job = Catalogue(tx).job(task.job_id)
        return () if job is None else _decide_daggen(tx, job.attachment_id, task.id, task.parent_id)

    def published(self, tx: Tx, task: Task) -> None:
        """See ``Hooks``: complete the files that span packs."""
        if task.executor != "pack":
            return
        catalogue = Catalogue(tx)
        for car in catalogue.cars_of_task(task.id):
            preparation = catalogue.preparation(car.preparation_id)
            if preparation is None:
                continue
            for file_id in catalogue.spanning(car.id):
                ranges, file = _ranges_of(catalogue, file_id), catalogue.file(file_id)
                if file is None or sum(part.length for part in ranges) != file.size:
                    continue  # a scan is still registering them, or was killed
                nodes = file_nodes(ranges, preparation.profile, preparation.max_size)
                if nodes is not None:
                    root = nodes[1]
                    catalogue.finish_file(file_id, car.id, root.cid, root.tsize)

    def unpublished(self, tx: Tx, task: Task, final: str) -> None:
        """See ``Hooks``: the CAR is not there, so nothing that speaks of it counts."""
        Catalogue(tx).drop_cars(task.id, Path(final).name.removesuffix(".idx"))

    def ended(self, tx: Tx, task: Task) -> Sequence[Wish]:
        """See ``Hooks``: daggens that wait for this."""
        if task.executor not in ("scan", "pack") or task.job_id is None:
            return ()
        catalogue = Catalogue(tx)
        job = catalogue.job(task.job_id)
        if job is None:
            return ()
        wishes: list[Wish] = []
        for daggen, parent in catalogue.waiting_daggens(job.attachment_id):
            wishes += _decide_daggen(tx, job.attachment_id, daggen, parent)
        return wishes

    def storages(
        self, tx: Tx, executor: str, params: Mapping[str, Any], user: str | None = None
    ) -> Mapping[str, Mapping[str, Any]]:
        """See ``Hooks``."""
        catalogue = Catalogue(tx)
        records: list[StorageRecord] = []
        if executor in ("scan", "pack"):
            attachment = self._attachment(catalogue, params)
            if attachment is not None:
                source = catalogue.storage(attachment.storage_id)
                records += [source] if source else []
                records += catalogue.outputs(attachment.preparation_id) if executor == "pack" else []
        elif executor in ("daggen", "verify", "extract") and "preparation" in params:
            records += catalogue.outputs(params["preparation"])
            records += _sources_of(catalogue, params["preparation"]) if executor != "daggen" else []
        elif executor == "transfer":
            named = [catalogue.storage(params[side]["storage"]) for side in ("from", "to")]
            records += [storage for storage in named if storage is not None and _may_open(tx, storage, user)]
        elif executor == "verify" and "storage" in params:
            storage = catalogue.storage(params["storage"])
            records += [storage] if storage is not None and _may_open(tx, storage, user) else []
        elif executor == "verify" and "pieceCid" in params:
            for car in filter(None, map(catalogue.car, params.get("cars", ()))):
                storage = catalogue.storage(car.storage_id) if car.storage_id else None
                records += [storage] if storage else _sources_of(catalogue, car.preparation_id)
        return {record.name: self._settings(record) for record in records}

    def results(
        self, tx: Tx, task: Task, offset: int, limit: int, last: Sequence[Any] | None = None
    ) -> tuple[Sequence[Sequence[Any]], int] | None:
        """See ``Hooks``: the files that a scan registered or a transfer went over are in the catalogue."""
        if task.executor == "transfer":
            return _transferred(tx, task, offset, limit, last)
        if task.executor != "scan":
            return None
        catalogue = Catalogue(tx)
        rows, total = catalogue.scanned(task.id, offset, limit)
        if total <= RESULT_ROWS:
            return None
        while rows and len(rows) < min(limit, total - offset):  # one page of the catalogue is smaller than what may be asked
            more, _ = catalogue.scanned(task.id, offset + len(rows), limit - len(rows))
            if not more:
                break
            rows += more
        return rows, total

    # ---- inside

    def _settings(self, record: StorageRecord) -> dict[str, Any]:
        return settings_of(record, self._secrets, self._allowed_endpoints)

    def _attachment(self, catalogue: Catalogue, params: Mapping[str, Any]) -> Attachment | None:
        if "job" in params:
            job = catalogue.job(params["job"])
            return None if job is None else catalogue.attachment(job.attachment_id)
        if "preparation" in params and "source" in params:
            return catalogue.attachment_of(params["preparation"], params["source"])
        return None

    def _check_pack(self, tx: Tx, user: str, admin: bool, job_id: int) -> None:
        catalogue = Catalogue(tx)
        job = catalogue.job(job_id)
        attachment = None if job is None else catalogue.attachment(job.attachment_id)
        if job is None or attachment is None or job.type != "pack":
            raise NotFound(f"pack job {job_id} does not exist")
        try:
            find_preparation(tx, attachment.preparation_id, user, admin)
        except NotFound:
            raise NotFound(f"pack job {job_id} does not exist") from None

    def _resolve(self, tx: Tx, user: str, admin: bool, executor: str, params: Mapping[str, Any]) -> Mapping[str, Any]:
        catalogue = Catalogue(tx)
        preparation = find_preparation(tx, params["preparation"], user, admin)
        resolved = {**params, "preparation": preparation.id}
        if executor == "extract":
            resolved["to"] = _target(tx, params["to"], user, preparation.id)
        if "source" not in params:
            return resolved
        source = catalogue.storage(params["source"])
        attachment = catalogue.attachment_of(preparation.id, source.id) if source else None
        if source is None or attachment is None:
            raise NotFound(f"sourceAttachment '{params['source']}' is not attached to preparation {preparation.id}")
        resolved["source"] = source.id
        if executor == "daggen" and preparation.no_dag:
            raise BadInput(f"dag generation is disabled for preparation '{preparation.id}'")
        if executor in ("scan", "daggen"):
            jobs = catalogue.jobs(attachment.id, executor)
            resolved["job"] = jobs[0].id if jobs else catalogue.add_job(attachment.id, executor, self._clock.now())
        return resolved

    def _expand(self, tx: Tx, user: str, admin: bool, params: Mapping[str, Any]) -> Mapping[str, Any]:
        """Turn the short form into the long one; the same folder, output and sizes find the same preparation again."""
        now = self._clock.now()
        sizes, kind = _wanted_sizes(params), profile.named(params.get("profile", profile.SINGULARITY.name))
        try:
            checked = checked_sizes(sizes)
            path = checked_folder(tx, params["path"], user)
            output = checked_folder(tx, params["output"], user) if "output" in params else None
        except BadInput as error:
            raise InvalidParams([Fault(path="", what=str(error))]) from error
        if output == path:
            raise InvalidParams([Fault(path="output", what="the source itself cannot be the output")])
        catalogue = Catalogue(tx)
        found = _same_preparation(catalogue, user, path, output, checked, kind, params.get("name"))
        if found is None:
            source = _storage_for(tx, user, path, now)
            outputs = [_storage_for(tx, user, output, now)] if output is not None else []
            made = create_preparation(
                tx,
                user=user,
                admin=admin,
                wanted=NewPreparation(
                    name=params.get("name") or _free_name(catalogue, path),
                    sources=[source.id],
                    outputs=[storage.id for storage in outputs],
                    sizes=sizes,
                    profile=kind,
                ),
                now=now,
            )
            found = (made, source)
        else:
            for folder in (path, output):
                if folder is not None:
                    catalogue.bind_root(folder, found[0].id)
        return {"preparation": found[0].id, "source": found[1].id, "follow": list(params["follow"])}


def settings_of(record: StorageRecord, secrets: Secrets | None, allowed_endpoints: Collection[str]) -> dict[str, Any]:
    """Return what ``common.storage.open_storage`` needs to open a storage, its secrets in clear."""
    config, client = join(record, secrets)
    return {
        "type": record.type,
        "path": record.path,
        "config": config,
        "client_config": client,
        "allowed_endpoints": allowed_endpoints,
    }


def _wanted_sizes(params: Mapping[str, Any]) -> Sizes:
    preset = PRESETS[params["preset"]] if "preset" in params else Sizes()
    max_size = params.get("maxSize", preset.max_size)
    piece_size = params.get("pieceSize", None if "maxSize" in params else preset.piece_size)
    return Sizes(
        max_size=max_size,
        piece_size=piece_size,
        min_piece_size=params.get("minPieceSize", preset.min_piece_size),
    )


def _same_preparation(
    catalogue: Catalogue,
    user: str,
    path: str,
    output: str | None,
    sizes: tuple[int, int, int],
    kind: profile.Profile,
    name: str | None,
) -> tuple[Preparation, StorageRecord] | None:
    outputs = [] if output is None else [output]
    for preparation_id, storage_id in catalogue.preparations_of_folder(user, path):
        preparation, source = catalogue.preparation(preparation_id), catalogue.storage(storage_id)
        if (
            preparation is not None
            and source is not None
            and (preparation.max_size, preparation.piece_size, preparation.min_piece_size) == sizes
            and preparation.profile == kind
            and name in (None, preparation.name)
            and [s.path for s in catalogue.outputs(preparation_id)] == outputs
        ):
            return preparation, source
    return None


def _storage_for(tx: Tx, user: str, path: str, now: int) -> StorageRecord:
    """Return the user's plain storage of a folder, made if there is none."""
    catalogue = Catalogue(tx)
    for record in catalogue.storages_of_folder(user, path):
        if not record.config and not record.client_config:
            return record
    label = Path(path).name or "root"
    name = f"{label}-{hashlib.sha256(f'{user}:{path}'.encode(errors='replace')).hexdigest()[:8]}"
    while catalogue.storage(name) is not None:
        name += "x"
    return create_storage(tx, user=user, name=name, type="local", path=path, now=now)


def _free_name(catalogue: Catalogue, path: str) -> str:
    label = Path(path).name or "root"
    label = f"prep-{label}" if label.isdigit() else label
    name, number = label, 1
    while catalogue.preparation(name) is not None:
        number += 1
        name = f"{label}-{number}"
    return name


def _target(tx: Tx, path: str, user: str, preparation_id: int) -> str:
    """Return the folder that files may come out into, without links and dots. Raises InvalidParams."""
    try:
        return checked_folder(tx, path, user, preparation_id)
    except BadInput as error:
        raise InvalidParams([Fault(path="to", what=str(error))]) from error


def _check_storage(tx: Tx, user: str, admin: bool, name: str) -> None:
    """Raises NotFound for a storage that is not there, and for those of others."""
    storage = Catalogue(tx).storage(name)
    if storage is None or not (admin or storage.user == user):
        raise NotFound(f"storage '{name}' does not exist")


def _transferred(
    tx: Tx, task: Task, offset: int, limit: int, last: Sequence[Any] | None
) -> tuple[Sequence[Sequence[Any]], int] | None:
    """Return a page of the files of a transfer that has succeeded, if they are many; their number is its last report's."""
    report = stored_progress(tx, task.id)
    total = 0 if report is None else int(report.values["files_done"])
    if total <= RESULT_ROWS:
        return None
    count = max(0, min(limit, total - offset))
    if last is None:
        files = transfers.files_from(tx, task.id, offset, count)
    else:
        files = transfers.files(tx, task.id, last[0], count)
    return [result_row(file) for file in files], total


def _sources_of(catalogue: Catalogue, preparation_id: int) -> list[StorageRecord]:
    found = [catalogue.storage(attachment.storage_id) for attachment in catalogue.attachments(preparation_id)]
    return [storage for storage in found if storage is not None]


def _cars_of_piece(tx: Tx, user: str, admin: bool, piece_cid: str) -> list[int]:
    """Return the ids of the CARs of a piece that the user may see. Raises NotFound when there are none."""
    catalogue = Catalogue(tx)
    found = []
    for car in catalogue.cars_of_text(piece_cid):
        preparation = catalogue.preparation(car.preparation_id)
        if preparation is not None and (admin or preparation.user == user):
            found.append(car.id)
    if not found:
        raise NotFound(f"piece {piece_cid} is not known here")
    return found


def _ranges_of(catalogue: Catalogue, file_id: int) -> list[RangeCid]:
    return list(pages(lambda after, n: catalogue.range_cids(file_id, after, n), -1, lambda r: r.offset))


def _decide_daggen(tx: Tx, attachment_id: int, daggen: int, parent_id: int | None) -> list[Wish]:
    """Return what becomes of a daggen that waits for the packs of a source."""
    catalogue = Catalogue(tx)
    scan = catalogue.open_scan(attachment_id)
    if scan is not None and scan[0] != parent_id and not scan[1]:
        return []  # there may be more packs to come
    pack = catalogue.unfinished_pack(attachment_id)
    if pack is None:
        return [Wish(task_id=daggen, event=Ready())]
    job, task_id, state, reason = pack
    if state is None or not state.final:
        return []
    why = f"pack job {job} is not complete: task {task_id} is {state.value}" + (f" ({reason})" if reason else "")
    return [Wish(task_id=daggen, event=Hopeless(reason=why))]


def _may_open(tx: Tx, storage: StorageRecord, user: str | None) -> bool:
    """Whether a storage that a task named at its submission is still one that its user may open: names can be given anew."""
    if user is None or storage.user == user:
        return True
    account = Accounts(tx).user(user)
    return account is not None and account.admin
