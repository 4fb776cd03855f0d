"""Group ``steering``: a million tasks and logs, and actions on thousands of tasks."""

from __future__ import annotations

import random
import re
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from factories import LINKIS, Service, wait_until

from prove import Environment, Miss, _million, claim
from prove._client import Client

TASKS, REAL = 1_000_000, 10_000
PAIRS = 2000  # submits to the full and to an empty service in turn
ASKED = 12  # times for each list
START_SECONDS, LIST_MS, RSS_MIB, SUBMIT_RATIO = 3.0, 100.0, 300, 1.25
LOG_BYTES = 512
_PAGE = 20


def _percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


# ---- a million tasks ----------------------------------------------------------------------------------------------


def _full(env: Environment, seed: int) -> Service:
    """The data folder with a million tasks, made by the first claim that wants it; its service does not run."""
    service = env.service(str(env.root.parent / "million" / "data"))
    if not service.data.exists():
        service.data.parent.mkdir()
        service.start()
        for name in _million.USERS[1:]:
            service.user(name)
        service.stop()
        _million.fill(service.data, TASKS - REAL, seed, now=int(time.time() * 1000), instance=f"127.0.0.1:{service.port}")
    return service


@claim(
    group="steering",
    name="million-tasks",
    wanted="with 1,000,000 tasks: start under 3 s, any single filter and any page of jobhistory/list p95 under 100 ms, "
    "submit p95 as with none (x1.25), the service under 300 MiB",
    timeout_seconds=1200,
)
def million_tasks(env: Environment, seed: int) -> str:
    """990,000 tasks as the stores write them (``_million``), 10,000 through the service; an empty service runs beside it."""
    service = _full(env, seed)
    starts = []
    for _ in range(3):
        begin = time.monotonic()
        service.start()
        starts.append(time.monotonic() - begin)
        service.stop()
    service.start()
    empty, full = _submits(env, service)
    lists, slowest = _ask(service, dict(_lists(service, random.Random(seed))))
    others, _ = _ask(service, _other_doors(), ASKED)
    status = Path(f"/proc/{service.pid}/status").read_text()
    rss, peak = (int(re.findall(rf"{key}:\s+(\d+) kB", status)[0]) // 1024 for key in ("VmRSS", "VmHWM"))
    service.stop()
    ratio = _percentile(full, 0.95) / _percentile(empty, 0.95)
    worst = sorted(lists, key=lambda name: -lists[name])[:3]
    figure = (
        f"start {max(starts):.2f} s, {len(lists)} lists: slowest p95 {slowest:.0f} ms "
        f"({', '.join(f'{name} {lists[name]:.0f}' for name in worst)}), "
        f"submit p95 {1000 * _percentile(full, 0.95):.1f} ms, with none {1000 * _percentile(empty, 0.95):.1f} ms "
        f"(x{ratio:.2f}), RSS {rss} MiB, at most {peak} MiB; others: "
        + ", ".join(f"{name} {took:.0f} ms" for name, took in others.items())
    )
    if max(starts) >= START_SECONDS or slowest >= LIST_MS or ratio > SUBMIT_RATIO or peak >= RSS_MIB:
        raise Miss(figure)
    return figure


def _submits(env: Environment, service: Service) -> tuple[list[float], list[float]]:
    """Submit the real tasks, the first of them in turn with an empty service; return what each submit of the pairs took."""
    other = env.service("empty").start()
    clients = Client(other), Client(service)
    took: tuple[list[float], list[float]] = ([], [])
    for n in range(REAL):
        for client, times in zip(clients, took, strict=True) if n < PAIRS else [(clients[1], [])]:
            begin = time.monotonic()
            client.submit("echo", {"lines": 2}, _million.CREATORS[n % 20])
            times.append(time.monotonic() - begin)
        if n == PAIRS:
            Client(other).idle(60)  # the first connection may have been idle for too long
            other.stop()
        if n % 1000 == 999:
            clients[1].idle(120)
    clients[1].idle(120)
    return took


def _lists(service: Service, choose: random.Random) -> Iterator[tuple[str, str]]:
    """Names and addresses of jobhistory/list with every filter alone, first, middle and last page."""
    client = Client(service)
    now = int(time.time() * 1000)
    day = _million.DAY_MS
    filters: list[dict[str, Any]] = [
        {},
        {"isAdminView": "true"},
        {"isAdminView": "true", "proxyUser": "alice"},
        {"isAdminView": "true", "proxyUser": "carol"},
        *({"status": word} for word in ("Succeed", "Failed", "Cancelled", "Timeout", "Running", "Scheduled", "Inited")),
        {"status": "Succeed,Failed"},
        {"status": "Running,Inited,Scheduled"},
        {"executeApplicationName": "pack"},
        {"creator": "CLIENT7"},
        {"creator": "NOBODY"},
        {"startDate": now - day},
        {"startDate": now - 40 * day},
        {"endDate": now - 40 * day},
        {"endDate": now},
        {"instance": service.url.partition("//")[2]},
        {"topLevel": "true"},
        {"taskID": choose.randrange(1, TASKS)},
        {"parentTaskID": choose.randrange(1, TASKS)},
        *(
            {"text": text}
            for text in ("CLIENT1", "client7", "pack", "the store", "no space", "nothing of it", "(7)", "4711", "e")
        ),
    ]
    for which in filters:
        for view in ({}, {"isAdminView": "true"}) if which and "isAdminView" not in which else ({},):
            query = {**which, **view}
            total = client.data("GET", f"/jobhistory/list?{urlencode({**query, 'pageSize': 1})}")["totalPage"]
            pages = (total + _PAGE - 1) // _PAGE
            for name, number in {"first": 1, "middle": pages // 2, "last": pages}.items():
                if number >= 1 and (number > 1 or name == "first"):
                    path = f"/jobhistory/list?{urlencode({**query, 'pageNow': number, 'pageSize': _PAGE})}"
                    yield f"{urlencode(query) or 'none'} {name}", f"{LINKIS}{path}"
    client.close()


def _other_doors() -> dict[str, str]:
    """What the other doors and the console ask for, by names."""
    admin = "isAdminView=true&pageSize=50"
    return {
        "console tasks": f"{LINKIS}/jobhistory/list?{admin}&topLevel=true",
        "console search": f"{LINKIS}/jobhistory/list?{admin}&topLevel=true&status=Failed&text=store",
        "console children": f"{LINKIS}/jobhistory/list?{admin}&parentTaskID=11",
        "undone": f"{LINKIS}/jobhistory/listundonetasks",
        "queue": f"{LINKIS}/service/queue",
        "metrics": "/metrics",
        "active_job": "/_rest_/active_job",
        "completed_job": "/_rest_/completed_job",
        "completed_job last": "/_rest_/completed_job?last_page",
        "completed_job middle": f"/_rest_/completed_job?page_offset={TASKS * 9 // 20}",
        "canceled_job": "/_rest_/canceled_job",
        "canceled_job last": "/_rest_/canceled_job?last_page",
        "completed_job of a name": "/_rest_/completed_job?name=job%25",
        "job": "/_rest_/job",
        "SenseCore": f"/v2/dataSpaces/{_million.SPACE}/task:list",
    }


def _ask(service: Service, lists: Mapping[str, str], times: int = ASKED) -> tuple[dict[str, float], float]:
    """Ask for every list in turn, several rounds; return the 95th percentile of each, and the largest, in ms."""
    took: dict[str, list[float]] = {name: [] for name in lists}
    http = service.http
    for _ in range(times):
        for name, path in lists.items():
            begin = time.monotonic()
            found = http.request("POST", path, {}) if "task:list" in path else http.get(path, timeout_seconds=60)
            took[name].append(1000 * (time.monotonic() - begin))
            if found.status != 200:
                raise Miss(f"{path}: {found.status} {found.text[:200]}")
    found95 = {name: _percentile(all_of, 0.95) for name, all_of in took.items()}
    return found95, max(found95.values())


# ---- a million logs -----------------------------------------------------------------------------------------------


@claim(
    group="steering",
    name="million-logs",
    wanted="1,000,000 tiny logs of ended tasks: no file for any, under 512 bytes of disk each, any read p95 under 100 ms",
    timeout_seconds=1200,
)
def million_logs(env: Environment, seed: int) -> str:
    """What the claim on a million tasks left, or the same made anew without real ones."""
    service = _full(env, seed).start()
    client = Client(service)
    choose = random.Random(seed)
    numbers = client.data("GET", "/jobhistory/list?isAdminView=true&pageSize=1")["totalPage"]
    took = []
    for _ in range(500):
        task = choose.randint(1, numbers)
        begin = time.monotonic()
        lines = client.data("GET", f"/entrance/{task}/log?fromLine=0&size=100&distinctLevel=false")["log"].split("\n")
        took.append(1000 * (time.monotonic() - begin))
        if len(lines) < 6:
            raise Miss(f"the log of task {task} has {len(lines)} lines")
    service.stop()
    database = sqlite3.connect(f"{(service.data / 'entrance.db').as_uri()}?mode=ro", uri=True)
    (logs,) = database.execute("SELECT count(*) FROM logs").fetchone()
    sizes = dict(database.execute("SELECT name, sum(pgsize) FROM dbstat GROUP BY name"))
    database.close()
    files = [p for p in service.data.rglob("*") if p.is_file()]
    log_files = [p for p in files if (service.data / "logs") in p.parents]
    each, p95 = sizes["logs"] / logs, _percentile(took, 0.95)
    figure = (
        f"{logs} logs, {len(log_files)} log files, {len(files)} files in all, {each:.0f} bytes a log "
        f"of {sum(sizes.values()) / logs:.0f} a task, read p95 {p95:.1f} ms"
    )
    if logs < TASKS - REAL or log_files or len(files) > 100 or each > LOG_BYTES or p95 >= LIST_MS:
        raise Miss(figure)
    return figure


# ---- thousands at once --------------------------------------------------------------------------------------------

MANY = 5000
ACTION_SECONDS = 10.0


class _Other(threading.Thread):
    """Somebody else, who asks for the status of a task all the time; and what the service says of its event loop."""

    def __init__(self, service: Service, task: int) -> None:
        super().__init__(daemon=True)
        self._client, self._http, self._task = Client(service), service.http, task
        self.took: list[float] = []
        self.lag = 0.0
        self.stopped = threading.Event()

    def run(self) -> None:
        looked = 0.0
        while not self.stopped.wait(0.02):
            begin = time.monotonic()
            self._client.status(self._task)
            self.took.append(time.monotonic() - begin)
            if begin - looked > 0.5:
                looked = begin
                said = re.findall(r"(?m)^entrance_hub_lag_seconds (\S+)", self._http.get("/metrics").text)
                self.lag = max(self.lag, *map(float, said))


@claim(
    group="steering",
    name="bulk-actions",
    wanted="pause, resume, priority, kill of 5,000 tasks by filter: the count agreed before, one result each, "
    "under 10 s each, others answered meanwhile",
)
def bulk_actions(env: Environment, seed: int) -> str:
    """Queued and running tasks of ten creators; a wrong count changes nothing."""
    service = env.service().start()
    client = Client(service)
    mine = {client.submit("sleep", {"seconds": 900}, f"B{n % 10}") for n in range(MANY)}
    other = client.submit("echo", {"seconds": 900}, "OTHER")
    where = {"executor": "sleep"}
    figures, faults = [], []
    actions: tuple[tuple[str, dict[str, Any], Callable[[dict[str, Any]], bool]], ...] = (
        ("pause", {}, lambda task: bool(task["paused"])),
        ("resume", {}, lambda task: not task["paused"]),
        ("priority", {"priority": "HIGH"}, lambda task: task["priority"] == 200),
        ("kill", {}, lambda task: task["status"] == "Cancelled"),
    )
    for action, more, holds in actions:
        body = {"action": action, "filter": where, **more}
        dry = client.data("POST", "/entrance/actions", {**body, "dryRun": True})
        if dry["count"] != MANY or dry["items"]:
            raise Miss(f"{action}: {dry['count']} tasks before")
        if client.call("POST", "/entrance/actions", {**body, "expect": MANY - 1})["status"] == 0:
            raise Miss(f"{action}: a wrong count was taken")
        somebody = _Other(service, other)
        somebody.start()
        begin = time.monotonic()
        done = client.data("POST", "/entrance/actions", {**body, "expect": dry["count"]})
        took = time.monotonic() - begin
        time.sleep(1.0)  # the lag of the last second is told in the next
        somebody.stopped.set()
        somebody.join()
        told = [item["taskID"] for item in done["items"]]
        if len(told) != MANY or set(told) != mine or any(item["status"] for item in done["items"]):
            raise Miss(f"{action}: {len(told)} results, {len(set(told) & mine)} of the tasks")
        some = random.Random(f"{seed}-{action}").sample(sorted(mine), 200)
        wait_until(partial(_all_hold, client, some, holds), 15, what=f"{action} holds")
        figures.append(
            f"{action} {took:.1f} s (others p99 {1000 * _percentile(somebody.took, 0.99):.0f} ms, "
            f"hub lag {1000 * somebody.lag:.0f} ms)"
        )
        if took >= ACTION_SECONDS:
            faults.append(action)
    if client.status(other) in ("Cancelled", "Failed"):
        raise Miss("a task that the filter does not select was touched")
    figure = ", ".join(figures)
    if faults:
        raise Miss(figure)
    return figure


def _all_hold(client: Client, tasks: list[int], holds: Callable[[dict[str, Any]], bool]) -> bool:
    return all(holds(client.data("GET", f"/entrance/{task}/status")) for task in tasks)
