"""Frozen dataclasses at the price of a dictionary.

``__init__`` of a frozen dataclass sets its fields one call at a time, and ``dataclasses.replace`` does that for all of them
to change one. A task is changed several times in its life and has thirty. For dataclasses without slots and without
``__post_init__``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

R = TypeVar("R")


def make(kind: type[R], values: Mapping[str, Any]) -> R:
    """Return a record of ``kind`` whose fields are ``values``: all of them."""
    record = object.__new__(kind)
    record.__dict__.update(values)
    return record


def but(record: R, **changes: Any) -> R:
    """Return a copy of ``record`` in which these fields are others. Raises TypeError for what is no field."""
    fields = record.__dict__
    if not changes.keys() <= fields.keys():
        raise TypeError(f"{type(record).__name__} has no {', '.join(sorted(changes.keys() - fields.keys()))}")
    return make(type(record), {**fields, **changes})
