"""Tasks in memory and a core around them, to test views by themselves: no processes, no scheduler, a set clock.

Accounts are real (a SQLite file and the one writer); tasks live in a dict and change through ``common.task.decide`` alone.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine

from common.clock import ManualClock
from common.config import Settings
from common.db import tables
from common.db.accounts import Accounts, hash_password
from common.db.database import Readers, open_writable, short_write
from common.db.peek import FILE_NAME
from common.db.writer import PlainThreads, Writer
from common.errors import (
    Conflict,
    Draining,
    EntranceError,
    Fault,
    InvalidParams,
    LogGone,
    NotFound,
    QueueFull,
    TaskNotFound,
    UnknownExecutor,
)
from common.task import Event, Kill, Line, Pause, Picked, Ready, Resume, State, Succeeded, Task, decide
from entrance.core import access
from entrance.core.accepting import AcceptService
from entrance.core.events import Bus
from entrance.core.ids import Ref, build_exec_id, parse_ref
from entrance.core.lag import HubLag
from entrance.core.looking import LookService
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
from entrance.core.service import TaskService
from entrance.core.steering import SteerService
from executors.base import Column, Progress, Stage
from executors.launchers.base import Sample

PASSWORDS = {"alice": "alice's secret", "bob": "bob's secret", "admin": "admin's secret"}
EXECUTORS = ("echo", "scan", "sleep")


_hashed = cache(hash_password)  # slow on purpose


@dataclass
class Entry:
    """One task and what belongs to it."""

    task: Task
    submission: Submission
    lines: list[Line] = field(default_factory=list)
    history: list[HistoryRecord] = field(default_factory=list)
    progress: Progress = field(default_factory=Progress)
    sample: Sample | None = None
    log_gone: bool = False


class FakeTasks(TaskService, AcceptService, LookService, SteerService):
    """Keeps every promise of accepting, looking and steering that a view can see."""

    log_lines = 0
    log_trouble = ""

    def __init__(self, clock: ManualClock, capacity: int = 1000) -> None:
        self.clock, self.capacity, self.online = clock, capacity, True
        self.entries: dict[int, Entry] = {}
        self.accept = self.look = self.steer = self

    # ---- what tests do to tasks

    def happen(self, task: Task, event: Event) -> Task:
        """Let something happen to a task."""
        entry = self.entries[task.id]
        decision = decide(entry.task, event, self.clock.now())
        entry.lines += decision.lines
        if decision.task.state is not entry.task.state:
            entry.history.append(
                HistoryRecord(at=self.clock.now(), state=decision.task.state, reason=None, who=decision.who or None)
            )
        entry.task = decision.task
        return entry.task

    def run(self, task: Task) -> Task:
        """Let a worker take a task."""
        task = self.happen(task, Picked())
        self.entries[task.id].progress = Progress(
            done=42,
            total=100,
            bytes_done=42,
            bytes_total=100,
            files_done=1,
            files_total=2,
            stages=(Stage(name="files", target="src", done=40, failed=1, running=1, total=100), Stage(name="none")),
        )
        self.entries[task.id].sample = Sample(
            at=self.clock.now(), rss=1 << 28, cpu_seconds=3.0, read_bytes=1, written_bytes=2, processes=2
        )
        return task

    def succeed(self, task: Task) -> Task:
        return self.happen(task, Succeeded(attempt=task.attempt))

    # ---- what views ask

    def _entry(self, caller: Caller, ref: Ref, verb: str = "view") -> Entry:
        named = parse_ref(ref)
        if named is None:
            raise TaskNotFound
        if named.uuid is not None:
            found = next((e for e in self.entries.values() if e.task.uuid == named.uuid), None)
        else:
            found = self.entries.get(named.task_id or 0)
        if found is None or (named.exec_id is not None and found.task.exec_id != named.exec_id):
            raise TaskNotFound
        access.check(caller, found.task, verb)
        return found

    def submit(self, caller: Caller, submission: Submission) -> Task:
        if submission.executor not in EXECUTORS:
            raise UnknownExecutor(submission.executor, EXECUTORS)
        faults = [Fault(path=key, what="Unknown field.") for key in submission.params if key.startswith("wrong")]
        if faults:
            raise InvalidParams(faults)
        if not self.online:
            raise Draining
        waiting = sum(1 for e in self.entries.values() if e.task.state is State.QUEUED)
        if waiting >= self.capacity:
            raise QueueFull
        number = len(self.entries) + 1
        now = self.clock.now()
        task = Task(
            id=number,
            uuid=str(uuid.UUID(int=number)),
            exec_id=build_exec_id(submission.creator, caller.name, submission.executor, number, "localhost:9104"),
            user=caller.name,
            execute_user=submission.execute_user or caller.name,
            creator=submission.creator,
            executor=submission.executor,
            run_type=submission.run_type or submission.executor,
            door=submission.door,
            priority=submission.priority,
            created_at=now,
            updated_at=now,
        )
        self.entries[number] = Entry(task=task, submission=submission, lines=[Line(level="INFO", text=f"task {number} log")])
        return task if submission.wait_for_ready else self.happen(task, Ready())

    def get(self, caller: Caller, ref: Ref, verb: str = "view") -> Task:
        return self._entry(caller, ref, verb).task

    def submission(self, caller: Caller, ref: Ref) -> SubmissionRecord:
        s = self._entry(caller, ref).submission
        return SubmissionRecord(code=s.code, params=s.params, settings=s.settings, source=s.source, labels=s.labels)

    def kill(self, caller: Caller, ref: Ref) -> Task:
        return self.happen(self._entry(caller, ref, "kill").task, Kill(by=caller.name))

    def kill_many(self, caller: Caller, refs: Sequence[Ref]) -> Sequence[ActionItem]:
        return [self._item(caller, ref, self.kill) for ref in refs]

    def _item(self, caller: Caller, ref: Ref, verb: Callable[[Caller, Ref], Task]) -> ActionItem:
        try:
            return ActionItem(ref=str(ref), task=verb(caller, ref), error=None)
        except EntranceError as error:
            try:
                task = self.get(caller, ref)
            except EntranceError:
                task = None
            return ActionItem(ref=str(ref), task=task, error=error)

    def pause(self, caller: Caller, ref: Ref) -> Task:
        return self.happen(self._entry(caller, ref, "pause").task, Pause(by=caller.name))

    def resume(self, caller: Caller, ref: Ref) -> Task:
        return self.happen(self._entry(caller, ref, "resume").task, Resume(by=caller.name))

    def set_priority(self, caller: Caller, ref: Ref, priority: int) -> Task:
        entry = self._entry(caller, ref, "change")
        entry.task = replace(entry.task, priority=priority)
        return entry.task

    def rerun(self, caller: Caller, ref: Ref) -> Task:
        return self.submit(caller, self._entry(caller, ref).submission)

    def act(
        self,
        caller: Caller,
        action: str,
        which: Filter | Sequence[Ref],
        *,
        priority: int | None = None,
        expect: int | None = None,
        dry_run: bool = False,
    ) -> tuple[int, Sequence[ActionItem]]:
        refs = [t.id for t in self.page(caller, which, 0, 10_000).tasks] if isinstance(which, Filter) else list(which)
        if expect is not None and expect != len(refs):
            raise Conflict(f"{len(refs)} tasks, not {expect}")
        if dry_run:
            return len(refs), []
        verbs: Mapping[str, Callable[[Caller, Ref], Task]] = {
            "kill": self.kill,
            "pause": self.pause,
            "resume": self.resume,
            "rerun": self.rerun,
            "priority": lambda c, r: self.set_priority(c, r, priority or 0),
        }
        return len(refs), [self._item(caller, ref, verbs[action]) for ref in refs]

    def submissions(self, caller: Caller, tasks: Sequence[Task]) -> Sequence[SubmissionRecord]:
        return [self.submission(caller, task.id) for task in tasks]

    def counts(self) -> Mapping[State, int]:
        return Counter(e.task.state for e in self.entries.values())

    def progress(self, caller: Caller, ref: Ref) -> TaskProgress:
        return self.progress_of(self._entry(caller, ref).task)

    def progress_of(self, task: Task) -> TaskProgress:
        entry = self.entries[task.id]
        numbers = entry.progress
        fraction = 1.0 if entry.task.state is State.SUCCEEDED else numbers.done / numbers.total if numbers.total else 0.0
        return TaskProgress(task=entry.task, progress=numbers, fraction=fraction, bytes_per_second=None, seconds_left=None)

    def resources(self, caller: Caller, ref: Ref) -> Sample | None:
        return self._entry(caller, ref).sample

    def metrics(self, caller: Caller, ref: Ref, since: int = 0) -> Sequence[Metric]:
        sample = self._entry(caller, ref).sample
        if sample is None:
            return []
        return [Metric(t=sample.at, rss=sample.rss, cpu=1.5, read_bytes=1, written_bytes=2, rate=3.0)]

    def log_of(self, task: Task, from_line: int, limit: int, limit_bytes: int = 5 << 20) -> LogPage:
        return self.log(Caller(name="", admin=True), task.id, from_line, limit, limit_bytes)

    def log(self, caller: Caller, ref: Ref, from_line: int, limit: int, limit_bytes: int = 5 << 20) -> LogPage:
        entry = self._entry(caller, ref)
        if entry.log_gone:
            raise LogGone
        lines = entry.lines[from_line : from_line + limit]
        return LogPage(
            lines=[line.text for line in lines],
            levels=[line.level for line in lines],
            first=from_line,
            next_line=from_line + len(lines),
        )

    def result(
        self, caller: Caller, ref: Ref, offset: int = 0, limit: int = 5000, last: Sequence[Any] | None = None
    ) -> ResultPage:
        self._entry(caller, ref)
        return ResultPage(columns=[Column(name="message")], rows=[["ok"]], total=1)

    def children(self, caller: Caller, ref: Ref, offset: int = 0, limit: int = 500) -> TaskPage:
        parent = self._entry(caller, ref).task.id
        found = [e.task for e in self.entries.values() if e.task.parent_id == parent]
        return TaskPage(tasks=found[offset : offset + limit], total=len(found))

    def attempts(self, caller: Caller, ref: Ref) -> Sequence[AttemptRecord]:
        task = self._entry(caller, ref).task
        return [
            AttemptRecord(
                number=n + 1,
                started_at=task.started_at or 0,
                ended_at=None,
                ending=None,
                reason=None,
                done_at_start=0,
                done_at_end=None,
                max_rss_bytes=None,
                cpu_seconds=None,
            )
            for n in range(task.attempt)
        ]

    def history(self, caller: Caller, ref: Ref) -> Sequence[HistoryRecord]:
        return self._entry(caller, ref).history

    def page(self, caller: Caller, which: Filter, offset: int = 0, limit: int = 20) -> TaskPage:
        everyone = caller.admin and which.all_users

        def fits(task: Task) -> bool:
            narrowed = f"{'ran' if task.ran else 'never_ran'}:{task.state.value}" in which.words
            return (
                (everyone or caller.name in (task.user, task.execute_user))
                and (which.ids is None or task.id in which.ids)
                and (which.states is None or task.state in which.states or narrowed)
                and (which.user is None or task.user == which.user)
                and (which.creator is None or task.creator == which.creator)
                and (which.executor is None or task.executor == which.executor)
                and (which.created_from is None or task.created_at >= which.created_from)
                and (which.created_to is None or task.created_at < which.created_to)
            )

        found = [e.task for e in reversed(self.entries.values()) if fits(e.task)]
        return TaskPage(tasks=found[offset : offset + limit], total=len(found))

    def queue(self) -> QueueInfo:
        groups = {e.task.group for e in self.entries.values() if not e.task.state.final}
        return QueueInfo(
            slots=2, slots_used=0, online=self.online, waiting=0, running=0, groups=[(g, 1, 0) for g in sorted(groups)]
        )

    def workers(self) -> Sequence[WorkerInfo]:
        return [
            WorkerInfo(
                task_id=e.task.id,
                attempt=e.task.attempt,
                executor=e.task.executor,
                user=e.task.user,
                started_at=e.task.started_at or 0,
                cores=1,
                sample=e.sample,
            )
            for e in self.entries.values()
            if e.task.active
        ]

    def set_online(self, online: bool) -> None:
        self.online = online

    def executors(self) -> Sequence[Mapping[str, Any]]:
        return [{"name": name, "summary": "", "params": {}, "columns": []} for name in EXECUTORS]


class FakeCore:
    """A core over a real database of accounts with alice, bob and the administrator admin."""

    def __init__(self, folder: Path, settings: Settings) -> None:
        self.settings = settings
        self.clock = ManualClock()
        self.instance = "localhost:9104"
        self.events = Bus()
        self.tasks = FakeTasks(self.clock)
        path = folder / FILE_NAME
        engine = create_engine(f"sqlite:///{path}")
        tables.metadata.create_all(engine)
        engine.dispose()
        with short_write(path) as tx:
            for name, password in PASSWORDS.items():
                Accounts(tx).add_user(name, _hashed(password), admin=name == "admin", now=self.clock.now())
        self.path = path
        self.readers = Readers(path)
        self.writer = Writer(lambda: open_writable(path), PlainThreads(), lambda error: None)

    def token(self, user: str) -> str:
        """Make a token for a user."""
        with short_write(self.path) as tx:
            return Accounts(tx).add_token(user, now=self.clock.now())[1]

    def offload(self, function: Callable[..., Any], /, *arguments: Any) -> Any:
        return function(*arguments)

    def hub_lag(self) -> HubLag:
        return HubLag()

    def close(self) -> None:
        self.writer.close()
        self.readers.close()


__all__ = ["EXECUTORS", "PASSWORDS", "FakeCore", "FakeTasks", "NotFound"]
