"""A client that keeps its connection, for claims that count requests."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from factories import LINKIS, Service


class Client:
    """One keep-alive connection as the service's first administrator. ``call`` repeats nothing."""

    def __init__(self, service: Service) -> None:
        parts = urlsplit(service.url)
        assert parts.hostname is not None
        self._connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=60)
        self._head = {
            "Authorization": f"Bearer {(service.data / 'cli-token').read_text().strip()}",
            "Content-Type": "application/json",
        }

    def call(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        """Return the envelope of an answer. Raises OSError or http.client.HTTPException when there is none."""
        data = None if body is None else json.dumps(body).encode()
        self._connection.request(method, f"{LINKIS}{path}", data, self._head)
        envelope: dict[str, Any] = json.loads(self._connection.getresponse().read())
        return envelope

    def data(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        """Return the data of an answer that says success."""
        envelope = self.call(method, path, body)
        assert envelope["status"] == 0, envelope
        data: dict[str, Any] = envelope["data"]
        return data

    def submit(self, executor: str, params: Mapping[str, Any], creator: str = "PROVE", **labels: str) -> int:
        """Submit a task; return its id."""
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
        self._connection.close()
