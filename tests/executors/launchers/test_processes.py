"""Finding processes and what they use, on this kernel."""

import os
import subprocess
import sys
import time

from attempts import wait_until

from executors.launchers import processes

BUSY = """
open("/dev/null", "wb").write(bytes(5 << 20))
held = bytearray(32 << 20)
print("up", flush=True)
input()
"""


def test_children_are_those_of_all_threads_and_none_when_the_process_is_gone():
    child = subprocess.Popen(["sleep", "60"])
    try:
        assert child.pid in processes.children(os.getpid())
        assert child.pid in processes.children("self")
    finally:
        child.kill()
        child.wait()
    assert child.pid not in processes.children("self")
    assert processes.children(child.pid) == []


def test_only_processes_of_the_instance_are_marked_and_never_this_one(monkeypatch):
    def sleeper(environment):
        return subprocess.Popen(["sleep", "60"], env=environment)

    first = sleeper({"ENTRANCE_TASK": "mine/1-1"})
    later = sleeper({"A": "b", "ENTRANCE_TASK": "mine/forkserver"})
    other = sleeper({"ENTRANCE_TASK": "mine2/1-1", "X": "ENTRANCE_TASK=mine/1-1"})
    try:
        assert set(wait_until(lambda: processes.marked("mine"))) == {first.pid, later.pid}
        assert processes.marked("mine", {first.pid}) == [later.pid]
    finally:
        for child in (first, later, other):
            child.kill()
            child.wait()


def test_strangers_are_children_in_sessions_of_their_own_that_are_not_spared():
    ours = subprocess.Popen(["sleep", "60"])
    detached = subprocess.Popen(["sleep", "60"], start_new_session=True)
    try:
        found = processes.strangers(())
        assert detached.pid in found
        assert ours.pid not in found
        assert detached.pid not in processes.strangers({detached.pid})
    finally:
        for child in (ours, detached):
            child.kill()
            child.wait()


def test_usage_covers_the_tree_and_leaves_out_what_is_gone():
    script = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {BUSY!r}])"
    child = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout.readline() == "up\n"
        gone = subprocess.Popen(["true"])
        gone.wait()
        used = processes.usage([child.pid, gone.pid])
        assert set(used) == {child.pid}
        usage = used[child.pid]
        assert usage.processes == 2
        assert usage.rss > 32 << 20
        assert usage.written_bytes > 5 << 20
        assert usage.cpu_seconds >= 0
    finally:
        child.communicate("\n")


def test_usage_of_many_trees_is_quick():
    children = [subprocess.Popen(["sleep", "60"]) for _ in range(30)]
    try:
        began = time.monotonic()
        assert len(processes.usage([child.pid for child in children])) == 30
        assert time.monotonic() - began < 1
    finally:
        for child in children:
            child.kill()
            child.wait()


def test_the_counter_of_memory_kills_and_the_address_space_are_read():
    assert processes.memory_kills() >= 0
    assert processes.address_space() > 1 << 20
