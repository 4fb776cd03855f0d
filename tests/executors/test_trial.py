"""echo and sleep end in every way that a task can end, and say each thing once."""

import os
import signal
import time
from itertools import pairwise

import pytest
from attempts import alive, descendants, local_launcher, wait_until

from common.errors import InvalidParams
from executors import registry
from executors.launchers.base import Ending


@pytest.fixture(scope="module")
def launcher(tmp_path_factory):
    with local_launcher(tmp_path_factory.mktemp("trial"), "trial") as opened:
        yield opened


@pytest.fixture
def sink(launcher):
    return launcher.sink


@pytest.fixture
def start(launcher):
    return launcher.starter


def test_all_keys_are_optional_and_only_the_seconds_differ():
    echo = registry.load_params(registry.get("echo"), {})
    sleep = registry.load_params(registry.get("sleep"), {})
    assert (echo.pop("seconds"), sleep.pop("seconds")) == (0.0, 10.0)
    assert echo == sleep
    assert set(echo) == {"lines", "steps", "memory", "fail", "crash", "stubborn", "lock"}


@pytest.mark.parametrize(
    "raw", [{"lines": -1}, {"crash": 0}, {"crash": 65}, {"memory": "much"}, {"seconds": "soon"}, {"lock": ""}]
)
def test_what_makes_no_sense_is_refused(raw):
    with pytest.raises(InvalidParams, match=next(iter(raw))):
        registry.load_params(registry.get("echo"), raw)


def test_lines_and_steps_are_spread_evenly_over_the_seconds(start, sink):
    began = time.monotonic()
    key = start("echo", {"seconds": 1, "lines": 4, "steps": 2})
    assert sink.wait_end(key).ending is Ending.SUCCEEDED
    assert 1 <= time.monotonic() - began < 3
    assert [text.removeprefix("INFO ") for text in sink.texts(key)] == [
        "line 1 of 4", "line 2 of 4", "step 1 of 2", "line 3 of 4", "line 4 of 4", "step 2 of 2",
    ]  # fmt: skip
    milliseconds = [int(line[20:23]) + 1000 * int(line[17:19]) for line in sink.lines(key)]
    gaps = [(after - before) % 60_000 for before, after in pairwise(milliseconds)]
    assert 150 < gaps[0] < 400
    assert [(progress.done, progress.total) for progress, _ in sink.of(key, "step")][-1] == (2, 2)


def test_many_lines_come_once_each_and_in_order(start, sink):
    key = start("echo", {"lines": 50_000})
    assert sink.wait_end(key, 60).ending is Ending.SUCCEEDED
    assert sink.texts(key) == [f"INFO line {number} of 50000" for number in range(1, 50_001)]


def test_nothing_is_said_twice_when_an_attempt_is_killed_between_steps(start, sink, launcher):
    texts, state = [], None
    for round_ in range(4):
        attempt = start.attempt("echo", {"seconds": 0.5, "steps": 40, "lines": 4_000}, checkpoint=state)
        launcher.start(attempt)
        if round_ < 3:
            wait_until(lambda key=attempt.key: len(sink.of(key, "step")) > 2)
            launcher.kill([attempt.key])
        sink.wait_end(attempt.key)
        texts += sink.texts(attempt.key)
        state = sink.states(attempt.key)[-1]
    assert len(texts) == len(set(texts)) == 4_040


def test_memory_is_taken_and_touched(start, sink):
    end = sink.wait_end(start("echo", {"memory": "100MiB"}))
    assert (end.ending, end.max_rss_bytes > 100 << 20) == (Ending.SUCCEEDED, True)


def test_it_fails_with_the_text_after_its_work(start, sink):
    key = start("echo", {"steps": 2, "fail": "no luck"})
    end = sink.wait_end(key)
    assert (end.ending, end.reason, end.may_pass) == (Ending.FAILED, "no luck", False)
    assert len(sink.texts(key)) == 2


def test_it_crashes_by_the_signal(start, sink):
    end = sink.wait_end(start("echo", {"crash": int(signal.SIGABRT)}))
    assert (end.ending, end.exit_status) == (Ending.DIED, -signal.SIGABRT)


def test_a_stubborn_one_ignores_sigterm_and_has_a_child_in_a_session_of_its_own(start, sink, launcher):
    key = start("sleep", {"stubborn": True})
    sink.wait_for(key, "step")
    server = next(pid for pid in descendants(os.getpid()) if f"trial-{os.getpid()}".encode() in cmdline(pid))
    tree = wait_until(lambda: len(below := descendants(server)) == 2 and below)
    for pid in tree:
        os.kill(pid, signal.SIGTERM)
    assert os.getsid(tree[1]) == tree[1]
    assert all(alive(pid) for pid in tree)
    assert list(launcher.kill([key])) == []
    assert not any(alive(pid) for pid in tree)
    sink.wait_end(key)


def cmdline(pid):
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read()
    except OSError:
        return b""


def test_a_lock_is_held_by_one_attempt_at_a_time_and_freed_by_its_death(start, sink, launcher):
    first = start("sleep", {"lock": "/tmp/some name"})
    sink.wait_for(first, "step")
    end = sink.wait_end(start("echo", {"lock": "/tmp/some name"}))
    assert (end.ending, end.reason) == (Ending.FAILED, "another attempt holds the lock /tmp/some name")
    assert sink.wait_end(start("echo", {"lock": "other"})).ending is Ending.SUCCEEDED
    launcher.kill([first])
    sink.wait_end(first)
    assert sink.wait_end(start("echo", {"lock": "/tmp/some name"})).ending is Ending.SUCCEEDED


def test_a_pause_takes_effect_within_a_second_and_time_goes_on_from_there(start, sink, launcher):
    key = start("sleep", {"seconds": 1.0})
    wait_until(lambda: sink.of(key, "step") and sink.of(key, "step")[-1][0].done > 400)
    launcher.ask_stop(key)
    assert sink.wait_end(key, 1).ending is Ending.STOPPED
    began = time.monotonic()
    again = start("sleep", {"seconds": 1.0}, checkpoint=sink.states(key)[-1])
    assert sink.wait_end(again).ending is Ending.SUCCEEDED
    assert time.monotonic() - began < 0.9
