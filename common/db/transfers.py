"""Transfers as lists see them: which way bytes go, in which data space, for which data set, and what became of each file.

A row is written in the transaction that stores its task (``note``), so that a list never reads parameters to filter. The
rows of ``transfer_files`` are the executor's.

    out      from a local storage (a packed preparation too) into an object store
    in       from an object store into a local storage
    within   both ends are of one kind
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any

from sqlalchemy import and_, bindparam, func, or_, select
from sqlalchemy.dialects.sqlite import insert as upsert

from common.db import tables as t
from common.db import tasks
from common.db.catalogue import Catalogue
from common.db.sql import Sql, Tx
from common.task import State, Task

PREPARED = "prep:"  # a packed preparation as a storage: ``prep:NAME``
MOST_FILES = 100  # that a task is shown with


class Way(StrEnum):
    """Which way a transfer goes, as seen from our own side."""

    OUT = "out"
    IN = "in"
    WITHIN = "within"


class FileState(StrEnum):
    """How far one file of a transfer is."""

    PENDING = "pending"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


class FileFault(StrEnum):
    """Why a file failed."""

    NONE = ""
    STORE = "store"  # the object store or the network
    FORMAT = "format"  # checksum, length or CAR format
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not_found"
    OTHER = "other"


@dataclass(frozen=True, kw_only=True)
class Transfer:
    """A transfer task with what belongs to it; ``params`` are the executor's."""

    task: Task
    data_space: str
    way: Way
    bucket: str
    repo_id: str
    repo_name: str
    params: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class TransferFile:
    """One file of a transfer; ``path`` is relative to the path read from, ``size`` in bytes."""

    path: str
    size: int
    state: FileState
    fault: FileFault = FileFault.NONE


@dataclass(frozen=True, kw_only=True)
class Failures:
    """Failed files of a transfer: how many, and their bytes."""

    files: int = 0
    size: int = 0


@dataclass(frozen=True, kw_only=True)
class TransferFilter:
    """Which transfers of one data space; fields combine, None and "" select all.

    ``states`` are pairs of a state and whether it ever ran (None: either); an empty list selects nothing. Times in ms, both
    included.
    """

    data_space: str
    owner: str | None = None
    ways: Sequence[Way] | None = None
    states: Sequence[tuple[State, bool | None]] | None = None
    repo_id: str = ""
    repo_name_part: str = ""
    created_from: int | None = None
    created_to: int | None = None


_COLUMNS = [t.tasks.c[f.name] for f in fields(Task)]
_OF_TRANSFER = ("data_space", "way", "bucket", "repo_id", "repo_name")

_ADD = Sql(upsert(t.transfers).values({c.name: bindparam(c.name) for c in t.transfers.c}).on_conflict_do_nothing())
_EXISTS = Sql(select(t.transfers.c.task_id).where(t.transfers.c.data_space == bindparam("data_space")).limit(1))
_FAILURES = Sql(
    select(func.count(), func.coalesce(func.sum(t.transfer_files.c.size), 0)).where(
        t.transfer_files.c.task_id == bindparam("task_id"), t.transfer_files.c.state == FileState.FAILED.value
    )
)
_FILE = (t.transfer_files.c.path, t.transfer_files.c.size, t.transfer_files.c.state, t.transfer_files.c.fault)
_FILES = Sql(
    select(*_FILE)
    .where(t.transfer_files.c.task_id == bindparam("task_id"), t.transfer_files.c.path > bindparam("after"))
    .order_by(t.transfer_files.c.path)
    .limit(bindparam("rows"))
)
_FAILED_FILES = Sql(
    select(*_FILE)
    .where(t.transfer_files.c.task_id == bindparam("task_id"), t.transfer_files.c.state == FileState.FAILED.value)
    .order_by(t.transfer_files.c.path)
    .limit(bindparam("rows"))
)


def note(tx: Tx, task: Task, params: Mapping[str, Any], *, default_space: str) -> None:
    """Write down what lists want to know of a transfer that is being stored, in the same transaction.

    A second time changes nothing. Without ``repoId`` and ``repoName`` a transfer out of a packed preparation belongs to that
    preparation.
    """
    catalogue = Catalogue(tx)
    source, target = params["from"]["storage"], params["to"]["storage"]
    from_store, to_store = _bucket(catalogue, source), _bucket(catalogue, target)
    way = Way.WITHIN if bool(from_store) == bool(to_store) else Way.IN if from_store else Way.OUT
    preparation = catalogue.preparation(source.removeprefix(PREPARED)) if source.startswith(PREPARED) else None
    repo_id, repo_name = (str(preparation.id), preparation.name) if preparation else ("", "")
    repo_name = params.get("repoName") or repo_name
    tx.insert(
        _ADD,
        task_id=task.id,
        data_space=params.get("dataSpaceId") or default_space,
        way=way.value,
        bucket=to_store or from_store or target,
        repo_id=params.get("repoId") or repo_id,
        repo_name=repo_name,
        repo_name_folded=repo_name.casefold(),
        created_at=task.created_at,
    )


def _bucket(catalogue: Catalogue, storage: str) -> str:
    """Return the bucket of an object store, "" for a local storage."""
    record = None if storage.startswith(PREPARED) else catalogue.storage(storage)
    if record is None or record.type == "local":
        return ""
    return bucket_of(record.path) or storage


def bucket_of(path: str) -> str:
    """Return the bucket in the path of an object store (``bucket/prefix``)."""
    return path.strip("/").partition("/")[0]


def exists(tx: Tx, data_space: str) -> bool:
    """Whether a transfer was ever accepted for this data space and is still known."""
    return tx.one(_EXISTS, data_space=data_space) is not None


def page(tx: Tx, which: TransferFilter, offset: int, limit: int) -> tuple[list[Transfer], int]:
    """Return a page of transfers, newest first, then by UUID; and the number of all that match."""
    where = and_(*_conditions(which))
    joined = t.transfers.join(t.tasks, t.tasks.c.id == t.transfers.c.task_id)
    counted = joined if _asks_the_task(which) else t.transfers
    total = tx.query(select(func.count()).select_from(counted).where(where))[0][0]
    if offset >= total:
        return [], total
    wanted = (
        select(t.transfers.c.task_id, t.transfers.c.created_at, t.tasks.c.uuid)
        .select_from(joined)
        .where(where)
        .order_by(t.transfers.c.created_at.desc(), t.tasks.c.uuid)
        .offset(offset)
        .limit(limit)
        .subquery()
    )
    rows = tx.query(
        select(*_COLUMNS, *(t.transfers.c[n] for n in _OF_TRANSFER), t.submissions.c.params)
        .select_from(
            wanted.join(t.transfers, t.transfers.c.task_id == wanted.c.task_id)
            .join(t.tasks, t.tasks.c.id == wanted.c.task_id)
            .join(t.submissions, t.submissions.c.task_id == wanted.c.task_id)
        )
        .order_by(wanted.c.created_at.desc(), wanted.c.uuid)
    )
    return [_transfer(row) for row in rows], total


def _asks_the_task(which: TransferFilter) -> bool:
    return which.owner is not None or which.states is not None


def _conditions(which: TransferFilter) -> list[Any]:
    c, task = t.transfers.c, t.tasks.c
    found: list[Any] = [c.data_space == which.data_space]
    if which.created_from is not None:
        found.append(c.created_at >= which.created_from)
    if which.created_to is not None:
        found.append(c.created_at <= which.created_to)
    if which.ways is not None:
        found.append(c.way.in_([w.value for w in which.ways]))
    if which.repo_id:
        found.append(c.repo_id == which.repo_id)
    if which.repo_name_part:
        found.append(func.instr(c.repo_name_folded, which.repo_name_part.casefold()) > 0)
    if which.owner is not None:
        found.append(or_(task.user == which.owner, task.execute_user == which.owner))
    if which.states is not None:
        either = [s.value for s, ran in which.states if ran is None]
        narrow = [
            and_(task.state == s.value, task.attempt > 0 if ran else task.attempt == 0)
            for s, ran in which.states
            if ran is not None
        ]
        found.append(or_(task.state.in_(either), *narrow))
    return found


def _transfer(row: Sequence[Any]) -> Transfer:
    n = len(_COLUMNS)
    data_space, way, bucket, repo_id, repo_name, params = row[n:]
    return Transfer(
        task=tasks.from_row(row[:n]),
        data_space=data_space,
        way=Way(way),
        bucket=bucket,
        repo_id=repo_id,
        repo_name=repo_name,
        params=json.loads(params),
    )


def failures(tx: Tx, task_id: int) -> Failures:
    """Return how many files of a transfer failed, and their bytes."""
    files, size = tx.one(_FAILURES, task_id=task_id) or (0, 0)
    return Failures(files=files, size=size)


def files(tx: Tx, task_id: int, after: str = "", limit: int = 10_000) -> list[TransferFile]:
    """Return the files of a transfer by path, those after ``after`` only."""
    return [_file(row) for row in tx.all(_FILES, task_id=task_id, after=after, rows=limit)]


def files_to_show(tx: Tx, task_id: int) -> list[TransferFile]:
    """Return the files of a transfer of at most 100; of a larger one its failed files, at most 100."""
    found = files(tx, task_id, limit=MOST_FILES + 1)
    if len(found) <= MOST_FILES:
        return found
    return [_file(row) for row in tx.all(_FAILED_FILES, task_id=task_id, rows=MOST_FILES)]


def _file(row: Sequence[Any]) -> TransferFile:
    return TransferFile(path=row[0], size=row[1], state=FileState(row[2]), fault=FileFault(row[3]))
