"""``task:list``: the transfers of a data space, newest first, by page."""

from __future__ import annotations

import re
from typing import Any

from flask import Response, request

from common.db import transfers
from common.db.catalogue import Catalogue, StorageRecord
from common.db.sql import Tx
from common.db.transfers import Transfer, TransferFilter
from common.errors import BadInput, NotFound
from entrance.dialects.dataspaces import asked, wire
from entrance.dialects.dataspaces.asked import Asked
from entrance.dialects.dataspaces.words import selected, ways_of
from entrance.web.api import plain
from entrance.web.dialect import the_caller
from entrance.web.parsing import DialectBlueprint, json_object
from entrance.web.state import the_core

PREFIXES = ("/v2/dataSpaces", "/aids/aidmp/data/v2/dataSpaces")
MAX_BODY_BYTES = 1 << 20
_ID = re.compile(r"[A-Za-z0-9._-]{1,128}", re.ASCII)

blueprint = DialectBlueprint("dataspaces", __name__, description="Data transfer tasks")


def list_tasks(data_space_id: str) -> Response:
    """The transfers of a data space: the caller's own, all for administrators."""
    request.max_content_length = MAX_BODY_BYTES + 1  # one more than may come, so that more is seen
    wanted = asked.read(json_object())
    if wanted.data_space_id and wanted.data_space_id != data_space_id:
        raise BadInput("data_space_id: differs from that of the address")
    core, caller = the_core(), the_caller()
    which = _filter(data_space_id, wanted, None if caller.admin else caller.name)
    base = core.settings.dataspaces.page_base
    offset = max(0, wanted.page_no - base) * wanted.page_size
    with core.readers.read() as tx:
        if not _exists(tx, data_space_id):
            raise NotFound(f"there is no data space {data_space_id}")
        found, total = core.offload(transfers.page, tx, which, offset, wanted.page_size)
        sides = [_sides(tx, transfer) for transfer in found]
    reports = core.tasks.look.progress_of_all([transfer.task for transfer in found])
    tasks = [
        wire.entry(wire.Shown(transfer=transfer, report=report, failures=failures, files=files, store=store))
        for transfer, report, (failures, files, store) in zip(found, reports, sides, strict=True)
    ]
    return plain({"tasks": tasks, "total": total})


def _exists(tx: Tx, data_space_id: str) -> bool:
    settings = the_core().settings.dataspaces
    if not _ID.fullmatch(data_space_id):
        return False
    return data_space_id in (settings.default, *settings.known) or transfers.exists(tx, data_space_id)


def _filter(data_space_id: str, wanted: Asked, owner: str | None) -> TransferFilter:
    return TransferFilter(
        data_space=data_space_id,
        owner=owner,
        ways=ways_of(wanted.transfer_type),
        states=selected(wanted.states) if wanted.states else None,
        repo_id=wanted.repo_id,
        repo_name_part=wanted.keyword,
        created_from=wanted.start,
        created_to=wanted.end,
    )


def _sides(tx: Tx, transfer: Transfer) -> Any:
    """Return what lies beside a transfer: its failures, the files to show, the object store."""
    task_id = transfer.task.id
    return transfers.failures(tx, task_id), transfers.files_to_show(tx, task_id), _store(tx, transfer)


def _store(tx: Tx, transfer: Transfer) -> StorageRecord | None:
    """Return the object store of a transfer: where it goes to, else where it comes from."""
    catalogue = Catalogue(tx)
    for side in ("to", "from"):
        name = (transfer.params.get(side) or {}).get("storage", "")
        record = None if name.startswith(transfers.PREPARED) else catalogue.storage(name)
        if record is not None and record.type != "local":
            return record
    return None


_TASK = {"type": "object", "description": "a transfer"}
_ANSWER = {
    "description": "a page",
    "content": {
        "application/json": {
            "schema": {
                "type": "object",
                "required": ["tasks", "total"],
                "properties": {"tasks": {"type": "array", "items": _TASK}, "total": {"type": "integer"}},
            }
        }
    },
}
list_tasks._apidoc = {"manual_doc": {"responses": {"200": _ANSWER}}}  # type: ignore[attr-defined]
list_tasks.provide_automatic_options = False  # type: ignore[attr-defined]  # OPTIONS is a method like any other
for number, prefix in enumerate(PREFIXES):
    blueprint.add_url_rule(
        f"{prefix}/<data_space_id>/task:list",
        f"list_tasks_{number}",
        list_tasks,
        methods=["POST"],
    )
