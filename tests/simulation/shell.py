"""What the shell around the core does, without database, process or thread; every step is checked as it happens.

``Shell`` keeps rows, timers, processes and the scheduler as ``common.db.tasks`` and ``entrance.core.dispatch`` do. What is
drawn from a generator (``world``) calls it.
"""

from __future__ import annotations

import heapq
import random
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from simulation.rules import LINKIS_NUMBERS, check_change, hold

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
)
from entrance.core.scheduler import Limits, Scheduler, Waiting

TRAIL = 30
LADDER_MS = (5_000, 30_000, 120_000)

End = Succeeded | Failed | Stopped | Lost


class Row:
    """A task of the world and what the world knows of it beside its row."""

    __slots__ = ("added", "children", "ended", "failed_children", "held", "killed", "number", "open_children", "parent")
    __slots__ += ("process", "seen", "task", "told")

    def __init__(self, task: Task, parent: Row | None) -> None:
        self.task, self.parent = task, parent
        self.process = 0  # number of the attempt whose processes live
        self.told = self.killed = False  # the attempt was asked to stop; it was fenced
        self.held: Waiting | None = None  # the slot that it takes
        self.number = 0  # Linkis' number shown last
        self.ended = 0
        self.children: dict[str, Row] = {}
        self.open_children = self.failed_children = 0
        self.seen = 0  # latest time that the scheduler knew since the task was added
        self.added = 0  # how many picks there were when it was added


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
        self.now = 1_700_000_000_000
        self.step_number = 0
        self.trail: deque[tuple[Any, ...]] = deque(maxlen=TRAIL)
        self.told: Callable[[tuple[Any, ...]], None] | None = None
        self.rows: dict[int, Row] = {}
        self.open: list[Row] = []
        self._place: dict[int, int] = {}
        self.old: deque[Row] = deque(maxlen=200)  # ended ones
        self.running: list[Row] = []  # rows with processes
        self.timers: list[tuple[int, int, int, Event]] = []
        self.timer_number = 0
        self.endings: list[tuple[Row, End]] = []  # processes are gone, the end is not stored yet
        self.jobs: dict[int, Row] = {}  # job -> its latest task
        self.deferred: dict[int, list[Row]] = {}
        self.last_id = 0
        self.queue: dict[int, Waiting] = {}  # what the scheduler must know to wait
        self.picks = 0  # so far
        self.turns: dict[tuple[int, str], int] = {}  # (level, group) -> number of its last pick, where nothing ages
        self.used = 0.0
        self.by_group: Counter[str] = Counter()
        self.by_creator: Counter[tuple[str, str]] = Counter()
        self.by_executor: Counter[str] = Counter()
        self.seen_events: Counter[str] = Counter()
        self.scheduler = scheduler(self.limits)

    def note(self, what: str, row: Row | None, detail: object, outcome: object = "") -> None:
        task = row.task if row is not None else None
        entry = (self.step_number, self.now, what, task, detail, outcome)
        self.trail.append(entry)
        if self.told is not None:
            self.told(entry)

    # ---- what the shell does (entrance.core.dispatch, common.db.tasks)

    def apply(self, row: Row, event: Event) -> bool:
        """Carry out an event as the store does; return whether it changed anything."""
        before = row.task
        name = type(event).__name__
        if type(event) is Succeeded:
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
        self.note(name, row, event, after.state.value)
        self.seen_events[name] += 1
        check_change(before, event, after, self.now)
        self.show(row, after)
        row.task = after
        self.effects(row, before, decision)
        if after.state.final:
            self.end(row)
        elif after.state is State.RUNNING and after.waits and not row.open_children:
            self.end_parent(row)
        return True

    def show(self, row: Row, after: Task) -> None:
        word = self._word(after)
        number = LINKIS_NUMBERS[word]
        hold(word != "WaitForRetry" and number >= row.number, f"Linkis' number falls: {row.number} -> {number}")
        row.number = number

    def effects(self, row: Row, before: Task, decision: Decision) -> None:
        task = row.task
        if task.attempt != before.attempt:
            row.told = row.killed = False
        else:
            row.told = row.told or decision.ask_stop
            row.killed = row.killed or not task.active
        hold(not decision.stop_now or row.held is not None or self.dying(row), "stop_now without processes")
        if task.state is State.QUEUED:
            self.queued(row)
        elif before.state is State.QUEUED:
            self.queue.pop(task.id, None)
            self.scheduler.remove(task.id)
        if task.state is State.WAITING_RETRY:
            assert task.retry_at is not None
            self.timer(task.retry_at, task.id, RetryDue())

    def dying(self, row: Row) -> bool:
        return any(r is row for r, _ in self.endings)

    def end(self, row: Row) -> None:
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
                self.end_parent(parent)

    def end_parent(self, row: Row) -> None:
        event = ChildrenEnded(failed=row.failed_children, children=len(row.children), failure="a child")
        hold(self.apply(row, event), "a parent whose children have ended goes on waiting")

    def queued(self, row: Row) -> None:
        task = row.task
        if task.job_id is not None and any(r.task.job_id == task.job_id and r is not row for r in self.busy()):
            self.deferred.setdefault(task.job_id, []).append(row)
            return
        self.add(row)
        if task.queuing_timeout_s and not task.attempt and task.queued_at is not None:
            limit = task.queuing_timeout_s
            self.timer(task.queued_at + limit * 1000, task.id, TimedOut(seconds=limit, attempt=0))

    def add(self, row: Row) -> None:
        task = row.task
        row.seen, row.added = self.now, self.picks
        assert task.queued_at is not None
        waiting = self.queue[task.id] = Waiting(
            id=task.id,
            group=task.group,
            creator=task.creator,
            executor=task.executor,
            priority=task.priority,
            cores=task.cores,
            queued_at=task.queued_at,
        )
        self.scheduler.add(waiting, self.now)

    def busy(self) -> Iterator[Row]:
        """Rows with processes, or whose end is not stored yet."""
        yield from self.running
        for row, _ in self.endings:
            yield row

    def timer(self, at: int, task_id: int, event: Event) -> None:
        self.timer_number += 1
        heapq.heappush(self.timers, (at, self.timer_number, task_id, event))

    def fire(self) -> None:
        while self.timers and self.timers[0][0] <= self.now:
            _, _, task_id, event = heapq.heappop(self.timers)
            row = self.rows.get(task_id)
            if row is not None:
                self.apply(row, event)

    def gone(self, row: Row) -> None:
        self.note("gone", row, row.process)
        self.running.remove(row)
        row.process = 0
        self.give_back(row)
        self.scheduler.finished(row.task.id)

    def restart(self) -> None:
        """kill -9 of the service (or an orderly stop): what is not a row is gone, and made again from the rows."""
        self.note("restart", None, None)
        orderly = self.random.random() < 0.3
        for row in list(self.running):
            attempt = row.process
            self.gone(row)
            if orderly:
                self.apply(row, Stopped(attempt=attempt))
        self.check_counts()
        self.endings.clear()
        self.timers.clear()
        self.deferred.clear()
        self.turns.clear()
        self.queue.clear()
        self.scheduler = self._scheduler(self.limits)
        lost = [row for row in self.open if row.task.active]
        rest = [row for row in self.open if not row.task.active]
        for row in lost:
            self.apply(row, Lost(attempt=row.task.attempt, reason="The service was restarted"))
        for row in rest:
            if row.task.state is State.QUEUED:
                self.queued(row)
            elif row.task.state is State.WAITING_RETRY:
                assert row.task.retry_at is not None
                self.timer(row.task.retry_at, row.task.id, RetryDue())
        self.fire()
