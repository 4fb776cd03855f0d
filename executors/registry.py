"""The executors that are installed, by name. Ours are declared by entry point like anyone's.

Read once, at the first question: what is installed later is seen by the next process.
"""

from __future__ import annotations

import logging
from functools import cache
from importlib.metadata import EntryPoint, entry_points

from common.errors import StartRefused, UnknownExecutor
from executors.base import Executor
from executors.params import json_schema, load_params

__all__ = ["get", "json_schema", "load_all", "load_params", "names"]

GROUP = "entrance.executors"
_LOG = logging.getLogger(__name__)


@cache
def _declared() -> dict[str, EntryPoint]:
    found: dict[str, EntryPoint] = {}
    for point in entry_points(group=GROUP):
        other = found.setdefault(point.name, point)
        if other.value != point.value:
            raise StartRefused(f"two executors are called {point.name}: {other.value} and {point.value}")
    return found


def names() -> tuple[str, ...]:
    """Return the names of all executors, sorted. Raises StartRefused when two share a name."""
    return tuple(sorted(_declared()))


@cache
def get(name: str) -> Executor:
    """Return the executor called ``name``; its module is imported at the first call.

    Raises UnknownExecutor; StartRefused when its entry point does not lead to an executor of that name.
    """
    point = _declared().get(name)
    if point is None:
        raise UnknownExecutor(name, names())
    try:
        executor: Executor = point.load()()
    except Exception as error:
        raise StartRefused(f"executor {name} ({point.value}) cannot be loaded: {error}") from error
    if getattr(executor, "name", None) != name:
        raise StartRefused(f"executor {name} ({point.value}) calls itself {getattr(executor, 'name', None)}")
    return executor


def load_all() -> tuple[Executor, ...]:
    """Return all executors that can be loaded, sorted by name; one that cannot is told to the service's log."""
    loaded = []
    for name in names():
        try:
            executor = get(name)
            loaded.append(executor)
        except StartRefused as error:
            _LOG.error("executor left out", extra={"executor": name, "reason": str(error)})
    return tuple(loaded)
