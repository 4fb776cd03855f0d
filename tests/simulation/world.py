"""A simulated service: the pure core (``decide`` and ``Scheduler``) under everything that can happen to it, with a seed.

Users steer, processes end, fork servers die, workers fall silent, clocks are set, the disk refuses, messages come late or
twice, services die at any commit and others take over. All is drawn from seeded generators: the same seed is the same
history. ``python -m simulation`` runs it (``__main__``).
"""

from __future__ import annotations

import random
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable
from typing import Any

from simulation.lives import LEASE_MS, ORPHANS_LIVE_MS, Lives
from simulation.rules import OF_AN_ATTEMPT, Broken, hold, linkis_word
from simulation.shell import Crash, End, Place, Row

from common.errors import EntranceError
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


class World(Lives):
    """One database's life, under one service after another. ``decide`` and ``scheduler`` can be replaced by broken ones, to
    see that they are found out."""

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
            per_creator=choose((0, 2, 5)),
            per_executor=choose((0, 4)),
            ageing_ms=choose((0, 20_000, 600_000)),
        )
        super().__init__(seed, limits, decide, scheduler, word)
        self.seed = seed
        self.crowd = choose((10, 60, 300))  # about so many unfinished tasks
        self.capacity = choose((4, 30, 1000))  # waiting tasks per group
        self.priorities = choose((_PRIORITIES, (100,), (50, 100)))
        self.slowness = choose((0.0, 0.5, 0.8))  # of processes: the slower, the more waits
        self.places = [Place("fork server", remote=False), Place("fork server of transfers", remote=False)]
        self.places += [Place(f"worker {n}", remote=True) for n in range(choose((0, 0, 2)))]
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
            (choose((3.0, 3.0, 60.0)), self.reprioritise),
            (16.0, self.pass_time),
            (1.0, self.lose_one),
            (0.1, self.break_place),
            (0.3, self.mend_place),
            (0.05, self.restart),
            (0.05, self.second_service),
            (0.02, self.jump),
            (0.02, self.fill_disk),
            (0.4, self.free_disk),
            (0.02, self.mark_offline),
            (0.2, self.mark_online),
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
        except (Broken, LookupError, TypeError, ValueError, AttributeError, EntranceError) as error:
            raise SimulationFailed(self.report(error)) from error
        return self

    def step(self) -> None:
        self.step_number += 1
        try:
            self._actions[bisect_right(self._weights, self.random.random() * self._total)]()
            if self.random.random() < 0.4:
                self.pump()
        except Crash:
            self.crash()
            self.take_over()

    def drain(self) -> None:
        """Submit nothing more and let everything end: nothing is stuck, nothing is left over."""
        self.draining = self.calm = True
        self.disk_full = self.held = False
        for place in self.places:
            self.mend(place)
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
            self.steady += 60_000
            self.fire()
            self.pump()
        left = [(row.task.id, row.task.state.value) for row in self.open]
        hold(not left and not self.running, f"stuck for ever: {left[:5]}")
        hold(not self.scheduler.waiting and not self.scheduler.running, "the scheduler holds tasks that have ended")
        hold(self.scheduler.used == 0, f"slots are still counted: {self.scheduler.used}")
        hold(not self.scheduler.groups(), "groups are still counted")

    def report(self, error: BaseException) -> str:
        seed, _, number = self.seed.rpartition(".")
        first = int(number) * EVENTS_PER_WORLD
        at = first + self.step_number
        lines = [f"{type(error).__name__}: {error}", f"seed {seed}, event {at} (world {number}), {self.limits}"]
        lines += [f"the last {len(self.trail)} events:", *(describe(entry, first) for entry in self.trail)]
        lines.append(
            f"again, step by step: PYTHONPATH=.:tests python -m simulation --seed {seed} --events {at} "
            f"--trace {max(first, at - 100)}..{at}"
        )
        return "\n".join(lines)

    # ---- what may happen

    def any_open(self) -> Row | None:
        return self.open[int(self.random.random() * len(self.open))] if self.open else None

    def submit(self) -> None:
        if len(self.open) >= self.crowd and self.random.random() < 0.95:
            self.end_process()
            return
        if not self.online:
            return
        choose, chance = self.random.choice, self.random.random
        executor, cores = choose(_KINDS)
        created = chance() < 0.1
        job_id = choose(range(1, 9)) if executor == "pack" and chance() < 0.5 else None
        if job_id is not None:
            last = self.jobs.get(job_id)
            if last is not None and not last.task.state.final:
                return  # one unfinished task per job at most
        user, creator = choose(("ann", "bob", "cy", "dot")), choose(("IDE", "CLI"))
        group = f"{creator}_{user}_{executor}"
        waiting, of_user = self.scheduler.waiting_in(group), self.scheduler.waiting_of(user)
        hold(waiting == self.submitted[group], f"{waiting} of {group} are said to wait, not {self.submitted[group]}")
        hold(of_user == self.submitted_by[user], f"{of_user} of {user} are said to wait, not {self.submitted_by[user]}")
        if waiting >= self.capacity or of_user >= 3 * self.capacity:
            self.note("submit", None, group, "QueueFull")
            return
        self.new(
            executor=executor,
            cores=cores,
            user=user,
            creator=creator,
            priority=choose(self.priorities),
            state=State.CREATED if created else State.QUEUED,
            max_retries=choose((0, 1, 3)),
            retry_delay_ms=choose((None, None, 0, 1000)),
            running_timeout_s=choose((None, None, None, 30, 600)),
            queuing_timeout_s=choose((None, None, None, 60, 3600)),
            job_id=job_id,
        )

    def new(self, *, parent: Row | None = None, key: str = "", **more: Any) -> None:
        if not self.stored():
            return
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
        if parent is not None:
            parent.children[key] = row
            parent.open_children += 1
        self.note("submit", row, None)
        self.show(row, task)
        self.dies("after a commit")
        if task.state is State.QUEUED:
            self.queued(row)
        elif task.state is State.CREATED:
            self.limit_waiting(task)

    def submit_child(self) -> None:
        """A running attempt asks for a child, sometimes for the same one again."""
        if not self.running or len(self.open) > 2 * self.crowd:
            return
        parent = self.running[int(self.random.random() * len(self.running))]
        task = parent.task
        if parent.killed or not task.active or parent.process != task.attempt:
            return
        if self.silent(parent) or (parent.parent is not None and parent.parent.parent is not None):
            return
        key = str(self.random.randrange(12))
        if key in parent.children:
            return
        self.new(
            parent=parent,
            key=key,
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

    def make_ready(self) -> None:
        row = self.any_open()
        if row is not None:
            self.apply(row, Ready())

    def give_up(self) -> None:
        row = self.any_open()
        if row is not None:
            self.apply(row, Hopeless(reason="a pack failed"))

    def silent(self, row: Row) -> bool:
        """Whether nothing is heard of the row's processes."""
        return row.place is not None and row.place.silent_since is not None

    def end_process(self) -> None:
        """The processes of an attempt end by themselves, or because we asked; their end is stored now or later."""
        if not self.running or (self.random.random() < self.slowness and not self.draining):
            return
        row = self.running[int(self.random.random() * len(self.running))]
        if self.silent(row):
            return
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
        self.ended(row, event)
        if self.random.random() < 0.6:
            self.store_end(len(self.endings) - 1)

    def store_end(self, index: int | None = None) -> None:
        if not self.endings:
            return
        if index is None:
            index = int(self.random.random() * len(self.endings))
        row, event = self.endings[index]
        counts = row.task.active and row.task.attempt == event.attempt
        changed = self.apply(row, event)
        if changed is None:
            return  # it is tried again until it is stored
        del self.endings[index]
        hold(changed == counts, "an attempt that was fenced still counts" if changed else "the end of an attempt is lost")
        if row.task.job_id is not None:
            for waiting in self.deferred.pop(row.task.job_id, ()):
                if waiting.task.state is State.QUEUED:
                    self.queued(waiting)
        if changed and self.random.random() < 0.05:  # told twice
            hold(not self.apply(row, event), "the end of an attempt counts twice")

    def pause(self) -> None:
        self.steer_one(Pause(by="u"))

    def resume(self) -> None:
        self.steer_one(Resume(by="u"))

    def kill(self) -> None:
        self.steer_one(Kill(by="u"))

    def steer_one(self, event: Event) -> None:
        row = self.any_open()
        if row is not None:
            self.steer(row, event)

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
        self.prioritise(row, self.random.choice(self.priorities))

    def pass_time(self) -> None:
        passed = int(self.random.random() * 8_000)
        self.now += passed
        self.steady += passed
        for place in self.places:
            if place.silent_since is not None and self.steady >= place.silent_since + LEASE_MS:
                for row in [r for r in self.running if r.place is place]:
                    self.lose(row, "The worker was lost")
        self.fire()

    def jump(self) -> None:
        """The clock is set: ahead or back."""
        self.tell_time()
        self.now += self.random.choice((86_400_000, 3_600_000, 2_000, -2_000, -3_600_000, -86_400_000))
        self.note("clock", None, self.now)
        self.fire()

    def tell_time(self) -> None:
        """Let the scheduler know the time, and remember that it did; while held, nobody tells it."""
        self.pump()
        for row in self.open if not self.held else ():
            row.seen = max(row.seen, self.now)

    def lose_one(self) -> None:
        if self.running:
            self.lose(self.random.choice(self.running), "lost")

    def lose(self, row: Row, reason: str) -> None:
        attempt = row.process
        self.ended(row, Stopped(attempt=attempt) if row.killed else Lost(attempt=attempt, reason=reason))
        self.store_end(len(self.endings) - 1)

    def break_place(self) -> None:
        """A fork server dies and takes its attempts with it; a worker is heard of no more, while it works on."""
        place = self.random.choice(self.places)
        self.note("breaks", None, place.name)
        if place.remote:
            place.silent_since = self.steady if place.silent_since is None else place.silent_since
            return
        place.up = False
        for row in [r for r in self.running if r.place is place]:
            self.lose(row, "The fork server ended")

    def mend_place(self) -> None:
        self.mend(self.random.choice(self.places))

    def mend(self, place: Place) -> None:
        """A new fork server; a worker is heard of again, which has ended its attempts if it was alone for long."""
        since, place.silent_since, place.up = place.silent_since, None, True
        if since is not None and self.steady >= since + ORPHANS_LIVE_MS:
            for row in [r for r in self.running if r.place is place]:
                self.lose(row, "The worker was alone")

    def fill_disk(self) -> None:
        self.disk_full = True
        self.note("disk", None, "full")

    def free_disk(self) -> None:
        self.disk_full = False

    def mark_offline(self) -> None:
        """Nothing is taken and nothing is started; what runs goes on."""
        self.tell_time()
        self.online, self.held = False, True
        self.note("offline", None, None)

    def mark_online(self) -> None:
        self.online, self.held = True, False


def describe(entry: tuple[Any, ...], first: int = 0) -> str:
    """One event as a line; ``first`` is the number of the world's first event."""
    step, now, what, task, detail, outcome = entry
    text = f"{first + step:>9} t={now % 10_000_000_000 / 1000:>12.3f} {what}"
    if task is not None:
        text += f" task {task.id} ({stands(task)}, {task.group}, priority {task.priority})"
    if detail is not None:
        text += f" {detail}"
    if isinstance(outcome, Task):
        outcome = stands(outcome)
    return f"{text} -> {outcome}" if outcome else text


def stands(task: Task) -> str:
    """The task's state in words: before or after an event."""
    words = [task.state.value, f"attempt {task.attempt}"]
    words += ["pause requested"] * task.pause_requested + ["waits for children"] * task.waits
    if task.errors:
        words.append(f"{task.errors} of {task.max_retries} errors")
    if task.retry_at is not None:
        words.append(f"next try at {task.retry_at % 10_000_000_000 / 1000:.3f}")
    return ", ".join(words)


def worlds(seed: int | str, events: int) -> list[tuple[str, int]]:
    """The worlds that ``events`` events are made of: (seed, events) of each."""
    return [
        (f"{seed}.{number}", min(EVENTS_PER_WORLD, events - number * EVENTS_PER_WORLD))
        for number in range((events + EVENTS_PER_WORLD - 1) // EVENTS_PER_WORLD)
    ]


def simulate(seed: int | str, events: int, **parts: Any) -> Counter[str]:
    """Run worlds of 25,000 events until ``events`` have happened; return how often each event changed a task."""
    seen: Counter[str] = Counter()
    for name, most in worlds(seed, events):
        seen += World(name, **parts).run(most).seen_events
    return seen
