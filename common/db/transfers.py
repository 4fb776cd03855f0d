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


UNCHANGED = "unchanged"
"""What is stored in place of ``succeeded`` for a file that was at its target already."""


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
    """One file of a transfer; ``path`` is relative to the path read from, ``size`` in bytes.

    ``unchanged``: it has succeeded without being copied.
    """

    path: str
    size: int
    state: FileState
    fault: FileFault = FileFault.NONE
    unchanged: bool = False


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

_PART_BITS = 24  # of the times of creation, as the triggers have it
_n = t.transfer_counts.c
_JOINED = t.transfers.join(t.tasks, t.tasks.c.id == t.transfers.c.task_id)
_given = func.json_each(bindparam("ids")).table_valued("value")
_SOME = Sql(
    select(*_COLUMNS, *(t.transfers.c[n] for n in _OF_TRANSFER), t.submissions.c.params)
    .select_from(_JOINED.join(t.submissions, t.submissions.c.task_id == t.tasks.c.id))
    .where(t.tasks.c.id.in_(select(_given.c.value)))
)
_PROXIED = Sql(
    select(t.tasks.c.id)
    .where(t.tasks.c.execute_user != t.tasks.c.user, t.tasks.c.execute_user == bindparam("owner"))
    .limit(1)
)
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
_FILES_FROM = Sql(
    select(*_FILE)
    .where(t.transfer_files.c.task_id == bindparam("task_id"))
    .order_by(t.transfer_files.c.path)
    .limit(bindparam("rows"))
    .offset(bindparam("first"))
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
    """Return a page of transfers, newest first, then by UUID; and the number of all that match; both of one moment."""
    tx.connection.execute("BEGIN")
    try:
        parts = _parts(tx, which)
        total = _count(tx, which) if parts is None else sum(parts.values())
        if offset >= total or limit < 1:
            return [], total
        ids = _ids(tx, which, offset, min(limit, total - offset), total, parts)
        found = {row[0]: _transfer(row) for row in tx.all(_SOME, ids=json.dumps(ids))}
        return [found[task_id] for task_id in ids], total
    finally:
        tx.connection.execute("COMMIT")


def _parts(tx: Tx, which: TransferFilter) -> dict[int, int] | None:
    """Return how many transfers match in each part of time; None when ``transfer_counts`` does not tell."""
    if which.repo_id or which.repo_name_part or (which.owner is not None and tx.one(_PROXIED, owner=which.owner)):
        return None
    first = 0 if which.created_from is None else which.created_from
    last = 1 << 62 if which.created_to is None else which.created_to
    cut = {at >> _PART_BITS for at in (first, last)}  # in two, unless they begin or end there
    counted = select(_n.part, func.sum(_n.n)).where(_n.n > 0, _n.data_space == which.data_space, *_kinds(which, _n, _n))
    counted = counted.where(_n.part.between(first >> _PART_BITS, last >> _PART_BITS)).group_by(_n.part)
    found = dict(tx.query(counted))
    for part in cut & found.keys() if which.created_from is not None or which.created_to is not None else ():
        found[part] = _count(tx, which, part)
    return found


def _count(tx: Tx, which: TransferFilter, part: int | None = None) -> int:
    c = t.transfers.c
    counted = select(func.count()).select_from(
        _JOINED if which.owner is not None or which.states is not None else t.transfers
    )
    if part is not None:
        counted = counted.where(c.created_at >= part << _PART_BITS, c.created_at < (part + 1) << _PART_BITS)
    return int(tx.query(counted.where(*_conditions(which)))[0][0])


def _ids(tx: Tx, which: TransferFilter, offset: int, take: int, total: int, parts: Mapping[int, int] | None) -> list[int]:
    """Find a page from the nearer end, and from the part of time in which it begins where that is known."""
    c, uuid = t.transfers.c, t.tasks.c.uuid
    behind = total - offset - take
    ascending = behind < offset
    skip = min(offset, behind)
    found = select(c.task_id).select_from(_JOINED).where(*_conditions(which))
    for part in sorted(parts or {}, reverse=not ascending):
        here = (parts or {})[part]
        if skip < here:
            edge = (part if ascending else part + 1) << _PART_BITS
            found = found.where(c.created_at >= edge if ascending else c.created_at < edge)
            break
        skip -= here
    found = found.order_by(c.created_at, uuid.desc()) if ascending else found.order_by(c.created_at.desc(), uuid)
    ids = [row[0] for row in tx.query(found.offset(skip).limit(take))]
    return ids[::-1] if ascending else ids


def _conditions(which: TransferFilter) -> list[Any]:
    c = t.transfers.c
    found: list[Any] = [c.data_space == which.data_space, *_kinds(which, c, t.tasks.c)]
    if which.created_from is not None:
        found.append(c.created_at >= which.created_from)
    if which.created_to is not None:
        found.append(c.created_at <= which.created_to)
    if which.repo_id:
        found.append(c.repo_id == which.repo_id)
    if which.repo_name_part:
        found.append(func.instr(c.repo_name_folded, which.repo_name_part.casefold()) > 0)
    return found


def _kinds(which: TransferFilter, c: Any, task: Any) -> list[Any]:
    """What ``transfer_counts`` knows, as conditions on it or on a transfer and its task."""
    found: list[Any] = []
    if which.ways is not None:
        found.append(c.way.in_([w.value for w in which.ways]))
    if which.owner is not None:
        found.append(
            task.user == which.owner if task is _n else or_(task.user == which.owner, task.execute_user == which.owner)
        )
    if which.states is not None:
        ran = task.ran == 1 if task is _n else task.attempt > 0
        either = [s.value for s, wanted in which.states if wanted is None]
        narrow = [and_(task.state == s.value, ran if wanted else ~ran) for s, wanted in which.states if wanted is not None]
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


def files_from(tx: Tx, task_id: int, first: int, limit: int) -> list[TransferFile]:
    """Return the files of a transfer by path, from the one of number ``first`` (from 0) on."""
    return [_file(row) for row in tx.all(_FILES_FROM, task_id=task_id, first=first, rows=limit)]


def files_to_show(tx: Tx, task_id: int) -> list[TransferFile]:
    """Return the files of a transfer of at most 100; of a larger one its failed files, at most 100."""
    found = files(tx, task_id, limit=MOST_FILES + 1)
    if len(found) <= MOST_FILES:
        return found
    return [_file(row) for row in tx.all(_FAILED_FILES, task_id=task_id, rows=MOST_FILES)]


def _file(row: Sequence[Any]) -> TransferFile:
    path, size, state, fault = row
    there = state == UNCHANGED
    return TransferFile(
        path=path,
        size=size,
        state=FileState.SUCCEEDED if there else FileState(state),
        fault=FileFault(fault),
        unchanged=there,
    )
