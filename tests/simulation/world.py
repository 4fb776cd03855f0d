"""A simulated service: the pure core (``decide`` and ``Scheduler``) under everything that can happen to it, with a seed.

Whatever happens is drawn from seeded generators: the same seed is the same history, and a million events take about half a
minute. ``PYTHONPATH=.:tests python tests/simulation/world.py SEED [EVENTS] [--from STEP]`` runs one again and prints what
happens from STEP on.
"""

from __future__ import annotations

import random
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from simulation.rules import OF_AN_ATTEMPT, Broken, hold, linkis_word
from simulation.shell import End, Row
from simulation.turns import Queue

from common.task import (
    Decision,
    Event,
    Failed,
    Hopeless,
    Kill,
    Lost,
    Pause,
    Picked,
    Ready,
    Resume,
    RetryDue,
    State,
    Stopped,
    Succeeded,
    Task,
    TimedOut,
    decide,
)
from entrance.core.scheduler import Limits, Scheduler

EVENTS_PER_WORLD = 25_000
_KINDS = (("echo", 0.25), ("scan", 1.0), ("pack", 1.0), ("huge", 3.0))
_PRIORITIES = (0, 1, 50, 99, 100, 100, 100, 150, 200, 400, 800, 1000)


class SimulationFailed(AssertionError):
    """An invariant broke; the message says how to see it again."""


class World(Queue):
    """One service's life. ``decide`` and ``scheduler`` can be replaced by broken ones, to see that they are found out."""

    def __init__(
        self,
        seed: str,
        *,
        decide: Callable[..., Decision] = decide,
        scheduler: type[Scheduler] = Scheduler,
        word: Callable[[Task], str] = linkis_word,
    ) -> None:
        choose = random.Random(f"limits of {seed}").choice
        limits = Limits(
            slots=choose((1.0, 2.0, 4.0, 8.0, 12.5)),
            per_group=choose((0, 1, 3, 6)),
            per_creator=choose((0, 5)),
            per_executor=choose((0, 4)),
            ageing_ms=choose((0, 0, 20_000, 600_000)),
        )
        super().__init__(seed, limits, decide, scheduler, word)
        self.seed = seed
        self.crowd = choose((10, 60, 300))  # about so many unfinished tasks
        self.priorities = choose((_PRIORITIES, (100,), (50, 100)))
        self.slowness = choose((0.0, 0.5, 0.8))  # of processes: the slower, the more waits
        self.draining = False
        self._actions: list[Callable[[], object]] = []
        self._weights: list[float] = []
        total = 0.0
        for weight, action in (
            (14.0, self.submit),
            (4.0, self.submit_child),
            (3.0, self.make_ready),
            (0.5, self.give_up),
            (22.0, self.end_process),
            (12.0, self.store_end),
            (5.0, self.pause),
            (6.0, self.resume),
            (3.0, self.kill),
            (6.0, self.say_late),
            (4.0, self.touch_ended),
            (3.0, self.reprioritise),
            (16.0, self.pass_time),
            (1.0, self.lose_one),
            (0.05, self.restart),
            (0.02, self.jump),
        ):
            total += weight
            self._weights.append(total)
            self._actions.append(action)
        self._total = total

    # ---- running

    def run(self, events: int) -> World:
        """Let so many things happen, then end everything. Raises SimulationFailed."""
        try:
            while self.step_number < events:
                self.step()
            self.drain()
        except (Broken, LookupError, TypeError, ValueError, AttributeError) as error:
            raise SimulationFailed(self.report(error)) from error
        return self

    def step(self) -> None:
        self.step_number += 1
        drawn = self.random.random() * self._total
        for i, weight in enumerate(self._weights):
            if drawn < weight:
                self._actions[i]()
                break
        if self.random.random() < 0.4:
            self.pump()

    def drain(self) -> None:
        """Submit nothing more and let everything end: nothing is stuck, nothing is left over."""
        self.draining = True
        for _ in range(40 * len(self.open) + 400):
            if not self.open and not self.running and not self.endings:
                break
            self.step_number += 1
            self.note("drain", None, None)
            for row in list(self.open):
                if row.task.state is State.CREATED:
                    self.apply(row, Ready())
                elif row.task.state is State.PAUSED or row.task.pause_requested:
                    self.apply(row, Resume(by="drain"))
            for _ in range(len(self.running) + 1):
                self.end_process()
            while self.endings:
                self.store_end()
            self.now += 60_000
            self.fire()
            self.pump()
        left = [(row.task.id, row.task.state.value) for row in self.open]
        hold(not left and not self.running, f"stuck for ever: {left[:5]}")
        hold(not self.scheduler.waiting and not self.scheduler.running, "the scheduler holds tasks that have ended")
        hold(self.scheduler.used == 0, f"slots are still counted: {self.scheduler.used}")
        hold(not self.scheduler.groups(), "groups are still counted")

    def report(self, error: BaseException) -> str:
        lines = [f"{type(error).__name__}: {error}", f"world {self.seed}, step {self.step_number}, {self.limits}"]
        lines += [f"the last {len(self.trail)} events:", *(describe(entry) for entry in self.trail)]
        first = max(0, self.step_number - 100)
        lines.append(f"again, step by step: PYTHONPATH=.:tests python tests/simulation/world.py {self.seed} --from {first}")
        return "\n".join(lines)

    # ---- what may happen

    def any_open(self) -> Row | None:
        return self.open[int(self.random.random() * len(self.open))] if self.open else None

    def submit(self) -> None:
        if len(self.open) >= self.crowd and self.random.random() < 0.95:
            self.end_process()
            return
        choose, chance = self.random.choice, self.random.random
        executor, cores = choose(_KINDS)
        created = chance() < 0.1
        job_id = choose(range(1, 9)) if executor == "pack" and chance() < 0.5 else None
        if job_id is not None:
            last = self.jobs.get(job_id)
            if last is not None and not last.task.state.final:
                return  # one unfinished task per job at most
        self.new(
            executor=executor,
            cores=cores,
            user=choose(("ann", "bob", "cy", "dot")),
            creator=choose(("IDE", "CLI")),
            priority=choose(self.priorities),
            state=State.CREATED if created else State.QUEUED,
            max_retries=choose((0, 1, 3)),
            retry_delay_ms=choose((None, None, 0, 1000)),
            running_timeout_s=choose((None, None, None, 30, 600)),
            queuing_timeout_s=choose((None, None, None, 60, 3600)),
            job_id=job_id,
        )

    def new(self, *, parent: Row | None = None, **more: Any) -> Row:
        self.last_id += 1
        queued_at = None if more["state"] is State.CREATED else self.now
        task = Task(
            id=self.last_id,
            uuid="",
            exec_id="",
            execute_user=more["user"],
            run_type=more["executor"],
            door="linkis",
            created_at=self.now,
            queued_at=queued_at,
            updated_at=self.now,
            **more,
        )
        row = self.rows[task.id] = Row(task, parent)
        self._place[task.id] = len(self.open)
        self.open.append(row)
        if task.job_id is not None:
            self.jobs[task.job_id] = row
        self.note("submit", row, None)
        self.show(row, task)
        if task.state is State.QUEUED:
            self.queued(row)
        return row

    def submit_child(self) -> None:
        """A running attempt asks for a child, sometimes for the same one again."""
        if not self.running or len(self.open) > 2 * self.crowd:
            return
        parent = self.running[int(self.random.random() * len(self.running))]
        task = parent.task
        if parent.killed or not task.active or (parent.parent is not None and parent.parent.parent is not None):
            return
        key = str(self.random.randrange(12))
        if key in parent.children:
            return
        parent.children[key] = self.new(
            parent=parent,
            executor="pack",
            cores=1.0,
            user=task.user,
            creator=task.creator,
            priority=task.priority,
            state=State.PAUSED if task.pause_requested else State.QUEUED,
            max_retries=task.max_retries,
            retry_delay_ms=task.retry_delay_ms,
            parent_id=task.id,
            child_key=key,
        )
        parent.open_children += 1

    def make_ready(self) -> None:
        row = self.any_open()
        if row is not None:
            self.apply(row, Ready())

    def give_up(self) -> None:
        row = self.any_open()
        if row is not None:
            self.apply(row, Hopeless(reason="a pack failed"))

    def end_process(self) -> None:
        """The processes of an attempt end by themselves, or because we asked; their end is stored now or later."""
        if not self.running or (self.random.random() < self.slowness and not self.draining):
            return
        row = self.running[int(self.random.random() * len(self.running))]
        attempt, chance = row.process, self.random.random()
        event: End
        if row.killed or (row.told and chance < 0.8):
            event = Stopped(attempt=attempt)
        elif self.draining or chance < 0.6:
            event = Succeeded(attempt=attempt)
        elif chance < 0.85:
            event = Failed(attempt=attempt, reason="no answer", may_pass=True)
        else:
            event = Failed(attempt=attempt, reason="no such file", may_pass=False)
        self.gone(row)
        self.endings.append((row, event))
        if self.random.random() < 0.6:
            self.store_end(len(self.endings) - 1)

    def store_end(self, index: int | None = None) -> None:
        if not self.endings:
            return
        if index is None:
            index = int(self.random.random() * len(self.endings))
        row, event = self.endings.pop(index)
        counts = row.task.active and row.task.attempt == event.attempt
        changed = self.apply(row, event)
        hold(changed == counts, "an attempt that was fenced still counts" if changed else "the end of an attempt is lost")
        if row.task.job_id is not None:
            for waiting in self.deferred.pop(row.task.job_id, ()):
                if waiting.task.state is State.QUEUED:
                    self.queued(waiting)

    def family(self, row: Row) -> list[Row]:
        """The row and all below it, parents first."""
        found = [row]
        for one in found:
            found += one.children.values()
        return found

    def pause(self) -> None:
        self.steer(Pause(by="u"))

    def resume(self) -> None:
        self.steer(Resume(by="u"))

    def kill(self) -> None:
        self.steer(Kill(by="u"))

    def steer(self, event: Event) -> None:
        row = self.any_open()
        if row is None:
            return
        for one in self.family(row) if row.children else (row,):
            self.apply(one, event)
        if type(event) is Kill:
            hold(row.task.state is State.CANCELLED, f"a killed task is {row.task.state}")

    def say_late(self) -> None:
        """Doubled and late events of attempts that do not count must change nothing."""
        row = self.any_open()
        if row is None:
            return
        task = row.task
        number = task.attempt if not task.active else task.attempt - self.random.randrange(1, 4)
        kind = self.random.choice(OF_AN_ATTEMPT)
        more: dict[str, Any] = {}
        if kind is Failed:
            more = {"reason": "late", "may_pass": self.random.random() < 0.5}
        elif kind is Lost:
            more = {"reason": "late"}
        hold(not self.apply(row, kind(attempt=number, **more)), f"a late {kind.__name__} counts")
        hold(row.task is task, "a refused event changes the task")

    def touch_ended(self) -> None:
        if not self.old:
            return
        row = self.random.choice(self.old)
        task = row.task
        events = (Kill(by="u"), Pause(by="u"), Resume(by="u"), Succeeded(attempt=task.attempt), Picked(), RetryDue())
        events += (
            Ready(),
            TimedOut(seconds=1, attempt=task.attempt),
            Failed(attempt=task.attempt, reason="", may_pass=True),
        )
        self.apply(row, self.random.choice(events))
        hold(row.task is task, "an ended task changed")

    def reprioritise(self) -> None:
        row = self.any_open()
        if row is None:
            return
        priority = self.random.choice(self.priorities)
        row.task = replace(row.task, priority=priority)
        self.note("priority", row, priority)
        if row.task.id in self.queue:
            self.queue[row.task.id] = replace(self.queue[row.task.id], priority=priority)
            self.scheduler.reprioritise(row.task.id, priority, self.now)
            row.seen, row.added = self.now, self.picks

    def pass_time(self) -> None:
        self.now += int(self.random.random() * 8_000)
        self.fire()

    def jump(self) -> None:
        """The clock is set: an hour ahead or back."""
        self.pump()
        for row in self.open:
            row.seen = max(row.seen, self.now)
        self.now += self.random.choice((3_600_000, -3_600_000))
        self.note("clock", None, self.now)
        self.fire()

    def lose_one(self) -> None:
        if self.running:
            row = self.random.choice(self.running)
            event = Stopped(attempt=row.process) if row.killed else Lost(attempt=row.process, reason="lost")
            self.gone(row)
            self.endings.append((row, event))
            self.store_end(len(self.endings) - 1)


def describe(entry: tuple[Any, ...]) -> str:
    """One event as a line."""
    step, now, what, task, detail, outcome = entry
    text = f"{step:>8} t={now % 10_000_000_000 / 1000:>12.3f} {what}"
    if task is not None:
        text += f" task {task.id} ({task.state.value}, attempt {task.attempt}, {task.group}, priority {task.priority})"
    if detail is not None:
        text += f" {detail}"
    return f"{text} -> {outcome}" if outcome else text


def simulate(seed: int | str, events: int, **parts: Any) -> Counter[str]:
    """Run worlds of 25,000 events until ``events`` have happened; return how often each event changed a task."""
    seen: Counter[str] = Counter()
    for number in range((events + EVENTS_PER_WORLD - 1) // EVENTS_PER_WORLD):
        world = World(f"{seed}.{number}", **parts)
        world.run(min(EVENTS_PER_WORLD, events - number * EVENTS_PER_WORLD))
        seen += world.seen_events
    return seen


def main(arguments: list[str]) -> int:
    start = int(arguments[arguments.index("--from") + 1]) if "--from" in arguments else None
    plain = arguments[: arguments.index("--from")] if start is not None else arguments
    seed, events = plain[0], int(plain[1]) if len(plain) > 1 else None
    if "." not in seed and start is None:
        print(simulate(seed, events or 1_000_000))
        return 0
    world = World(seed)
    if start is not None:
        world.told = lambda entry: print(describe(entry)) if entry[0] >= start else None
    world.run(events or EVENTS_PER_WORLD)
    print(f"world {seed}: no fault in {world.step_number} steps")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
