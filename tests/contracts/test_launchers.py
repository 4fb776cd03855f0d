"""The launcher contract: what every launcher must do, whatever it runs attempts in."""

import json
import re
import threading
from pathlib import Path

import pytest
from attempts import RecordingSink, Starter, wait_until

from common.errors import ExecutorError, LaunchFailed, NotStored, Refused
from executors.launchers.base import Ending
from executors.launchers.inline import InlineLauncher
from executors.launchers.local import LocalLauncher
from executors.launchers.split import SplitLauncher

HEAD = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} (INFO|WARN|ERROR) ")


@pytest.fixture(params=["local", "inline", "split"])
def launcher(request, tmp_path, misbehaving):
    if request.param == "inline":
        return InlineLauncher()
    if request.param == "split":
        name = f"test-{tmp_path.name}-{id(tmp_path)}"
        small = LocalLauncher(data=tmp_path / "data", instance=f"{name}-small", executors=["echo", "sleep"])
        large = LocalLauncher(data=tmp_path / "data", instance=name, awaited=False)
        return SplitLauncher(small, large, ["echo", "sleep"])
    return LocalLauncher(data=tmp_path / "data", instance=f"test-{tmp_path.name}-{id(tmp_path)}")


@pytest.fixture
def sink():
    return RecordingSink()


@pytest.fixture
def start(launcher, sink, tmp_path):
    launcher.open(sink)
    launcher.reconcile()
    yield Starter(launcher, tmp_path / "work")
    launcher.close(5)


def test_an_attempt_ends_once_after_everything_else_was_heard(start, sink):
    key = start("echo", {"lines": 5, "steps": 3})
    end = sink.wait_end(key)
    assert (end.ending, end.rows, end.reason) == (Ending.SUCCEEDED, [["ok"]], "")
    kinds = sink.kinds(key)
    assert kinds[-1] == "ended"
    assert kinds.count("ended") == 1
    assert len(sink.lines(key)) == 8


def test_log_lines_carry_time_and_level_and_are_clean(start, sink):
    texts = ["plain", "two\nlines", "bell\x07 and\ttab", "crlf\r\nnext", "中文", "x" * 100_000, "\udcff lone", ""]
    key = start("verbose", texts)
    assert sink.wait_end(key).ending is Ending.SUCCEEDED
    block = b"".join(sink.of(key, "log"))
    assert block.endswith(b"\n")
    lines = block.decode().split("\n")[:-1]
    heads = [line for line in lines if HEAD.match(line)]
    assert len(heads) == len(texts)
    bodies = [HEAD.sub("", line) for line in lines]
    assert bodies[:7] == ["plain", "two", "lines", "bell\ufffd and\ttab", "crlf", "next", "中文"]
    assert len(lines[7].encode()) == 64 << 10
    assert bodies[8:] == ["\\udcff lone", ""]
    assert " WARN " in lines[0]


def test_the_last_numbers_and_the_last_checkpoint_always_arrive(start, sink):
    key = start("hasty")
    assert sink.wait_end(key).ending is Ending.SUCCEEDED
    steps = sink.of(key, "step")
    assert len(steps) < 100
    progress, state = steps[-1]
    assert (progress.done, progress.total, progress.bytes_done, progress.files_total, state) == (2_000, 2_000, 9, 4, b"all")
    texts = [text.split() for text in sink.texts(key)]
    for kind in "abc":
        assert [int(number) for _, who, number in texts if who == kind] == list(range(2_000))
    assert len(sink.lines(key)) == 6_000


def test_an_expected_error_is_told_in_its_words(start, sink):
    end = sink.wait_end(start("echo", {"fail": "the disk is on the moon"}))
    assert (end.ending, end.reason, end.may_pass, end.rows) == (Ending.FAILED, "the disk is on the moon", False, None)


def test_a_bug_keeps_its_traceback_in_the_log(start, sink):
    key = start("buggy")
    end = sink.wait_end(key)
    assert (end.ending, end.reason) == (Ending.FAILED, "KeyError: 'no such key'")
    log = "\n".join(sink.lines(key))
    assert "ERROR Traceback (most recent call last):" in log
    assert 'return {}["no such key"]' in log


@pytest.mark.parametrize(
    ("what", "reason", "may_pass"),
    [
        ("space", "no space left on the device", True),
        ("rows", "10001 result rows are more than 10000", False),
        ("wide", "a result row has 2 values, there are 1 columns", False),
        ("exit", "the executor called exit", False),
    ],
)
def test_what_goes_wrong_becomes_a_sentence(start, sink, what, reason, may_pass):
    end = sink.wait_end(start("greedy", what))
    assert (end.ending, end.reason, end.may_pass) == (Ending.FAILED, reason, may_pass)


def test_an_unknown_executor_fails_the_attempt(start, sink):
    end = sink.wait_end(start("nosuch"))
    assert end.reason.startswith("no executor nosuch; there are: ")


def test_a_large_attempt_reaches_its_executor(start, sink):
    key = start("verbose", ["x" * 1000] * 3_000, checkpoint=bytes(range(256)) * 256)
    assert sink.wait_end(key).ending is Ending.SUCCEEDED
    assert len(sink.lines(key)) == 3_000


def test_requests_are_carried_out_in_order_and_answered(start, sink, launcher):
    sink.on_rows = launcher.merged

    def refuse_unknown(key, table, n, ids=sink.ids):
        if table == "nothing":
            raise ExecutorError("there is no table nothing")
        return ids(key, table, n)

    sink.ids = refuse_unknown
    key = start("asking")
    end = sink.wait_end(key)
    assert end.ending is Ending.SUCCEEDED, end.reason
    assert json.loads(end.rows[0][0]) == [100, 77]
    assert [kind for kind in sink.kinds(key) if kind != "step"] == [
        "own", "own", "ids", "child", "rows", "publish", "log", "ended",
    ]  # fmt: skip
    assert sink.of(key, "own") == [("path", ["/out/a.part", "/out/b.part"]), ("prefix", ["bucket/prefix"])]
    assert sink.of(key, "child") == [("job-7", "pack", {"job": 7}, 7)]
    assert sink.of(key, "publish") == [[("/out/a.part", "/out/a")]]
    part, content = sink.of(key, "rows")[0]
    assert (part.number, part.table, part.columns, part.count) == (1, "cars", ("id", "cid"), 1)
    assert content == [(100, "bafy")]
    assert sink.texts(key) == ["INFO refused: there is no table nothing"]


@pytest.mark.parametrize(("error", "said"), [(NotStored(), "may pass: "), (ZeroDivisionError(), "may pass: ")])
def test_what_the_service_could_not_do_may_pass(start, sink, launcher, error, said):
    sink.on_rows = launcher.merged

    def fail(key, table, n, ids=sink.ids):
        if table == "nothing":
            raise error
        return ids(key, table, n)

    sink.ids = fail
    key = start("asking")
    assert sink.wait_end(key).ending is Ending.SUCCEEDED
    assert sink.texts(key)[0].startswith(f"INFO {said}")


def test_rows_come_in_slices_before_the_checkpoint_that_counts_them(start, sink, launcher, tmp_path):
    sink.on_rows = launcher.merged
    key = start.attempt("rowing", 12_345).key
    odd = type(key)(task_id=key.task_id + 1, number=1)
    start("rowing", 12_345, key=odd)
    assert sink.wait_end(odd).ending is Ending.SUCCEEDED
    seen = 0
    for event in sink.events:
        if event[0] == odd and event[1] == "rows":
            part, content = event[2:]
            assert part.count == len(content) <= 10_000
            assert part.path.is_relative_to(tmp_path / "work" / str(odd))
            assert [row[0] for row in content] == list(range(seen, seen + part.count))
            assert content[0][1:] == (f"path {seen}", b"x", None)
            seen += part.count
        elif event[0] == odd and event[1] == "step" and event[3] is not None:
            assert seen > int(event[3])
    assert seen == 12_345


def test_rows_without_checkpoints_come_in_full_slices(start, sink, launcher):
    sink.on_rows = launcher.merged
    key = start("rowing", 25_000)
    assert sink.wait_end(key).ending is Ending.SUCCEEDED
    assert [part.count for part, _ in sink.of(key, "rows")] == [10_000, 10_000, 5_000]
    assert [part.number for part, _ in sink.of(key, "rows")] == [1, 2, 3]


def test_at_most_eight_slices_wait_for_the_writer(start, sink, launcher):
    key = start("rowing", 120_000)
    wait_until(lambda: len(sink.of(key, "rows")) == 8)
    assert key in launcher.running()
    launcher.merged(key, 3)
    wait_until(lambda: len(sink.of(key, "rows")) == 11)
    launcher.merged(key, 8)
    assert sink.wait_end(key).ending is Ending.SUCCEEDED
    assert len(sink.of(key, "rows")) == 12


def test_an_attempt_that_waits_for_the_writer_can_be_stopped(start, sink, launcher):
    key = start("rowing", 120_000)
    wait_until(lambda: len(sink.of(key, "rows")) == 8)
    launcher.ask_stop(key)
    assert sink.wait_end(key).ending is Ending.STOPPED


def test_a_stopped_attempt_leaves_its_last_checkpoint(start, sink, launcher):
    key = start("waiting")
    wait_until(lambda: len(sink.states(key)) > 3)
    launcher.ask_stop(key)
    end = sink.wait_end(key)
    assert (end.ending, end.rows) == (Ending.STOPPED, None)
    progress, state = sink.of(key, "step")[-1]
    assert int(state) == progress.done
    assert launcher.running() == []


def test_a_later_attempt_goes_on_where_the_checkpoint_stands(start, sink, launcher):
    params = {"seconds": 0.6, "steps": 12, "lines": 30}
    texts, state, number = [], None, 0
    while True:
        number += 1
        attempt = start.attempt("echo", params, checkpoint=state)
        launcher.start(attempt)
        if number < 4:
            enough = number * 3 - len(texts)
            wait_until(lambda key=attempt.key, enough=enough: len(sink.lines(key)) > enough)
            launcher.ask_stop(attempt.key)
        end = sink.wait_end(attempt.key)
        texts += sink.texts(attempt.key)
        state = sink.states(attempt.key)[-1]
        if end.ending is Ending.SUCCEEDED:
            break
        assert end.ending is Ending.STOPPED
    assert number > 1
    assert [text for text in texts if "step" in text] == [f"INFO step {n} of 12" for n in range(1, 13)]
    assert [text for text in texts if "line" in text] == [f"INFO line {n} of 30" for n in range(1, 31)]


@pytest.mark.parametrize("kind", ["log", "step"])
def test_a_refused_attempt_is_told_to_stop_and_not_heard_again(start, sink, launcher, kind):
    sink.refuse[kind] = Refused("fenced")
    key = start("waiting")
    assert sink.wait_end(key).ending is Ending.STOPPED
    assert sink.kinds(key).count(kind) == 1


def test_a_refused_request_stops_the_attempt(start, sink):
    sink.refuse["own"] = Refused("fenced")
    key = start("asking")
    assert sink.wait_end(key).ending is Ending.STOPPED
    assert sink.kinds(key) == ["own", "ended"]


def test_an_event_that_cannot_be_stored_fails_the_attempt(start, sink):
    sink.refuse["step"] = NotStored("the disk is full")
    end = sink.wait_end(start("waiting"))
    assert (end.ending, end.reason, end.may_pass) == (Ending.FAILED, "the disk is full", True)


def test_the_number_of_cores_follows_the_standing_answer(start, sink, launcher):
    key = start("waiting", cores=2)
    wait_until(lambda: "INFO cores 2" in sink.texts(key))
    launcher.cores(key, 4)
    wait_until(lambda: "INFO cores 4" in sink.texts(key))
    launcher.ask_stop(key)
    sink.wait_end(key)


def test_a_task_has_one_attempt_at_a_time(start, sink, launcher):
    first = start.attempt("waiting")
    launcher.start(first)
    second = start.attempt("waiting", key=type(first.key)(task_id=first.key.task_id, number=2))
    with pytest.raises(LaunchFailed, match="has not ended"):
        launcher.start(second)
    launcher.ask_stop(first.key)
    sink.wait_end(first.key)
    wait_until(lambda: launcher.running() == [])
    launcher.start(second)
    launcher.ask_stop(second.key)
    sink.wait_end(second.key)


def test_the_next_attempt_may_start_when_the_end_is_told(start, sink, launcher):
    first = start.attempt("echo")
    second = start.attempt("echo", key=type(first.key)(task_id=first.key.task_id, number=2))
    record = sink.ended

    def ended(key, end):
        record(key, end)
        if key == first.key:
            launcher.start(second)

    sink.ended = ended
    launcher.start(first)
    assert sink.wait_end(second.key).ending is Ending.SUCCEEDED


def test_attempts_that_are_not_known_are_passed_over(start, launcher):
    key = start.attempt("echo").key
    launcher.ask_stop(key)
    launcher.cores(key, 1)
    launcher.merged(key, 1)
    assert list(launcher.kill([key])) == []


def test_closing_ends_what_runs_and_refuses_what_comes(start, sink, launcher):
    keys = [start("waiting") for _ in range(3)]
    assert sorted(launcher.running()) == sorted(keys)
    for key in keys:
        sink.wait_for(key, "step")
    launcher.close(5)
    assert [sink.wait_end(key, 1).ending for key in keys] == [Ending.STOPPED] * 3
    with pytest.raises(LaunchFailed):
        start("echo")


def test_killing_answers_when_the_attempts_are_gone(start, sink, launcher):
    keys = [start("waiting") for _ in range(5)]
    for key in keys:
        sink.wait_for(key, "step")
    assert list(launcher.kill(keys)) == []
    assert launcher.running() == []
    assert {sink.wait_end(key).ending for key in keys} == {Ending.STOPPED}


def test_many_attempts_at_once_keep_their_words_apart(start, sink):
    keys = [start("verbose", [f"{n} of attempt {i}" for n in range(50)]) for i in range(20)]
    for i, key in enumerate(keys):
        assert sink.wait_end(key).ending is Ending.SUCCEEDED
        assert sink.texts(key) == [f"WARN {n} of attempt {i}" for n in range(50)]


def test_nothing_is_left_after_closing(start, sink, launcher, tmp_path):
    before = threading.active_count()
    keys = [start("echo") for _ in range(10)]
    for key in keys:
        sink.wait_end(key)
    wait_until(lambda: threading.active_count() <= before)
    launcher.close(5)
    assert not any(Path(tmp_path / "work").rglob("*"))
