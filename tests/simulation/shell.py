"""What the shell around the core does, without database, process or thread; every step is checked as it happens.

``Shell`` keeps rows, timers, processes and the scheduler as ``common.db.tasks``, ``entrance.core.dispatch`` and
``entrance.core.lifecycle`` do. What is durable are the rows; all else is gone when the service dies (``Crash``), which it
may at any commit, before it or right after it. What is drawn from a generator (``world``) calls it.
"""

from __future__ import annotations

import heapq
import random
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from simulation.rules import LADDER_MS, LINKIS_NUMBERS, check_change, hold

from common.errors import Refused, TaskEnded
from common.task import (
    ChildrenEnded,
    Decision,
    Event,
    Failed,
    Kill,
    Lost,
    Pause,
    Resume,
    RetryDue,
    State,
    Stopped,
    Succeeded,
    Task,
    TimedOut,
    orphaned,
)
from entrance.core.scheduler import Limits, Scheduler, Waiting

TRAIL = 30

End = Succeeded | Failed | Stopped | Lost


class Crash(Exception):
    """The service dies here; what is committed stays."""


class Place:
    """Where attempts run: a fork server of this machine, or a worker of another one."""

    __slots__ = ("name", "remote", "silent_since", "up")

    def __init__(self, name: str, *, remote: bool) -> None:
        self.name, self.remote = name, remote
        self.up = True  # can start attempts
        self.silent_since: int | None = None  # steady ms; what runs there goes on, and nobody hears of it


class Row:
    """A task of the world and what the world knows of it beside its row."""

    __slots__ = ("added", "children", "ended", "failed_children", "held", "killed", "number", "open_children", "parent")
    __slots__ += ("place", "process", "seen", "started", "task", "told")

    def __init__(self, task: Task, parent: Row | None) -> None:
        self.task, self.parent = task, parent
        self.process = 0  # number of the attempt whose processes live
        self.place: Place | None = None  # where they do
        self.started = 0  # when, on the steady clock
        self.told = self.killed = False  # the attempt was asked to stop; it was fenced
        self.held: Waiting | None = None  # the slot that it takes
        self.number = 0  # Linkis' number shown last
        self.ended = 0
        self.children: dict[str, Row] = {}
        self.open_children = self.failed_children = 0
        self.seen = 0  # latest time that the scheduler knew since the task was added
        self.added = 0  # how many picks there were when it was added


Change = tuple[Row, Task, Decision]


class Shell:
    """The service without what happens to it."""

    def __init__(
        self,
        seed: str,
        limits: Limits,
        decide: Callable[..., Decision],
        scheduler: type[Scheduler],
        word: Callable[[Task], str],
    ) -> None:
        self.random = random.Random(seed)
        self.limits = limits
        self._decide, self._scheduler, self._word = decide, scheduler, word
        self.now = 1_700_000_000_000  # the wall clock, which may be set
        self.steady = 0  # the clock that nobody sets
        self.step_number = 0
        self.trail: deque[tuple[Any, ...]] = deque(maxlen=TRAIL)
        self.told: Callable[[tuple[Any, ...]], None] | None = None
        self.seen_events: Counter[str] = Counter()
        # durable
        self.rows: dict[int, Row] = {}
        self.open: list[Row] = []
        self._place: dict[int, int] = {}
        self.old: deque[Row] = deque(maxlen=200)  # ended ones
        self.jobs: dict[int, Row] = {}  # job -> its latest task
        self.last_id = 0
        # the machines
        self.running: list[Row] = []  # rows with processes
        self.disk_full = self.refuse_next = False
        self.calm = False  # nothing breaks
        # the service
        self.service = 1  # which one holds the folder
        self.holder: int | None = 1
        self.timers: list[tuple[int, int, int, Event]] = []
        self.timer_number = 0
        self.endings: list[tuple[Row, End]] = []  # processes are gone, the end is not stored yet
        self.deferred: dict[int, list[Row]] = {}
        self.queue: dict[int, Waiting] = {}  # what the scheduler must know to wait
        self.submitted: Counter[str] = Counter()  # of them, per group, those that are no children
        self.submitted_by: Counter[str] = Counter()  # and per user
        self.picks = 0  # so far
        self.turns: dict[tuple[int, str], int] = {}  # (level, group) -> number of its last pick, where nothing ages
        self.used = 0.0
        self.by_group: Counter[str] = Counter()
        self.by_creator: Counter[tuple[str, str]] = Counter()
        self.by_executor: Counter[str] = Counter()
        self.scheduler = scheduler(self.limits)

    def note(self, what: str, row: Row | None, detail: object, outcome: object = "") -> None:
        task = row.task if row is not None else None
        entry = (self.step_number, self.now, what, task, detail, outcome)
        self.trail.append(entry)
        if self.told is not None:
            self.told(entry)

    # ---- the writer (common.db.writer, common.db.tasks, entrance.core.changes)

    def commit(self, orders: Sequence[tuple[Row, Event]]) -> list[bool] | None:
        """Carry out orders in one transaction, then let the service know; return which changed anything.

        None: the disk did not take it, and nothing is stored. Raises Crash, before the commit or right after it.
        """
        if not self.stored():
            return None
        applied: list[Change] = []
        done = [self._apply(row, event, applied) for row, event in orders]
        for row, _, decision in applied:
            hold(not (decision.task.state.final and row.open_children), f"children of task {row.task.id} outlive it")
        self.dies("after a commit")
        for change in applied:
            self.effects(*change)
        return done

    def apply(self, row: Row, event: Event) -> bool | None:
        """``commit`` of one."""
        done = self.commit(((row, event),))
        return None if done is None else done[0]

    def stored(self) -> bool:
        """Whether the disk takes what is to be committed. Raises Crash."""
        if self.calm:
            return True
        self.dies("before a commit")
        if self.disk_full or self.refuse_next or self.random.random() < 0.002:
            self.refuse_next = False
            self.note("disk", None, "NotStored")
            self.seen_events["NotStored"] += 1
            return False
        return True

    def dies(self, where: str) -> None:
        if not self.calm and self.random.random() < 0.0002:
            self.note("crash", None, where)
            self.seen_events[f"crash {where}"] += 1
            raise Crash

    def _apply(self, row: Row, event: Event, applied: list[Change]) -> bool:
        """Carry out an event as the store does; return whether it changed anything."""
        before = row.task
        name = type(event).__name__
        if row.children and type(event) is Succeeded:
            event = replace(
                event,
                children=len(row.children),
                open_children=row.open_children,
                failed_children=row.failed_children,
                failure="a child",
            )
        try:
            decision = self._decide(before, event, self.now, ladder_ms=LADDER_MS)
        except TaskEnded:
            self.note(name, row, event, "ended")
            hold(before.state.final, f"{name} refused as ended in state {before.state}")
            return False
        except Refused:
            self.note(name, row, event, "refused")
            hold(not before.state.final, f"{name} on an ended task is not told so")
            return False
        after = decision.task
        if after is before:
            self.note(name, row, event, "nothing")
            hold(type(event) in (Pause, Resume, Kill), f"{name} is accepted without effect")
            return False
        self.note(name, row, event, after)
        self.seen_events[name] += 1
        check_change(before, event, after, self.now)
        self.show(row, after)
        row.task = after
        applied.append((row, before, decision))
        if after.state.final:
            if row.open_children and after.state is not State.SUCCEEDED and type(event) is not Kill:
                self._orphan(row, applied)
            self._end(row, applied)
        elif after.waits and after.state is State.RUNNING and not row.open_children:
            self._end_parent(row, applied)
        return True

    def show(self, row: Row, after: Task) -> None:
        word = self._word(after)
        number = LINKIS_NUMBERS[word]
        hold(word != "WaitForRetry" and number >= row.number, f"Linkis' number falls: {row.number} -> {number}")
        row.number = number

    def _end(self, row: Row, applied: list[Change]) -> None:
        row.ended += 1
        hold(row.ended == 1, "a second end")
        last = self.open[-1]
        place = self._place.pop(row.task.id)
        self.open.pop()
        if last is not row:
            self.open[place] = last
            self._place[last.task.id] = place
        if len(self.old) == self.old.maxlen:
            self.rows.pop(self.old[0].task.id, None)
        self.old.append(row)
        parent = row.parent
        if parent is not None:
            parent.open_children -= 1
            parent.failed_children += row.task.state is not State.SUCCEEDED
            if not parent.open_children and parent.task.waits and parent.task.state is State.RUNNING:
                self._end_parent(parent, applied)

    def _orphan(self, parent: Row, applied: list[Change]) -> None:
        """What is unfinished below a task that did not succeed by itself ends with it."""
        dropped = orphaned(parent.task)
        for child in parent.children.values():
            if not child.task.state.final:
                hold(self._apply(child, dropped, applied), "a child outlives its parent")

    def _end_parent(self, row: Row, applied: list[Change]) -> None:
        event = ChildrenEnded(failed=row.failed_children, children=len(row.children), failure="a child")
        hold(self._apply(row, event, applied), "a parent whose children have ended goes on waiting")

    # ---- what changes mean (entrance.core.dispatch)

    def effects(self, row: Row, before: Task, decision: Decision) -> None:
        task = decision.task
        if task.attempt != before.attempt:
            row.told = row.killed = False
        else:
            row.told = row.told or decision.ask_stop
            row.killed = row.killed or not task.active
        hold(not decision.stop_now or row.held is not None or self.dying(row), "stop_now without processes")
        hold(decision.ask_stop or not task.pause_requested or before.pause_requested, "a pause asks nobody to stop")
        if row.process and before.active and task.state.final:
            hold(decision.stop_now, "the processes of an attempt that was fenced live on")
        if task.state is State.QUEUED:
            self.queued(row)
        elif before.state is State.QUEUED:
            self.unqueue(task.id)
            self.scheduler.remove(task.id)
        if task.state is State.WAITING_RETRY:
            self.retry_later(task)

    def unqueue(self, task_id: int) -> None:
        waiting = self.queue.pop(task_id, None)
        if waiting is not None and not waiting.child:
            self.submitted[waiting.group] -= 1
            self.submitted_by[waiting.user] -= 1

    def dying(self, row: Row) -> bool:
        return any(r is row for r, _ in self.endings)

    def queued(self, row: Row) -> None:
        task = row.task
        if task.job_id is not None and any(r.task.job_id == task.job_id and r is not row for r in self.busy()):
            self.deferred.setdefault(task.job_id, []).append(row)
            return
        assert task.queued_at is not None
        self.add(
            row,
            Waiting(
                id=task.id,
                group=task.group,
                creator=task.creator,
                executor=task.executor,
                user=task.user,
                priority=task.priority,
                cores=task.cores,
                queued_at=task.queued_at,
                child=row.parent is not None,
            ),
        )
        self.limit_waiting(task)

    def limit_waiting(self, task: Task) -> None:
        limit = task.queuing_timeout_s
        if limit and not task.attempt:
            waited = max(0, self.now - task.waits_since)
            self.timer(limit * 1000 - waited, task.id, TimedOut(seconds=limit, attempt=0, since=task.waits_since))

    def add(self, row: Row, waiting: Waiting) -> None:
        row.seen, row.added = self.now, self.picks
        self.unqueue(waiting.id)
        self.enqueue(waiting)
        self.scheduler.add(waiting, self.now)

    def enqueue(self, waiting: Waiting) -> None:
        self.queue[waiting.id] = waiting
        if not waiting.child:
            self.submitted[waiting.group] += 1
            self.submitted_by[waiting.user] += 1

    def busy(self) -> Iterator[Row]:
        """Rows with processes, or whose end is not stored yet."""
        yield from self.running
        for row, _ in self.endings:
            yield row

    def timer(self, after: int, task_id: int, event: Event) -> None:
        self.timer_number += 1
        heapq.heappush(self.timers, (self.steady + max(0, after), self.timer_number, task_id, event))

    def retry_later(self, task: Task) -> None:
        assert task.retry_at is not None
        self.timer(min(task.retry_at - self.now, task.retry_at - task.updated_at), task.id, RetryDue())

    def fire(self) -> None:
        """Carry out what is due; what the disk does not take is due again in a second."""
        due: list[tuple[Row, Event]] = []
        while self.timers and self.timers[0][0] <= self.steady:
            _, _, task_id, event = heapq.heappop(self.timers)
            row = self.rows.get(task_id)
            if row is not None:
                due.append((row, event))
        if due and self.commit(due) is None:
            for row, event in due:
                self.timer(1000, row.task.id, event)

    def gone(self, row: Row) -> None:
        """The processes of an attempt are gone, and the service knows it: its slot is free."""
        self.note("gone", row, row.process)
        self.running.remove(row)
        row.process, row.place = 0, None
        self.give_back(row)
        self.scheduler.finished(row.task.id)

    def give_back(self, row: Row) -> None:
        assert row.held is not None
        self.count(row.held, -1)
        row.held = None

    def count(self, pick: Waiting, by: int) -> None:
        self.used += by * pick.cores
        self.by_group[pick.group] += by
        self.by_creator[pick.creator, pick.executor] += by
        self.by_executor[pick.executor] += by
