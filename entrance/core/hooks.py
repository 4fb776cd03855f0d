"""Where kinds of work join the life of tasks: functions called inside the core's own transactions.

They are quick, touch only the catalogue, and raise an ``EntranceError`` to refuse. The core knows nothing of preparations;
``preparations`` knows nothing of launchers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from common.db.sql import Tx
from common.task import Event, Task


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What a hook wants to happen to another task, in the same transaction."""

    task_id: int
    event: Event


class Hooks(Protocol):
    """See the module."""

    def submitting(self, tx: Tx, user: str, admin: bool, executor: str, params: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the parameters to store: names resolved, what is missing made, rights checked."""
        ...

    def added(self, tx: Tx, task: Task, params: Mapping[str, Any]) -> Sequence[Wish]:
        """A task was stored."""
        ...

    def published(self, tx: Tx, task: Task) -> None:
        """Files became final; their rows are merged."""
        ...

    def unpublished(self, tx: Tx, task: Task, final: str) -> None:
        """A file could not become final: rows that speak of it must go."""
        ...

    def ended(self, tx: Tx, task: Task) -> Sequence[Wish]:
        """A task ended."""
        ...

    def job_of(self, executor: str, params: Mapping[str, Any]) -> int | None:
        """The job that a task of these (resolved) parameters works on."""
        ...

    def waits(self, executor: str, params: Mapping[str, Any]) -> bool:
        """Whether a task of these (resolved) parameters stays ``created`` until a wish says that it is ready."""
        ...

    def storages(
        self, tx: Tx, executor: str, params: Mapping[str, Any], user: str | None = None
    ) -> Mapping[str, Mapping[str, Any]]:
        """Decrypted settings of the storages that an attempt may open, by name; only those that ``user`` may open now."""
        ...

    def results(
        self, tx: Tx, task: Task, offset: int, limit: int, last: Sequence[Any] | None = None
    ) -> tuple[Sequence[Sequence[Any]], int] | None:
        """A page of a result that is too long to be stored with its task, and the number of its rows; else None.

        ``last``: the row before ``offset``, where it is known.
        """
        ...


class NoHooks:
    """A service without a catalogue."""

    def submitting(self, tx: Tx, user: str, admin: bool, executor: str, params: Mapping[str, Any]) -> Mapping[str, Any]:
        return params

    def added(self, tx: Tx, task: Task, params: Mapping[str, Any]) -> Sequence[Wish]:
        return ()

    def published(self, tx: Tx, task: Task) -> None:
        return None

    def unpublished(self, tx: Tx, task: Task, final: str) -> None:
        return None

    def ended(self, tx: Tx, task: Task) -> Sequence[Wish]:
        return ()

    def job_of(self, executor: str, params: Mapping[str, Any]) -> int | None:
        return None

    def waits(self, executor: str, params: Mapping[str, Any]) -> bool:
        return False

    def storages(
        self, tx: Tx, executor: str, params: Mapping[str, Any], user: str | None = None
    ) -> Mapping[str, Mapping[str, Any]]:
        return {}

    def results(
        self, tx: Tx, task: Task, offset: int, limit: int, last: Sequence[Any] | None = None
    ) -> tuple[Sequence[Sequence[Any]], int] | None:
        return None
