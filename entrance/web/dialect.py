"""What a dialect shows the web side, and which dialect answers for a path."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from flask import Request, Response, g

from common.errors import EntranceError, NotLoggedIn
from entrance.core.model import Caller
from entrance.web.parsing import DialectBlueprint


@dataclass(frozen=True, kw_only=True)
class Dialect:
    """One outside API.

    ``prefixes`` are the paths that it answers for, errors without a route included; of several dialects the longest prefix
    counts. ``enter`` is given every request below them before its view: it sets the caller (``set_caller``) or raises.
    ``render_error`` turns any expected error into an answer in the dialect's own form and status code. ``scheme``: requests
    on a path of no dialect whose ``Authorization`` begins so are the dialect's too (bucket names can be any path).
    """

    name: str  # of its OpenAPI document
    title: str
    prefixes: Sequence[str]
    blueprints: Sequence[DialectBlueprint]
    enter: Callable[[Request], None]
    render_error: Callable[[EntranceError], Response]
    scheme: str = ""


class Dialects:
    """All dialects of one application."""

    def __init__(self, dialects: Sequence[Dialect]) -> None:
        self.all = tuple(dialects)
        pairs = [(prefix, d) for d in dialects for prefix in d.prefixes]
        self._by_length = sorted(pairs, key=lambda pair: -len(pair[0]))

    def of(self, path: str, authorization: str) -> Dialect | None:
        """Return the dialect that answers for a request; None = the service itself."""
        for prefix, dialect in self._by_length:
            if path.startswith(prefix) and path[len(prefix) : len(prefix) + 1] in ("", "/"):
                return dialect
        return next((d for d in self.all if d.scheme and authorization.startswith(d.scheme)), None)


def set_caller(caller: Caller) -> None:
    """Note who makes the current request."""
    g.caller = caller


def the_caller() -> Caller:
    """Return who makes the current request. Raises NotLoggedIn."""
    caller: Caller | None = g.get("caller")
    if caller is None:
        raise NotLoggedIn
    return caller
