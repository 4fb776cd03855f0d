"""Rows of transfers in the database of a running service, made through the stores, for what only lists and shows them."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from sqlalchemy import bindparam, insert, update

from common.db import reports, tables, tasks, transfers
from common.db.database import short_write
from common.db.ids import take_ids
from common.db.peek import FILE_NAME
from common.db.sql import Sql, Tx
from common.storage.secrets import Secrets
from common.task import State, Task

_STORAGES = Sql(insert(tables.storages))
_END = Sql(update(tables.tasks).where(tables.tasks.c.id == bindparam("id_")).values(ended_at=bindparam("ended_at")))


def add_storage(
    data: Path,
    name: str,
    kind: str,
    path: str,
    *,
    config: dict[str, str] | None = None,
    client_config: dict[str, Any] | None = None,
    secrets: dict[str, str] | None = None,
) -> None:
    """Add a storage; ``secrets`` are stored encrypted with the folder's key."""
    with short_write(data / FILE_NAME) as tx:
        tx.run(
            _STORAGES,
            id=take_ids(tx, "storages", 1),
            name=name,
            user="admin",
            type=kind,
            path=path,
            config=json.dumps(config or {}),
            client_config=json.dumps(client_config or {}),
            secrets=Secrets.of_folder(data).encrypt(json.dumps(secrets)) if secrets else None,
            created_at=0,
            updated_at=0,
        )


def add_transfer(
    data: Path,
    *,
    source: str,
    target: str,
    user: str = "alice",
    state: str = "queued",
    attempt: int | None = None,
    reason: str | None = None,
    at: int | None = None,
    bytes_done: int = 0,
    bytes_total: int = 0,
    files_done: int = 0,
    files_total: int = 0,
    **params: Any,
) -> Task:
    """Add a transfer task in a state; ``params`` go over ``from`` and ``to``."""
    with short_write(data / FILE_NAME) as tx:
        task = put(tx, source, target, user, State(state), attempt, reason, at or int(time.time() * 1000), params)
        numbers = {
            "bytes_done": bytes_done,
            "bytes_total": bytes_total,
            "files_done": files_done,
            "files_total": files_total,
        }
        rest = {"task_id": task.id, "done": bytes_done, "total": bytes_total, "stages": "[]", "checkpoint": None}
        reports.set_progress(tx, [{**numbers, **rest, "merged": 0, "updated_at": 0}])
    return task


def put(
    tx: Tx,
    source: str,
    target: str,
    user: str,
    state: State,
    attempt: int | None,
    reason: str | None,
    at: int,
    params: dict[str, Any],
) -> Task:
    """Store a transfer task as the core does, and note it for the lists."""
    never_ran = state in (State.CREATED, State.QUEUED)
    new = Task(
        id=0,
        uuid=str(uuid.uuid4()),
        exec_id="",
        user=user,
        execute_user=user,
        creator="TEST",
        executor="transfer",
        run_type="transfer",
        door="linkis",
        state=state,
        attempt=attempt if attempt is not None else 0 if never_ran else 1,
        created_at=at,
        queued_at=at,
        updated_at=at,
        reason=reason,
    )
    params = {"from": {"storage": source, "path": ""}, "to": {"storage": target, "path": "in/here"}, **params}
    stored = {"code": "{}", "params": json.dumps(params), "settings": "{}", "source": "{}", "labels": "[]"}
    task = tasks.add(tx, new, exec_id=lambda n: f"TEST_{user}_transfer_{n}", submission=stored, who=user)
    transfers.note(tx, task, params, default_space="default")
    if state.final:  # a task ends after it was noted
        task = replace(task, ended_at=at + 1000)
        tx.run(_END, id_=task.id, ended_at=task.ended_at)
    return task


def add_files(data: Path, task_id: int, files: Sequence[tuple[str, int, str, str]]) -> None:
    """Add files of a transfer: (path, size, state, fault)."""
    with short_write(data / FILE_NAME) as tx:
        tx.many(
            Sql(insert(tables.transfer_files)),
            [{"task_id": task_id, "path": p, "size": s, "state": w, "fault": f} for p, s, w, f in files],
        )
