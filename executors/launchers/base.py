"""The launcher contract: where attempts run, and what is heard of them.

The task's row is committed before ``start``. Events of one attempt reach the ``Sink`` in order, each once; ``ended`` is the
last, sent when the processes are gone *and* everything that they said has been handed over. After a crash of the service
nothing of it runs on: ``reconcile`` ends what is left before any attempt starts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

from executors.base import Progress


@dataclass(frozen=True, kw_only=True, order=True)
class AttemptKey:
    """Names one attempt for ever."""

    task_id: int
    number: int

    def __str__(self) -> str:
        return f"{self.task_id}-{self.number}"


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one attempt may use; None = no limit."""

    memory_bytes: int | None = None
    open_files: int | None = None
    cpu_seconds: int | None = None


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """All that a worker needs to run an attempt."""

    key: AttemptKey
    executor: str
    params: Mapping[str, Any]  # as the executor's schema loaded them
    workdir: str  # absolute; a path object would cost a small task a twentieth of its process
    checkpoint: bytes | None = None
    cores: int = 1
    database_url: str = ""  # opened read-only by the catalogue
    storages: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, repr=False)  # decrypted; never logged
    commands: Mapping[str, Sequence[str]] = field(default_factory=dict)  # what the administrator declared
    limits: Limits = Limits()


@dataclass(frozen=True, kw_only=True)
class Slice:
    """A closed file of catalogue rows: one SQLite table ``rows`` whose columns are those named."""

    number: int  # 1, 2, ... within the attempt
    table: str
    columns: tuple[str, ...]
    path: Path
    count: int


@dataclass(frozen=True, kw_only=True)
class Sample:
    """Resources of an attempt's process tree at one moment: bytes, CPU seconds since start, processes."""

    at: int
    rss: int
    cpu_seconds: float
    read_bytes: int
    written_bytes: int
    processes: int


class Ending(StrEnum):
    """Why an attempt is over."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"  # ``run`` raised
    STOPPED = "stopped"  # it ended, or was ended, because we asked (pause, orderly stop, kill)
    DIED = "died"  # its own process died: signal, memory, exit without a result
    LOST = "lost"  # fork server, worker host or lease lost: no fault of the task


@dataclass(frozen=True, kw_only=True)
class End:
    """The end of an attempt. ``rows`` are the result rows of a success; ``reason`` is a sentence for people."""

    ending: Ending
    reason: str = ""
    may_pass: bool = False
    rows: Sequence[Sequence[Any]] | None = None
    exit_status: int | None = None  # as of ``os.waitstatus_to_exitcode``: negative = signal
    max_rss_bytes: int = 0
    cpu_seconds: float = 0.0


class Sink(Protocol):
    """Where events go. Methods may block (a request is answered after its commit) and may raise for requests: the error
    reaches the executor as ``ExecutorError``. A refused attempt (fenced) gets ``Refused`` and is told to stop."""

    def log(self, key: AttemptKey, block: bytes) -> None:
        """Whole lines, each with its head and ending in a newline, UTF-8."""
        ...

    def step(self, key: AttemptKey, progress: Progress, state: bytes | None) -> None: ...

    def rows(self, key: AttemptKey, part: Slice) -> None: ...

    def resources(self, key: AttemptKey, sample: Sample) -> None: ...

    def own(self, key: AttemptKey, kind: str, names: Sequence[str]) -> None: ...

    def ids(self, key: AttemptKey, table: str, n: int) -> int: ...

    def publish(self, key: AttemptKey, pairs: Sequence[tuple[str, str]]) -> None:
        """The rows that belong to it came before as slices; they are merged with it."""
        ...

    def child(self, key: AttemptKey, name: str, executor: str, params: Mapping[str, Any], job: int | None) -> int: ...

    def ended(self, key: AttemptKey, end: End) -> None: ...

    def ability_changed(self) -> None:
        """What ``Launcher.unable`` says is not what it said before. Must not wait."""
        ...


class Launcher(Protocol):
    """Starts and ends attempts somewhere."""

    def open(self, sink: Sink) -> None:
        """Begin to get ready (compile, warm up), without waiting for it. Called once, before ``reconcile``."""
        ...

    def reconcile(self) -> None:
        """End everything that an earlier life of this instance left behind; returns when nothing of it is left, and
        attempts may be started.

        Raises StartRefused when something cannot be ended within 10 s."""
        ...

    def start(self, attempt: Attempt) -> None:
        """Hand the attempt over. Raises LaunchFailed; otherwise ``Sink.ended`` will come, whatever happens."""
        ...

    def unable(self, executor: str) -> str:
        """Return why attempts of an executor cannot be run, in words that say nothing of the work; "" = they can, or will in
        a moment. Attempts that are started nevertheless may be lost. ``Sink.ability_changed`` tells of each change."""
        ...

    def ask_stop(self, key: AttemptKey) -> None:
        """Let the attempt end at its next step; after 1 s its processes are killed. Returns at once."""
        ...

    def kill(self, keys: Sequence[AttemptKey], timeout_seconds: float = 2.0) -> Sequence[AttemptKey]:
        """SIGKILL the process trees; returns when they are gone, with the keys that are not after the timeout."""
        ...

    def cores(self, key: AttemptKey, cores: int) -> None:
        """Change how many threads the attempt may use."""
        ...

    def merged(self, key: AttemptKey, number: int) -> None:
        """Tell the attempt that its slices up to ``number`` are stored."""
        ...

    def running(self) -> Sequence[AttemptKey]:
        """The attempts whose processes are not known to be gone."""
        ...

    def close(self, timeout_seconds: float) -> None:
        """End all attempts (ask, then kill) and everything the launcher started."""
        ...
