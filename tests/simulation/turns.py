"""The queue of the simulated service, and a slow, plain second opinion on whose turn it is."""

from __future__ import annotations

from simulation.rules import hold
from simulation.shell import Row, Shell

from common.task import Kill, Pause, Picked, Priority, Resume, State, TimedOut
from entrance.core.scheduler import Waiting

_LEVELS = tuple(Priority)


class Queue(Shell):
    """Starts what the scheduler picks, and holds each pick against the limits and, now and then, the whole order."""

    def pump(self) -> None:
        """Start what the scheduler picks."""
        watched = self.random.random() < 0.1
        while True:
            candidates = self.candidates() if watched else []
            picks = self.scheduler.pick(self.now, 1 if watched else 8)
            if watched:
                self.check_pick(candidates, picks)
            if not picks:
                return
            for pick in picks:
                self.take(pick)
            if self.random.random() < 0.05:
                self.interfere(self.rows[self.random.choice(picks).id])
            for pick in picks:
                row = self.rows[pick.id]
                if not self.apply(row, Picked()):
                    self.give_back(row)
                    self.scheduler.finished(pick.id)
                    continue
                row.process = row.task.attempt
                self.running.append(row)
                limit = row.task.running_timeout_s
                if limit:
                    event = TimedOut(seconds=limit, attempt=row.task.attempt)
                    self.timer(self.now + limit * 1000, row.task.id, event)

    def interfere(self, row: Row) -> None:
        """Something is committed between the pick and the start."""
        self.apply(row, self.random.choice((Pause(by="u"), Kill(by="u"))))
        if self.random.random() < 0.5:
            self.apply(row, Resume(by="u"))

    def take(self, pick: Waiting) -> None:
        row = self.rows[pick.id]
        task, limits = row.task, self.limits
        hold(row.process == 0 and row.held is None, f"a second attempt of task {pick.id} beside the first")
        if task.job_id is not None:
            others = [r.task.id for r in self.running if r.task.job_id == task.job_id]
            hold(not others, f"task {pick.id} starts while {others} of its job run")
        hold(not self.used or self.used + pick.cores <= limits.slots + 1e-6, f"slots: {self.used} + {pick.cores}")
        hold(not limits.per_group or self.by_group[pick.group] < limits.per_group, "the limit of the group")
        creator = (pick.creator, pick.executor)
        hold(not limits.per_creator or self.by_creator[creator] < limits.per_creator, "the limit of the creator")
        hold(not limits.per_executor or self.by_executor[pick.executor] < limits.per_executor, "the executor's limit")
        row.held = pick
        self.queue.pop(pick.id)
        self.count(pick, 1)
        self.picks += 1
        if not limits.ageing_ms:
            self.turns[self.level(pick, 0), pick.group] = self.picks

    def give_back(self, row: Row) -> None:
        assert row.held is not None
        self.count(row.held, -1)
        row.held = None

    def count(self, pick: Waiting, by: int) -> None:
        self.used += by * pick.cores
        self.by_group[pick.group] += by
        self.by_creator[pick.creator, pick.executor] += by
        self.by_executor[pick.executor] += by

    def level(self, waiting: Waiting, seen: int) -> int:
        index = _LEVELS.index(max((p for p in _LEVELS if p <= waiting.priority), default=_LEVELS[0]))
        if self.limits.ageing_ms:
            index += max(0, seen - waiting.queued_at) // self.limits.ageing_ms
        return min(index, len(_LEVELS) - 1)

    def allowed(self, waiting: Waiting) -> bool:
        limits = self.limits
        return not (
            (limits.per_group and self.by_group[waiting.group] >= limits.per_group)
            or (limits.per_creator and self.by_creator[waiting.creator, waiting.executor] >= limits.per_creator)
            or (limits.per_executor and self.by_executor[waiting.executor] >= limits.per_executor)
        )

    def fits(self, waiting: Waiting) -> bool:
        return not self.used or self.used + waiting.cores <= self.limits.slots + 1e-6

    def rank(self, waiting: Waiting, level: int) -> tuple[int, int]:
        """The place within group and level: one that rose has at least the priority of its level."""
        return -max(waiting.priority, _LEVELS[level]), waiting.id

    def candidates(self) -> list[tuple[int, Waiting, Row]]:
        """All that may start now as far as the limits go, with their levels: a slow and plain second opinion."""
        for row in self.open:
            row.seen = max(row.seen, self.now)
        found = []
        hold(self.scheduler.waiting.keys() == self.queue.keys(), "the scheduler knows other tasks than wait")
        for waiting in self.queue.values():
            row = self.rows[waiting.id]
            hold(row.task.state is State.QUEUED, f"task {waiting.id} waits though it is {row.task.state}")
            if self.allowed(waiting):
                found.append((self.level(waiting, row.seen), waiting, row))
        return found

    def check_pick(self, candidates: list[tuple[int, Waiting, Row]], picks: list[Waiting]) -> None:
        if not candidates:
            hold(not picks, "a task starts beyond the limits")
            return
        top = max(level for level, _, _ in candidates)
        first: dict[str, tuple[int, int]] = {}  # of each group at the top level
        for level, waiting, _ in candidates:
            if level == top:
                rank = self.rank(waiting, top)
                first[waiting.group] = min(rank, first.get(waiting.group, rank))
        heads = [w for level, w, _ in candidates if level == top and first[w.group] == self.rank(w, top)]
        if not picks:
            hold(any(not self.fits(w) for w in heads), f"nothing starts though there is room for {heads[0]}")
            return
        pick = picks[0]
        levels = {w.id: level for level, w, _ in candidates}
        hold(levels.get(pick.id) == top, f"level {levels.get(pick.id)} of task {pick.id} starts before level {top}")
        hold(first[pick.group] == self.rank(pick, top), f"task {pick.id} passes {first[pick.group]} of its group")
        turn = self.turns.get((top, pick.group), -1)
        for level, other, row in candidates:
            if level == top and other.group != pick.group and row.added < turn:
                since = self.turns.get((top, other.group), -1)
                hold(since >= turn, f"{pick.group} has a second turn while {other.group} waits since before its first")

    def check_counts(self) -> None:
        """The scheduler's own counts against ours."""
        hold(abs(self.scheduler.used - self.used) < 1e-6, f"slots in use: {self.scheduler.used}, really {self.used}")
        ours = {g: n for g, n in self.by_group.items() if n}
        theirs = {g: running for g, (_, running) in self.scheduler.groups().items() if running}
        hold(ours == theirs, f"running per group: {theirs}, really {ours}")
