"""BlackPearl's words and shapes for what TaskService says: total tables of states and priorities, and the XML of a job."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from common.db.shown import ShownJob
from common.db.transfers import FileState, TransferFile
from common.task import OPEN, Priority, State
from entrance.core.model import TaskProgress
from entrance.dialects.blackpearl.markup import Value, element, fields
from entrance.dialects.blackpearl.query import date_text

# ---- words --------------------------------------------------------------------------------------------------------

STATUS: Mapping[State, str] = {
    State.CREATED: "IN_PROGRESS",
    State.QUEUED: "IN_PROGRESS",
    State.RUNNING: "IN_PROGRESS",
    State.PAUSED: "IN_PROGRESS",
    State.WAITING_RETRY: "IN_PROGRESS",
    State.SUCCEEDED: "COMPLETED",
    State.FAILED: "CANCELED",
    State.CANCELLED: "CANCELED",
    State.TIMED_OUT: "CANCELED",
}
PRIORITY: Mapping[Priority, str] = {
    Priority.CRITICAL: "CRITICAL",
    Priority.URGENT: "URGENT",
    Priority.HIGH: "HIGH",
    Priority.NORMAL: "NORMAL",
    Priority.LOW: "LOW",
    Priority.BACKGROUND: "BACKGROUND",
}
LEVELS: Mapping[str, Priority] = {word: level for level, word in PRIORITY.items()}
SETTABLE = ("URGENT", "HIGH", "NORMAL", "LOW")  # the other two are the system's own

ACTIVE: Sequence[State] = OPEN
COMPLETED: Sequence[State] = tuple(s for s, word in STATUS.items() if word == "COMPLETED")
CANCELED: Sequence[State] = tuple(s for s, word in STATUS.items() if word == "CANCELED")

KINDS = ("PUT", "GET", "VERIFY")
GUARANTEES = ("NONE", "IN_ORDER")
GUARANTEE = "IN_ORDER"

# ---- identifiers --------------------------------------------------------------------------------------------------

_IDS = uuid.UUID("6f1d0a52-3c0e-4b57-9a5e-0c1b7e2d8f34")  # the space of the ids that follow from names


def _id(kind: str, *names: str) -> str:
    return str(uuid.uuid5(_IDS, "\0".join((kind, *names))))


@lru_cache(maxsize=1024)
def user_id(name: str) -> str:
    """Return the UUID of a user, the same for ever."""
    return _id("user", name)


@lru_cache(maxsize=1024)
def bucket_id(name: str) -> str:
    """Return the UUID of a bucket, the same for ever."""
    return _id("bucket", name)


@dataclass(frozen=True, kw_only=True)
class Node:
    """The machine that a client speaks to: host and port as the client reaches them."""

    id: str
    host: str
    port: int | None


def node_of(instance: str, host: str, port: int | None) -> Node:
    """Return the node of a data folder."""
    return Node(id=_id("node", instance), host=host, port=port)


# ---- jobs ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class View:
    """A job and how far it is."""

    job: ShownJob
    report: TaskProgress

    @property
    def status(self) -> str:
        return STATUS[self.job.task.state]

    @property
    def original_size(self) -> int:
        """Bytes in all, 0 while unknown."""
        return self.report.progress.bytes_total

    @property
    def completed_size(self) -> int:
        """Bytes done, never more than there are once that is known."""
        numbers = self.report.progress
        if self.job.task.state is State.SUCCEEDED and numbers.bytes_total:
            return numbers.bytes_total
        return min(numbers.bytes_done, numbers.bytes_total) if numbers.bytes_total else numbers.bytes_done

    @property
    def cached_size(self) -> int:
        """Bytes in our staging area. A job that the service drives itself has none: what is read is written."""
        return self.completed_size

    @property
    def error_message(self) -> str | None:
        task = self.job.task
        if task.state in (State.QUEUED, State.FAILED, State.TIMED_OUT, State.WAITING_RETRY) and task.reason:
            return " ".join(task.reason.split())
        return None


def master_object_list(view: View, node: Node, files: Iterable[Sequence[TransferFile]]) -> Iterator[str]:
    """Yield the parts of a MasterObjectList; ``files`` are the pages of its objects, a chunk each."""
    whole = element("MasterObjectList", (_nodes(node), "\n"), _attributes(view))
    head, _, tail = whole.partition("\n")
    yield head
    for number, chunk in enumerate(files):
        yield _chunk(view.job, number, chunk, node)
    yield tail


def job_element(view: View, node: Node) -> str:
    """Return an entry of the list of ``/_rest_/job``."""
    return element("Job", (_nodes(node),), _attributes(view))


def active_job(view: View, name: str = "Data") -> str:
    """Return an active job, one element for each field (``Data`` alone, ``Job`` in a list)."""
    job = view.job
    return element(
        name,
        fields(
            {
                "Aggregating": False,
                "BucketId": bucket_id(job.bucket),
                "CachedSizeInBytes": view.cached_size,
                "ChunkClientProcessingOrderGuarantee": GUARANTEE,
                "CompletedSizeInBytes": view.completed_size,
                "CreatedAt": date_text(job.created_at),
                "DeadJobCleanupAllowed": job.dead_job_cleanup_allowed,
                "ErrorMessage": view.error_message,
                "Id": job.task.uuid,
                "ImplicitJobIdResolution": False,
                "MinimizeSpanningAcrossMedia": False,
                "Naked": False,
                "Name": job.name,
                "OriginalSizeInBytes": view.original_size,
                "Priority": PRIORITY[Priority.level(job.task.priority)],
                "Protected": job.protected,
                "Rechunked": None,
                "Replicating": False,
                "RequestType": job.kind,
                "Restore": "NO",
                "Truncated": False,
                "TruncatedDueToTimeout": False,
                "UserId": user_id(job.task.user),
                "VerifyAfterWrite": False,
            }
        ),
    )


def canceled_job(view: View, name: str = "Data") -> str:
    """Return a job that was canceled, failed or timed out (``Data`` alone, ``CanceledJob`` in a list)."""
    task = view.job.task
    due_to_timeout = task.state is State.TIMED_OUT
    return element(name, fields({"CanceledDueToTimeout": due_to_timeout, **_ended(view, "DateCanceled")}))


def completed_job(view: View, name: str = "Data") -> str:
    """Return a job that succeeded (``Data`` alone, ``CompletedJob`` in a list)."""
    return element(name, fields(_ended(view, "DateCompleted")))


def _ended(view: View, date: str) -> dict[str, Value]:
    job = view.job
    return {
        "BucketId": bucket_id(job.bucket),
        "CachedSizeInBytes": view.cached_size,
        "ChunkClientProcessingOrderGuarantee": GUARANTEE,
        "CompletedSizeInBytes": view.completed_size,
        "CreatedAt": date_text(job.created_at),
        date: date_text(job.task.ended_at or 0),
        "ErrorMessage": view.error_message,
        "Id": job.task.uuid,
        "Naked": False,
        "Name": job.name,
        "OriginalSizeInBytes": view.original_size,
        "Priority": PRIORITY[Priority.level(job.task.priority)],
        "Rechunked": None,
        "RequestType": job.kind,
        "Truncated": False,
        "UserId": user_id(job.task.user),
    }


def _attributes(view: View) -> dict[str, Value]:
    job = view.job
    return {
        "Aggregating": False,
        "BucketName": job.bucket,
        "CachedSizeInBytes": view.cached_size,
        "ChunkClientProcessingOrderGuarantee": GUARANTEE,
        "CompletedSizeInBytes": view.completed_size,
        "EntirelyInCache": 0 < view.original_size == view.cached_size,
        "JobId": job.task.uuid,
        "Naked": False,
        "Name": job.name,
        "OriginalSizeInBytes": view.original_size,
        "Priority": PRIORITY[Priority.level(job.task.priority)],
        "RequestType": job.kind,
        "StartDate": date_text(job.created_at),
        "Status": view.status,
        "UserId": user_id(job.task.user),
        "UserName": job.task.user,
    }


def _nodes(node: Node) -> str:
    where: dict[str, Value] = {"EndPoint": node.host}
    if node.port is not None:
        where["HttpPort"] = node.port
    return element("Nodes", (element("Node", (), {**where, "Id": node.id}),))


def _chunk(job: ShownJob, number: int, files: Sequence[TransferFile], node: Node) -> str:
    job_id = job.task.uuid
    objects = (
        element(
            "Object",
            (),
            {
                "Id": _id("blob", job_id, file.path),
                "InCache": file.state is FileState.SUCCEEDED,
                "Latest": True,
                "Length": file.size,
                "Name": file.path,
                "Offset": 0,
                "Version": 1,
                "VersionId": _id("version", job_id, file.path),
            },
        )
        for file in files
    )
    return element(
        "Objects", objects, {"ChunkId": _id("chunk", job_id, str(number)), "ChunkNumber": number, "NodeId": node.id}
    )
