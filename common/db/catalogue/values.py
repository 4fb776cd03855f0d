"""What the catalogue holds, as values. Entities are frozen dataclasses, rows that come by the thousand are tuples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from common.content.profile import Profile
from common.task import State


@dataclass(frozen=True, kw_only=True)
class StorageRecord:
    """A named place of bytes. ``config`` and ``client_config`` as sent (text keys), without secrets."""

    id: int
    name: str
    user: str
    type: str
    path: str
    config: Mapping[str, str] = field(default_factory=dict)
    client_config: Mapping[str, Any] = field(default_factory=dict)
    secrets: bytes | None = field(default=None, repr=False)
    created_at: int = 0
    updated_at: int = 0


@dataclass(frozen=True, kw_only=True)
class Preparation:
    """How sources become CARs. Sizes in bytes."""

    id: int
    name: str
    user: str
    max_size: int
    piece_size: int
    min_piece_size: int
    delete_after_export: bool = False
    no_inline: bool = False
    no_dag: bool = False
    profile: Profile
    created_at: int = 0
    updated_at: int = 0


@dataclass(frozen=True, kw_only=True)
class Attachment:
    """A storage as a source of a preparation."""

    id: int
    preparation_id: int
    storage_id: int


@dataclass(frozen=True, kw_only=True)
class Job:
    """A unit of a preparation: scan, pack or daggen. ``task_id`` is its latest task."""

    id: int
    attachment_id: int
    type: str
    filling: bool
    follow: bool
    created_at: int
    task_id: int | None = None
    task_state: State | None = None
    pause_requested: bool = False
    reason: str | None = None

    @property
    def state(self) -> str:
        """Its state in Singularity's words."""
        return job_state(self.task_state, self.pause_requested)


@dataclass(frozen=True, kw_only=True)
class Car:
    """A CAR that is there. ``storage_id`` None: no file, it can be put together from the sources (inline)."""

    id: int
    type: str
    piece_cid: bytes
    piece_cid_v2: bytes
    piece_size: int
    root_cid: bytes
    car_size: int
    file_size: int
    virtual_padding: int
    storage_id: int | None
    storage_path: str
    files: int
    blocks: int
    preparation_id: int
    attachment_id: int | None
    job_id: int | None
    task_id: int | None
    created_at: int


class Directory(NamedTuple):
    """A folder of a source. ``raw_path`` is set where the path's bytes are not the UTF-8 of ``path``."""

    id: int
    attachment_id: int
    parent_id: int | None
    name: str
    path: str
    raw_path: bytes | None


class File(NamedTuple):
    """A version of a file."""

    id: int
    attachment_id: int
    directory_id: int
    name: str
    raw_name: bytes | None
    size: int
    modified_ns: int
    hash: str


class FileRange(NamedTuple):
    """A part of a file."""

    id: int
    attachment_id: int
    file_id: int
    offset: int
    length: int
    job_id: int | None


class JobRange(NamedTuple):
    """A range of a job with what is needed to read it."""

    id: int
    offset: int
    length: int
    file_id: int
    size: int
    modified_ns: int
    hash: str
    directory_id: int
    name: str
    raw_name: bytes | None
    directory_path: str
    directory_raw_path: bytes | None

    @property
    def path(self) -> str:
        """The file's path as people see it."""
        return f"{self.directory_path}/{self.name}" if self.directory_path else self.name


class RangeCid(NamedTuple):
    """A range of a file and its CID; ``cid`` is None while it is not packed."""

    id: int
    offset: int
    length: int
    cid: bytes | None
    tops: bytes | None


class PackedFile(NamedTuple):
    """A file version that is packed."""

    id: int
    name: str
    size: int
    cid: bytes
    tsize: int
    car_id: int


class Child(NamedTuple):
    """A folder below another, and its node as of the last daggen (``cid`` None: none yet)."""

    id: int
    name: str
    cid: bytes | None
    tsize: int | None


def job_state(state: State | None, pause_requested: bool = False) -> str:
    """Return how Singularity calls the state of a job whose last task is in ``state`` (None: no task yet).

    Source: the contract of states, chapter 3.
    """
    if state is None or state is State.CREATED:
        return "created"
    if state is State.PAUSED or (state is State.RUNNING and pause_requested):
        return "paused"
    if state in (State.QUEUED, State.WAITING_RETRY):
        return "ready"
    if state is State.RUNNING:
        return "processing"
    return "complete" if state is State.SUCCEEDED else "error"
