"""Group ``steering``: the event loop stays quick while it takes in logs, answers many clients and the cores are busy."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from factories import Service, wait_until

from prove import Environment, Miss, claim
from prove._client import Client

CLIENTS = 500
SETTLE_SECONDS = 5
SECONDS = 30
LINES_PER_SECOND = 20_000
WRITERS = 7  # with two packs and what is submitted meanwhile they take four slots
FILE_BYTES = 512 << 20
FILES = 62
_LATE = "entrance_hub_late_seconds_bucket"


def _late(service: Service) -> dict[float, float]:
    """The histogram of the event loop's lateness so far: upper bound in seconds to number of wakes."""
    text = service.http.get("/metrics").text
    rows = [line for line in text.splitlines() if line.startswith(_LATE)]
    return {float(row.split('le="')[1].split('"')[0]): float(row.rsplit(" ", 1)[1]) for row in rows}


def _p99_ms(before: Mapping[float, float], after: Mapping[float, float]) -> float:
    """The 99th percentile between two looks, in ms, from the bucket that it lies in (linear within it)."""
    counts = [(bound, after[bound] - before[bound]) for bound in sorted(after)]
    wanted = 0.99 * counts[-1][1]
    low, below = 0.0, 0.0
    for bound, count in counts:
        if count >= wanted:
            return 1000 * (low + (bound - low) * (wanted - below) / (count - below)) if bound < float("inf") else 1000 * low
        low, below = bound, count
    return float("inf")


def _cpu(pid: int) -> float:
    """CPU seconds of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def _packs(client: Client, service: Service, folder: Path, seed: int) -> list[int]:
    """Two preparations of 31 GiB each, hashed and not written; return two pack tasks that run.

    It is one file of random bytes under many names: a sparse one would show how long the kernel takes to fill pages with
    zeros, in calls that it lets nobody else between.
    """
    service.cli("storage", "allow", str(folder.parent))
    folder.mkdir()
    numbers = random.Random(seed)
    with (folder / "file").open("wb") as file:
        for _ in range(FILE_BYTES >> 20):
            file.write(numbers.randbytes(1 << 20))
    for number in range(2):
        source = folder / f"source{number}"
        source.mkdir()
        for name in range(FILES):
            (source / f"file{name}").hardlink_to(folder / "file")
        client.submit("scan", {"path": str(source)}, f"SCAN{number}")

    def running() -> list[int]:
        rows = client.data("GET", "/jobhistory/list?executeApplicationName=pack&pageSize=10")["tasks"]
        return [row["taskID"] for row in rows if row["status"] == "Running"]

    return wait_until(lambda: running() if len(running()) == 2 else None, 60, what="two packs run")


def _submits(service: Service, stop: threading.Event, took: list[float]) -> None:
    """Submit a small task ten times a second."""
    client = Client(service)
    while not stop.wait(0.1):
        begin = time.monotonic()
        client.submit("echo", {"lines": 1}, "SUBMITS")
        took.append(time.monotonic() - begin)


@claim(
    group="steering",
    name="hub-lag",
    wanted="p99 of the event loop under 20 ms and of submit under 50 ms, while two packs use the cores, 20,000 log lines a "
    "second arrive and 500 clients poll status and log once a second",
)
def hub_lag(env: Environment, seed: int) -> str:
    """The loop's lateness is counted by the service itself, a wake each 10 ms; clients are a process of their own.

    All figures are of the same span, which begins when everybody has been at work for a few seconds: five hundred clients
    that connect in the same instant are not what the claim is about. The rates are those that were reached in it.
    """
    service = env.service(SCHEDULER__SLOTS="4", SCHEDULER__RUNNING_PER_GROUP="20").start()
    client = Client(service)
    packs = _packs(client, service, env.scratch / "packs", seed)
    lines = LINES_PER_SECOND // WRITERS + 1
    span = SETTLE_SECONDS + SECONDS + 15
    writers = [client.submit("echo", {"seconds": span, "lines": lines * span}, f"W{i}") for i in range(WRITERS)]
    wait_until(lambda: all(client.status(w) == "Running" for w in writers), 20, what="the writers run")
    url = urlsplit(service.url)
    token = (service.data / "cli-token").read_text().strip()
    command = [sys.executable, str(Path(__file__).with_name("_pollers.py")), str(url.hostname), str(url.port), token]
    pollers = subprocess.Popen(
        [*command, *map(str, [CLIENTS, SETTLE_SECONDS, SECONDS, *writers, *packs])], stdout=subprocess.PIPE, text=True
    )
    assert pollers.stdout is not None
    stop, took = threading.Event(), list[float]()
    submits = threading.Thread(target=_submits, args=(service, stop, took))
    submits.start()
    try:
        pollers.stdout.readline()  # the connections are there
        time.sleep(SETTLE_SECONDS)
        took.clear()
        before, cpu, began, taken = _late(service), _cpu(service.pid), time.monotonic(), _lines(service)
        said, _ = pollers.communicate(timeout=SECONDS + 120)
        seconds = time.monotonic() - began
        after, rate = _late(service), (_lines(service) - taken) / seconds
        load = (_cpu(service.pid) - cpu) / seconds
    finally:
        stop.set()
        submits.join()
        pollers.kill()
    told = json.loads(said)
    lag, submit, polled = _p99_ms(before, after), 1000 * _percentile(took, 0.99), told["answers"] / SECONDS
    busy = [task for task in packs if client.status(task) == "Running"]
    figure = (
        f"loop p99 {lag:.1f} ms, {len(took)} submits p50 {1000 * _percentile(took, 0.5):.1f} ms p99 {submit:.1f} ms, "
        f"{polled:.0f} answers/s (p50 {told['p50']:.1f} ms, p99 {told['p99']:.1f} ms, {told['errors']} "
        f"errors, {told['late']} late), {rate:.0f} lines/s, {len(busy)} packs ran, service {100 * load:.0f} % of a core"
    )
    for task in (*packs, *writers):
        client.call("GET", f"/entrance/{task}/kill")
    slow = rate < 0.95 * LINES_PER_SECOND or polled < 0.95 * 2 * CLIENTS
    if lag >= 20 or submit >= 50 or told["errors"] or slow or not busy:
        raise Miss(figure)
    return figure


def _lines(service: Service) -> float:
    """Log lines taken in since the start."""
    rows = [x for x in service.http.get("/metrics").text.splitlines() if x.startswith("entrance_log_lines_total ")]
    return float(rows[0].rsplit(" ", 1)[1])


FLOOD_LINES = 3_000_000


@claim(
    group="steering",
    name="log-flood",
    wanted="150,000 lines a second of one task are taken in, p99 of the event loop under 15 ms",
)
def log_flood(env: Environment, seed: int) -> str:
    """A task that says what it can, alone; its lines are all there, in order at a sample."""
    service = env.service().start()
    client = Client(service)
    before, began = _late(service), time.monotonic()
    task = client.submit("echo", {"lines": FLOOD_LINES})
    while client.status(task) not in ("Succeed", "Failed"):
        time.sleep(0.25)
    seconds = time.monotonic() - began
    lag, rate = _p99_ms(before, _late(service)), FLOOD_LINES / seconds
    figure = f"{rate:.0f} lines/s, loop p99 {lag:.1f} ms"
    row = client.data("GET", f"/jobhistory/{task}/get")["task"]
    for at in (random.Random(seed).randrange(4, FLOOD_LINES) for _ in range(20)):
        page = client.data("GET", f"/entrance/{task}/log?fromLine={at}&size=1&distinctLevel=false")["log"]
        if not page.endswith(f" line {at - 3} of {FLOOD_LINES}"):
            raise Miss(f"line {at} of the log is {page!r}")
    if row["status"] != "Succeed" or rate < 150_000 or lag >= 15:
        raise Miss(figure)
    return figure
