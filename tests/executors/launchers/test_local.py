"""The local launcher with real processes: what dies, what is killed, what is left, what is seen."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest
from attempts import MISBEHAVING, RecordingSink, Starter, alive, descendants, processes_with, wait_until

from common.errors import LaunchFailed
from executors.launchers import local, processes
from executors.launchers.base import Ending, Limits
from executors.launchers.control import clean_environment
from executors.launchers.local import LocalLauncher


@pytest.fixture
def instance(tmp_path):
    return f"local-{os.getpid()}-{id(tmp_path)}"


@pytest.fixture
def launcher(tmp_path, instance, misbehaving, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "very-secret")
    monkeypatch.setenv("ENTRANCE_AUTH__KEY", "very-secret")
    return LocalLauncher(data=tmp_path / "data", instance=instance)


@pytest.fixture
def sink():
    return RecordingSink()


@pytest.fixture
def start(launcher, sink, tmp_path, instance):
    launcher.open(sink)
    launcher.reconcile()
    yield Starter(launcher, tmp_path / "work")
    launcher.close(5)
    assert processes_with(f"={instance}/") == []


def fork_server(launcher):
    return next(pid for pid in descendants(os.getpid()) if str(launcher._data).encode() in cmdline(pid))


def cmdline(pid):
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def stubborn(start, sink, launcher):
    """Start an attempt that hides processes everywhere; return its key and all of its processes."""
    server = fork_server(launcher)
    before = set(descendants(server))
    key = start("stubborn")
    wait_until(lambda: "INFO up" in sink.texts(key))
    tree = wait_until(lambda: len(new := set(descendants(server)) - before) >= 7 and new)
    return key, tree


def test_a_kill_ends_the_whole_tree_however_it_hides(start, sink, launcher):
    key, tree = stubborn(start, sink, launcher)
    began = time.monotonic()
    assert list(launcher.kill([key])) == []
    assert time.monotonic() - began < 2
    assert not any(alive(pid) for pid in tree)
    end = sink.wait_end(key)
    assert (end.ending, end.exit_status) == (Ending.STOPPED, -signal.SIGKILL)
    assert sink.states(key) == [b"state"]


def test_many_trees_are_killed_at_once(start, sink, launcher):
    keys = [start("sleep", {"stubborn": True}) for _ in range(40)]
    for key in keys:
        sink.wait_for(key, "step")
    server = fork_server(launcher)
    assert list(launcher.kill(keys, 10)) == []
    assert descendants(server) == []
    assert {sink.wait_end(key).ending for key in keys} == {Ending.STOPPED}


def test_an_attempt_that_does_not_stop_is_killed_after_a_second(start, sink, launcher):
    key = start("busy")
    sink.wait_for(key, "log")
    began = time.monotonic()
    launcher.ask_stop(key)
    end = sink.wait_end(key)
    assert 0.9 < time.monotonic() - began < 3
    assert (end.ending, end.exit_status) == (Ending.STOPPED, -signal.SIGKILL)
    assert sink.states(key) == [b"one"]


def test_what_a_task_leaves_running_is_gone_before_its_end_is_told(start, sink, launcher):
    at_end = []
    record = sink.ended

    def ended(key, end):
        at_end.extend(int(row[0]) for row in end.rows if alive(int(row[0])))
        record(key, end)

    sink.ended = ended
    key = start("leaving")
    end = sink.wait_end(key)
    assert (end.ending, len(end.rows), at_end) == (Ending.SUCCEEDED, 3, [])
    assert sink.texts(key) == ["INFO printed before the end"]


def test_output_becomes_log_lines(start, sink):
    key = start("printing")
    assert sink.wait_end(key).ending is Ending.SUCCEEDED
    texts = sink.texts(key)
    assert [text for text in texts if text.startswith("INFO")] == [
        "INFO one",
        "INFO two \ufffd\ufffd\tbytes",
        "INFO unended",
    ]
    assert [text for text in texts if text.startswith("WARN")] == ["WARN wärning"]


def test_much_output_arrives_whole(start, sink):
    key = start("printing", 200_000)
    assert sink.wait_end(key, 60).ending is Ending.SUCCEEDED
    printed = [text for text in sink.texts(key) if text.startswith("INFO printed ")]
    assert printed == [f"INFO printed {number}" for number in range(200_000)]


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        (3, "the process exited with status 3 without a result"),
        (0, "the process exited with status 0 without a result"),
        (-9, "the process was killed by signal 9 (SIGKILL)"),
        (-11, "the process was killed by signal 11 (SIGSEGV)"),
        (-15, "the process was killed by signal 15 (SIGTERM)"),
    ],
)
def test_the_death_of_a_process_is_told_as_such(start, sink, how, reason):
    key = start("dying", how)
    end = sink.wait_end(key)
    assert (end.ending, end.reason, end.may_pass, end.exit_status) == (Ending.DIED, reason, True, how)
    assert sink.states(key) == [b"half"]
    assert sink.texts(key) == ["INFO about to die"]


def test_memory_that_is_not_allowed_ends_in_a_sentence(start, sink):
    end = sink.wait_end(start("greedy", "memory", limits=Limits(memory_bytes=64 << 20)))
    assert (end.ending, end.may_pass) == (Ending.FAILED, False)
    assert end.reason == "it used more than 64 MiB of memory"
    assert end.max_rss_bytes < 256 << 20


def test_cpu_time_that_is_not_allowed_ends_the_process(start, sink):
    end = sink.wait_end(start("greedy", "cpu", limits=Limits(cpu_seconds=1)))
    assert (end.ending, end.may_pass, end.exit_status) == (Ending.FAILED, False, -signal.SIGXCPU)
    assert end.reason == "it used more than 1 s of processor time"
    assert 0.5 < end.cpu_seconds < 3  # the limit counts whole ticks, what is told counts what was used


def test_open_files_are_limited(start, sink):
    key = start("greedy", "files", limits=Limits(open_files=123))
    sink.wait_end(key)
    assert sink.texts(key) == ["INFO 123"]


def test_a_task_sees_a_clean_world(start, sink, launcher, instance, tmp_path):
    secret = {"lake": {"type": "s3", "secret_key": "storage-secret"}}
    attempts = [start.attempt("revealing", storages=secret) for _ in range(2)]
    for attempt in attempts:
        launcher.start(attempt)
    seen = [json.loads(sink.wait_end(attempt.key).rows[0][0]) for attempt in attempts]
    world = seen[0]
    assert world["environment"]["ENTRANCE_TASK"] == f"{instance}/{attempts[0].key}"
    assert f"ENTRANCE_TASK={instance}/{attempts[0].key}" in world["child"].splitlines()
    assert f"ENTRANCE_TASK={instance}/forkserver" in world["environ"].split("\0")
    assert not {"OPENBLAS_NUM_THREADS", "LD_BIND_NOW"} & set(world["environment"])
    assert "secret" not in json.dumps(world)
    assert [name for name in world["environment"] if name.startswith(("AWS_", "ENTRANCE_"))] == ["ENTRANCE_TASK"]
    assert world["cmdline"][world["cmdline"].index("--data") + 1] == str(tmp_path / "data")
    assert (world["nice"], world["group"], world["ignored"], world["gevent"], world["threads"]) == (10, True, [], False, 1)
    assert world["oom"] > int(Path("/proc/self/oom_score_adj").read_text())
    assert world["stdin"] == "/dev/null"
    kinds = [name.split(":")[0] for name in world["descriptors"] if not name.startswith("/proc")]
    assert sorted(kinds) == ["/dev/null", "pipe", "pipe", "socket"]
    assert seen[0]["random"] != seen[1]["random"]


def test_the_environment_of_children_is_made_of_harmless_names():
    given = {"PATH": "/bin", "LC_ALL": "C", "HTTPS_PROXY": "http://me:pw@proxy", "AWS_PROFILE": "x", "ENTRANCE_X__Y": "z"}
    assert clean_environment(given, "i") == {
        "PATH": "/bin",
        "LC_ALL": "C",
        "OPENBLAS_NUM_THREADS": "1",
        "LD_BIND_NOW": "1",
        "ENTRANCE_TASK": "i/forkserver",
    }


def test_resources_of_the_whole_tree_are_sampled(start, sink, launcher):
    key = start("sleep", {"memory": "64MiB", "stubborn": True})
    sample = sink.wait_for(key, "resources")
    assert sample.rss > 64 << 20
    assert sample.processes == 2
    assert abs(sample.at - time.time() * 1000) < 60_000
    launcher.kill([key])
    assert sink.wait_end(key).max_rss_bytes > 64 << 20


def test_a_refused_heartbeat_stops_the_attempt(start, sink):
    from common.errors import Refused

    sink.refuse["resources"] = Refused("the lease is gone")
    assert sink.wait_end(start("sleep")).ending is Ending.STOPPED


def test_a_lost_fork_server_loses_its_attempts_leaves_nothing_and_is_replaced(start, sink, launcher):
    key, tree = stubborn(start, sink, launcher)
    quiet = start("waiting")
    sink.wait_for(quiet, "step")
    server = fork_server(launcher)
    os.kill(server, signal.SIGKILL)
    end = sink.wait_end(key)
    assert (end.ending, end.may_pass, end.exit_status) == (Ending.LOST, False, None)
    assert sink.wait_end(quiet).ending is Ending.LOST
    assert not any(alive(pid) for pid in tree)
    assert launcher.running() == []
    after = wait_until(lambda: try_to_start(start))
    assert sink.wait_end(after).ending is Ending.SUCCEEDED
    assert fork_server(launcher) != server


def try_to_start(start):
    try:
        return start("echo")
    except LaunchFailed:
        return None


def test_a_result_that_was_told_before_the_fork_server_was_lost_counts(start, sink, launcher):
    server = fork_server(launcher)
    os.kill(server, signal.SIGSTOP)
    key = start("echo")
    os.kill(server, signal.SIGCONT)
    wait_until(lambda: not [pid for pid in descendants(server) if alive(pid)] and sink.of(key, "step"))
    os.kill(server, signal.SIGKILL)
    assert sink.wait_end(key).ending is Ending.SUCCEEDED


def test_signals_to_the_service_group_do_not_end_the_fork_server(start, sink, launcher):
    server = fork_server(launcher)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        os.kill(server, number)
    assert sink.wait_end(start("echo")).ending is Ending.SUCCEEDED
    assert fork_server(launcher) == server


def test_attempts_of_a_stuck_fork_server_are_not_said_to_be_gone(start, sink, launcher):
    key = start("busy")
    sink.wait_for(key, "log")
    server = fork_server(launcher)
    os.kill(server, signal.SIGSTOP)
    try:
        assert list(launcher.kill([key], 0.3)) == [key]
        assert launcher.running() == [key]
    finally:
        os.kill(server, signal.SIGCONT)
    assert list(launcher.kill([key])) == []


def test_a_kill_that_overtakes_the_start_counts(start, sink, launcher):
    attempt = start.attempt("busy")
    start_it = launcher._server.start

    def overtaken(key, descriptors):
        assert list(launcher.kill([attempt.key], 0)) == [attempt.key]
        start_it(key, descriptors)

    launcher._server.start = overtaken
    launcher.start(attempt)
    assert sink.wait_end(attempt.key).ending is Ending.STOPPED


def test_a_fork_server_that_does_not_answer_is_replaced(launcher, sink, tmp_path, monkeypatch):
    monkeypatch.setattr(local, "SAMPLE_SECONDS", 0.1)
    monkeypatch.setattr(local, "SILENT_TICKS", 3)
    launcher.open(sink)
    launcher.reconcile()
    start = Starter(launcher, tmp_path / "work")
    try:
        key = start("waiting")
        sink.wait_for(key, "step")
        server = fork_server(launcher)
        os.kill(server, signal.SIGSTOP)
        assert sink.wait_end(key).ending is Ending.LOST
        after = wait_until(lambda: try_to_start(start))
        assert sink.wait_end(after).ending is Ending.SUCCEEDED
    finally:
        launcher.close(5)


def test_other_children_of_the_service_are_left_alone(start, sink, launcher):
    mine = subprocess.Popen(["sleep", "86400"])
    try:
        key = start("waiting")
        sink.wait_for(key, "step")
        os.kill(fork_server(launcher), signal.SIGKILL)
        sink.wait_end(key)
        assert mine.poll() is None
    finally:
        mine.kill()
        mine.wait()


def test_reconcile_ends_what_an_earlier_life_of_this_instance_left(launcher, sink, instance):
    def sleeper(marker, **how):
        return subprocess.Popen(["sleep", "86400"], env={"PATH": "/bin:/usr/bin", "ENTRANCE_TASK": marker}, **how)

    ours = [sleeper(f"{instance}/4-1"), sleeper(f"{instance}/forkserver", start_new_session=True)]
    others = [sleeper(f"{instance}x/4-1"), sleeper("elsewhere/4-1")]
    try:
        launcher.open(sink)
        launcher.reconcile()
        assert not any(alive(process.pid) for process in ours)
        assert all(process.poll() is None for process in others)
    finally:
        launcher.close(5)
        for process in ours + others:
            process.kill()
            process.wait()


def test_a_service_that_is_killed_takes_everything_with_it(tmp_path, instance):
    code = f"""
        import sys; sys.path.insert(0, {str(Path(__file__).parents[2])!r})
        from pathlib import Path
        from attempts import RecordingSink, Starter
        from executors.launchers.local import LocalLauncher
        launcher, sink = LocalLauncher(data=Path({str(tmp_path)!r}), instance={instance!r}), RecordingSink()
        launcher.open(sink)
        launcher.reconcile()
        start = Starter(launcher, Path({str(tmp_path / "work")!r}))
        keys = [start("stubborn"), start("stubborn"), start("waiting")]
        for key in keys:
            sink.wait_for(key, "step")
        print("up", flush=True)
        import time; time.sleep(600)
    """
    for number in (signal.SIGKILL, signal.SIGTERM):
        service = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(code)],
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(MISBEHAVING)},
            text=True,
        )
        assert service.stdout.readline() == "up\n"
        tree = wait_until(lambda pid=service.pid: len(below := descendants(pid)) >= 14 and below)
        service.send_signal(number)
        service.wait()
        service.stdout.close()
        wait_until(lambda tree=tree: not any(alive(pid) for pid in tree), 5)
        assert processes_with(f"={instance}/") == []


def test_two_hundred_quick_tasks_leave_nothing_behind(start, sink, launcher):
    sink.wait_end(start("echo"))
    descriptors = len(os.listdir("/proc/self/fd"))
    threads = threading.active_count()
    keys = []
    for _ in range(200):
        wait_until(lambda: len(launcher.running()) < 8)
        keys.append(start("echo", {"lines": 1}))
    ends = [sink.wait_end(key) for key in keys]
    assert {(end.ending, end.exit_status) for end in ends} == {(Ending.SUCCEEDED, 0)}
    wait_until(lambda: threading.active_count() <= threads)
    wait_until(lambda: len(os.listdir("/proc/self/fd")) <= descriptors)
    server = fork_server(launcher)
    assert processes.children(server) == []
    assert len(os.listdir(f"/proc/{server}/fd")) <= 8


def test_a_fork_server_that_cannot_start_is_told_at_once(tmp_path, sink, monkeypatch):
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "json.py").write_text("raise SystemExit(3)")
    monkeypatch.setenv("PYTHONPATH", str(broken))
    launcher = LocalLauncher(data=tmp_path, instance="broken")
    began = time.monotonic()
    launcher.open(sink)
    with pytest.raises(LaunchFailed):
        launcher.reconcile()
    assert time.monotonic() - began < 10


def test_a_fork_server_without_its_modules_is_never_ready(tmp_path, sink, instance):
    launcher = LocalLauncher(data=tmp_path, instance=instance, preload=["no_such_module"], awaited=False)
    launcher.open(sink)
    launcher.reconcile()
    try:
        wait_until(lambda: "no_such_module cannot be loaded" in launcher.unable("echo"))
    finally:
        launcher.close(5)


@pytest.fixture
def held(tmp_path, monkeypatch):
    """A module ``held`` whose import ends when the file is there that is returned."""
    gate = tmp_path / "gate"
    (tmp_path / "held.py").write_text(f"import os, time\nwhile not os.path.exists({str(gate)!r}):\n    time.sleep(0.01)\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return gate


def test_attempts_wait_for_a_fork_server_that_reconcile_did_not_wait_for(tmp_path, sink, instance, held):
    launcher = LocalLauncher(data=tmp_path, instance=instance, preload=["held"], awaited=False)
    launcher.open(sink)
    launcher.reconcile()
    try:
        key = Starter(launcher, tmp_path / "work")("echo")
        assert launcher.running() == [key]
        assert launcher.unable("echo") == ""
        held.touch()
        assert sink.wait_end(key).ending is Ending.SUCCEEDED
    finally:
        launcher.close(5)


def test_a_fork_server_that_is_late_is_told_of(tmp_path, sink, instance, held, monkeypatch):
    monkeypatch.setattr(local, "LATE_SECONDS", 0.5)
    launcher = LocalLauncher(data=tmp_path, instance=instance, preload=["held"], awaited=False)
    launcher.open(sink)
    launcher.reconcile()
    try:
        wait_until(lambda: launcher.unable("echo") == "the fork server has not got ready within 0.5 s")
        held.touch()
        wait_until(lambda: not launcher.unable("echo"))
    finally:
        launcher.close(5)


def test_a_fork_server_that_is_not_ready_holds_up_no_end(tmp_path, sink, instance, held):
    launcher = LocalLauncher(data=tmp_path, instance=instance, preload=["held"], awaited=False)
    launcher.open(sink)
    launcher.reconcile()
    key = Starter(launcher, tmp_path / "work")("echo")
    began = time.monotonic()
    launcher.close(0)
    assert sink.wait_end(key).ending is Ending.STOPPED
    assert time.monotonic() - began < 3
    assert processes_with(f"={instance}/") == []


def test_a_fork_server_that_never_got_ready_is_replaced_until_one_does(tmp_path, sink, instance, monkeypatch, caplog):
    mended = tmp_path / "mended"
    (tmp_path / "broken.py").write_text(f"import os\nif not os.path.exists({str(mended)!r}):\n    raise SystemExit(3)\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    launcher = LocalLauncher(data=tmp_path, instance=instance, preload=["broken"], awaited=False)
    launcher.open(sink)
    launcher.reconcile()
    start = Starter(launcher, tmp_path / "work")
    try:
        wait_until(lambda: "fork server ended before it was ready" in caplog.text)
        wait_until(lambda: launcher.unable("echo") == "the fork server ended before it was ready: it exited with status 3")
        told = sink.changes
        mended.touch()
        wait_until(lambda: not launcher.unable("echo"))
        assert sink.changes == told + 1
        assert sink.wait_end(start("echo")).ending is Ending.SUCCEEDED
    finally:
        launcher.close(5)
