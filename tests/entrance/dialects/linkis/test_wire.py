"""entrance.dialects.linkis.wire: the two tables are total, numbers never fall, nothing secret is shown."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from common.errors import EntranceError
from common.task import (
    FINAL,
    Event,
    Failed,
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
from entrance.core.model import LogPage
from entrance.dialects.linkis import wire
from executors.launchers.base import Sample

NUMBERS = {
    "Inited": 0,
    "WaitForRetry": 1,
    "Scheduled": 2,
    "Running": 3,
    "Succeed": 4,
    "Failed": 5,
    "Cancelled": 6,
    "Timeout": 7,
}
TASK = Task(
    id=1, uuid="u", exec_id="e", user="a", execute_user="a", creator="c", executor="echo", run_type="echo", door="linkis"
)


@pytest.mark.parametrize("state", list(State))
@pytest.mark.parametrize("attempt", [0, 1])
def test_every_state_has_a_word_and_never_wait_for_retry(state: State, attempt: int) -> None:
    word = wire.status_word(replace(TASK, state=state, attempt=attempt, queued_at=1))
    assert word in NUMBERS
    assert word != "WaitForRetry"
    assert (NUMBERS[word] >= 4) is (state in FINAL)


SEEN = [(s, n) for s in State for n in (0, 1) if n or s not in (State.RUNNING, State.WAITING_RETRY)]


@pytest.mark.parametrize(("state", "attempt"), SEEN)
def test_a_filter_by_the_word_that_is_shown_finds_the_task(state: State, attempt: int) -> None:
    task = replace(TASK, state=state, attempt=attempt, queued_at=1)
    for word in NUMBERS:
        states, narrowed = wire.selected([word])
        found = state in states or f"{'ran' if attempt else 'never_ran'}:{state}" in narrowed
        shown = word == wire.status_word(task) or (word == "WaitForRetry" and state is State.WAITING_RETRY)
        assert found is shown, f"{state} {attempt} {word}"


def test_unknown_words_select_nothing() -> None:
    assert wire.selected(["Unknown", "succeeded", ""]) == ([], [])


def test_a_random_walk_never_shows_a_number_that_falls() -> None:
    chance = random.Random(7)
    for _ in range(300):
        task, number = TASK, 0
        for now in range(60):
            event: Event = chance.choice(
                [
                    Ready(),
                    Picked(),
                    Picked(),
                    Pause(by="a"),
                    Resume(by="a"),
                    RetryDue(),
                    Stopped(attempt=task.attempt),
                    Lost(attempt=task.attempt, reason="x"),
                    Failed(attempt=task.attempt, reason="x", may_pass=True),
                    chance.choice(
                        [
                            Succeeded(attempt=task.attempt),
                            Kill(by="a"),
                            TimedOut(seconds=1, attempt=task.attempt),
                            Stopped(attempt=task.attempt),
                        ]
                    ),
                ]
            )
            try:
                task = decide(task, event, now).task
            except EntranceError:
                continue
            shown = NUMBERS[wire.status_word(task)]
            assert shown >= number, f"{event} made {number} of {shown}"
            number = shown


def test_what_waits_is_told_by_flags() -> None:
    assert wire.waits(replace(TASK, state=State.RUNNING, pause_requested=True))["paused"] is True
    assert wire.waits(replace(TASK, state=State.PAUSED))["paused"] is True
    assert wire.waits(replace(TASK, state=State.WAITING_RETRY))["waitingRetry"] is True
    assert wire.waits(replace(TASK, state=State.RUNNING)) == {"paused": False, "waitingRetry": False, "priority": 100}


def test_the_four_texts_of_a_log_hold_each_line_once_and_no_blank_ones() -> None:
    page = LogPage(
        lines=["a", "", "b", "  trace", "c"], levels=["INFO", "INFO", "ERROR", "ERROR", "WARN"], first=0, next_line=5
    )
    assert wire.log_by_level(page) == ["b\n  trace", "c", "a", "a\nb\n  trace\nc"]
    assert wire.log_as_text(page) == "a\n\nb\n  trace\nc"


@pytest.mark.parametrize(
    ("fraction", "text"), [(0.0, "0.0"), (1.0, "1.0"), (0.42, "0.42"), (0.99999, "0.9999"), (1 / 3, "0.3333")]
)
def test_progress_as_text_is_one_only_at_the_end(fraction: float, text: str) -> None:
    assert wire.decimal(fraction) == text


def test_what_goes_by_the_name_of_a_secret_is_hidden_at_every_depth() -> None:
    given = {"a": [{"Secret-Key": "x", "access_key": "y", "plain": 1}], "password": "", "tokenTTL": 5}
    assert wire.masked(given) == {
        "a": [{"Secret-Key": "******", "access_key": "******", "plain": 1}],
        "password": "",
        "tokenTTL": "******",
    }


@pytest.mark.parametrize(
    ("cores", "colour", "share"), [(0.0, "green", 0.25), (1.5, "green", 0.5), (2.5, "red", 0.75), (9.0, "red", 1.0)]
)
def test_resources_are_shares_of_the_machine_with_their_colours(cores: float, colour: str, share: float) -> None:
    sample = Sample(at=1, rss=1 << 30, cpu_seconds=1, read_bytes=0, written_bytes=0, processes=3)
    running = replace(TASK, state=State.RUNNING, attempt=2)
    data = wire.resources(running, sample, cores, machine_cores=4, machine_bytes=1 << 32)["yarnMetrics"]
    assert (data["corePercent"], data["coreRGB"]) == (share, colour)
    assert (data["memoryPercent"], data["memoryRGB"]) == (0.25, "green")
    assert data["yarnResource"][0]["applicationId"] == "echo_1_2"
    assert data["yarnResource"][0]["queueInstances"] == 3
    ended = wire.resources(replace(running, state=State.CANCELLED), sample, cores, machine_cores=4, machine_bytes=1 << 32)
    assert ended["yarnMetrics"]["yarnResource"][0]["jobStatus"] == "KILLED"
    assert wire.resources(running, None, 0, machine_cores=4, machine_bytes=1) == {"yarnResource": None}
