"""TaskService: everything that can be asked of a task. The only door to it; every dialect is a thin face of this class.

``ref`` is a task id (int or digits), an execution id or a UUID. Every method checks who asks (``access``): somebody else's
task is ``Forbidden`` with the owner's name, an unknown one ``TaskNotFound``. Methods that change something return after the
commit that they promise.
"""

from __future__ import annotations

import json
import threading
import uuid
import zlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import date
from typing import Any

from common.clock import Clock
from common.db import lists
from common.db import tasks as store
from common.db.database import Readers
from common.db.sql import Tx
from common.db.writer import Outcome, Writer
from common.errors import (
    BadInput,
    Closing,
    Conflict,
    Draining,
    EntranceError,
    LogGone,
    QueueFull,
    TaskEnded,
    TaskNotFound,
)
from common.records import but
from common.task import Event, Kill, Pause, Ready, Resume, State, Task
from entrance.core import access
from entrance.core.changes import Changes, Done, Order
from entrance.core.dispatch import Dispatcher
from entrance.core.hooks import Hooks
from entrance.core.ids import build_exec_id, parse_ref
from entrance.core.intake import Intake, Live, progress_of
from entrance.core.logs import Logs
from entrance.core.metrics import unpack
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
from entrance.core.signs import SignsOfLife
from entrance.core.variables import substituted
from executors import registry
from executors.base import Progress
from executors.launchers.base import Sample

Ref = int | str

ACTIONS = ("kill", "pause", "resume", "priority", "rerun")
_AT_ONCE = 500  # tasks in one transaction of a bulk action
_ALMOST = 0.9999  # what a task that has not succeeded shows at most


class TaskService:
    """The verbs on tasks."""

    def __init__(
        self,
        *,
        readers: Readers,
        writer: Writer,
        changes: Changes,
        dispatcher: Dispatcher,
        intake: Intake,
        logs: Logs,
        hooks: Hooks,
        clock: Clock,
        instance: str,
        waiting_per_group: int,
        waiting_per_user: int,
        max_retries: int,
        signs: SignsOfLife,
        offload: Callable[..., Any],
    ) -> None:
        self._offload, self._signs = offload, signs  # the first for what reads many rows
        self._readers, self._writer, self._changes, self._dispatcher = readers, writer, changes, dispatcher
        self._intake, self._logs, self._hooks, self._clock, self._instance = intake, logs, hooks, clock, instance
        self._waiting_per_group, self._waiting_per_user = waiting_per_group, waiting_per_user
        self._max_retries = max_retries
        self._accepting: Counter[tuple[str, str]] = Counter()  # submissions that are being stored, by user and group
        self.online = True
        self.closing = False

    # ---- submit

    def submit(self, caller: Caller, submission: Submission) -> Task:
        """Accept a task and return it, stored and queued; of a key that was used before, the task that it was used for.

        Raises UnknownExecutor, InvalidParams (all faults at once), QueueFull, Draining, NotStored; nothing is stored then.
        """
        if not self.online:
            return self._first_answer(caller, submission, Draining())
        executor = registry.get(submission.executor)
        params = registry.load_params(executor, dict(submission.params))
        now = self._clock.now()
        new = Task(
            id=0,
            uuid=str(uuid.uuid4()),
            exec_id="",
            user=caller.name,
            execute_user=submission.execute_user or caller.name,
            creator=submission.creator,
            executor=submission.executor,
            run_type=submission.run_type or submission.executor,
            door=submission.door,
            priority=submission.priority,
            cores=float(executor.cores),
            state=State.CREATED if submission.wait_for_ready else State.QUEUED,
            max_retries=self._max_retries if submission.max_retries is None else submission.max_retries,
            retry_delay_ms=submission.retry_delay_ms,
            running_timeout_s=submission.running_timeout_s,
            queuing_timeout_s=submission.queuing_timeout_s,
            job_id=submission.job_id,
            created_at=now,
            queued_at=None if submission.wait_for_ready else now,
            updated_at=now,
        )
        if not submission.exempt and not self._room(new):
            return self._first_answer(caller, submission, QueueFull())
        place = new.user, new.group
        self._accepting[place] += 1
        try:
            return self._add(new, params, submission, caller.admin)
        finally:
            self._accepting[place] -= 1
            if not self._accepting[place]:
                del self._accepting[place]

    def _room(self, new: Task) -> bool:
        """Whether one more may wait: in its group, and of its user, who could name a new creator for each task."""
        scheduler = self._dispatcher.scheduler
        coming = sum(n for (user, _), n in self._accepting.items() if user == new.user)
        return (
            scheduler.waiting_in(new.group) + self._accepting[new.user, new.group] < self._waiting_per_group
            and scheduler.waiting_of(new.user) + coming < self._waiting_per_user
        )

    def _first_answer(self, caller: Caller, submission: Submission, refusal: EntranceError) -> Task:
        """A repeat gets the first answer also while nothing new is taken, and when the first is still being stored."""
        key = submission.idempotency_key
        first = self._writer.call(lambda tx: store.by_key(tx, caller.name, key, self._clock.now())) if key else None
        if first is None:
            raise refusal
        return first

    def submit_child(self, asking: Live, key: str, executor: str, params: Mapping[str, Any], job_id: int | None) -> int:
        """Accept a task that an attempt asks for; the same key of the same parent gives the same task.

        What a scan of Singularity's API starts has no parent there: the scan is complete when its listing is, and each job
        gets one task from it.
        """
        parent = asking.task
        kind = registry.get(executor)
        loaded = registry.load_params(kind, dict(params))
        now = self._clock.now()
        detached = parent.door == "singularity"
        child = Task(
            id=0,
            uuid=str(uuid.uuid4()),
            exec_id="",
            user=parent.user,
            execute_user=parent.execute_user,
            creator=parent.creator,
            executor=executor,
            run_type=executor,
            door=parent.door,
            cores=float(kind.cores),
            max_retries=parent.max_retries,
            retry_delay_ms=parent.retry_delay_ms,
            parent_id=None if detached else parent.id,
            child_key=None if detached else key,
            job_id=job_id,
            created_at=now,
            queued_at=now,
            updated_at=now,
        )
        wanted = Submission(
            executor=executor,
            params=params,
            creator=parent.creator,
            door=parent.door,
            code=json.dumps(dict(params)),
            labels=asking.limits,
        )

        def as_its_parent(tx: Tx) -> Task:
            current = store.fence(tx, parent.id, parent.attempt)
            state = State.PAUSED if current.pause_requested and not detached else State.QUEUED
            return but(child, priority=current.priority, state=state)

        busy = store.Busy.ONCE if detached else store.Busy.JOIN
        return self._add(child, loaded, wanted, admin=True, made=as_its_parent, busy=busy).id

    def _add(
        self,
        new: Task,
        params: Mapping[str, Any],
        submission: Submission,
        admin: bool,
        made: Callable[[Tx], Task] | None = None,
        busy: store.Busy = store.Busy.REFUSE,
    ) -> Task:
        """Store a task, in the state that ``made`` gives it within the transaction."""
        event = threading.Event()
        box: list[Outcome] = []

        def change(tx: Tx) -> tuple[Task, list[Order]]:
            wanted = new if made is None else made(tx)
            resolved = self._hooks.submitting(tx, new.user, admin, new.executor, params)
            job_id = self._hooks.job_of(new.executor, resolved) if new.job_id is None else new.job_id
            if self._hooks.waits(new.executor, resolved):
                state = State.CREATED if wanted.state is State.QUEUED else wanted.state
                wanted = but(wanted, state=state, queued_at=None)
            task = store.add(
                tx,
                but(wanted, job_id=job_id),
                exec_id=lambda n: build_exec_id(new.creator, new.user, new.executor, n, self._instance),
                submission={
                    "code": submission.code,
                    "params": json.dumps(dict(resolved), separators=(",", ":")),
                    "settings": json.dumps(dict(submission.settings)),
                    "source": json.dumps(dict(submission.source)),
                    "labels": json.dumps([list(x) for x in submission.labels]),
                },
                idempotency_key=submission.idempotency_key,
                who=new.user,
                busy=busy,
            )
            if task.uuid != new.uuid:
                return task, []
            wishes = self._hooks.added(tx, task, resolved)
            return task, [Order(task_id=w.task_id, event=w.event) for w in wishes]

        def told(outcome: Outcome) -> None:
            if outcome.error is None and outcome.value[0].uuid == new.uuid:
                self._dispatcher.accepted(outcome.value[0])
            box.append(outcome)
            event.set()

        self._writer.post(change, told)
        event.wait()
        task, orders = box[0].get()
        if orders:
            self._changes.carry_out(orders)
        accepted: Task = task
        return accepted

    # ---- look

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
            own, rate = self._report(tx, task)
            total, fraction = own, _fraction(task, own)
            if task.waits or task.active or task.state is State.PAUSED:
                total, fraction = self._with_children(tx, task, own)
        if task.state is State.SUCCEEDED:
            fraction = 1.0
        live = self._live(task)
        if live is not None:
            fraction = live.peak = max(fraction, live.peak)
        left = None
        if rate and task.active:
            size, done = (own.bytes_total, own.bytes_done) if own.bytes_total else (own.total, own.done)
            left = max(0, size - done) / rate if size else None
        return TaskProgress(
            task=task,
            progress=total,
            fraction=fraction,
            bytes_per_second=rate if own.bytes_total else None,
            seconds_left=left,
        )

    def progress_of_all(self, tasks: Sequence[Task]) -> list[TaskProgress]:
        """The same of many tasks, in their order; those that have ended are read together."""
        with self._readers.read() as tx:
            stored = store.stored_progress_of(tx, [task.id for task in tasks if task.state.final])

        def of_ended(task: Task) -> TaskProgress:
            own = progress_of(stored[task.id]) if task.id in stored else Progress()
            fraction = _fraction(task, own)
            return TaskProgress(task=task, progress=own, fraction=fraction, bytes_per_second=None, seconds_left=None)

        return [of_ended(task) if task.state.final else self.progress_of(task) for task in tasks]

    def _with_children(self, tx: Tx, task: Task, own: Progress) -> tuple[Progress, float]:
        """Add the children: there may be many thousands, so all but those that run are summed up by the database."""
        running = [x for x in list(self._intake.live.values()) if x.task.parent_id == task.id and not x.fenced]
        rest = store.below(tx, task.id, besides=[x.key.task_id for x in running], almost=_ALMOST)
        reports = [own, *(x.progress for x in running)]
        total = but(
            own,
            bytes_done=rest.bytes_done + sum(p.bytes_done for p in reports),
            bytes_total=rest.bytes_total + sum(p.bytes_total for p in reports),
            files_done=rest.files_done + sum(p.files_done for p in reports),
            files_total=rest.files_total + sum(p.files_total for p in reports),
            stages=tuple(s for p in reports for s in p.stages),
        )
        done = rest.fraction + _fraction(task, own) + sum(_fraction(x.task, x.progress) for x in running)
        return total, done / (1 + rest.count + len(running))

    def _report(self, tx: Tx, task: Task) -> tuple[Progress, float | None]:
        live = self._live(task)
        if live is not None:
            return live.progress, live.rate
        stored = store.stored_progress(tx, task.id)
        return (progress_of(stored.values) if stored else Progress()), None

    def _live(self, task: Task) -> Live | None:
        live = self._intake.live.get(task.id)
        return live if live is not None and live.key.number == task.attempt and task.active else None

    def resources(self, caller: Caller, ref: Ref) -> Sample | None:
        """The last sample of the latest attempt, kept after its end."""
        task = self.get(caller, ref)
        live = self._live(task)
        if live is not None:
            return live.ring.last
        with self._readers.read() as tx:
            points = unpack(store.samples(tx, task.id))
        if not points:
            return None
        p = points[-1]
        return Sample(
            at=p.t, rss=p.rss, cpu_seconds=p.cpu, read_bytes=p.read_bytes, written_bytes=p.written_bytes, processes=1
        )

    def metrics(self, caller: Caller, ref: Ref, since: int = 0) -> Sequence[Metric]:
        task = self.get(caller, ref)
        live = self._live(task)
        if live is not None:
            points: Sequence[Metric] = live.ring.points
        else:
            with self._readers.read() as tx:
                points = unpack(store.samples(tx, task.id))
        return [p for p in points if p.t > since]

    def log(self, caller: Caller, ref: Ref, from_line: int, limit: int, limit_bytes: int = 5 << 20) -> LogPage:
        """Raises LogGone when retention removed the log."""
        return self.log_of(self.get(caller, ref), from_line, limit, limit_bytes)

    def log_of(self, task: Task, from_line: int, limit: int, limit_bytes: int = 5 << 20) -> LogPage:
        """The same, of a task that the caller may see and that was just read."""
        row = None
        if not self._logs.is_written(task.id):
            with self._readers.read() as tx:
                row = store.log_row(tx, task.id)
            if task.state.final and row is None:
                with self._readers.read() as tx:  # it may have ended between the two reads
                    row = store.log_row(tx, task.id)
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
            found = store.result(tx, task.id)
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

    def page(self, caller: Caller, which: Filter, offset: int = 0, limit: int = 20) -> TaskPage:
        with self._readers.read() as tx:
            tasks, total = self._offload(lists.page, tx, _selection(caller, which), offset, limit)
        return TaskPage(tasks=[self._with_reason(task) for task in tasks], total=total)

    def queue(self) -> QueueInfo:
        scheduler = self._dispatcher.scheduler
        return QueueInfo(
            slots=scheduler.limits.slots,
            slots_used=scheduler.used,
            online=self.online,
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

    def counts(self) -> Mapping[State, int]:
        """Tasks in each state."""
        with self._readers.read() as tx:
            counts: Mapping[State, int] = self._offload(lists.counts, tx)
            return counts

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

    # ---- steer

    def kill(self, caller: Caller, ref: Ref) -> Task:
        """End a task for ever, and all below it; answers when its processes are gone, after 2 s at the latest."""
        return self._steer(self.get(caller, ref, "kill"), Kill(by=caller.name))

    def pause(self, caller: Caller, ref: Ref) -> Task:
        """Stop a task and all below it, keeping the work done."""
        return self._steer(self.get(caller, ref, "pause"), Pause(by=caller.name))

    def resume(self, caller: Caller, ref: Ref) -> Task:
        """Let a task and all below it go on from where they stopped."""
        return self._steer(self.get(caller, ref, "resume"), Resume(by=caller.name))

    def make_ready(self, task_id: int) -> None:
        """What a ``created`` task waited for is there."""
        self._changes.carry_out([Order(task_id=task_id, event=Ready())])

    def kill_many(self, caller: Caller, refs: Sequence[Ref]) -> Sequence[ActionItem]:
        """Kill each; one item per ref in their order, one's failure does not touch the others."""
        return self._many(caller, "kill", refs, None)

    def set_priority(self, caller: Caller, ref: Ref, priority: int) -> Task:
        """Change the priority of a task and of all below it; the queue is reordered before the next pick."""
        task = self.get(caller, ref, "change")
        (item,) = self._many(caller, "priority", [task.id], priority)
        if item.error is not None:
            raise item.error
        return self.get(caller, task.id)

    def rerun(self, caller: Caller, ref: Ref) -> Task:
        """Submit an ended task's work again, as a new task: names and dates are resolved anew."""
        task = self.get(caller, ref, "rerun")
        if not task.state.final:
            raise Conflict("the task has not ended yet")
        record = self.submission(caller, task.id)
        try:
            given = json.loads(record.code)
        except ValueError:
            given = None
        variables = record.settings.get("variable")
        return self.submit(
            caller,
            Submission(
                executor=task.executor,
                params=substituted(given, variables if isinstance(variables, dict) else {}, today=date.today())
                if isinstance(given, dict)
                else record.params,
                creator=task.creator,
                door=task.door,
                run_type=task.run_type,
                priority=task.priority,
                code=record.code,
                settings=record.settings,
                source=record.source,
                labels=record.labels,
                running_timeout_s=task.running_timeout_s,
                queuing_timeout_s=task.queuing_timeout_s,
                max_retries=task.max_retries,
                retry_delay_ms=task.retry_delay_ms,
            ),
        )

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
        """Do ``kill``, ``pause``, ``resume``, ``priority`` or ``rerun`` to many; (count, one item each).

        Raises Conflict when ``expect`` is not the number of tasks that the filter selects now.
        """
        if action not in ACTIONS:
            raise BadInput(f"action must be one of {', '.join(ACTIONS)}")
        if action == "priority" and priority is None:
            raise BadInput("the action priority needs a priority")
        refs: Sequence[Ref] = self._selected(caller, which) if isinstance(which, Filter) else which
        if expect is not None and expect != len(refs):
            raise Conflict(f"the filter selects {len(refs)} tasks now, not {expect}")
        if dry_run:
            return len(refs), ()
        return len(refs), self._many(caller, action, refs, priority)

    def _selected(self, caller: Caller, which: Filter) -> list[Ref]:
        with self._readers.read() as tx:
            return list(self._offload(lists.ids, tx, _selection(caller, which)))

    def set_online(self, online: bool) -> None:
        """Offline: new tasks are refused (Draining), running ones end, queued ones stay."""
        self.online = online
        self._dispatcher.hold(not online)

    # ---- inside

    def _steer(self, task: Task, event: Event) -> Task:
        if self.closing:
            raise Closing
        done = self._changes.steer([task.id], event)
        self._dispatcher.enforce(list(done.values()))
        mine = done[task.id]
        if mine.error is not None:
            raise mine.error
        return mine.task or task

    def _many(self, caller: Caller, action: str, refs: Sequence[Ref], priority: int | None) -> list[ActionItem]:
        items: dict[Ref, ActionItem] = {}
        for start in range(0, len(refs), _AT_ONCE):
            chunk = [r for r in dict.fromkeys(refs[start : start + _AT_ONCE]) if r not in items]
            found: list[tuple[Ref, Task]] = []
            for ref in chunk:
                try:
                    found.append((ref, self.get(caller, ref, action)))
                except EntranceError as error:
                    items[ref] = ActionItem(ref=str(ref), task=None, error=error)
            if action == "rerun":
                items |= {ref: self._rerun_item(caller, ref) for ref, _ in found}
            elif action == "priority":
                items |= self._prioritise(found, priority or 0)
            else:
                events: dict[str, Event] = {
                    "kill": Kill(by=caller.name),
                    "pause": Pause(by=caller.name),
                    "resume": Resume(by=caller.name),
                }
                items |= self._apply_to(found, events[action])
        return [items[ref] for ref in refs]

    def _rerun_item(self, caller: Caller, ref: Ref) -> ActionItem:
        try:
            return ActionItem(ref=str(ref), task=self.rerun(caller, ref), error=None)
        except EntranceError as error:
            return ActionItem(ref=str(ref), task=None, error=error)

    def _apply_to(self, found: Sequence[tuple[Ref, Task]], event: Event) -> dict[Ref, ActionItem]:
        done = self._changes.steer([task.id for _, task in found], event)
        self._dispatcher.enforce(list(done.values()))
        return {ref: _item(ref, task, done[task.id]) for ref, task in found}

    def _prioritise(self, found: Sequence[tuple[Ref, Task]], priority: int) -> dict[Ref, ActionItem]:
        now = self._clock.now()

        def change(tx: Tx) -> list[bool]:
            changed[:] = [task.id for _, task in found]
            for _, task in found:
                changed.extend(
                    child.id for child in store.descendants(tx, task.id) if store.set_priority(tx, child.id, priority, now)
                )
            return [store.set_priority(tx, task.id, priority, now) for _, task in found]

        changed: list[int] = []
        open_ones = self._writer.call(change)
        for task_id in changed:
            self._dispatcher.reprioritised(task_id, priority)
        return {
            ref: ActionItem(
                ref=str(ref),
                task=but(task, priority=priority) if still_open else task,
                error=None if still_open else TaskEnded(task.state),
            )
            for (ref, task), still_open in zip(found, open_ones, strict=True)
        }


def _item(ref: Ref, task: Task, done: Done) -> ActionItem:
    return ActionItem(ref=str(ref), task=done.task or task, error=done.error)


def _fraction(task: Task, own: Progress) -> float:
    if task.state is State.SUCCEEDED or task.waits:
        return 1.0 if task.state is State.SUCCEEDED else _ALMOST
    return min(_ALMOST, own.done / own.total) if own.total > 0 else 0.0


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
