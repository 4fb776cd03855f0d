"""Things that tests share: waiting for something, HTTP requests, a real running service.

Nothing here knows the inside of the program: a service is started through ``python -m entrance.cli`` as an operator would,
and spoken to over HTTP.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlencode, urlsplit

from executors.launchers.processes import children

T = TypeVar("T")

PROJECT_ROOT = Path(__file__).resolve().parent.parent
LINKIS = "/api/rest_j/v1"
# Who holds up the event loop for so long is reported in the service's log, and fails the test. Generous, since test machines
# are slow; what is allowed on a quiet one is bin/prove's to measure.
LONGEST_BLOCKING_SECONDS = 2.0
PASSWORD = "correct horse battery staple"


def wait_until(
    predicate: Callable[[], T | None], timeout_seconds: float = 10.0, *, what: str = "", every_seconds: float = 0.02
) -> T:
    """Return the first true value of ``predicate``; fail with its last value when none comes in time."""
    deadline = time.monotonic() + timeout_seconds
    while True:
        value = predicate()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout_seconds} s: {what or predicate}; last value {value!r}")
        time.sleep(every_seconds)


@dataclass(frozen=True)
class Response:
    """One answer; header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def data(self) -> dict[str, Any]:
        """``data`` of an envelope that says success."""
        envelope = self.json()
        assert envelope["status"] == 0, envelope
        data: dict[str, Any] = envelope["data"]
        return data


class Http:
    """A plain HTTP client for one host; one connection per request. ``token`` opens it as a bearer token."""

    def __init__(self, url: str, token: str | None = None) -> None:
        self.url, self.token = url, token

    def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        query: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        timeout_seconds: float = 30.0,
    ) -> Response:
        """Send a request. ``body``: bytes as they are, anything else as JSON. A header given as "" is not sent."""
        parts = urlsplit(self.url)
        sent = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        if data is not None:
            sent["Content-Type"] = "application/json"
        sent |= dict(headers or {})
        if query:
            path += "?" + urlencode(query)
        assert parts.hostname is not None
        connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=timeout_seconds)
        try:
            connection.request(method, path, data, {k: v for k, v in sent.items() if v != ""})
            answer = connection.getresponse()
            return Response(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
        finally:
            connection.close()

    def get(self, path: str, **more: Any) -> Response:
        return self.request("GET", path, **more)

    def post(self, path: str, body: Any = None, **more: Any) -> Response:
        return self.request("POST", path, {} if body is None else body, **more)

    def put(self, path: str, body: Any = None, **more: Any) -> Response:
        return self.request("PUT", path, {} if body is None else body, **more)

    def delete(self, path: str, **more: Any) -> Response:
        return self.request("DELETE", path, **more)

    def as_user(self, token: str | None) -> Http:
        """The same host for somebody else; None = nobody."""
        return Http(self.url, token)


@dataclass
class Service:
    """A service in a data folder of its own, on a port of its own. ``http`` speaks as its first administrator.

    ``settings`` are environment names without prefix (``{"SCHEDULER__SLOTS": "4"}``); they hold from the next ``start``.
    """

    data: Path
    settings: dict[str, str] = field(default_factory=dict)
    port: int = 0
    program: Sequence[str] = (sys.executable, "-P", "-m", "entrance.cli")  # the command line to use
    watched: bool = True  # report whatever holds up its event loop; costs a call at every switch
    _answered_at: int | None = None  # length of its log when it last began to answer
    _reports: list[str] = field(default_factory=list)

    @property
    def environment(self) -> dict[str, str]:
        inherited = {k: v for k, v in os.environ.items() if not (k.startswith("ENTRANCE_") and "__" in k)}
        watch = {"GEVENT_MONITOR_THREAD_ENABLE": "1", "GEVENT_MAX_BLOCKING_TIME": str(LONGEST_BLOCKING_SECONDS)}
        return inherited | (watch if self.watched else {}) | {f"ENTRANCE_{k}": v for k, v in self.settings.items()}

    def cli(
        self, *arguments: str, check: bool = True, timeout_seconds: float = 120.0, stdin: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a command of ``bin/entrance`` on this data folder; ``check``: it must succeed."""
        done = subprocess.run(
            [*self.program, *arguments, "--data", str(self.data)],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout_seconds,
            env=self.environment,
            cwd=self.data.parent,
            check=False,
        )
        assert not check or done.returncode == 0, f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def start(self, *options: str) -> Service:
        """Start it and wait until it answers; after a stop or crash on the same port as before."""
        done = self.cli("start", "--port", str(self.port), "--json", *options, check=False)
        assert done.returncode == 0, f"{done.stderr}\n{self.log()[-3000:]}"
        told = json.loads(done.stdout)
        self.port = urlsplit(told["url"]).port or 0
        self._look_for_reports()
        self._answered_at = len(self.log())
        return self

    def stop(self) -> None:
        """Stop it in good order."""
        self._look_for_reports()
        self.cli("stop")

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal to the service's own process; with SIGKILL wait until it is gone."""
        pid = self.pid
        if number is signal.SIGKILL:
            self._look_for_reports()
        os.kill(pid, number)
        if number is signal.SIGKILL:
            wait_until(lambda: not self.running(pid), what="the killed service is gone")

    @property
    def told(self) -> dict[str, Any]:
        """What ``service.json`` says."""
        told: dict[str, Any] = json.loads((self.data / "service.json").read_text())
        return told

    @property
    def pid(self) -> int:
        return int(self.told["pid"])

    @property
    def url(self) -> str:
        return str(self.told["url"])

    @property
    def http(self) -> Http:
        return Http(self.url, (self.data / "cli-token").read_text().strip())

    def running(self, pid: int) -> bool:
        """Whether a process lives (a zombie does not)."""
        with suppress(OSError):
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
        return False

    def processes(self) -> list[int]:
        """The processes that show this data folder on their command lines."""
        found = []
        for entry in Path("/proc").iterdir():
            with suppress(OSError):
                if entry.name.isdigit() and str(self.data).encode() in (entry / "cmdline").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
        return found

    def fork_servers(self) -> list[int]:
        """The processes that attempts are forked from."""
        with suppress(OSError, KeyError, ValueError):  # it is away
            return [p for p in children(self.pid) if b"forkserver" in Path(f"/proc/{p}/cmdline").read_bytes()]
        return []

    def task_processes(self) -> list[int]:
        """The processes that run attempts: children of the fork servers."""
        return [task for server in self.fork_servers() for task in children(server)]

    def log(self) -> str:
        """What the service has written to its own log."""
        path = self.data / "service.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def blocked(self) -> list[str]:
        """Reports of something that held up the event loop of the service while it answered (not while it started)."""
        self._look_for_reports()
        return self._reports

    def _look_for_reports(self) -> None:
        if self._answered_at is not None:
            lines = self.log()[self._answered_at :].splitlines()
            self._reports += [line for line in lines if "appears to be blocked" in line]
        self._answered_at = None

    # ---- users

    def user(self, name: str, *, admin: bool = False) -> Http:
        """Add a user (password ``PASSWORD``) and return a client that speaks as this user, with a token."""
        self.cli("user", "add", name, *(["--admin"] if admin else []), "--password-file", "-", stdin=PASSWORD + "\n")
        return self.http.as_user(self.cli("token", "create", name).stdout.strip())

    # ---- tasks

    def submit(
        self, executor: str = "echo", params: Mapping[str, Any] | None = None, http: Http | None = None, **more: Any
    ) -> int:
        """Submit a task through Linkis' API and return its id. ``more`` goes into the body."""
        body = {
            "executionContent": {"code": json.dumps(dict(params or {})), "runType": executor},
            "labels": {"engineType": executor},
            **more,
        }
        return int((http or self.http).post(f"{LINKIS}/entrance/submit", body).data["taskID"])

    def state(self, task: int | str) -> str:
        """Return Linkis' word for the task's state."""
        return str(self.http.get(f"{LINKIS}/entrance/{task}/status").data["status"])

    def wait_for(self, task: int | str, *states: str, timeout_seconds: float = 30.0) -> str:
        """Wait until the task is in one of the states (default: any end) and return it."""
        wanted: Sequence[str] = states or ("Succeed", "Failed", "Cancelled", "Timeout")
        seen = ""

        def there() -> bool:
            nonlocal seen
            seen = self.state(task)
            return seen in wanted

        wait_until(there, timeout_seconds, what=f"task {task} in {wanted}", every_seconds=0.05)
        return seen
