"""The life of a task against the table of the contracts (states, chapter 2): every event in every state."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from simulation.rules import FINAL, MAY, OF_AN_ATTEMPT, check_change, kind

from common.errors import Refused, TaskEnded
from common.task import (
    ChildrenEnded,
    Dropped,
    Event,
    Failed,
    Hopeless,
    Kill,
    Lost,
    Pause,
    Picked,
    Priority,
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

NOW = 1_700_000_000_000
BASE = Task(
    id=7,
    uuid="u",
    exec_id="e",
    user="ann",
    execute_user="ann",
    creator="IDE",
    executor="pack",
    run_type="pack",
    door="linkis",
    created_at=NOW - 5000,
)
QUEUED = replace(BASE, state=State.QUEUED, queued_at=NOW - 4000)
RUNNING = replace(QUEUED, state=State.RUNNING, attempt=2, started_at=NOW - 3000)
TASKS = {  # a task in each row of the table; those with two pasts are there twice
    "created": BASE,
    "queued": QUEUED,
    "queued again": replace(RUNNING, state=State.QUEUED),
    "running": RUNNING,
    "flag": replace(RUNNING, pause_requested=True),
    "waits": replace(RUNNING, waits=True),
    "paused": replace(RUNNING, state=State.PAUSED),
    "paused from created": replace(BASE, state=State.PAUSED),
    "paused from queued": replace(QUEUED, state=State.PAUSED),
    "waits_paused": replace(RUNNING, waits=True, state=State.PAUSED),
    "waiting_retry": replace(RUNNING, state=State.WAITING_RETRY, retry_at=NOW + 9000, errors=1),
    "succeeded": replace(RUNNING, state=State.SUCCEEDED, ended_at=NOW - 1),
    "failed": replace(RUNNING, state=State.FAILED, ended_at=NOW - 1),
    "cancelled": replace(RUNNING, state=State.CANCELLED, ended_at=NOW - 1),
    "timed_out": replace(RUNNING, state=State.TIMED_OUT, ended_at=NOW - 1),
}


def events_for(task: Task) -> list[Event]:
    """Every event, as it would come for this task: of its latest attempt, its limits passed."""
    return [
        Ready(),
        Hopeless(reason="a pack failed"),
        Picked(),
        Pause(by="ann"),
        Resume(by="ann"),
        Kill(by="ann"),
        Succeeded(attempt=task.attempt),
        ChildrenEnded(failed=0, children=2),
        Failed(attempt=task.attempt, reason="no answer", may_pass=True),
        Failed(attempt=task.attempt, reason="no such file", may_pass=False),
        Stopped(attempt=task.attempt),
        Lost(attempt=task.attempt, reason="The service was restarted"),
        TimedOut(seconds=1, attempt=task.attempt, since=task.waits_since),
        RetryDue(),
        Dropped(reason="its parent failed"),
    ]


def outcome(task: Task, event: Event) -> str:
    """What an event makes of a task: a row of the table, ``same``, ``refused`` or ``ended``."""
    try:
        decision = decide(task, event, NOW)
    except TaskEnded:
        return "ended"
    except Refused:
        return "refused"
    return kind(decision.task) if decision.changed(task) else "same"


TABLE = {  # row -> event -> outcome; what is not named is refused (of the attempt's events: does not count)
    "created": {"Ready": "queued", "Hopeless": "failed", "Pause": "paused", "Resume": "queued", "Kill": "cancelled"}
    | {"TimedOut": "timed_out"},
    "queued": {"Picked": "running", "Pause": "paused", "Resume": "same", "Kill": "cancelled", "TimedOut": "timed_out"},
    "queued again": {"Picked": "running", "Pause": "paused", "Resume": "same", "Kill": "cancelled"},
    "running": {
        "Pause": "flag",
        "Resume": "same",
        "Kill": "cancelled",
        "Succeeded": "succeeded",
        "Failed, may pass": "waiting_retry",
        "Failed": "failed",
        "Stopped": "waiting_retry",
        "Lost": "waiting_retry",
        "TimedOut": "timed_out",
    },
    "flag": {
        "Pause": "same",
        "Resume": "running",
        "Kill": "cancelled",
        "Succeeded": "succeeded",
        "Failed, may pass": "paused",
        "Failed": "failed",
        "Stopped": "paused",
        "Lost": "paused",
        "TimedOut": "timed_out",
    },
    "waits": {
        "Pause": "waits_paused",
        "Resume": "same",
        "Kill": "cancelled",
        "ChildrenEnded": "succeeded",
        "TimedOut": "timed_out",
    },
    "paused": {"Pause": "same", "Resume": "queued", "Kill": "cancelled"},
    "paused from created": {"Pause": "same", "Resume": "created", "Kill": "cancelled", "Hopeless": "failed"},
    "paused from queued": {"Pause": "same", "Resume": "queued", "Kill": "cancelled"},
    "waits_paused": {"Pause": "same", "Resume": "waits", "Kill": "cancelled"},
    "waiting_retry": {
        "Pause": "paused",
        "Resume": "queued",
        "Kill": "cancelled",
        "RetryDue": "queued",
        "TimedOut": "timed_out",
    },
    "succeeded": {},
    "failed": {},
    "cancelled": {"Kill": "same"},
    "timed_out": {},
}


def name(event: Event) -> str:
    return "Failed, may pass" if isinstance(event, Failed) and event.may_pass else type(event).__name__


@pytest.mark.parametrize("row", TASKS)
@pytest.mark.parametrize("event", [name(e) for e in events_for(BASE)])
def test_each_event_in_each_state_does_what_the_table_says(row: str, event: str) -> None:
    task = TASKS[row]
    (given,) = [e for e in events_for(task) if name(e) == event]
    expected = TABLE[row].get(event, "ended" if row in FINAL else "cancelled" if event == "Dropped" else "refused")
    assert outcome(task, given) == expected
    if expected not in ("ended", "refused", "same"):
        check_change(task, given, decide(task, given, NOW).task, NOW)


def test_the_simulation_and_this_table_agree() -> None:
    ours: dict[tuple[type, str], set[str]] = {}
    for row, task in TASKS.items():
        for event in events_for(task):
            becomes = outcome(task, event)
            if becomes not in ("ended", "refused", "same"):
                ours.setdefault((type(event), kind(task)), set()).add(becomes)
            assert row in TABLE
    assert {key: becomes - MAY[key] for key, becomes in ours.items() if becomes - MAY[key]} == {}
    assert set(MAY) == set(ours)


@pytest.mark.parametrize("event_type", OF_AN_ATTEMPT)
@pytest.mark.parametrize("row", TASKS)
@pytest.mark.parametrize("number", [0, 1, 3])
def test_nothing_that_another_attempt_says_counts(row: str, number: int, event_type: type) -> None:
    task = TASKS[row]
    if number == task.attempt:
        number = 99
    more = {"reason": "late", "may_pass": True} if event_type is Failed else {"reason": "late"} if event_type is Lost else {}
    assert outcome(task, event_type(attempt=number, **more)) == ("ended" if row in FINAL else "refused")


def test_a_pause_counts_only_once_in_the_log() -> None:
    asked = decide(RUNNING, Pause(by="ann"), NOW)
    assert asked.ask_stop and not asked.stop_now
    assert [x.text for x in asked.lines] == ["Your job is paused by ann."]
    assert decide(asked.task, Pause(by="bob"), NOW).lines == ()


def test_a_kill_of_a_running_task_ends_its_processes_and_of_others_does_not() -> None:
    assert decide(RUNNING, Kill(by="ann"), NOW).stop_now
    for row in ("created", "queued", "waits", "paused", "waits_paused", "waiting_retry"):
        assert not decide(TASKS[row], Kill(by="ann"), NOW).stop_now
    killed = decide(RUNNING, Kill(by="bob"), NOW).task
    assert (killed.reason, killed.ended_at) == ("killed by bob", NOW)


def test_retries_wait_as_the_ladder_says_and_its_last_rung_repeats() -> None:
    task = replace(RUNNING, max_retries=5)
    delays = []
    for errors in range(5):
        failed = Failed(attempt=2, reason="no answer", may_pass=True)
        after = decide(replace(task, errors=errors), failed, NOW, ladder_ms=(5_000, 30_000, 120_000)).task
        assert after.retry_at is not None and after.errors == errors + 1
        delays.append(after.retry_at - NOW)
    assert delays == [5_000, 30_000, 120_000, 120_000, 120_000]


def test_the_last_retry_is_the_last() -> None:
    spent = replace(RUNNING, errors=3, max_retries=3)
    decision = decide(spent, Failed(attempt=2, reason="no answer", may_pass=True), NOW)
    assert decision.task.state is State.FAILED and decision.task.reason == "no answer"
    assert decision.lines[-1].text == "Sorry, your job executed failed with reason: no answer"


def test_a_pause_of_its_own_between_retries_is_kept() -> None:
    own = replace(RUNNING, retry_delay_ms=700)
    after = decide(own, Failed(attempt=2, reason="", may_pass=True), NOW).task
    assert after.retry_at == NOW + 700


def test_a_lost_attempt_costs_no_retry() -> None:
    after = decide(replace(RUNNING, errors=1), Lost(attempt=2, reason="The lease was lost"), NOW).task
    assert (after.errors, after.retry_at, after.state) == (1, NOW, State.WAITING_RETRY)


def test_the_wait_for_the_first_attempt_begins_anew_after_a_pause() -> None:
    limit = TimedOut(seconds=10, attempt=0, since=NOW - 10_000)
    assert outcome(replace(QUEUED, queued_at=NOW - 9_999), limit) == "refused"
    assert outcome(replace(QUEUED, queued_at=NOW - 10_000), limit) == "timed_out"


def test_a_success_with_children_left_waits_and_with_failed_ones_fails() -> None:
    waits = decide(RUNNING, Succeeded(attempt=2, children=3, open_children=1), NOW).task
    assert waits.waits and waits.state is State.RUNNING and not waits.active
    failed = decide(RUNNING, Succeeded(attempt=2, children=3, failed_children=2, failure="task 9: gone"), NOW).task
    assert failed.reason == "2 of 3 children failed: task 9: gone"
    ended = decide(waits, ChildrenEnded(failed=1, children=3, failure="task 8: gone"), NOW).task
    assert (ended.state, ended.reason) == (State.FAILED, "1 of 3 children failed: task 8: gone")


@pytest.mark.parametrize(
    ("priority", "level"),
    [
        *[(-5, 0), (0, 0), (49, 0), (50, 50), (100, 100), (199, 100), (200, 200), (399, 200), (400, 400), (799, 400)],
        *[(800, 800), (10**9, 800)],
    ],
)
def test_a_priority_belongs_to_the_highest_level_at_or_below_it(priority: int, level: int) -> None:
    assert Priority.level(priority) is Priority(level)


@given(st.data())
def test_no_walk_through_the_machine_leaves_the_table(data: st.DataObject) -> None:
    """Random walks: every change is one that the contracts allow, and the end is the end."""
    task, now, ends = BASE, NOW, 0
    for _ in range(data.draw(st.integers(1, 40))):
        now += data.draw(st.integers(-1_000, 60_000))
        event = data.draw(st.sampled_from(events_for(task)))
        try:
            decision = decide(task, event, now)
        except (Refused, TaskEnded):
            continue
        if decision.changed(task):
            check_change(task, event, decision.task, now)
            ends += decision.task.state.final
            task = decision.task
    assert ends == task.state.final
