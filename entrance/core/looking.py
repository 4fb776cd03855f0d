"""Looking at tasks: everything that can be seen of one, of many, and of what the service does with them.

``ref`` is a task id (int or digits), an execution id or a UUID. Every method that takes one checks who asks (``access``):
somebody else's task is ``Forbidden`` with the owner's name, an unknown one ``TaskNotFound``. Nothing is changed.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from common.db import lists, reports
from common.db import tasks as store
from common.db.database import Readers
from common.db.sql import Tx
from common.errors import LogGone, TaskNotFound
from common.records import but
from common.task import State, Task
from entrance.core import access, progress
from entrance.core.accepting import AcceptService
from entrance.core.dispatch import Dispatcher
from entrance.core.hooks import Hooks
from entrance.core.ids import Ref, parse_ref
from entrance.core.intake import Intake
from entrance.core.logs import Logs
from entrance.core.metrics import unpack
from entrance.core.model import (
    AttemptRecord,
    Caller,
    Filter,
    HistoryRecord,
    LogPage,
    Metric,
    QueueInfo,
    ResultPage,
    SubmissionRecord,
    TaskPage,
    TaskProgress,
    WorkerInfo,
)
from entrance.core.signs import SignsOfLife
from executors import registry
from executors.launchers.base import Sample


class LookService:
    """See the module."""

    def __init__(
        self,
        *,
        readers: Readers,
        accept: AcceptService,
        dispatcher: Dispatcher,
        intake: Intake,
        logs: Logs,
        hooks: Hooks,
        signs: SignsOfLife,
        offload: Callable[..., Any],
    ) -> None:
        self._offload, self._signs = offload, signs  # the first for what reads many rows
        self._readers, self._accept, self._dispatcher = readers, accept, dispatcher
        self._intake, self._logs, self._hooks = intake, logs, hooks

    # ---- one task

    def get(self, caller: Caller, ref: Ref, verb: str = "view") -> Task:
        """Return a task as it stands in the database; ``reason`` of one that is queued: why its turn cannot come now."""
        named = parse_ref(ref)
        if named is None:
            raise TaskNotFound
        with self._readers.read() as tx:
            task = store.by_uuid(tx, named.uuid) if named.uuid else store.get(tx, named.task_id or 0)
        if named.exec_id is not None and named.exec_id != task.exec_id:
            raise TaskNotFound
        access.check(caller, task, verb)
        self._signs.seen(task.id)
        return self._with_reason(task)

    def _with_reason(self, task: Task) -> Task:
        if task.state is State.QUEUED and (why := self._dispatcher.held.get(task.executor)):
            return but(task, reason=f"waits: {why}")
        return task

    def submission(self, caller: Caller, ref: Ref) -> SubmissionRecord:
        task = self.get(caller, ref)
        with self._readers.read() as tx:
            return SubmissionRecord(**store.submission(tx, task.id))

    def submissions(self, caller: Caller, tasks: Sequence[Task]) -> Sequence[SubmissionRecord]:
        """The submissions of tasks that came from ``page``, in their order."""
        with self._readers.read() as tx:
            return [SubmissionRecord(**store.submission(tx, task.id)) for task in tasks]

    def progress(self, caller: Caller, ref: Ref) -> TaskProgress:
        return self.progress_of(self.get(caller, ref))

    def progress_of(self, task: Task) -> TaskProgress:
        """How far a task is that the caller may see, its children included (of those that run their stages, too)."""
        with self._readers.read() as tx:
            return progress.of(tx, task, self._intake.live)

    def progress_of_all(self, tasks: Sequence[Task]) -> list[TaskProgress]:
        """The same of many tasks, in their order; those that have ended are read together."""
        with self._readers.read() as tx:
            ended = progress.of_ended(tx, [task for task in tasks if task.state.final])
        return [ended[task.id] if task.state.final else self.progress_of(task) for task in tasks]

    def resources(self, caller: Caller, ref: Ref) -> Sample | None:
        """The last sample of the latest attempt, kept after its end."""
        task = self.get(caller, ref)
        live = progress.live(self._intake.live, task)
        if live is not None:
            return live.ring.last
        with self._readers.read() as tx:
            points = unpack(reports.samples(tx, task.id))
        if not points:
            return None
        p = points[-1]
        return Sample(
            at=p.t, rss=p.rss, cpu_seconds=p.cpu, read_bytes=p.read_bytes, written_bytes=p.written_bytes, processes=1
        )

    def metrics(self, caller: Caller, ref: Ref, since: int = 0) -> Sequence[Metric]:
        task = self.get(caller, ref)
        live = progress.live(self._intake.live, task)
        if live is not None:
            points: Sequence[Metric] = live.ring.points
        else:
            with self._readers.read() as tx:
                points = unpack(reports.samples(tx, task.id))
        return [p for p in points if p.t > since]

    def log(self, caller: Caller, ref: Ref, from_line: int, limit: int, limit_bytes: int = 5 << 20) -> LogPage:
        """Raises LogGone when retention removed the log."""
        return self.log_of(self.get(caller, ref), from_line, limit, limit_bytes)

    def log_of(self, task: Task, from_line: int, limit: int, limit_bytes: int = 5 << 20) -> LogPage:
        """The same, of a task that the caller may see and that was just read."""
        row = None
        if not self._logs.is_written(task.id):
            with self._readers.read() as tx:
                row = reports.log_row(tx, task.id)
            if task.state.final and row is None:
                with self._readers.read() as tx:  # it may have ended between the two reads
                    row = reports.log_row(tx, task.id)
                if row is None:
                    raise LogGone
        return self._logs.read(task, row, max(0, from_line), limit, limit_bytes)

    def result(
        self, caller: Caller, ref: Ref, offset: int = 0, limit: int = 5000, last: Sequence[Any] | None = None
    ) -> ResultPage:
        """A page of the result table; a task that has not succeeded has none (no columns, no rows).

        Who reads on from the page before gives its ``last`` row: the rows before ``offset`` need not be counted then.
        """
        task = self.get(caller, ref)

        def look(tx: Tx) -> tuple[Sequence[Sequence[Any]], int] | None:
            found = reports.result(tx, task.id)
            if found is None:
                return None
            long = self._hooks.results(tx, task, offset, limit, last)
            return long or (json.loads(zlib.decompress(found[1]))[offset : offset + limit], found[0])

        with self._readers.read() as tx:
            page = self._offload(look, tx)
        if page is None:
            return ResultPage(columns=(), rows=(), total=0)
        return ResultPage(columns=registry.get(task.executor).columns, rows=page[0], total=page[1])

    def children(self, caller: Caller, ref: Ref, offset: int = 0, limit: int = 500) -> TaskPage:
        """A page of the tasks right below one, oldest first."""
        task = self.get(caller, ref)
        with self._readers.read() as tx:
            tasks, total = self._offload(_children, tx, task.id, offset, limit)
        return TaskPage(tasks=[self._with_reason(child) for child in tasks], total=total)

    def attempts(self, caller: Caller, ref: Ref) -> Sequence[AttemptRecord]:
        task = self.get(caller, ref)
        with self._readers.read() as tx:
            return [AttemptRecord(**row) for row in store.attempts(tx, task.id)]

    def history(self, caller: Caller, ref: Ref) -> Sequence[HistoryRecord]:
        task = self.get(caller, ref)
        with self._readers.read() as tx:
            rows = store.history(tx, task.id)
        return [HistoryRecord(at=at, state=State(state), reason=reason, who=who) for at, state, reason, who in rows]

    # ---- many tasks

    def page(self, caller: Caller, which: Filter, offset: int = 0, limit: int = 20) -> TaskPage:
        with self._readers.read() as tx:
            tasks, total = self._offload(lists.page, tx, _selection(caller, which), offset, limit)
        return TaskPage(tasks=[self._with_reason(task) for task in tasks], total=total)

    def ids(self, caller: Caller, which: Filter) -> list[int]:
        """The tasks that a filter selects, by id alone."""
        with self._readers.read() as tx:
            return list(self._offload(lists.ids, tx, _selection(caller, which)))

    def counts(self) -> Mapping[State, int]:
        """Tasks in each state."""
        with self._readers.read() as tx:
            counts: Mapping[State, int] = self._offload(lists.counts, tx)
            return counts

    # ---- the service

    def queue(self) -> QueueInfo:
        scheduler = self._dispatcher.scheduler
        return QueueInfo(
            slots=scheduler.limits.slots,
            slots_used=scheduler.used,
            online=self._accept.online,
            waiting=len(scheduler.waiting),
            running=len(scheduler.running),
            groups=sorted((g, w, r) for g, (w, r) in scheduler.groups().items()),
            held=self._dispatcher.held,
        )

    @property
    def log_lines(self) -> int:
        """Lines taken in from tasks since the start."""
        return self._intake.lines

    @property
    def log_trouble(self) -> str:
        """Why lines of tasks cannot be written to their files; "" = they can."""
        return self._logs.trouble

    def workers(self) -> Sequence[WorkerInfo]:
        return [
            WorkerInfo(
                task_id=live.key.task_id,
                attempt=live.key.number,
                executor=live.task.executor,
                user=live.task.user,
                started_at=live.task.updated_at,
                cores=live.task.cores,
                sample=live.ring.last,
            )
            for live in list(self._intake.live.values())
        ]

    def executors(self) -> Sequence[Mapping[str, Any]]:
        """Name, summary, JSON schema of the parameters, result columns of each registered executor."""
        return [
            {
                "name": e.name,
                "summary": e.summary,
                "cores": e.cores,
                "schema": registry.json_schema(e),
                "columns": [asdict(c) for c in e.columns],
            }
            for e in registry.load_all()
        ]


def _children(tx: Tx, parent_id: int, offset: int, limit: int) -> tuple[list[Task], int]:
    return lists.page(tx, lists.TaskFilter(parent_id=parent_id), offset, limit, oldest_first=True)


def _selection(caller: Caller, which: Filter) -> lists.TaskFilter:
    """Return what a filter selects of the tasks that the caller may see."""
    seen = None
    if which.states is not None or which.words:
        narrowed = (word.partition(":") for word in which.words)
        seen = [lists.Seen(state=state) for state in which.states or ()]
        seen += [lists.Seen(state=State(state), ran=ran == "ran") for ran, _, state in narrowed]
    named = parse_ref(which.text) if which.text else None
    return lists.TaskFilter(
        ids=which.ids,
        user=which.user if caller.admin and which.all_users else caller.name,
        seen=seen,
        creator=which.creator,
        executor=which.executor,
        created_from=which.created_from,
        created_to=which.created_to,
        parent_id=which.parent_id,
        top_level=which.top_level,
        text=which.text or None,
        named=named.task_id if named is not None else None,
    )
