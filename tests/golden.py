"""Golden files: a request and the answer that it must get, as data; ``replay`` holds a running service against one.

A file is a JSON object::

    {"row": "linkis 7.1: kill, ended already",                  which row of which contract it stands for
     "tasks": {"t": {"executor": "echo", "until": "Succeed"}},  what must be there before, by name
     "steps": [{"request": {"as": "alice", "method": "GET", "path": "/entrance/{t}/kill"},
                "answer": {"status": 400, "headers": {}, "body": {...}}}]}

A task is submitted by ``by`` (default alice) with ``params``, ``labels``, ``settings`` and ``creator`` (default: the file's
name, so that files share no queue), and waited for until Linkis shows the state ``until``; what has not ended is killed
afterwards. In every text ``{t}`` is its number (as a value by itself: an integer), ``{t.text}`` the same as a text,
``{t.exec}``, ``{t.uuid}`` and ``{t.short}`` are its other names, ``{t.quoted}`` is the execution id percent-encoded,
``{t.day}`` the day; ``{instance}`` is the service's name, ``{creator}`` the file's creator, ``{recently}`` an hour ago,
``{alice.token}``, ``{alice.password}`` what a user comes in with. A step may wait first: ``"until": {"task": "t", "paused":
true}`` (also ``waitingRetry``, ``until`` for a state, ``sampled`` for figures of resources).

The body of the answer must be equal, key for key. ``<int>``, ``<ms>``, ``<number>``, ``<text>``, ``<bool>``, ``<any>`` and
``<re:...>`` (whole text) stand for values that differ; a key ``...`` allows further keys, an item ``...`` further items.
``as``: a user's name (bearer token), ``nobody``, or ``cookie`` (the session of an earlier step of the file).
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from factories import LINKIS, Http, Response, wait_until

SETTINGS = {"SCHEDULER__RUNNING_PER_GROUP": "1", "LIMITS__LOGIN_TRIES": "1000"}  # of the service under test
USERS = ("alice", "bob", "admin")


@dataclass(frozen=True, kw_only=True)
class Credentials:
    """What a user of the service under test comes in with."""

    token: str
    password: str


class Mismatch(AssertionError):
    """An answer differs from its golden file; the text says where."""


def files(folder: Path) -> list[Path]:
    """Return the golden files below a folder."""
    return sorted(folder.rglob("*.json"))


def replay(path: Path, base_url: str, users: Mapping[str, Credentials]) -> None:
    """Send the requests of a golden file to a running service. Raises Mismatch at the first difference."""
    case = json.loads(path.read_text(encoding="utf-8"))
    _Replay(Http(base_url), users, creator=re.sub(r"[^A-Za-z0-9]", "", path.stem)).run(case)


@dataclass
class _Task:
    number: int
    exec_id: str
    uuid: str
    owner: str


class _Replay:
    def __init__(self, http: Http, users: Mapping[str, Credentials], creator: str) -> None:
        self._http, self._users, self._creator = http, users, creator
        self._tasks: dict[str, _Task] = {}
        self._cookie = ""
        self._values: dict[str, Any] = {"creator": creator, "recently": int(time.time() * 1000) - 3_600_000}
        for name, credentials in users.items():
            self._values |= {f"{name}.token": credentials.token, f"{name}.password": credentials.password}
            self._values[f"{name}.token3"] = credentials.token[:3]
        health = self._send("GET", "/gateway/heartbeat", "nobody")
        self._values["instance"] = health.data["gatewayList"][0]

    def run(self, case: Mapping[str, Any]) -> None:
        try:
            for name, wanted in case.get("tasks", {}).items():
                self._make(name, wanted)
            for number, step in enumerate(case["steps"]):
                self._step(step, f"step {number}")
        finally:
            for task in self._tasks.values():
                self._send("GET", f"/entrance/{task.number}/kill", task.owner)

    # ---- tasks

    def _make(self, name: str, wanted: Mapping[str, Any]) -> None:
        owner, executor = wanted.get("by", "alice"), wanted.get("executor", "echo")
        creator = self._fill(wanted.get("creator", self._creator))
        body = {
            "executionContent": {"code": json.dumps(wanted.get("params", {})), "runType": executor},
            "labels": {"engineType": executor, "userCreator": f"{owner}-{creator}", **wanted.get("labels", {})},
            "params": wanted.get("settings", {}),
            "source": wanted.get("source", {}),
        }
        data = self._send("POST", "/entrance/submit", owner, body).data
        task = _Task(number=data["taskID"], exec_id=data["execID"], uuid=data["jobId"], owner=owner)
        self._tasks[name] = task
        self._values |= {name: task.number, f"{name}.exec": task.exec_id, f"{name}.uuid": task.uuid}
        self._values[f"{name}.short"] = f"{creator}_{owner}_{executor}_{task.number}"
        self._values |= {f"{name}.text": str(task.number), f"{name}.quoted": quote(task.exec_id, safe="")}
        self._values[f"{name}.day"] = time.strftime("%Y-%m-%d")
        for verb in wanted.get("then", ()):
            self._send("GET", f"/entrance/{task.number}/{verb}", owner)
        self._wait(task, wanted)

    def _wait(self, task: _Task, wanted: Mapping[str, Any]) -> None:
        shown = {key: wanted[key] for key in ("paused", "waitingRetry") if key in wanted}
        if "until" in wanted:
            shown["status"] = wanted["until"]

        def there() -> bool:
            data = self._send("GET", f"/entrance/{task.number}/status", task.owner).data
            return all(data[key] == value for key, value in shown.items())

        def sampled() -> bool:
            data = self._send("GET", f"/entrance/{task.number}/progressWithResource", task.owner).data
            return "yarnMetrics" in data

        if shown:
            wait_until(there, 20, what=f"task {task.number} shows {shown}")
        if wanted.get("sampled"):
            wait_until(sampled, 20, what=f"task {task.number} has figures")

    # ---- requests

    def _step(self, step: Mapping[str, Any], where: str) -> None:
        wait = step.get("until")
        if wait:
            self._wait(self._tasks[wait["task"]], wait)
        request, answer = self._fill(step["request"]), self._fill(step["answer"])
        response = self._send(
            request.get("method", "GET"),
            request["path"],
            request.get("as", "alice"),
            request.get("body"),
            headers=request.get("headers"),
        )
        if response.status != answer["status"]:
            raise Mismatch(f"{where}: HTTP {response.status} instead of {answer['status']}: {response.text[:2000]}")
        for name, value in answer.get("headers", {}).items():
            _compare(value, response.headers.get(name.lower()), f"{where} header {name}")
        if "body" in answer:
            _compare(answer["body"], response.json(), where)
        cookie = response.headers.get("set-cookie")
        if cookie:
            self._cookie = cookie.partition(";")[0]

    def _send(
        self, method: str, path: str, who: str, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> Response:
        sent = dict(headers or {})
        token = self._users[who].token if who in self._users else None
        if who == "cookie":
            sent["Cookie"] = self._cookie
        path = path.replace(" ", "%20")
        full = path if path.startswith("/api/") else LINKIS + path
        raw = body["raw"].encode() if isinstance(body, dict) and set(body) == {"raw"} else body
        return Http(self._http.url, token).request(method, full, raw, headers=sent)

    # ---- texts

    def _fill(self, value: Any) -> Any:
        if isinstance(value, str):
            whole = re.fullmatch(r"\{(\w+(?:\.\w+)?)\}", value)
            if whole and whole[1] in self._values:
                return self._values[whole[1]]
            return re.sub(r"\{(\w+(?:\.\w+)?)\}", lambda m: str(self._values.get(m[1], m[0])), value)
        if isinstance(value, dict):
            return {self._fill(k): self._fill(v) for k, v in value.items()}
        if isinstance(value, list):
            return [self._fill(v) for v in value]
        return value


def _compare(wanted: Any, found: Any, where: str) -> None:
    if isinstance(wanted, str) and wanted.startswith("<") and wanted.endswith(">"):
        if not _fits(wanted[1:-1], found):
            raise Mismatch(f"{where}: {found!r} is not {wanted}")
    elif isinstance(wanted, dict) and isinstance(found, dict):
        open_ended = "..." in wanted
        names = set(wanted) - {"..."}
        if names - set(found) or (not open_ended and set(found) - names):
            missing, extra = sorted(names - set(found)), sorted(set(found) - names)
            raise Mismatch(f"{where}: missing {missing}, unexpected {[] if open_ended else extra}")
        for name in names:
            _compare(wanted[name], found[name], f"{where}.{name}")
    elif isinstance(wanted, list) and isinstance(found, list):
        open_ended = wanted[-1:] == ["..."]
        items = wanted[:-1] if open_ended else wanted
        if len(found) < len(items) or (not open_ended and len(found) > len(items)):
            raise Mismatch(f"{where}: {len(found)} items instead of {len(items)}: {found!r}")
        for number, (a, b) in enumerate(zip(items, found, strict=False)):
            _compare(a, b, f"{where}[{number}]")
    elif wanted != found or type(wanted) is not type(found):
        raise Mismatch(f"{where}: {found!r} instead of {wanted!r}")


def _fits(kind: str, found: Any) -> bool:
    if kind.startswith("re:"):
        return isinstance(found, str) and re.fullmatch(kind[3:], found, re.DOTALL) is not None
    whole = isinstance(found, int) and not isinstance(found, bool)
    return {
        "int": whole,
        "ms": whole and 1_500_000_000_000 < found < 5_000_000_000_000,
        "number": whole or isinstance(found, float),
        "text": isinstance(found, str),
        "bool": isinstance(found, bool),
        "any": True,
    }[kind]
