"""A million simulated events of the pure core, and proof that the simulation finds what it is there to find."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from simulation.__main__ import WHOLE_SHARE, main
from simulation.rules import linkis_word
from simulation.world import EVENTS_PER_WORLD, SimulationFailed, World, simulate

from common.task import Decision, Dropped, Event, Failed, Pause, Picked, State, Succeeded, Task, decide
from entrance.core.scheduler import Limits, Scheduler, Waiting
from entrance.dialects.linkis.wire import status_word

EVENTS = int(os.environ.get("SIM_EVENTS", "1000000"))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_million_events_break_no_invariant(sim_seed: str, capsys: pytest.CaptureFixture[str]) -> None:
    with capsys.disabled():
        print(f"\nsimulation: seed {sim_seed}, {EVENTS} events (SIM_SEED={sim_seed} runs it again)")
    seen = simulate(sim_seed, EVENTS - EVENTS // WHOLE_SHARE, word=status_word)
    of_tasks = {name: count for name, count in seen.items() if name[0].isupper()}
    rare = {name: count for name, count in of_tasks.items() if count < EVENTS / 10_000}
    assert len(of_tasks) == 15 and not rare, f"the simulation hardly does this: {rare or seen}"
    assert seen["crash before a commit"] and seen["crash after a commit"]


def test_the_same_seed_is_the_same_history() -> None:
    first: list[tuple[Any, ...]] = []
    second: list[tuple[Any, ...]] = []
    for trail in (first, second):
        world = World("again")
        world.told = trail.append
        world.run(2_000)
    assert first == second


def test_every_view_of_a_task_has_the_word_of_the_table() -> None:
    differing: list[Task] = []

    def word(task: Task) -> str:
        if status_word(task) != linkis_word(task):
            differing.append(task)
        return linkis_word(task)

    World("words", word=word).run(20_000)
    assert not differing


# ---- broken cores: each fault must be found -----------------------------------------------------------------------


def _lets_late_ends_count(task: Task, event: Event, now: int, **more: Any) -> Decision:
    if isinstance(event, Succeeded) and task.active and event.attempt < task.attempt:
        event = replace(event, attempt=task.attempt)
    return decide(task, event, now, **more)


def _ends_twice(task: Task, event: Event, now: int, **more: Any) -> Decision:
    if task.state is State.CANCELLED and isinstance(event, Succeeded):
        return Decision(task=replace(task, state=State.SUCCEEDED))
    return decide(task, event, now, **more)


def _retries_too_often(task: Task, event: Event, now: int, **more: Any) -> Decision:
    if isinstance(event, Failed) and event.may_pass and task.active and event.attempt == task.attempt:
        return decide(replace(task, max_retries=task.max_retries + 1), event, now, **more)
    return decide(task, event, now, **more)


def _forgets_the_flag(task: Task, event: Event, now: int, **more: Any) -> Decision:
    decision = decide(task, event, now, **more)
    if isinstance(event, Pause) and decision.ask_stop:
        return replace(decision, task=replace(decision.task, state=State.PAUSED))
    return decision


def _picks_what_is_paused(task: Task, event: Event, now: int, **more: Any) -> Decision:
    if isinstance(event, Picked) and task.state is State.PAUSED:
        return decide(replace(task, state=State.QUEUED), event, now, **more)
    return decide(task, event, now, **more)


def _kills_only_the_row(task: Task, event: Event, now: int, **more: Any) -> Decision:
    decision = decide(task, event, now, **more)
    return replace(decision, stop_now=False) if isinstance(event, Dropped) else decision


def _retries_at_once(task: Task, event: Event, now: int, **more: Any) -> Decision:
    decision = decide(task, event, now, **more)
    if isinstance(event, Failed) and decision.task.retry_at is not None:
        return replace(decision, task=replace(decision.task, retry_at=now + 1))
    return decision


@pytest.mark.parametrize(
    "broken",
    [
        _lets_late_ends_count,
        _ends_twice,
        _retries_too_often,
        _forgets_the_flag,
        _picks_what_is_paused,
        _kills_only_the_row,
        _retries_at_once,
    ],
)
def test_a_broken_state_machine_is_found(broken: Callable[..., Decision]) -> None:
    with pytest.raises(SimulationFailed):
        _until_found(decide=broken)


class _Greedy(Scheduler):
    """Starts what does not fit."""

    def _fits(self, task: Waiting) -> bool:
        return self.used < self.limits.slots


class _Lazy(Scheduler):
    """Leaves a slot empty."""

    def _fits(self, task: Waiting) -> bool:
        return super()._fits(task) and self.used + task.cores <= max(1.0, self.limits.slots - 1)


class _Unfair(Scheduler):
    """Stays with the group that it has."""

    def _first(self) -> Waiting | None:
        task = super()._first()
        if task is not None:
            for groups in self._groups:
                if task.group in groups:
                    groups.move_to_end(task.group, last=False)
        return task


class _Ageless(Scheduler):
    """Forgets to let tasks rise."""

    def _age(self, now: int) -> None:
        return None


class _Flat(Scheduler):
    """Has one level only."""

    def add(self, task: Waiting, now: int) -> None:
        super().add(replace(task, priority=100), now)


class _Leaking(Scheduler):
    """Forgets to count a slot as free now and then."""

    def finished(self, task_id: int) -> None:
        if task_id % 50:
            super().finished(task_id)


class _Unlimited(Scheduler):
    """Knows no limits but the slots."""

    def __init__(self, limits: Limits) -> None:
        super().__init__(replace(limits, per_group=0, per_creator=0, per_executor=0))


@pytest.mark.parametrize("broken", [_Greedy, _Lazy, _Unfair, _Ageless, _Flat, _Leaking, _Unlimited])
def test_a_broken_scheduler_is_found(broken: type[Scheduler]) -> None:
    with pytest.raises(SimulationFailed):
        _until_found(scheduler=broken)


def _until_found(**parts: Any) -> None:
    for number in range(12):
        World(f"broken.{number}", **parts).run(4_000)


class _Forgetful(Scheduler):
    """Brings back into the queue what was taken out of it while its start could not be stored."""

    def put_back(self, task_id: int, now: int) -> None:
        task = self.running[task_id]
        self.finished(task_id)
        self.add(task, now)


class _Young(Scheduler):
    """Lets a new priority take the age away."""

    def reprioritise(self, task_id: int, priority: int, now: int) -> None:
        if (task := self.waiting.get(task_id)) is not None:
            self.add(replace(task, priority=priority, queued_at=now), now)


@pytest.mark.parametrize("broken", [_Forgetful, _Young])
def test_a_scheduler_that_is_broken_in_rare_cases_is_found(broken: type[Scheduler]) -> None:
    with pytest.raises(SimulationFailed):
        _until_found(scheduler=broken)


def test_a_fault_is_told_with_its_history_and_found_again_at_the_same_step() -> None:
    said = []
    for _ in range(2):
        with pytest.raises(SimulationFailed) as caught:
            World("broken.1", decide=_ends_twice).run(EVENTS_PER_WORLD)
        said.append(str(caught.value))
    assert said[0] == said[1]
    assert "a final state changed" in said[0]
    assert "seed broken, event 2" in said[0] and "the last 30 events:" in said[0] and "--trace 2" in said[0]


def test_a_stretch_of_events_is_printed_with_the_states_before_and_after(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--seed", "s", "--events", "26000", "--trace", "25100..25160"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) > 20 and all(25_100 <= int(line.split()[0]) <= 25_160 for line in lines)
    assert any(re.search(r"Picked task \d+ \(queued, attempt \d+, .* -> running, attempt \d+", line) for line in lines)
