"""What lies around the core in a simulated whole: the disk that refuses, the processes of attempts, the launcher.

They belong to the machine, so they outlive a killed service: rows stay as they were committed, processes run on until the
next service ends them.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from simulation.fibers import Event, Kernel, Queue
from simulation.rules import hold

from common.db.sql import Tx
from common.errors import EntranceError, LaunchFailed, MayPass, NotStored, Refused
from executors.base import Progress
from executors.launchers.base import Attempt, AttemptKey, End, Ending, Sink, Slice
from executors.slices import write_slice

FULL = 13  # SQLITE_FULL


class Disk(sqlite3.Connection):
    """The database. ``fate`` is asked at each commit: True = taken, False = the disk is full; it may end the life."""

    fate: Callable[[str], bool]

    def execute(self, sql: str, /, *parameters: Any) -> sqlite3.Cursor:
        if sql != "COMMIT":
            return super().execute(sql, *parameters)
        if not self.fate("before a commit"):
            error = sqlite3.OperationalError("database or disk is full")
            error.sqlite_errorcode = FULL
            raise error
        done = super().execute(sql)
        self.fate("after a commit")
        return done

    def close(self) -> None:
        """Stays: the next service opens it again."""

    def crashed(self) -> None:
        """What was not committed is gone, and so is what was attached."""
        if self.in_transaction:
            super().execute("ROLLBACK")
        for _, name, _ in super().execute("PRAGMA database_list").fetchall():
            if name not in ("main", "temp"):
                super().execute(f"DETACH {name}")


class OneReader:
    """``Readers`` on the one connection: whoever reads sees what is committed, since a transaction is never left open."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk

    @contextmanager
    def read(self) -> Iterator[Tx]:
        hold(not self._disk.in_transaction, "a transaction is left open")
        yield Tx(self._disk)

    def close(self) -> None:
        return None


@dataclass(eq=False)
class Process:
    """One attempt's process, and what it has said so far."""

    attempt: Attempt
    units: int  # of work, in all
    box: Queue  # to the thread that reads its channel
    gone: Event  # the service knows that it is
    alive: bool = True
    done: int = 0  # units
    lines: int = 0
    slices: int = 0
    asked: bool = False  # to stop
    dying: bool = False  # killed, not dead yet
    waits: bool = False  # for an answer
    owns: bool = False  # what it declared, it may make
    published: bool = False
    fault: End | None = None
    before: dict[str, int] = field(default_factory=dict)  # lines of earlier attempts that its checkpoint speaks of

    @property
    def key(self) -> AttemptKey:
        return self.attempt.key

    def state(self) -> bytes:
        return json.dumps({"units": self.done, "lines": {**self.before, str(self.key.number): self.lines}}).encode()

    def say(self, count: int) -> None:
        number = self.key.number
        text = "".join(
            f"2026-01-01 00:00:00.000 INFO a{number} l{i}\n" for i in range(self.lines + 1, self.lines + count + 1)
        )
        self.lines += count
        self.box.put(("log", text.encode()))

    def work(self, count: int, *, step: bool, twice: bool) -> None:
        """Hand over rows for the next units, and a checkpoint that follows them."""
        self.slices += 1
        first, last = self.done + 1, min(self.units, self.done + count)
        task = self.key.task_id
        path = Path(self.attempt.workdir) / f"{self.slices}.rows"
        path.parent.mkdir(parents=True, exist_ok=True)
        columns = ("id", "attachment_id", "file_id", "offset", "length")
        write_slice(path, columns, [(task * 100 + u, task, self.key.number, u, 1) for u in range(first, last + 1)])
        part = Slice(number=self.slices, table="ranges", columns=columns, path=path, count=last - first + 1)
        self.box.put(("rows", part))
        self.done = last
        if step:
            self.step()
            if twice:
                self.box.put(("rows", part))  # a message that comes again

    def step(self) -> None:
        self.box.put(("step", Progress(done=self.done, total=self.units), self.state()))

    def ask(self, kind: str, *what: Any) -> None:
        self.waits = True
        self.box.put((kind, *what))

    def end(self, end: End) -> None:
        """Its processes are gone; what it said is still in the channel."""
        if self.alive:
            self.alive = False
            self.box.put(("exit", end))


class SimLauncher:
    """The launcher contract on simulated processes."""

    def __init__(self, kernel: Kernel, machine: Machine) -> None:
        self._kernel, self._machine = kernel, machine
        self._sink: Sink
        self._mine: dict[AttemptKey, Process] = {}
        self._closed = False

    def open(self, sink: Sink) -> None:
        self._sink = sink

    def reconcile(self) -> None:
        self._kernel.turn()
        for process in self._machine.processes:
            process.alive = False
        self._machine.processes.clear()

    def unable(self, executor: str) -> str:
        return ""  # the fork server is coming back

    def start(self, attempt: Attempt) -> None:
        self._kernel.turn()
        if self._closed or not self._machine.fork_server:
            raise LaunchFailed("the fork server is coming back")
        process = self._machine.begin(attempt)
        self._mine[attempt.key] = process
        self._kernel.spawn(self._kernel.me().life, f"session {attempt.key}", lambda: self._read(process))

    def _read(self, process: Process) -> None:
        refused = False
        while True:
            kind, *what = process.box.get()
            if kind == "exit":
                break
            try:
                if not refused:  # else requests are still answered: stop
                    self._deliver(process, kind, *what)
            except Refused:
                refused = process.asked = True
            except EntranceError as error:
                if process.fault is None:
                    may_pass = isinstance(error, MayPass | NotStored)
                    process.fault = End(ending=Ending.FAILED, reason=str(error), may_pass=may_pass)
                refused = process.asked = True
            if kind in ("own", "publish", "child"):
                process.waits = False
        end: End = what[0]
        if process.fault is not None and not process.dying and end.ending is not Ending.LOST:
            end = process.fault
        del self._mine[process.key]
        if process in self._machine.processes:
            self._machine.processes.remove(process)
        process.gone.set()
        self._sink.ended(process.key, end)

    def _deliver(self, process: Process, kind: str, *what: Any) -> None:
        key, sink = process.key, self._sink
        match kind:
            case "log":
                sink.log(key, *what)
            case "step":
                sink.step(key, *what)
            case "rows":
                sink.rows(key, *what)
            case "own":
                sink.own(key, "path", *what)
                process.owns = True
            case "publish":
                sink.publish(key, *what)
                process.published = True
            case "child":
                sink.child(key, what[0], "echo", {}, None)

    def ask_stop(self, key: AttemptKey) -> None:
        if key in self._mine:
            self._mine[key].asked = True

    def kill(self, keys: Sequence[AttemptKey], timeout_seconds: float = 2.0) -> Sequence[AttemptKey]:
        until = self._kernel.steady + timeout_seconds
        wanted = [self._mine[key] for key in keys if key in self._mine]
        for process in wanted:
            process.dying = True
        for process in wanted:
            process.gone.wait(max(0.0, until - self._kernel.steady))
        return [process.key for process in wanted if not process.gone.is_set()]

    def cores(self, key: AttemptKey, cores: int) -> None:
        return None

    def merged(self, key: AttemptKey, number: int) -> None:
        return None

    def running(self) -> Sequence[AttemptKey]:
        return list(self._mine)

    def close(self, timeout_seconds: float) -> None:
        self._closed = True
        processes = list(self._mine.values())
        for process in processes:
            process.asked = True
        until = self._kernel.steady + timeout_seconds
        for process in processes:
            if not process.gone.wait(max(0.0, until - self._kernel.steady)):
                process.dying = True
        for process in processes:
            process.gone.wait(2.0)


class Machine:
    """Processes and files of one machine."""

    def __init__(self, kernel: Kernel, folder: Path) -> None:
        self._kernel = kernel
        self.folder = folder
        self.processes: list[Process] = []
        self.fork_server = True  # is there
        self.full = False  # the disk
        self.checkpoints: Callable[[Process], None]

    def begin(self, attempt: Attempt) -> Process:
        others = [p.key for p in self.processes if p.key.task_id == attempt.key.task_id]
        hold(not others, f"attempt {attempt.key} starts while the processes of {others} live")
        units = attempt.key.task_id % 7
        process = Process(attempt=attempt, units=units, box=Queue(self._kernel), gone=Event(self._kernel))
        if attempt.checkpoint is not None:
            state = json.loads(attempt.checkpoint)
            process.done, process.before = state["units"], state["lines"]
        self.checkpoints(process)
        self.processes.append(process)
        return process
