"""Group ``spine``: many tasks, large logs, kills by the thousand."""

from __future__ import annotations

import os
import random
import time
from pathlib import Path

from factories import Service, wait_until

from prove import Environment, Miss, claim
from prove._client import Client

TASKS = 2000
LINES = 5


def _descriptors(service: Service) -> int:
    return len(os.listdir(f"/proc/{service.pid}/fd"))


def _percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


@claim(
    group="spine",
    name="echo-rate",
    wanted="2,000 echo tasks of four creators over 300/s, submit p99 under 20 ms, logs whole, nothing left",
)
def echo_rate(env: Environment, seed: int) -> str:
    """One client submits as fast as it can; from the first submit to the last end, by the service's own times."""
    service = env.service().start()
    client = Client(service)
    for _ in range(20):
        client.submit("echo", {"lines": 1}, "WARM")
    client.idle(30)
    os.sync()  # what the installation of the clone has written
    time.sleep(3.0)
    descriptors, processes = _descriptors(service), len(service.processes())
    ids, took = [], []
    for i in range(TASKS):
        begin = time.monotonic()
        ids.append(client.submit("echo", {"lines": LINES}, f"C{i % 4}"))
        took.append(time.monotonic() - begin)
    client.idle(120)
    rows = {}
    for page in range(1, 6):
        for row in client.data("GET", f"/jobhistory/list?pageNow={page}&pageSize=500")["tasks"]:
            rows[row["taskID"]] = row
    mine = [rows[i] for i in ids]
    if any(row["status"] != "Succeed" for row in mine):
        raise Miss(f"{sum(row['status'] != 'Succeed' for row in mine)} tasks did not succeed")
    seconds = (max(r["requestEndTime"] for r in mine) - min(r["createdTime"] for r in mine)) / 1000
    for task in ids:
        lines = client.log(task)
        said = [x for x in lines if f" of {LINES}" in x]
        if len(lines) != 4 + LINES + 1 or len(said) != LINES or "Congratulations" not in lines[-1]:
            raise Miss(f"the log of task {task} is not whole: {len(lines)} lines")
    wait_until(lambda: len(service.processes()) <= processes, 5, what="task processes are gone")
    wait_until(lambda: _descriptors(service) <= descriptors + 2, 5, what="descriptors are closed")
    left = [p for folder in ("work", "logs") for p in (service.data / folder).rglob("*") if p.is_file()]
    if left:
        raise Miss(f"{len(left)} files are left, such as {left[0]}")
    rate, p99 = TASKS / seconds, 1000 * _percentile(took, 0.99)
    figure = f"{rate:.0f} tasks/s, submit p50 {1000 * _percentile(took, 0.5):.1f} ms, p99 {p99:.1f} ms, nothing left"
    if rate <= 300 or p99 >= 20:
        raise Miss(figure)
    return figure


def _of_task(service: Service, task: int) -> list[int]:
    """Processes whose environment names a task of this service, or that run below one."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and f"/{task}-".encode() in (entry / "environ").read_bytes():
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def _session_members(pid: int) -> set[int]:
    """The process and all below it, however they detached."""
    found, todo = set(), [pid]
    while todo:
        found.add(at := todo.pop())
        try:
            for thread in Path(f"/proc/{at}/task").iterdir():
                todo += [int(x) for x in (thread / "children").read_text().split()]
        except OSError:
            continue
    return found


@claim(
    group="spine",
    name="kill-stubborn",
    wanted="Cancelled in every answer from the kill on, no process of it after 2 s",
)
def kill_stubborn(env: Environment, seed: int) -> str:
    """A task that ignores SIGTERM and has a child in a session of its own."""
    service = env.service().start()
    client = Client(service)
    slowest = 0.0
    for _ in range(5):
        before = set(service.processes())
        task = client.submit("sleep", {"seconds": 600, "stubborn": True})
        wait_until(lambda task=task: client.status(task) == "Running", 10)
        root = wait_until(lambda before=before: set(service.processes()) - before, 10)
        wait_until(lambda root=root: len(set().union(*map(_session_members, root))) >= 2, 10, what="its child is there")
        tree = set().union(*map(_session_members, root))
        begin = time.monotonic()
        client.data("GET", f"/entrance/{task}/kill")
        answered = time.monotonic() - begin
        answers = [
            client.status(task),
            client.data("GET", f"/jobhistory/{task}/get")["task"]["status"],
            client.data("GET", f"/jobhistory/list?taskID={task}")["tasks"][0]["status"],
        ]
        if set(answers) != {"Cancelled"}:
            raise Miss(f"after the kill the answers were {answers}")
        while any(service.running(pid) for pid in tree):
            if time.monotonic() - begin > 2:
                raise Miss("a process of the killed task lives after 2 s")
            time.sleep(0.005)
        slowest = max(slowest, answered, time.monotonic() - begin)
        if "kill by user successfully" not in client.log(task)[-1] and "was kill by user" not in client.log(task)[-1]:
            raise Miss(f"the log does not end with the kill: {client.log(task)[-1]}")
    return f"5 kills, processes gone after {1000 * slowest:.0f} ms at the latest"


@claim(group="spine", name="kill-thousand", wanted="1,000 kills in one killJobs under 5 s, one Cancelled each")
def kill_thousand(env: Environment, seed: int) -> str:
    """Running and queued tasks of several creators together."""
    service = env.service().start()
    client = Client(service)
    processes = len(service.processes())
    ids = [client.submit("sleep", {"seconds": 600}, f"K{i % 4}") for i in range(1000)]
    wait_until(lambda: client.status(ids[0]) == "Running", 10)
    random.Random(seed).shuffle(ids)
    begin = time.monotonic()
    data = client.data("POST", f"/entrance/{ids[0]}/killJobs", {"idList": [str(i) for i in ids], "taskIDList": ids})
    took = time.monotonic() - begin
    if len(data["messages"]) != 1000 or any(m["status"] != 0 for m in data["messages"]):
        raise Miss(f"{sum(m['status'] != 0 for m in data['messages'])} of {len(data['messages'])} kills failed")
    states = {client.status(i) for i in ids}
    if states != {"Cancelled"}:
        raise Miss(f"after the kill there are {states}")
    wait_until(lambda: len(service.processes()) == processes, 5, what="all task processes are gone")
    if took >= 5:
        raise Miss(f"{took:.2f} s")
    return f"{took:.2f} s"


LOG_LINES = 1_000_000


@claim(
    group="spine",
    name="follow-log",
    wanted="a reader of 1,000,000 lines through a restart gets each once; a page at the end costs as one at the start",
)
def follow_log(env: Environment, seed: int) -> str:
    """The restart (orderly) comes while the task writes; the reader asks with random sizes."""
    random_ = random.Random(seed)
    service = env.service().start()
    client = Client(service)
    task = client.submit("echo", {"lines": LOG_LINES, "steps": 40, "seconds": 20}, jobRetryTimeout="100")
    at, seen, restarted = 0, 0, 0
    expected = 1
    begin = time.monotonic()
    while True:
        size = random_.choice([1, 100, 3000, 10_000, 50_000])
        page = client.data("GET", f"/entrance/{task}/log?fromLine={at}&size={size}&distinctLevel=false")
        if page["fromLine"] > at:
            for line in page["log"].split("\n"):
                if " line " in line and f" of {LOG_LINES}" in line:
                    number = int(line.rsplit(" line ", 1)[1].split()[0])
                    if number != expected:
                        raise Miss(f"line {number} came when {expected} was due")
                    expected += 1
            seen += page["fromLine"] - at
            at = page["fromLine"]
        elif client.status(task) in ("Succeed", "Failed"):
            final = client.data("GET", f"/entrance/{task}/log?fromLine={at}&size=10&distinctLevel=false")
            if final["fromLine"] == at:
                break
        if restarted < 2 and expected > (restarted + 1) * LOG_LINES / 3:
            restarted += 1
            client.close()
            service.stop()
            service.start()
            client = Client(service)
        if time.monotonic() - begin > 600:
            raise Miss(f"{expected - 1} lines after 600 s")
    if expected != LOG_LINES + 1:
        raise Miss(f"{expected - 1} of {LOG_LINES} lines came")

    def cost(first: int) -> float:
        took = []
        for _ in range(31):
            start = time.monotonic()
            client.data("GET", f"/entrance/{task}/log?fromLine={first}&size=100")
            took.append(time.monotonic() - start)
        return 1000 * _percentile(took, 0.5)

    first, last = cost(100), cost(at - 100)
    figure = f"{seen} lines through {restarted} restarts, page at the start {first:.2f} ms, at the end {last:.2f} ms"
    if restarted < 1 or last > 2 * first + 1:
        raise Miss(figure)
    return figure
