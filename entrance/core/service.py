"""TaskService: everything that can be asked of a task. The only door to it; every dialect is a thin face of this class.

``ref`` is a task id (int or digits), an execution id or a UUID. Every method checks who asks (``access``): somebody else's
task is ``Forbidden`` with the owner's name, an unknown one ``TaskNotFound``. Methods that change something return after the
commit that they promise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from common.task import Task
from entrance.core.model import (
    ActionItem,
    AttemptRecord,
    Caller,
    Filter,
    HistoryRecord,
    LogPage,
    Metric,
    QueueInfo,
    ResultPage,
    Submission,
    SubmissionRecord,
    TaskPage,
    TaskProgress,
    WorkerInfo,
)
from executors.launchers.base import Sample

Ref = int | str


class TaskService:
    """The verbs on tasks."""

    def submit(self, caller: Caller, submission: Submission) -> Task:
        """Accept a task and return it, stored and queued.

        Raises UnknownExecutor, InvalidParams (all faults at once), QueueFull, Draining, NotStored; nothing is stored then.
        """
        raise NotImplementedError

    def get(self, caller: Caller, ref: Ref, verb: str = "view") -> Task: raise NotImplementedError
    def submission(self, caller: Caller, ref: Ref) -> SubmissionRecord: raise NotImplementedError
    def kill(self, caller: Caller, ref: Ref) -> Task: raise NotImplementedError
    def kill_many(self, caller: Caller, refs: Sequence[Ref]) -> Sequence[ActionItem]:
        """Kill each; one item per ref in their order, one's failure does not touch the others."""
        raise NotImplementedError
    def pause(self, caller: Caller, ref: Ref) -> Task: raise NotImplementedError
    def resume(self, caller: Caller, ref: Ref) -> Task: raise NotImplementedError
    def set_priority(self, caller: Caller, ref: Ref, priority: int) -> Task: raise NotImplementedError
    def rerun(self, caller: Caller, ref: Ref) -> Task:
        """Submit an ended task's work again, as a new task."""
        raise NotImplementedError
    def act(self, caller: Caller, action: str, which: Filter | Sequence[Ref], *, priority: int | None = None,
            expect: int | None = None, dry_run: bool = False) -> tuple[int, Sequence[ActionItem]]:
        """Do ``kill``, ``pause``, ``resume``, ``priority`` or ``rerun`` to many; (count, one item each). With ``expect``,
        Conflict when the count differs."""
        raise NotImplementedError
    def progress(self, caller: Caller, ref: Ref) -> TaskProgress: raise NotImplementedError
    def resources(self, caller: Caller, ref: Ref) -> Sample | None:
        """The last sample of the latest attempt, kept after its end."""
        raise NotImplementedError
    def metrics(self, caller: Caller, ref: Ref, since: int = 0) -> Sequence[Metric]: raise NotImplementedError
    def log(self, caller: Caller, ref: Ref, from_line: int, limit: int, limit_bytes: int = 5 << 20) -> LogPage:
        """Raises NotFound (code ``log_gone``) when retention removed the log."""
        raise NotImplementedError
    def result(self, caller: Caller, ref: Ref, offset: int = 0, limit: int = 5000) -> ResultPage: raise NotImplementedError
    def children(self, caller: Caller, ref: Ref) -> Sequence[Task]: raise NotImplementedError
    def attempts(self, caller: Caller, ref: Ref) -> Sequence[AttemptRecord]: raise NotImplementedError
    def history(self, caller: Caller, ref: Ref) -> Sequence[HistoryRecord]: raise NotImplementedError
    def page(self, caller: Caller, which: Filter, offset: int = 0, limit: int = 20) -> TaskPage: raise NotImplementedError
    def queue(self) -> QueueInfo: raise NotImplementedError
    def workers(self) -> Sequence[WorkerInfo]: raise NotImplementedError
    def set_online(self, online: bool) -> None:
        """Offline: new tasks are refused (Draining), running ones end, queued ones stay."""
        raise NotImplementedError
    def executors(self) -> Sequence[Mapping[str, Any]]:
        """Name, summary, JSON schema of the parameters, result columns of each registered executor."""
        raise NotImplementedError
