"""Who runs next: a pure, deterministic structure without clock or I/O.

Order: level of priority (six of them; a task rises one level for each ``ageing_ms`` that it waits), then the groups in turn,
then within a group the larger priority (of a task that rose: at least that of its level), then the older task. A group (or
creator, or executor) at its limit is passed over, and an executor that is held; the first task in order that is allowed but
does not fit waits for room, and nothing behind it starts.

Costs: adding and taking O(log n); passing over blocked groups O(groups). What is kept is O(n), whatever came and went: what
a change leaves behind in the heaps is thrown away when it is more than what counts.
"""

from __future__ import annotations

import heapq
from bisect import bisect_right
from collections import Counter, OrderedDict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from common.task import Priority

_LEVELS = tuple(Priority)  # lowest first
_BEGINS = tuple(map(int, _LEVELS))  # the smallest priority of each
_SPARE = 1024  # entries that do not count any more and are kept besides as many as count


@dataclass(frozen=True, kw_only=True)
class Limits:
    """``slots`` are cores; 0 = no limit for the others."""

    slots: float
    per_group: int = 10
    per_creator: int = 10_000  # per creator and executor
    per_executor: int = 0
    ageing_ms: int = 600_000


@dataclass(frozen=True, kw_only=True)
class Waiting:
    """A queued task, as far as its turn is concerned."""

    id: int
    group: str
    creator: str
    executor: str
    user: str = ""
    priority: int
    cores: float
    queued_at: int
    child: bool = False  # asked for by a task; takes no room from those that are submitted


class Scheduler:
    """Holds what waits and what runs; ``pick`` says what to start."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.waiting: dict[int, Waiting] = {}
        self.running: dict[int, Waiting] = {}
        self._withdrawn: set[int] = set()  # picked, and not to be put back
        self._level: dict[int, int] = {}  # task -> index into _LEVELS, ageing included
        self._groups: list[OrderedDict[str, list[tuple[int, int]]]] = [OrderedDict() for _ in _LEVELS]
        self._rises: list[tuple[int, int]] = []  # (when, task): the next level is due
        self._due: dict[int, int] = {}  # task -> when
        self._entries = 0  # in all groups' heaps, those that do not count any more included
        self._waiting_in: Counter[str] = Counter()
        self._submitted_in: Counter[str] = Counter()  # without children
        self._submitted_by: Counter[str] = Counter()  # per user, without children
        self._in_group: Counter[str] = Counter()
        self._in_creator: Counter[tuple[str, str]] = Counter()
        self._in_executor: Counter[str] = Counter()
        self.used = 0.0
        self.held: Collection[str] = ()  # executors of which nothing is started

    # ---- facts

    def add(self, task: Waiting, now: int) -> None:
        """A task is queued (again)."""
        if task.id in self.waiting:
            self.remove(task.id)
        self.waiting[task.id] = task
        self._waiting_in[task.group] += 1
        if not task.child:
            self._submitted_in[task.group] += 1
            self._submitted_by[task.user] += 1
        self._place(task, now)

    def remove(self, task_id: int) -> None:
        """A waiting task is not to be picked any more (paused, killed)."""
        task = self.waiting.pop(task_id, None)
        if task is None:
            if task_id in self.running:
                self._withdrawn.add(task_id)
            return
        self._level.pop(task_id, None)
        self._due.pop(task_id, None)
        _less(self._waiting_in, task.group)
        if not task.child:
            _less(self._submitted_in, task.group)
            _less(self._submitted_by, task.user)
        self._tidy()

    def reprioritise(self, task_id: int, priority: int, now: int) -> None:
        """Change the priority of a waiting task; its age stays."""
        task = self.waiting.get(task_id)
        if task is not None:
            self.add(replace(task, priority=priority), now)
        elif task_id in self.running:  # it may be put back
            self.running[task_id] = replace(self.running[task_id], priority=priority)

    def started(self, task: Waiting) -> None:
        """Count a task as running that was not picked here (known from before)."""
        self.running[task.id] = task
        self._count(task, 1)

    def finished(self, task_id: int) -> None:
        """The attempt's processes are gone: its slot is free."""
        task = self.running.pop(task_id, None)
        self._withdrawn.discard(task_id)
        if task is not None:
            self._count(task, -1)

    def put_back(self, task_id: int, now: int) -> None:
        """A pick was not carried out: the task waits as before, unless it was removed or added again meanwhile."""
        task, withdrawn = self.running.get(task_id), task_id in self._withdrawn
        self.finished(task_id)
        if task is not None and not withdrawn and task_id not in self.waiting:
            self.add(task, now)

    def waiting_in(self, group: str) -> int:
        """How many submitted tasks of a group wait; children do not count."""
        return self._submitted_in[group]

    def waiting_of(self, user: str) -> int:
        """How many submitted tasks of a user wait, over all groups; children do not count."""
        return self._submitted_by[user]

    def groups(self) -> Mapping[str, tuple[int, int]]:
        """(waiting, running) of each group that has any."""
        return {g: (self._waiting_in[g], self._in_group[g]) for g in self._waiting_in.keys() | self._in_group.keys()}

    # ---- decisions

    def pick(self, now: int, most: int = 64) -> list[Waiting]:
        """Return the tasks to start now, in order; they count as running from here on."""
        self._age(now)
        picked: list[Waiting] = []
        while len(picked) < most:
            task = self._first()
            if task is None or not self._fits(task):
                break
            self.remove(task.id)
            self.started(task)
            picked.append(task)
        return picked

    def next_rise(self) -> int | None:
        """When ageing changes the order next; None = never."""
        return self._rises[0][0] if self._rises else None

    # ---- inside

    def _place(self, task: Waiting, now: int) -> None:
        index = max(0, bisect_right(_BEGINS, task.priority) - 1)
        if self.limits.ageing_ms:
            index += max(0, now - task.queued_at) // self.limits.ageing_ms
        index = min(index, len(_LEVELS) - 1)
        self._level[task.id] = index
        heap = self._groups[index].setdefault(task.group, [])
        heapq.heappush(heap, (_rank(task, index), task.id))
        self._entries += 1
        if self.limits.ageing_ms and index < len(_LEVELS) - 1:
            waited = max(0, now - task.queued_at)
            due = task.queued_at + (waited // self.limits.ageing_ms + 1) * self.limits.ageing_ms
            if self._due.get(task.id) != due:
                self._due[task.id] = due
                heapq.heappush(self._rises, (due, task.id))
        else:
            self._due.pop(task.id, None)

    def _age(self, now: int) -> None:
        while self._rises and self._rises[0][0] <= now:
            due, task_id = heapq.heappop(self._rises)
            if self._due.get(task_id) == due:
                self._place(self.waiting[task_id], now)
        self._tidy()

    def _tidy(self) -> None:
        """Throw away what does not count any more when it is more than what does; the groups keep their turns."""
        if len(self._rises) > 2 * len(self._due) + _SPARE:
            self._rises = sorted((due, task_id) for task_id, due in self._due.items())
        if self._entries <= 2 * len(self.waiting) + _SPARE:
            return
        self._entries = 0
        for index, groups in enumerate(self._groups):
            for group, heap in list(groups.items()):
                kept = sorted({entry for entry in heap if self._current(index, entry)})
                if kept:
                    groups[group] = kept
                else:
                    del groups[group]
                self._entries += len(kept)

    def _first(self) -> Waiting | None:
        """The first task in order that no limit holds back; its group moves to the end of the round."""
        for index in range(len(_LEVELS) - 1, -1, -1):
            groups = self._groups[index]
            for group in list(groups):
                heap = groups[group]
                while heap and not self._current(index, heap[0]):
                    heapq.heappop(heap)
                    self._entries -= 1
                if not heap:
                    del groups[group]
                    continue
                task = self.waiting[heap[0][1]]
                if self._allowed(task):
                    if self._fits(task):
                        groups.move_to_end(group)
                    return task
        return None

    def _current(self, index: int, entry: tuple[int, int]) -> bool:
        task = self.waiting.get(entry[1])
        return task is not None and self._level[task.id] == index and entry[0] == _rank(task, index)

    def _allowed(self, task: Waiting) -> bool:
        limits = self.limits
        return not (
            task.executor in self.held
            or (limits.per_group and self._in_group[task.group] >= limits.per_group)
            or (limits.per_creator and self._in_creator[task.creator, task.executor] >= limits.per_creator)
            or (limits.per_executor and self._in_executor[task.executor] >= limits.per_executor)
        )

    def _fits(self, task: Waiting) -> bool:
        return not self.running or self.used + task.cores <= self.limits.slots + 1e-9

    def _count(self, task: Waiting, by: int) -> None:
        self.used = max(0.0, self.used + by * task.cores) if self.running else 0.0
        for counter, key in (
            (self._in_group, task.group),
            (self._in_creator, (task.creator, task.executor)),
            (self._in_executor, task.executor),
        ):
            counter[key] += by  # type: ignore[index]
            if not counter[key]:  # type: ignore[index]
                del counter[key]


def _rank(task: Waiting, index: int) -> int:
    """Where a task stands within its group and level, smallest first: one that rose is not behind those born there."""
    return -max(task.priority, _BEGINS[index])


def _less(counter: Counter[str], key: str) -> None:
    counter[key] -= 1
    if not counter[key]:
        del counter[key]
