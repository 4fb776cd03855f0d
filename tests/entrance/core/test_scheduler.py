"""Whose turn it is: order, fairness, limits and ageing of the pure scheduler."""

from __future__ import annotations

from collections import Counter

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from common.task import Priority
from entrance.core.scheduler import Limits, Scheduler, Waiting

LEVELS = list(Priority)


def task(number: int, group: str = "IDE_ann_echo", **more: object) -> Waiting:
    creator, _, executor = group.split("_")
    values = {"priority": 100, "cores": 1.0, "queued_at": 0, **more}
    return Waiting(id=number, group=group, creator=creator, executor=executor, **values)  # type: ignore[arg-type]


def ids(picked: list[Waiting]) -> list[int]:
    return [x.id for x in picked]


def drain(scheduler: Scheduler, now: int = 0) -> list[int]:
    """Run everything, one attempt at a time as slots allow, and return the order of the starts."""
    order: list[int] = []
    while picked := scheduler.pick(now):
        order += ids(picked)
        for one in picked:
            scheduler.finished(one.id)
    return order


# ---- order ---------------------------------------------------------------------------------------------------------


def test_within_a_group_the_larger_priority_and_then_the_older_task_comes_first() -> None:
    scheduler = Scheduler(Limits(slots=1))
    for number, priority in ((1, 100), (2, 110), (3, 100), (4, 110)):
        scheduler.add(task(number, priority=priority), 0)
    assert drain(scheduler) == [2, 4, 1, 3]


def test_a_higher_level_comes_before_a_lower_one_whatever_the_group() -> None:
    scheduler = Scheduler(Limits(slots=1))
    scheduler.add(task(1, "IDE_ann_echo", priority=100), 0)
    scheduler.add(task(2, "IDE_bob_echo", priority=400), 0)
    scheduler.add(task(3, "IDE_cy_echo", priority=0), 0)
    assert drain(scheduler) == [2, 1, 3]


def test_a_single_task_waits_at_most_one_turn_of_somebody_elses_thousand() -> None:
    scheduler = Scheduler(Limits(slots=1, per_group=0))
    for number in range(1, 1001):
        scheduler.add(task(number, "IDE_ann_echo"), 0)
    assert ids(scheduler.pick(0)) == [1]
    scheduler.add(task(2000, "IDE_bob_echo"), 0)
    order = []
    for running in (1, 2, 2000):
        scheduler.finished(running)
        order += ids(scheduler.pick(0))
    assert 2000 in order[:2]


def test_groups_take_turns() -> None:
    scheduler = Scheduler(Limits(slots=1))
    for number in range(6):
        scheduler.add(task(number, f"IDE_{'abc'[number // 2]}_echo"), 0)
    assert drain(scheduler) == [0, 2, 4, 1, 3, 5]


def test_a_group_does_not_gain_a_turn_by_submitting_again() -> None:
    scheduler = Scheduler(Limits(slots=1, per_group=0))
    turns: Counter[str] = Counter()
    scheduler.add(task(0, "IDE_ann_echo"), 0)
    for number in range(1, 300):
        scheduler.add(task(2 * number, "IDE_bob_echo"), 0)
        if not any(x.group == "IDE_ann_echo" for x in scheduler.waiting.values()):
            scheduler.add(task(2 * number + 1, "IDE_ann_echo"), 0)
        for picked in scheduler.pick(0):
            turns[picked.group] += 1
            scheduler.finished(picked.id)
    assert abs(turns["IDE_ann_echo"] - turns["IDE_bob_echo"]) <= 2


def test_a_changed_priority_counts_at_the_next_pick() -> None:
    scheduler = Scheduler(Limits(slots=1))
    scheduler.add(task(1), 0)
    scheduler.add(task(2), 0)
    scheduler.reprioritise(2, 101, 0)
    assert drain(scheduler) == [2, 1]
    scheduler.add(task(3, priority=800), 0)
    scheduler.add(task(4), 0)
    scheduler.reprioritise(3, 0, 0)
    assert drain(scheduler) == [4, 3]


# ---- room ----------------------------------------------------------------------------------------------------------


def test_the_first_in_order_that_does_not_fit_waits_and_nothing_behind_it_starts() -> None:
    scheduler = Scheduler(Limits(slots=4))
    scheduler.started(task(1, cores=3.0))
    scheduler.add(task(2, cores=2.0, priority=200), 0)
    scheduler.add(task(3, cores=0.25), 0)
    assert scheduler.pick(0) == []
    scheduler.finished(1)
    assert ids(scheduler.pick(0)) == [2, 3]


def test_a_task_larger_than_all_slots_runs_alone() -> None:
    scheduler = Scheduler(Limits(slots=1))
    scheduler.add(task(1, cores=3.0), 0)
    scheduler.add(task(2, cores=0.25), 0)
    assert ids(scheduler.pick(0)) == [1]
    assert scheduler.pick(0) == []
    scheduler.finished(1)
    assert ids(scheduler.pick(0)) == [2]


def test_fractions_of_cores_fill_the_slots_exactly() -> None:
    scheduler = Scheduler(Limits(slots=1, per_group=0))
    for number in range(9):
        scheduler.add(task(number, cores=0.25), 0)
    for _ in range(100):
        picked = scheduler.pick(0)
        for one in picked:
            scheduler.finished(one.id)
            scheduler.add(one, 0)
    assert len(scheduler.pick(0)) == 4 and scheduler.used == 1.0


def test_a_group_at_its_limit_is_passed_over() -> None:
    scheduler = Scheduler(Limits(slots=9, per_group=1))
    for number, group in ((1, "IDE_ann_echo"), (2, "IDE_ann_echo"), (3, "IDE_bob_echo")):
        scheduler.add(task(number, group), 0)
    assert ids(scheduler.pick(0)) == [1, 3]
    scheduler.finished(1)
    assert ids(scheduler.pick(0)) == [2]


def test_an_executor_that_is_held_is_passed_over_until_it_is_not() -> None:
    scheduler = Scheduler(Limits(slots=4))
    for n, executor in enumerate(("pack", "echo", "pack"), start=1):
        scheduler.add(task(n, f"IDE_ann_{executor}"), 0)
    scheduler.held = {"pack"}
    assert ids(scheduler.pick(0)) == [2]
    assert scheduler.pick(0) == []
    scheduler.held = ()
    assert ids(scheduler.pick(0)) == [1, 3]


def test_limits_of_creator_and_executor_hold_over_groups() -> None:
    scheduler = Scheduler(Limits(slots=9, per_creator=1))
    scheduler.add(task(1, "IDE_ann_echo"), 0)
    scheduler.add(task(2, "IDE_bob_echo"), 0)
    scheduler.add(task(3, "CLI_bob_echo"), 0)
    assert ids(scheduler.pick(0)) == [1, 3]
    scheduler = Scheduler(Limits(slots=9, per_executor=1))
    scheduler.add(task(1, "IDE_ann_echo"), 0)
    scheduler.add(task(2, "CLI_bob_echo"), 0)
    scheduler.add(task(3, "CLI_bob_pack"), 0)
    assert ids(scheduler.pick(0)) == [1, 3]


# ---- ageing --------------------------------------------------------------------------------------------------------


def test_a_waiting_task_rises_one_level_for_each_ageing_time() -> None:
    scheduler = Scheduler(Limits(slots=1, ageing_ms=1000))
    scheduler.add(task(1, "IDE_ann_echo", priority=0), 0)
    scheduler.add(task(2, "IDE_bob_echo", priority=100, queued_at=1999), 1999)
    scheduler.add(task(3, "IDE_bob_echo", priority=49, queued_at=1999), 1999)
    assert scheduler.next_rise() == 1000
    assert drain(scheduler, 1999) == [2, 1, 3]


def test_no_task_starves_under_an_endless_stream_of_urgent_ones() -> None:
    scheduler = Scheduler(Limits(slots=1, ageing_ms=1000, per_group=0))
    scheduler.add(task(1, "IDE_ann_echo", priority=0), 0)
    now, number = 0, 2
    while 1 in scheduler.waiting:
        for user in ("bob", "cy", "dot"):
            scheduler.add(task(number, f"IDE_{user}_echo", priority=800, queued_at=now), now)
            number += 1
        for picked in scheduler.pick(now):
            scheduler.finished(picked.id)
        now += 100
        assert now <= 5 * 1000 + 4 * 100  # five levels up, then one round over four groups


def test_a_clock_that_is_set_back_does_not_take_a_level_away() -> None:
    scheduler = Scheduler(Limits(slots=1, ageing_ms=1000))
    scheduler.started(task(9))
    scheduler.add(task(1, "IDE_ann_echo", priority=50), 0)
    assert scheduler.pick(1500) == []
    scheduler.add(task(2, "IDE_bob_echo", priority=50, queued_at=-5000), -5000)
    scheduler.finished(9)
    assert ids(scheduler.pick(-5000)) == [1]


def test_a_task_that_rose_is_not_behind_those_of_its_group_that_came_later() -> None:
    scheduler = Scheduler(Limits(slots=1, ageing_ms=1000))
    scheduler.add(task(1, priority=0), 0)
    for number in range(2, 9):
        scheduler.add(task(number, priority=100, queued_at=1500), 1500)
    scheduler.add(task(9, priority=120, queued_at=1500), 1500)
    assert drain(scheduler, 2000) == [9, 1, 2, 3, 4, 5, 6, 7, 8]


def test_what_changes_again_and_again_takes_no_more_room() -> None:
    scheduler = Scheduler(Limits(slots=1, ageing_ms=1000))
    scheduler.started(task(0))
    for number in range(1, 4):
        scheduler.add(task(number), 0)
    for turn in range(20_000):
        scheduler.reprioritise(1, (0, 100, 400)[turn % 3], turn)
        scheduler.remove(2)
        scheduler.add(task(2, f"C{turn}_ann_echo", queued_at=turn), turn)
        scheduler.pick(turn)
    kept = sum(len(heap) for level in scheduler._groups for heap in level.values()) + len(scheduler._rises)
    assert kept < 5000 and len(scheduler.groups()) == 2
    scheduler.finished(0)
    assert sorted(drain(scheduler, 20_000)) == [1, 2, 3]


def test_a_pick_that_was_not_carried_out_waits_as_before() -> None:
    scheduler = Scheduler(Limits(slots=4))
    for number in range(1, 5):
        scheduler.add(task(number), 0)
    assert ids(scheduler.pick(0)) == [1, 2, 3, 4]
    scheduler.remove(1)  # killed meanwhile
    scheduler.add(task(2, queued_at=7), 7)  # paused and resumed
    scheduler.reprioritise(4, 400, 7)
    for number in range(1, 5):
        scheduler.put_back(number, 8)
    assert scheduler.used == 0 and scheduler.waiting[2].queued_at == 7
    assert ids(scheduler.pick(9)) == [4, 2, 3]


def test_what_was_removed_is_forgotten() -> None:
    scheduler = Scheduler(Limits(slots=1, ageing_ms=1000))
    for number in range(100):
        scheduler.add(task(number), 0)
    for number in range(100):
        scheduler.remove(number)
    assert scheduler.pick(10_000) == [] and scheduler.groups() == {} and scheduler.next_rise() is None


# ---- any order of calls --------------------------------------------------------------------------------------------

GROUPS = [f"{c}_{u}_{e}" for c in ("IDE", "CLI") for u in ("ann", "bob") for e in ("echo", "pack")]


class Calls(RuleBasedStateMachine):
    """Any calls in any order against counts kept beside it."""

    def __init__(self) -> None:
        super().__init__()
        self.limits = Limits(slots=3.0, per_group=2, per_creator=3, per_executor=4, ageing_ms=500)
        self.scheduler = Scheduler(self.limits)
        self.waiting: dict[int, Waiting] = {}
        self.running: dict[int, Waiting] = {}
        self.seen: dict[int, int] = {}
        self.now, self.number = 10_000, 0

    @rule(
        group=st.sampled_from(GROUPS),
        priority=st.sampled_from([0, 50, 60, 100, 400, 900]),
        cores=st.sampled_from([0.25, 1.0, 2.0, 5.0]),
        age=st.integers(0, 3000),
    )
    def add(self, group: str, priority: int, cores: float, age: int) -> None:
        self.number += 1
        one = task(self.number, group, priority=priority, cores=cores, queued_at=self.now - age)
        self.waiting[one.id], self.seen[one.id] = one, self.now
        self.scheduler.add(one, self.now)

    @precondition(lambda self: self.waiting)
    @rule(data=st.data(), priority=st.sampled_from([0, 75, 200]))
    def reprioritise(self, data: st.DataObject, priority: int) -> None:
        number = data.draw(st.sampled_from(sorted(self.waiting)))
        old = self.waiting[number]
        new = task(number, old.group, priority=priority, cores=old.cores, queued_at=old.queued_at)
        self.waiting[number], self.seen[number] = new, self.now
        self.scheduler.reprioritise(number, priority, self.now)

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(sorted(self.waiting)))
        del self.waiting[number]
        self.scheduler.remove(number)

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(sorted(self.running)))
        del self.running[number]
        self.scheduler.finished(number)
        self.scheduler.finished(number)  # told twice: counts once

    @rule(milliseconds=st.integers(0, 2000))
    def wait(self, milliseconds: int) -> None:
        self.now += milliseconds

    @rule()
    def pick(self) -> None:
        for number in self.waiting:
            self.seen[number] = self.now
        while True:
            allowed = [x for x in self.waiting.values() if self._allowed(x)]
            picked = self.scheduler.pick(self.now, 1)
            if not picked:
                top = max(map(self._level, allowed), default=0)
                assert not allowed or not all(self._fits(x) for x in allowed if self._level(x) == top)
                return
            (one,) = picked
            assert one in allowed and self._fits(one)
            assert self._level(one) == max(map(self._level, allowed))
            same = [x for x in allowed if x.group == one.group and self._level(x) == self._level(one)]
            assert one == min(same, key=lambda x: (-max(x.priority, LEVELS[self._level(x)]), x.id))
            self.running[one.id] = self.waiting.pop(one.id)

    @invariant()
    def counts_agree(self) -> None:
        assert self.scheduler.waiting == self.waiting and self.scheduler.running == self.running
        assert abs(self.scheduler.used - sum(x.cores for x in self.running.values())) < 1e-9
        waiting = Counter(x.group for x in self.waiting.values())
        running = Counter(x.group for x in self.running.values())
        assert self.scheduler.groups() == {g: (waiting[g], running[g]) for g in waiting.keys() | running.keys()}

    def _level(self, one: Waiting) -> int:
        aged = max(0, self.seen[one.id] - one.queued_at) // self.limits.ageing_ms
        return min(LEVELS.index(Priority.level(one.priority)) + aged, len(LEVELS) - 1)

    def _allowed(self, one: Waiting) -> bool:
        running = self.running.values()
        return (
            sum(x.group == one.group for x in running) < self.limits.per_group
            and sum((x.creator, x.executor) == (one.creator, one.executor) for x in running) < self.limits.per_creator
            and sum(x.executor == one.executor for x in running) < self.limits.per_executor
        )

    def _fits(self, one: Waiting) -> bool:
        return not self.running or sum(x.cores for x in self.running.values()) + one.cores <= self.limits.slots


TestCalls = Calls.TestCase
TestCalls.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
