"""Singularity's words for what DataService says: field names, times, CIDs. Source: chapters 1 and 2 of the contract.

Keys of our own, which clients ignore: ``pieceCidV2`` of a Car, ``taskId`` of a Job (its latest task).
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from flask import Response

from common.content import cid as cids
from common.db.catalogue import Car, Job, Preparation, StorageRecord
from common.db.contents import PlacedFile
from common.storage.base import Entry
from common.storage.local import shown
from entrance.core.data import Explored, FileView, PieceList, PreparationView, SourceView
from entrance.core.storage_secrets import masked_client, masked_config

Wire = dict[str, Any]

_NAMESPACE = uuid.UUID("8d7c1f2e-0b5e-5a8e-9c2b-6d0a3a3c1f77")


def answer(value: Any, status: int = 200) -> Response:
    """Return a JSON answer as Go's encoder writes it: two spaces, ``<``, ``>`` and ``&`` escaped."""
    text = json.dumps(value, ensure_ascii=False, indent=2)
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Response(text.encode("utf-8", "replace"), status, content_type="application/json; charset=UTF-8")


def nothing() -> Response:
    """Return the answer of a call that has nothing to say."""
    return Response(status=204)


# ---- values -------------------------------------------------------------------------------------------------------


def time_ms(at: int) -> str:
    """Return a time in ms since 1970 as RFC 3339 text."""
    return time_ns(at * 1_000_000)


def time_ns(at: int) -> str:
    """Return a time in ns since 1970 as RFC 3339 text, without zeros at the end of the fraction."""
    seconds, nanos = divmod(at, 1_000_000_000)
    try:
        text = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    except (OverflowError, ValueError, OSError):
        return "0001-01-01T00:00:00Z"
    fraction = f"{nanos:09d}".rstrip("0")
    return f"{text.rjust(19, '0')}{'.' + fraction if fraction else ''}Z"


def cid_text(cid: bytes | None) -> str:
    """Return a CID as text, "" for none."""
    return cids.to_text(cid) if cid else ""


# ---- storages and preparations ------------------------------------------------------------------------------------


def storage(record: StorageRecord) -> Wire:
    return {
        "id": record.id,
        "name": record.name,
        "createdAt": time_ms(record.created_at),
        "updatedAt": time_ms(record.updated_at),
        "type": record.type,
        "path": record.path,
        "config": masked_config(record.config),
        "clientConfig": masked_client(record.client_config),
    }


def preparation(record: Preparation) -> Wire:
    return {
        "id": record.id,
        "name": record.name,
        "createdAt": time_ms(record.created_at),
        "updatedAt": time_ms(record.updated_at),
        "deleteAfterExport": record.delete_after_export,
        "maxSize": record.max_size,
        "pieceSize": record.piece_size,
        "minPieceSize": record.min_piece_size,
        "noInline": record.no_inline,
        "noDag": record.no_dag,
    }


def preparation_view(view: PreparationView) -> Wire:
    told = preparation(view.preparation)
    if view.sources:
        told["sourceStorages"] = [storage(s) for s in view.sources]
    if view.outputs:
        told["outputStorages"] = [storage(s) for s in view.outputs]
    return told


def storages_with_preparations(records: Sequence[StorageRecord], views: Sequence[PreparationView]) -> list[Wire]:
    """Return storages as the list call shows them: each with the preparations that it is attached to."""
    told = []
    for record in records:
        row = storage(record)
        for key, of in (("preparationsAsSource", "sources"), ("preparationsAsOutput", "outputs")):
            attached = [v.preparation for v in views if any(s.id == record.id for s in getattr(v, of))]
            if attached:
                row[key] = [preparation(p) for p in attached]
        told.append(row)
    return told


def storage_entry(entry: Entry) -> Wire:
    return {
        "path": shown(entry.path),
        "lastModified": time_ns(entry.modified_ns),
        "size": -1 if entry.is_dir else entry.size,
        "isDir": entry.is_dir,
        "dirId": "",
        "numItems": -1 if entry.is_dir else 0,
        "hash": entry.hash,
    }


def source_status(view: SourceView, instance: str) -> Wire:
    return {
        "attachmentId": view.attachment.id,
        "storageId": view.attachment.storage_id,
        "source": storage(view.source),
        "output": [storage(s) for s in view.outputs],
        "jobs": [job(j, instance) for j in view.jobs if j.type == "pack" or j.task_id is not None],
    }


# ---- jobs, files, pieces ------------------------------------------------------------------------------------------


def job(record: Job, instance: str, *, error_kept: bool = False) -> Wire:
    """Return a job; ``instance`` is the worker that has it while it is processing. ``error_kept``: its last error is told
    although it is in another state by now."""
    told: Wire = {
        "id": record.id,
        "type": record.type,
        "state": record.state,
        "errorMessage": (record.reason or "") if error_kept or record.state == "error" else "",
        "errorStackTrace": "",
        "attachmentId": record.attachment_id,
    }
    if record.state == "processing":
        told["workerId"] = str(uuid.uuid5(_NAMESPACE, instance))
    if record.task_id is not None:
        told["taskId"] = record.task_id
    return told


def file(view: FileView) -> Wire:
    record = view.file
    return {
        "id": record.id,
        "cid": cid_text(view.cid),
        "path": view.path,
        "hash": record.hash,
        "size": record.size,
        "lastModifiedNano": record.modified_ns,
        "attachmentId": record.attachment_id,
        "directoryId": record.directory_id,
        "fileRanges": [
            {
                "id": r.id,
                "offset": r.offset,
                "length": r.length,
                "cid": cid_text(r.cid),
                "jobId": r.job_id,
                "fileId": r.file_id,
            }
            for r in view.ranges
        ],
    }


def car(record: Car) -> Wire:
    told: Wire = {
        "id": record.id,
        "createdAt": time_ms(record.created_at),
        "pieceType": record.type,
        "pieceCid": cid_text(record.piece_cid),
        "pieceCidV2": cid_text(record.piece_cid_v2),
        "pieceSize": record.piece_size,
        "rootCid": cid_text(record.root_cid),
        "fileSize": record.file_size,
        "minPieceSizePadding": record.virtual_padding,
        "storageId": record.storage_id,
        "storagePath": record.storage_path,
        "numOfFiles": record.files,
        "preparationId": record.preparation_id,
        "attachmentId": record.attachment_id,
    }
    if record.job_id is not None:
        told["jobId"] = record.job_id
    return told


def piece_list(pieces: PieceList) -> Wire:
    return {
        "attachmentId": None if pieces.attachment is None else pieces.attachment.id,
        "storageId": None if pieces.source is None else pieces.source.id,
        "source": None if pieces.source is None else storage(pieces.source),
        "pieces": [car(c) for c in pieces.cars],
    }


def explored(found: Explored) -> Wire:
    entries: list[Wire] = [
        {"path": f"{found.path}/{folder.name}", "isDir": True, "cid": cid_text(folder.cid), "fileVersions": None}
        for folder in found.folders
    ]
    for versions in found.files:
        name = versions[0].name
        entries.append(
            {
                "path": f"{found.path}/{name}" if found.path else name,
                "isDir": False,
                "cid": cid_text(versions[0].cid),
                "fileVersions": [_version(v) for v in versions],
            }
        )
    return {"path": found.path, "cid": cid_text(found.cid), "subEntries": entries or None}


def _version(version: PlacedFile) -> Wire:
    return {
        "id": version.id,
        "cid": cid_text(version.cid),
        "hash": version.hash,
        "size": version.size,
        "lastModified": time_ns(version.modified_ns),
    }


def text_config(values: Mapping[str, Any]) -> dict[str, str]:
    """Return options as they are stored: snake_case keys, text values; camelCase, booleans and numbers are understood."""
    made: dict[str, str] = {}
    for key, value in values.items():
        if value is None:
            continue
        text = ("true" if value else "false") if isinstance(value, bool) else str(value)
        made[_snake(key)] = text
    return made


def _snake(key: str) -> str:
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in key).lstrip("_")
