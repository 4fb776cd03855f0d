"""The queue of the simulated service, and a slow, plain second opinion on whose turn it is."""

from __future__ import annotations

from dataclasses import replace

from simulation.rules import hold
from simulation.shell import End, Place, Row, Shell

from common.task import Event, Kill, Lost, Pause, Picked, Priority, Resume, State, TimedOut
from entrance.core.scheduler import Waiting

_LEVELS = tuple(map(int, Priority))


class Queue(Shell):
    """Starts what the scheduler picks, and holds each pick against the limits and, now and then, the whole order."""

    places: list[Place]
    online = True  # takes submissions
    held = False  # starts nothing

    def pump(self) -> None:
        """Start what the scheduler picks."""
        watched = self.random.random() < 0.07
        while not self.held:
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
            rows = [self.rows[pick.id] for pick in picks]
            done = self.commit([(row, Picked()) for row in rows])
            if done is None:  # they stay in the queue; another try follows in a second
                for row, pick in zip(rows, picks, strict=True):
                    self.give_back(row)
                    self.scheduler.put_back(pick.id, self.now)
                    if row.task.state is State.QUEUED and pick.id not in self.queue:
                        row.seen, row.added = self.now, self.picks
                        self.enqueue(replace(pick, priority=row.task.priority))
                return
            for row, started in zip(rows, done, strict=True):
                if started:
                    self.launch(row)
                else:  # paused or killed meanwhile
                    self.give_back(row)
                    self.scheduler.finished(row.task.id)

    def launch(self, row: Row) -> None:
        """Make the processes of an attempt whose start is committed."""
        task = row.task
        row.process = task.attempt
        row.place = self.random.choice(self.places)
        row.started = self.steady
        self.running.append(row)
        if task.running_timeout_s:
            event = TimedOut(seconds=task.running_timeout_s, attempt=task.attempt)
            self.timer(task.running_timeout_s * 1000, task.id, event)
        if not row.place.up:  # the launcher is coming back
            self.ended(row, Lost(attempt=row.process, reason="The attempt could not be started"))

    def ended(self, row: Row, event: End) -> None:
        """The service hears that the processes of an attempt are gone; its end is stored now or later."""
        self.gone(row)
        self.endings.append((row, event))

    def interfere(self, row: Row) -> None:
        """Something is committed between the pick and the start."""
        self.steer(row, self.random.choice((Pause(by="u"), Kill(by="u"))))
        if self.random.random() < 0.5:
            self.steer(row, Resume(by="u"))
        if self.random.random() < 0.2:
            self.prioritise(row, self.random.choice((0, 100, 400)))
        self.refuse_next = self.random.random() < 0.1

    def steer(self, row: Row, event: Event) -> None:
        """What a user wants of a task goes for all below it, parents first."""
        done = self.commit([(one, event) for one in self.family(row)] if row.children else ((row, event),))
        if type(event) is Kill and done is not None:
            hold(row.task.state is State.CANCELLED or not done[0], f"a killed task is {row.task.state}")

    def prioritise(self, row: Row, priority: int) -> None:
        """A user wants a task and all below it sooner or later."""
        if not self.stored():
            return
        family = [one for one in self.family(row) if not one.task.state.final]
        for one in family:
            self.note("priority", one, priority)
            one.task = replace(one.task, priority=priority)
        self.dies("after a commit")
        for one in family:
            if one.task.id in self.queue:
                self.queue[one.task.id] = replace(self.queue[one.task.id], priority=priority)
                one.seen, one.added = self.now, self.picks
            self.scheduler.reprioritise(one.task.id, priority, self.now)

    def family(self, row: Row) -> list[Row]:
        """The row and all below it, parents first."""
        found = [row]
        for one in found:
            found += one.children.values()
        return found

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
        self.unqueue(pick.id)
        self.count(pick, 1)
        self.picks += 1
        if not limits.ageing_ms:
            self.turns[self.level(pick, 0), pick.group] = self.picks

    def level(self, waiting: Waiting, seen: int) -> int:
        index = sum(waiting.priority >= begin for begin in _LEVELS[1:])
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
