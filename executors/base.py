"""The plug-in contract: what an executor is, and all that it may touch.

An executor is a class with a ``name``, a marshmallow ``params`` schema, result ``columns`` and ``run(ctx)``, registered
under the entry point group ``entrance.executors``. It is stateless: ``run`` may be killed at any instruction and be called
again in a new process with the last checkpoint. It calls ``ctx.step`` at least once a second, declares with ``ctx.own``
before it creates anything outside ``ctx.workdir``, and raises an ``ExecutorError`` (``MayPass`` when another attempt may
succeed) for what can go wrong outside; any other exception is a bug and keeps its traceback in the task's log.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from marshmallow import Schema

if TYPE_CHECKING:  # a small task opens no storage
    from common.storage.base import Storage


class StopRequested(BaseException):
    """Raised by ``ctx.step`` when the attempt must end. Let it pass; clean up nothing that a later attempt needs."""


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column of a result table; ``type`` is one of string, int, bigint, double, boolean."""

    name: str
    type: str = "string"
    comment: str = ""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """How far one stage of the work is: ``done + failed + running <= total``, all counted in things (files, blocks)."""

    name: str
    target: str = ""
    done: int = 0
    total: int = 0
    failed: int = 0
    running: int = 0


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far an attempt is. ``done`` of ``total`` in the executor's own unit (bytes or steps); 0 of 0 = not known yet."""

    done: int = 0
    total: int = 0
    bytes_done: int = 0
    bytes_total: int = 0
    files_done: int = 0
    files_total: int = 0
    stages: tuple[Stage, ...] = ()


class Catalogue(Protocol):
    """Read access to what is known of the data (``common.db.catalogue``); pages of at most 10,000 rows."""

    def page(self, query: str, /, *, limit: int = 10_000, **params: Any) -> Sequence[Mapping[str, Any]]: ...


class TaskContext(Protocol):
    """All that an executor may touch."""

    @property
    def params(self) -> dict[str, Any]:
        """The parameters, as the executor's schema loaded them."""
        ...

    @property
    def task_id(self) -> int: ...

    @property
    def attempt(self) -> int:
        """Number of this attempt, from 1."""
        ...

    @property
    def checkpoint(self) -> bytes | None:
        """The ``state`` of the last step of an earlier attempt that counts; None = start from the beginning."""
        ...

    @property
    def cores(self) -> int:
        """How many threads may compute now (1 to 4); may change at every step."""
        ...

    @property
    def workdir(self) -> Path:
        """A folder of this attempt alone; removed when the attempt ends, however it ends."""
        ...

    @property
    def commands(self) -> Mapping[str, Sequence[str]]:
        """Argument lists of the commands that the administrator declared, by name; empty for all but ``command``."""
        ...

    @property
    def catalogue(self) -> Any:
        """Read-only stores of the catalogue; nothing stays open across a ``step``."""
        ...

    def log(self, text: str, level: str = "INFO") -> None:
        """Append to the task's log (level INFO, WARN or ERROR); more lines in ``text`` become continuation lines."""
        ...

    def step(
        self,
        done: int,
        total: int,
        state: bytes | None = None,
        *,
        bytes_done: int = 0,
        bytes_total: int = 0,
        files_done: int = 0,
        files_total: int = 0,
        stages: Iterable[Stage] = (),
    ) -> None:
        """Report progress and, with ``state`` (at most 64 KiB), a checkpoint: rows given before it count with it.

        Raises StopRequested when the attempt must end. Costs microseconds; more than ten calls a second gain nothing.
        """
        ...

    def rows(self, table: str, batch: Sequence[Sequence[Any]], columns: Sequence[str] | None = None) -> None:
        """Hand over catalogue rows (any number; written in slices of 10,000); they count with the next ``step``,
        ``publish`` or the end. Blocks while eight slices are not merged."""
        ...

    def ids(self, table: str, n: int) -> int:
        """Reserve ``n`` consecutive ids of ``table`` for ever and return the first."""
        ...

    def own(self, names: Sequence[str], kind: str = "path") -> None:
        """Declare what is about to be created (kinds: path, prefix, upload), so that it goes if the task ends without it.

        Returns after the declaration is stored."""
        ...

    def publish(
        self,
        pairs: Sequence[tuple[str, str]],
        rows: Sequence[tuple[str, Sequence[str], Sequence[Sequence[Any]]]] = (),
    ) -> None:
        """Make files final: (temporary, final) absolute paths in one folder each, already synced, with the rows that
        describe them as (table, columns, rows). One commit decides; returns when the files have their final names."""
        ...

    def child(self, key: str, executor: str, params: Mapping[str, Any], *, job: int | None = None) -> int:
        """Ask for a task of this one; the same key gives the same child. Returns its id."""
        ...

    def storage(self, name: str) -> Storage:
        """Open one of the storages that the task's parameters name."""
        ...


class Executor(Protocol):
    """A kind of work."""

    name: ClassVar[str]
    summary: ClassVar[str]
    params: ClassVar[type[Schema]]
    columns: ClassVar[tuple[Column, ...]]
    cores: ClassVar[float]  # slots that one attempt takes

    def run(self, ctx: TaskContext) -> Sequence[Sequence[Any]] | None:
        """Do the work. Return the result rows (at most 10,000, in the order of ``columns``) or None for one row ``ok``."""
        ...
