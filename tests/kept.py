"""A client of Linkis' API that keeps its connection, for what sends very many requests."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from factories import LINKIS


class KeptClient:
    """One connection, used by one thread; it is made anew at the call after one that failed. Nothing is sent twice.

    ``token`` opens it. Every call raises OSError, http.client.HTTPException or ValueError when there is no answer.
    """

    def __init__(self, url: str, token: str = "") -> None:
        parts = urlsplit(url)
        assert parts.hostname is not None
        self._at = (parts.hostname, parts.port)
        self._head = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
        self._connection: http.client.HTTPConnection | None = None

    def request(self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None) -> tuple[int, Any]:
        """Return status and body of an answer."""
        data = None if body is None else json.dumps(body).encode()
        try:
            if self._connection is None:
                self._connection = http.client.HTTPConnection(*self._at, timeout=60)
            self._connection.request(method, path, data, {**self._head, **(headers or {})})
            answer = self._connection.getresponse()
            found = answer.read()
            return answer.status, json.loads(found) if found else None
        except (OSError, http.client.HTTPException, ValueError):
            self.close()
            raise

    def call(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        """Return the envelope of an answer; ``path`` is below Linkis' root."""
        _, envelope = self.request(method, f"{LINKIS}{path}", body)
        found: dict[str, Any] = envelope
        return found

    def data(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        """Return the data of an answer that says success. Raises AssertionError too."""
        envelope = self.call(method, path, body)
        assert envelope["status"] == 0, (path, envelope)
        data: dict[str, Any] = envelope["data"]
        return data

    def submit(self, executor: str, params: Mapping[str, Any], creator: str = "PROVE", **labels: str) -> int:
        """Submit a task as the administrator; return its id."""
        body = {
            "executionContent": {"code": json.dumps(dict(params)), "runType": executor},
            "labels": {"engineType": executor, "userCreator": f"admin-{creator}", **labels},
        }
        return int(self.data("POST", "/entrance/submit", body)["taskID"])

    def status(self, task: int) -> str:
        return str(self.data("GET", f"/entrance/{task}/status")["status"])

    def log(self, task: int) -> list[str]:
        """Return all lines of a log, read from its start in pages."""
        lines: list[str] = []
        at = 0
        while True:
            page = self.data("GET", f"/entrance/{task}/log?fromLine={at}&size=10000&distinctLevel=false")
            if page["fromLine"] == at:
                return lines
            lines += page["log"].split("\n")
            at = page["fromLine"]

    def idle(self, timeout_seconds: float) -> None:
        """Wait until no task is left that has not ended."""
        deadline = time.monotonic() + timeout_seconds
        while not self.data("GET", "/entrance/operation/metrics/runningtask")["isCompleted"]:
            if time.monotonic() > deadline:
                raise TimeoutError(f"tasks are left after {timeout_seconds:.0f} s")
            time.sleep(0.02)

    def close(self) -> None:
        """Close the connection; the next call makes one."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def standing(ask: Callable[[str, str], Mapping[str, Any]], task: int) -> tuple[str, int]:
    """Return which row of the table of states a task is in, by its history, and how many changes there were.

    ``ask`` returns the data of Linkis' answer to a method and a path.
    """
    history = [entry["state"] for entry in ask("GET", f"/entrance/{task}/history")["history"]]
    ran, now = "running" in history, history[-1]
    if now == "running" and ask("GET", f"/entrance/{task}/status")["paused"]:
        now = "running, to pause"
    elif now == "queued" and ran:
        now = "queued again"
    elif now == "paused" and not ran:
        now = "paused before it ran" if "queued" in history else "paused before it was queued"
    return {"timed_out": "timed out", "waiting_retry": "waiting to retry"}.get(now, now), len(history)
