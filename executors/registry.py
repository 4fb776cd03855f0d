"""The executors that are installed, by name. Ours are declared by entry point like anyone's.

Read once, at the first question: what is installed later is seen by the next process.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Mapping
from functools import cache
from operator import attrgetter

from common.errors import StartRefused, UnknownExecutor
from executors.base import Executor
from executors.params import json_schema, load_params

__all__ = ["get", "json_schema", "load_all", "load_params", "names", "places", "take"]

GROUP = "entrance.executors"
_LOG = logging.getLogger(__name__)


_taken: dict[str, str] = {}


@cache
def places() -> Mapping[str, str]:
    """Return where each executor is, by name: ``module:attribute``. Raises StartRefused when two share a name."""
    if _taken:
        return _taken
    from importlib.metadata import entry_points  # brings mail, archives and compressors, which a fork server does without

    found: dict[str, str] = {}
    for point in entry_points(group=GROUP):
        place = f"{point.module}:{point.attr}"
        if found.setdefault(point.name, place) != place:
            raise StartRefused(f"two executors are called {point.name}: {found[point.name]} and {place}")
    return found


def take(found: Mapping[str, str]) -> None:
    """Take these for all that are installed: what another process has read. Before anything else is asked here."""
    _taken.update(found)


def names() -> tuple[str, ...]:
    """Return the names of all executors, sorted. Raises StartRefused when two share a name."""
    return tuple(sorted(places()))


@cache
def get(name: str) -> Executor:
    """Return the executor called ``name``; its module is imported at the first call.

    Raises UnknownExecutor; StartRefused when its entry point does not lead to an executor of that name.
    """
    place = places().get(name)
    if place is None:
        raise UnknownExecutor(name, names())
    module, _, attribute = place.partition(":")
    try:
        executor: Executor = attrgetter(attribute)(importlib.import_module(module))()
    except Exception as error:
        raise StartRefused(f"executor {name} ({place}) cannot be loaded: {error}") from error
    if getattr(executor, "name", None) != name:
        raise StartRefused(f"executor {name} ({place}) calls itself {getattr(executor, 'name', None)}")
    return executor


def load_all() -> tuple[Executor, ...]:
    """Return all executors that can be loaded, sorted by name; one that cannot is told to the service's log."""
    loaded = []
    for name in names():
        try:
            executor = get(name)
            loaded.append(executor)
        except StartRefused as error:
            _LOG.error("left out: %s", error, extra={"executor": name})
    return tuple(loaded)
