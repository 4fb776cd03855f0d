"""Group ``spine``: pauses, restarts and kill -9 lose nothing and double nothing."""

from __future__ import annotations

import http.client
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from itertools import pairwise

import golden
from factories import PASSWORD, PROJECT_ROOT, Service, wait_until

from prove import Environment, Miss, claim
from prove._client import Client

_STEP = re.compile(r" step (\d+) of (\d+)$")


def _steps(lines: list[str]) -> list[int]:
    return [int(m[1]) for line in lines if (m := _STEP.search(line))]


@claim(
    group="spine",
    name="pause-resume",
    wanted="ten pauses of a running task over two restarts: goes on where it was, each step once in the log",
)
def pause_resume(env: Environment, seed: int) -> str:
    """Pauses at random moments; an orderly restart while it is paused, and one while it runs."""
    random_ = random.Random(seed)
    service = env.service().start()
    client = Client(service)
    steps = 120
    task = client.submit("sleep", {"seconds": 14, "steps": steps, "lock": f"pause-{seed}"})
    slowest = 0.0
    for turn in range(10):
        wait_until(lambda client=client: client.status(task) == "Running", 10)
        time.sleep(random_.uniform(0.2, 1.0))
        begin = time.monotonic()
        client.data("GET", f"/entrance/{task}/pause")
        wait_until(
            lambda client=client: client.data("GET", f"/entrance/{task}/history")["history"][-1]["state"] == "paused", 5
        )
        slowest = max(slowest, time.monotonic() - begin)
        if not client.data("GET", f"/entrance/{task}/status")["paused"]:
            raise Miss("a paused task does not say so")
        if turn in (3, 7):
            client.close()
            if turn == 7:
                client = Client(service)
                client.data("GET", f"/entrance/{task}/resume")
                time.sleep(0.5)
            service.stop()
            service.start()
            client = Client(service)
        client.data("GET", f"/entrance/{task}/resume")
    state = service.wait_for(task, timeout_seconds=60)
    seen = _steps(client.log(task))
    if state != "Succeed" or seen != list(range(1, steps + 1)):
        doubled = len(seen) - len(set(seen))
        raise Miss(f"{state}; {len(seen)} step lines, {doubled} twice, {steps - len(set(seen))} missing")
    attempts = client.data("GET", f"/entrance/{task}/attempts")["attempts"]
    backwards = [a["attempt"] for a, b in zip(attempts[1:], attempts, strict=False) if a["doneAtStart"] < b["doneAtEnd"]]
    if backwards:
        raise Miss(f"attempts {backwards} began before the end of the one before them")
    return f"{len(attempts)} attempts, {steps} steps once each, paused after {1000 * slowest:.0f} ms at the latest"


class _Load(threading.Thread):
    """Submits tasks until told to stop; ``acknowledged`` holds what the service said yes to."""

    def __init__(self, service: Service, random_: random.Random) -> None:
        super().__init__(daemon=True)
        self._service, self._random = service, random_
        self.acknowledged: dict[int, int] = {}  # task -> steps
        self.stopped = threading.Event()
        self._number = 0

    def run(self) -> None:
        client: Client | None = None
        while not self.stopped.is_set():
            try:
                client = client or Client(self._service)
                self._number += 1
                steps = self._random.randint(1, 30)
                seconds = round(self._random.uniform(0.0, 1.5), 2)
                task = client.submit(
                    self._random.choice(["echo", "sleep"]),
                    {"seconds": seconds, "steps": steps, "lock": f"storm-{os.getpid()}-{self._number}"},
                    f"S{self._number % 3}",
                    jobRetryCount="10",
                    jobRetryTimeout="100",
                )
                self.acknowledged[task] = steps
            except (OSError, http.client.HTTPException, ValueError, AssertionError, KeyError):
                client = None  # the service is gone for a moment
                time.sleep(0.01)
            time.sleep(self._random.uniform(0.0, 0.15))


def _victims(service: Service, kind: str) -> list[int]:
    """Processes of one kind: the service, its fork server, tasks."""
    if kind == "service":
        with suppress(OSError, KeyError, ValueError):
            return [service.pid]
        return []
    return service.fork_servers() if kind == "forkserver" else service.task_processes()


@claim(
    group="spine",
    name="crash-storm",
    wanted="kill -9 at 100 random moments: nothing acknowledged lost, never two attempts at once, logs in order, "
    "one end each, restart under 3 s",
    timeout_seconds=1500,
)
def crash_storm(env: Environment, seed: int) -> str:
    """Each task holds a lock of its own while an attempt runs; a second attempt beside it would fail."""
    random_ = random.Random(seed)
    service = env.service(SCHEDULER__SLOTS="2").start()
    load = _Load(service, random.Random(seed + 1))
    load.start()
    counts = {"service": 0, "forkserver": 0, "task": 0}
    slowest = 0.0
    while sum(counts.values()) < 100:
        time.sleep(random_.uniform(0.0, 1.0))
        kind = random_.choices(list(counts), weights=[40, 20, 40])[0]
        victims = _victims(service, kind)
        if not victims:
            continue
        victim = random_.choice(victims)
        with suppress(ProcessLookupError):
            os.kill(victim, signal.SIGKILL)
            counts[kind] += 1
        if kind == "service":
            wait_until(lambda victim=victim: not service.running(victim), 10)
            begin = time.monotonic()
            service.start()
            slowest = max(slowest, time.monotonic() - begin)
    load.stopped.set()
    load.join(timeout=30)
    client = Client(service)
    client.idle(180)
    problems: list[str] = []
    attempts = 0
    for task, steps in load.acknowledged.items():
        problems += [f"task {task}: {x}" for x in _faults_of(client, task, steps)]
        attempts += len(client.data("GET", f"/entrance/{task}/attempts")["attempts"])
    figure = (
        f"{len(load.acknowledged)} tasks, {attempts} attempts; killed {counts['service']} services, "
        f"{counts['forkserver']} fork servers, {counts['task']} tasks; lost 0, slowest restart {slowest:.2f} s"
    )
    if problems:
        raise Miss(f"{len(problems)} problems, first: {'; '.join(problems[:3])}; {figure}")
    if slowest >= 3:
        raise Miss(figure)
    return figure


def _faults_of(client: Client, task: int, steps: int) -> list[str]:
    """What is wrong with a task that must have succeeded once."""
    envelope = client.call("GET", f"/jobhistory/{task}/get")
    if envelope["status"] != 0:
        return ["lost"]
    found = []
    row = envelope["data"]["task"]
    if row["status"] != "Succeed":
        found.append(f"{row['status']}: {row['errDesc']}")
    states = [h["state"] for h in client.data("GET", f"/entrance/{task}/history")["history"]]
    ends = [s for s in states if s in ("succeeded", "failed", "cancelled", "timed_out")]
    if len(ends) != 1 or states[-1] not in ends:
        found.append(f"its ends are {ends}")
    lines = client.log(task)
    if not lines or not lines[0].endswith(f"task {task} log"):
        found.append("its log does not begin at the beginning")
    heads = [x[:23] for x in lines if re.match(r"\d{4}-\d\d-\d\d \d\d:", x)]
    if any(a > b for a, b in pairwise(heads)):
        found.append("its log is not in order")
    if sum("Congratulations" in x for x in lines) != 1 or "Congratulations" not in lines[-1]:
        found.append("its log does not end once")
    part: list[int] = []
    for line in lines:
        if "Your job is Running now" in line:
            part = []
        elif m := _STEP.search(line):
            part.append(int(m[1]))
            if len(part) > 1 and part[-1] != part[-2] + 1:
                found.append(f"step {part[-1]} follows step {part[-2]}")
    if row["status"] == "Succeed" and set(_steps(lines)) != set(range(1, steps + 1)):
        found.append(f"{steps - len(set(_steps(lines)))} of {steps} steps are not in the log")
    return found


@claim(
    group="spine",
    name="simulation",
    wanted="one million events of the pure core keep the invariants of states.md 6 and dependencies.md 12",
)
def simulation(env: Environment, seed: int) -> str:
    """The same simulation that the tests run, with this run's seed."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-s", "tests/simulation"],
        cwd=env.root,
        env={**os.environ, "SIM_SEED": str(seed)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise Miss(done.stdout.strip()[-600:])
    said = [line for line in done.stdout.splitlines() if "events" in line]
    return said[-1].strip(". ") if said else "passed"


@claim(group="spine", name="golden", wanted="every golden file of Linkis agrees with a running service")
def golden_files(env: Environment, seed: int) -> str:
    """Requests and answers as data: refusals, ids, envelope, status rules."""
    service = env.service(**golden.SETTINGS).start()
    users = {}
    for name in golden.USERS:
        if name != "admin":
            service.cli("user", "add", name, "--password-file", "-", stdin=PASSWORD + "\n")
        password = PASSWORD if name != "admin" else (service.data / "admin-password").read_text().strip()
        users[name] = golden.Credentials(token=service.cli("token", "create", name).stdout.strip(), password=password)
    found = golden.files(PROJECT_ROOT / "tests" / "data" / "golden" / "linkis")
    wrong = []
    for path in found:
        try:
            golden.replay(path, service.url, users)
        except AssertionError as error:
            wrong.append(f"{path.stem}: {error}")
    if wrong or not found:
        raise Miss(f"{len(wrong)} of {len(found)} differ, first: {'; '.join(wrong[:3])[:400]}")
    return f"{len(found)} files, all agree"


@claim(group="spine", name="tests", wanted="bin/test passes from the repository alone", timeout_seconds=1800)
def tests(env: Environment, seed: int) -> str:
    """The whole suite in the clone."""
    done = env.run(env.root / "bin" / "test", check=False, timeout_seconds=1700)
    tail = [line for line in done.stdout.splitlines() if line.strip()][-1:]
    if done.returncode != 0:
        raise Miss(f"exit status {done.returncode}: {(done.stdout + done.stderr)[-500:]}")
    return tail[0].strip("= ") if tail else "passed"
