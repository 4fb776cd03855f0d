"""Group ``steering``: whose turn it is when all slots are busy. Through HTTP, with real processes; order by the service's
own times."""

from __future__ import annotations

import random
import time
from typing import Any

from factories import LINKIS, Http, Service, wait_until

from prove import Environment, Miss, claim
from prove._client import Client

URGENT, HIGH, NORMAL, BACKGROUND = 400, 200, 100, 0
PRIORITY = "wds.linkis.engine.runtime.priority"


def _submit(http: Http, seconds: float, creator: str = "", user: str = "admin", priority: int = NORMAL) -> int:
    labels = {"engineType": "sleep"} | ({"userCreator": f"{user}-{creator}"} if creator else {})
    body = {
        "executionContent": {"code": f'{{"seconds": {seconds}}}', "runType": "sleep"},
        "labels": labels,
        "params": {"configuration": {"runtime": {PRIORITY: priority}}},
    }
    return int(http.post(f"{LINKIS}/entrance/submit", body).data["taskID"])


def _row(http: Http, task: int) -> dict[str, Any]:
    row: dict[str, Any] = http.get(f"{LINKIS}/jobhistory/{task}/get").data["task"]
    return row


def _starts(client: Client) -> list[tuple[int, int]]:
    """(time, task) of all tasks that have started, in the order of their starts."""
    rows: list[dict[str, Any]] = []
    page = 0
    while len(rows) == 5000 * page:
        page += 1
        query = f"/jobhistory/list?pageNow={page}&pageSize=5000&isAdminView=true"
        rows += client.data("GET", query)["tasks"]
    return sorted((row["engineStartTime"], row["taskID"]) for row in rows if row["engineStartTime"])


def _full(env: Environment, **settings: str) -> Service:
    """A service with one core, which four small tasks fill."""
    return env.service(SCHEDULER__SLOTS="1", SCHEDULER__RUNNING_PER_GROUP="100", **settings).start()


TURNS = 10
UNDER_WAY_MS = 20  # a start that the service was carrying out when it answered


@claim(group="steering", name="urgent-next", wanted="of 200 that wait the one raised to URGENT starts next, 10 times")
def urgent_next(env: Environment, seed: int) -> str:
    """All slots are busy with tasks of several groups; any of those that wait is raised."""
    choose = random.Random(seed)
    service = _full(env)
    client, http = Client(service), service.http
    tasks = {_submit(http, choose.uniform(0.3, 0.6), f"C{i % 5}") for i in range(204)}
    wait_until(lambda: len(_starts(client)) >= 4, 10)
    slowest, done = 0.0, 0
    while done < TURNS:
        raised = choose.choice(sorted(tasks - {task for _, task in _starts(client)}))
        client.data("POST", f"/entrance/{raised}/priority", {"priority": URGENT})
        answered = 1000 * time.time()
        wait_until(lambda raised=raised: client.status(raised) != "Scheduled", 10, every_seconds=0.01)
        at = {task: began for began, task in _starts(client)}
        if at[raised] < answered:
            continue  # it was its turn anyway
        passed = [task for task, began in at.items() if answered + UNDER_WAY_MS < began < at[raised]]
        if passed:
            raise Miss(f"{len(passed)} tasks started before the one that was raised")
        done, slowest = done + 1, max(slowest, at[raised] - answered)
    return f"{done} of {done} started next, after {slowest:.0f} ms at most"


@claim(
    group="steering",
    name="fair-users",
    wanted="at most one of another user's 1,000 tasks starts between the submit of a single task and its start, 5 times",
)
def fair_users(env: Environment, seed: int) -> str:
    """The single task comes at any moment, once the thousand are there."""
    choose = random.Random(seed)
    service = _full(env)
    http, ann = service.http, service.user("ann")
    for _ in range(1000):
        _submit(http, choose.uniform(0.3, 0.5))
    client = Client(service)
    most, slowest = 0, 0
    for _ in range(5):
        time.sleep(choose.uniform(0.1, 1.0))
        task = _submit(ann, 0.1)
        known = 1000 * time.time() + UNDER_WAY_MS
        wait_until(lambda task=task: _row(ann, task)["status"] == "Succeed", 20)
        row = _row(ann, task)
        between = [x for at, x in _starts(client) if x != task and known < at < row["engineStartTime"]]
        most, slowest = max(most, len(between)), max(slowest, row["engineStartTime"] - row["createdTime"])
    figure = f"{most} started between at most, waits of {slowest} ms at most"
    if most > 1:
        raise Miss(figure)
    return figure


AGEING_SECONDS = 3


@claim(
    group="steering",
    name="ageing",
    wanted="under a steady load of HIGH tasks, BACKGROUND ones of the same and of another group run once they have risen "
    "three levels (9 s, with ageing_seconds 3) and one more task has had its turn",
)
def ageing(env: Environment, seed: int) -> str:
    """Always more waiting than there is room for, of two groups; each of the load's tasks is younger than the aged ones."""
    choose = random.Random(seed)
    service = _full(env, SCHEDULER__AGEING_SECONDS=str(AGEING_SECONDS))
    http, client = service.http, Client(service)
    load: set[int] = set()

    def feed() -> None:
        """Keep some of the load waiting."""
        while client.data("GET", "/service/queue")["waiting"] < 10:
            load.add(_submit(http, choose.uniform(0.2, 0.4), choose.choice("AB"), priority=HIGH))

    feed()
    begin = time.monotonic()
    aged = {_submit(http, 0.1, "A", priority=BACKGROUND), _submit(http, 0.1, "C", priority=BACKGROUND)}
    while any(client.status(task) == "Scheduled" for task in aged):
        feed()
        if time.monotonic() - begin > 10 * AGEING_SECONDS:
            raise Miss(f"a BACKGROUND task waits after {10 * AGEING_SECONDS} s")
        time.sleep(0.05)
    rows = [_row(http, task) for task in sorted(aged)]
    waits = [(row["engineStartTime"] - row["createdTime"]) / 1000 for row in rows]
    figure = f"started after {' and '.join(f'{wait:.1f} s' for wait in waits)} beside {len(load)} HIGH tasks"
    if min(waits) < 2 * AGEING_SECONDS or max(waits) > 3 * AGEING_SECONDS + 1.5:
        raise Miss(figure)
    return figure
