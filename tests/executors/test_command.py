"""command: declared programs only; output to the log, exit status to the state, a stop ends it."""

import os
import sys
import time

import pytest
from attempts import local_launcher, processes_with, wait_until

from common.errors import InvalidParams
from executors import registry
from executors.launchers.base import Ending

COMMANDS = {
    "say": ["echo", "it", "says"],
    "shell": ["sh", "-c"],
    "python": [sys.executable, "-c"],
    "missing": ["/no/such/program"],
}


@pytest.fixture(scope="module")
def launcher(tmp_path_factory):
    with local_launcher(tmp_path_factory.mktemp("command"), "command") as opened:
        yield opened


@pytest.fixture
def sink(launcher):
    return launcher.sink


@pytest.fixture
def run(launcher):
    def start(name, *args, **more):
        return launcher.starter("command", {"name": name, "args": list(args)}, **{"commands": COMMANDS, **more})

    return start


def test_arguments_are_put_behind_the_declared_ones_and_no_shell_reads_them(run, sink):
    key = run("say", "$HOME; rm -rf", "`x`")
    assert sink.wait_end(key).ending is Ending.SUCCEEDED
    assert sink.texts(key) == ["INFO it says $HOME; rm -rf `x`"]


def test_both_outputs_go_to_the_log_as_they_come(run, sink):
    key = run("shell", "echo one; echo two >&2; sleep 0.7; printf 'three\\r\\nlast'; sleep 60")
    wait_until(lambda: sorted(sink.texts(key)) == ["INFO one", "INFO three", "WARN two"])
    assert key in sink_running(run)


def sink_running(run):
    return run.__closure__[0].cell_contents.running()


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("echo no; exit 7", "the command shell exited with status 7"),
        ("kill -SEGV $$", "the command shell was killed by signal 11 (Segmentation fault)"),
    ],
)
def test_the_exit_status_decides(run, sink, script, reason):
    end = sink.wait_end(run("shell", script))
    assert (end.ending, end.reason, end.may_pass) == (Ending.FAILED, reason, False)


def test_what_is_not_declared_does_not_run(run, sink):
    assert sink.wait_end(run("ls")).reason == "no command ls is declared; there are: missing, python, say, shell"
    assert sink.wait_end(run("ls", commands={})).reason == "no command ls is declared; none are"


def test_a_program_that_cannot_be_started_is_told(run, sink):
    assert sink.wait_end(run("missing")).reason == "the command missing cannot be started: No such file or directory"
    assert "zero byte" in sink.wait_end(run("say", "a\0b")).reason


def test_its_name_is_needed_and_its_arguments_are_texts():
    with pytest.raises(InvalidParams) as caught:
        registry.load_params(registry.get("command"), {"args": [1, "x"], "shell": True})
    assert {fault.path for fault in caught.value.faults} == {"name", "args.0", "shell"}


def test_a_stop_ends_the_program_and_what_it_started(run, sink, launcher):
    marker = f"stop-test-{os.getpid()}"
    key = run("shell", f"sleep 86400 & setsid sleep 86400 & echo {marker}; wait")
    wait_until(lambda: sink.texts(key))
    began = time.monotonic()
    launcher.ask_stop(key)
    assert sink.wait_end(key).ending is Ending.STOPPED
    assert time.monotonic() - began < 2
    assert processes_with(f"command-{os.getpid()}/{key}") == []


def test_a_program_in_the_background_does_not_hold_up_the_end(run, sink):
    began = time.monotonic()
    key = run("shell", "sleep 86400 & echo done")
    assert sink.wait_end(key).ending is Ending.SUCCEEDED
    assert time.monotonic() - began < 5
    assert sink.texts(key) == ["INFO done"]
    assert processes_with(f"command-{os.getpid()}/{key}") == []


def test_a_program_that_closes_its_outputs_is_waited_for(run, sink):
    key = run("python", "import os, time; os.close(1); os.close(2); time.sleep(0.7); os._exit(4)")
    assert sink.wait_end(key).reason == "the command python exited with status 4"


def test_it_runs_in_a_folder_of_its_own_with_nothing_to_read(run, sink):
    key = run("shell", "pwd; cat; env | grep -c ENTRANCE_TASK")
    assert sink.wait_end(key).ending is Ending.SUCCEEDED
    folder, marked = sink.texts(key)
    assert folder.split("/")[-2:] == ["work", str(key)]
    assert marked == "INFO 1"


def test_much_output_comes_whole(run, sink):
    key = run("python", "for n in range(100000): print('number', n)")
    assert sink.wait_end(key, 60).ending is Ending.SUCCEEDED
    assert sink.texts(key) == [f"INFO number {n}" for n in range(100_000)]
