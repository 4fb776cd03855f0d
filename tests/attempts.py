"""What the tests of runner and launchers share: a Sink that remembers, attempts, waiting."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from common.errors import UnknownExecutor
from executors import registry
from executors.launchers.base import Attempt, AttemptKey, End
from executors.launchers.local import LocalLauncher

MISBEHAVING = Path(__file__).parent / "data" / "misbehaving"


def wait_until(predicate: Callable[[], Any], timeout_seconds: float = 10.0) -> Any:
    """Return the first true value of ``predicate``; fail after the timeout."""
    deadline = time.monotonic() + timeout_seconds
    while not (value := predicate()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.005)
    return value


class RecordingSink:
    """Remembers every event as ``(key, kind, *what)``. ``refuse`` makes it raise for a kind of event."""

    def __init__(self) -> None:
        self.events: list[tuple[Any, ...]] = []
        self.refuse: dict[str, Exception] = {}
        self.on_rows: Callable[[AttemptKey, int], None] | None = None
        self.next_id = 100
        self.changes = 0  # of what the launcher can run
        self._changed = threading.Condition()

    def _record(self, key: AttemptKey, kind: str, *what: Any) -> None:
        with self._changed:
            self.events.append((key, kind, *what))
            self._changed.notify_all()
        if kind in self.refuse:
            raise self.refuse[kind]

    def log(self, key, block):
        self._record(key, "log", block)

    def step(self, key, progress, state):
        self._record(key, "step", progress, state)

    def rows(self, key, part):
        with sqlite3.connect(f"file:{part.path}?mode=ro&immutable=1", uri=True) as file:
            content = file.execute("SELECT * FROM rows").fetchall()
        file.close()
        self._record(key, "rows", part, content)
        if self.on_rows is not None:
            self.on_rows(key, part.number)

    def resources(self, key, sample):
        self._record(key, "resources", sample)

    def own(self, key, kind, names):
        self._record(key, "own", kind, list(names))

    def ids(self, key, table, n):
        self._record(key, "ids", table, n)
        self.next_id += n
        return self.next_id - n

    def publish(self, key, pairs):
        self._record(key, "publish", list(pairs))

    def child(self, key, name, executor, params, job):
        self._record(key, "child", name, executor, dict(params), job)
        return 77

    def ended(self, key, end):
        self._record(key, "ended", end)

    def ability_changed(self):
        self.changes += 1

    # ---- questions

    def of(self, key: AttemptKey, kind: str) -> list[Any]:
        with self._changed:
            return [event[2] if len(event) == 3 else event[2:] for event in self.events if event[:2] == (key, kind)]

    def kinds(self, key: AttemptKey) -> list[str]:
        with self._changed:
            return [event[1] for event in self.events if event[0] == key]

    def wait_for(self, key: AttemptKey, kind: str, timeout_seconds: float = 20.0) -> Any:
        """Return the first event of ``kind``; fail after the timeout."""
        with self._changed:
            found = self._changed.wait_for(
                lambda: [event[2] for event in self.events if event[:2] == (key, kind)], timeout_seconds
            )
        assert found, f"no {kind} of {key} in time: {self.events[-5:]}"
        return found[0]

    def wait_end(self, key: AttemptKey, timeout_seconds: float = 20.0) -> End:
        return self.wait_for(key, "ended", timeout_seconds)

    def lines(self, key: AttemptKey) -> list[str]:
        """Return the log's lines, heads included."""
        return b"".join(self.of(key, "log")).decode().splitlines()

    def texts(self, key: AttemptKey) -> list[str]:
        """Return the log's lines without time, with level."""
        return [line[24:] for line in self.lines(key)]

    def states(self, key: AttemptKey) -> list[bytes]:
        return [state for _, state in self.of(key, "step") if state is not None]


class Starter:
    """Makes attempts and hands them to a launcher."""

    def __init__(self, launcher: Any, folder: Path) -> None:
        self.launcher = launcher
        self.folder = folder
        self._tasks = 0

    def attempt(self, executor: str, params: Any = None, *, key: AttemptKey | None = None, **more: Any) -> Attempt:
        if key is None:
            self._tasks += 2  # even numbers; tests that want an odd one say so
            key = AttemptKey(task_id=self._tasks, number=1)
        params = params if isinstance(params, dict) else {"value": params} if params is not None else {}
        try:
            params = registry.load_params(registry.get(executor), params)
        except UnknownExecutor:  # known to the task process only, if at all
            params = {"value": None, **params}
        return Attempt(key=key, executor=executor, params=params, workdir=str(self.folder / str(key)), **more)

    def __call__(self, executor: str, params: Any = None, **more: Any) -> AttemptKey:
        attempt = self.attempt(executor, params, **more)
        self.launcher.start(attempt)
        return attempt.key


def processes_with(text: str) -> list[int]:
    """Return the living processes whose environment or command line holds ``text``, but not this one."""
    found = []
    for name in os.listdir("/proc"):
        if not name.isdigit() or int(name) == os.getpid():
            continue
        try:
            if Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()[0] in "ZX":
                continue
            seen = Path(f"/proc/{name}/environ").read_bytes() + Path(f"/proc/{name}/cmdline").read_bytes()
        except OSError:
            continue
        if text.encode() in seen:
            found.append(int(name))
    return found


def alive(pid: int) -> bool:
    """Whether a process runs (a zombie does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def descendants(pid: int) -> list[int]:
    """Return the processes below ``pid``."""
    found: list[int] = []
    todo: Sequence[int] = [pid]
    while todo:
        below = []
        for parent in todo:
            for children in Path(f"/proc/{parent}/task").glob("*/children"):
                try:
                    below += [int(child) for child in children.read_text().split()]
                except OSError:
                    continue
        found += below
        todo = below
    return found


@contextmanager
def local_launcher(folder: Path, name: str) -> Iterator[Any]:
    """A local launcher of instance ``{name}-{pid}``, with its ``sink`` and ``starter``; closed behind."""
    sink = RecordingSink()
    launcher: Any = LocalLauncher(data=folder, instance=f"{name}-{os.getpid()}")
    launcher.open(sink)
    launcher.reconcile()
    launcher.sink, launcher.starter = sink, Starter(launcher, folder / "work")
    yield launcher
    launcher.close(5)
