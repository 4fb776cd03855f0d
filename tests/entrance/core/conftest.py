"""A whole core on a real data folder, with a launcher whose attempts do what the test says."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from factories import wait_until

from common.clock import ManualClock
from common.config import load
from common.errors import Closing, LaunchFailed
from common.task import State, Task
from entrance.core.folder import Folder
from entrance.core.hooks import Hooks, NoHooks
from entrance.core.lifecycle import Core, PlainRuntime
from entrance.core.model import Caller, Submission
from executors.base import Progress
from executors.launchers.base import Attempt, AttemptKey, End, Ending, Sink

ANN = Caller(name="ann")


class HandLauncher:
    """Starts nothing: the test says what its attempts say and when they end. They end at once when asked or killed."""

    def __init__(self) -> None:
        self.sink: Sink
        self.attempts: dict[AttemptKey, Attempt] = {}  # all that were ever started
        self.alive: dict[AttemptKey, Attempt] = {}
        self.asked: list[AttemptKey] = []
        self.killed: list[AttemptKey] = []
        self.told: list[tuple[AttemptKey, str, int]] = []
        self.stubborn = False  # attempts do not end when asked
        self.deaf: threading.Event | None = None  # until it is set, nor when killed
        self.broken = ""  # why nothing can be started
        self.out_of_order: dict[str, str] = {}  # what of an executor, and why
        self.most_alive = 0
        self._lock = threading.Lock()

    def open(self, sink: Sink) -> None:
        self.sink = sink

    def reconcile(self) -> None:
        self.alive.clear()

    def start(self, attempt: Attempt) -> None:
        if self.broken:
            raise LaunchFailed(self.broken)
        with self._lock:
            assert not any(key.task_id == attempt.key.task_id for key in self.alive), "two attempts of one task"
            self.attempts[attempt.key] = self.alive[attempt.key] = attempt
            self.most_alive = max(self.most_alive, len(self.alive))

    def unable(self, executor: str) -> str:
        return self.out_of_order.get(executor, "")

    def ask_stop(self, key: AttemptKey) -> None:
        self.asked.append(key)
        if not self.stubborn:
            self._stop([key])

    def kill(self, keys: Sequence[AttemptKey], timeout_seconds: float = 2.0) -> Sequence[AttemptKey]:
        self.killed += keys
        if self.deaf is not None:
            self.deaf.wait(timeout_seconds)
        self._stop(keys)
        return [key for key in keys if key in self.alive]

    def _stop(self, keys: Sequence[AttemptKey]) -> None:
        for key in keys:
            with self._lock:
                there = self.alive.pop(key, None)
            if there is not None:
                self._say_end(key, End(ending=Ending.STOPPED))

    def _say_end(self, key: AttemptKey, end: End) -> None:
        threading.Thread(target=self.sink.ended, args=(key, end), daemon=True).start()

    def cores(self, key: AttemptKey, cores: int) -> None:
        self.told.append((key, "cores", cores))

    def merged(self, key: AttemptKey, number: int) -> None:
        self.told.append((key, "merged", number))

    def running(self) -> Sequence[AttemptKey]:
        return list(self.alive)

    def close(self, timeout_seconds: float) -> None:
        self._stop(list(self.alive))

    # ---- the test's side

    def end(self, key: AttemptKey, ending: Ending = Ending.SUCCEEDED, **more: Any) -> None:
        """The attempt's processes end; returns when the service has taken it in."""
        with self._lock:
            self.alive.pop(key, None)
        self.sink.ended(key, End(ending=ending, **more))


class Life:
    """One life of a service on a data folder: a core that runs, and short words for what tests do with it."""

    def __init__(self, path: Path, clock: ManualClock, hooks: Hooks, settings: dict[str, object]) -> None:
        self.path, self.clock = path, clock
        self.failures: list[BaseException] = []
        self.folder = Folder(path)
        self.launcher = HandLauncher()
        self.core = Core(
            load(environ={}, overrides={"scheduler.slots": 8, **settings}),
            self.folder,
            runtime=PlainRuntime(),
            launcher=self.launcher,
            hooks=hooks,
            failed=self.failures.append,
            clock=clock,
        )
        self.tasks = self.core.tasks
        self.over = False

    def start(self) -> Life:
        self.core.start()
        return self

    def stop(self) -> None:
        """In good order."""
        if not self.over:
            self.over = True
            self.core.stop()
            self.folder.release()

    def crash(self) -> None:
        """As kill -9: nothing more is written, nothing is said, what was only in memory is gone."""
        self.over = True
        self.core._closing.set()
        self.core.dispatcher._closing = True
        self.core.dispatcher.wake()
        self.core.dispatcher._chores.put(None)
        self.core.writer.close()
        for thread in (*self.core._background, *self.core.dispatcher._threads):
            thread.join(5)
        self.core.readers.close()
        self.folder.release()

    # ---- tasks

    def submit(
        self, executor: str = "echo", caller: Caller = ANN, params: dict[str, Any] | None = None, **more: Any
    ) -> Task:
        wanted = Submission(executor=executor, params=params or {}, **{"creator": "IDE", "door": "linkis", **more})
        return self.tasks.accept.submit(caller, wanted)

    def get(self, task: Task | int) -> Task:
        return self.tasks.look.get(Caller(name="root", admin=True), task if isinstance(task, int) else task.id)

    def state(self, task: Task | int) -> State:
        return self.get(task).state

    def until(self, task: Task | int, *states: State) -> Task:
        """Wait until the task is in one of the states."""
        wait_until(lambda: self.state(task) in states, what=f"{states}")
        return self.get(task)

    def started(self, task: Task | int, number: int | None = None) -> AttemptKey:
        """Wait until an attempt of the task is started (by default one that lives); return its key."""
        task_id = task if isinstance(task, int) else task.id

        def found() -> AttemptKey | None:
            keys = self.launcher.alive if number is None else self.launcher.attempts
            return next((k for k in list(keys) if k.task_id == task_id and number in (None, k.number)), None)

        return wait_until(found, what=f"an attempt of task {task_id}")

    def advance(self, milliseconds: int) -> None:
        self.clock.advance(milliseconds)
        self.core.dispatcher.wake()

    def times_out_after(self, task: Task, milliseconds: int) -> None:
        """See that a task that runs reaches its time limit then, and not a second before."""
        self.advance(milliseconds - 1_000)
        threading.Event().wait(0.05)
        assert self.state(task) is State.RUNNING
        self.advance(1_000)
        self.until(task, State.TIMED_OUT)

    def step(self, key: AttemptKey, done: int, total: int, state: bytes | None = None) -> None:
        self.launcher.sink.step(key, Progress(done=done, total=total), state)

    def child(self, key: AttemptKey, name: str, **more: Any) -> int:
        return self.launcher.sink.child(
            key, name, more.pop("executor", "echo"), more.pop("params", {}), more.pop("job", None)
        )

    def log(self, task: Task, from_line: int = 0, limit: int = 10_000) -> list[str]:
        return list(self.tasks.look.log(ANN, task.id, from_line, limit).lines)

    def texts(self, task: Task) -> list[str]:
        """The log's lines without their heads."""
        return [line[24:] if line[:4].isdigit() else line for line in self.log(task)]

    def history(self, task: Task | int) -> list[str]:
        task_id = task if isinstance(task, int) else task.id
        return [record.state.value for record in self.tasks.look.history(Caller(name="root", admin=True), task_id)]


@pytest.fixture
def lives(tmp_path: Path) -> Iterator[Callable[..., Life]]:
    """A maker of lives, one after the other, on one data folder: ``lives(hooks=..., **{"retry.max_retries": 1})``."""
    made: list[Life] = []
    clock = ManualClock()

    def make(hooks: Hooks | None = None, **settings: object) -> Life:
        life = Life(tmp_path / "data", clock, hooks or NoHooks(), settings)
        made.append(life)
        return life.start()

    yield make
    for life in made:
        with suppress(Closing):
            life.stop()
        assert not life.failures, life.failures


@pytest.fixture
def life(lives: Callable[..., Life]) -> Life:
    """A running core with default settings and eight slots."""
    return lives()
