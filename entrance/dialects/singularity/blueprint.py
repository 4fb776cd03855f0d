"""Routes of Singularity: their parameters are read from the raw target, as its router does.

A parameter is percent-decoded and ``+`` is a space; the last one of a route with ``*`` takes the whole rest of the path, and
an empty one does not match.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import Any, TypeVar
from urllib.parse import unquote_plus

from flask import request
from flask.sansio.blueprints import BlueprintSetupState
from werkzeug.routing import BaseConverter

from entrance.core.data import Ref
from entrance.dialects.singularity.errors import Plain
from entrance.web.parsing import DialectBlueprint

View = TypeVar("View", bound=Callable[..., Any])

MOST_ID = (1 << 32) - 1
NOT_A_NUMBER = "failed to parse path parameter as number"


class SingularityBlueprint(DialectBlueprint):
    """Views of one part of the API."""

    def __init__(self, name: str, description: str, *, base: str = "/api") -> None:
        super().__init__(f"singularity-{name}", __name__, url_prefix=base, description=description)
        self._tag, self._base = name, base
        self.record(_add_converter)

    def on(
        self,
        rule: str,
        methods: Sequence[str] = ("GET",),
        *,
        answers: Mapping[int, str] | None = None,
        endpoint: str | None = None,
    ) -> Callable[[View], View]:
        """Register a view for ``rule``: parts are text, ``<name>``, or at its end ``<name*>``. Parameters come as text.

        ``answers``: status to description, for the OpenAPI document. ``endpoint`` is the view's name when missing.
        """
        parts = (self._base + rule).strip("/").split("/")
        head, _, last = rule.rpartition("/")
        flask_rule = f"{head}/<rest:{last[1:-2]}>" if last.endswith("*>") else rule

        def register(view: View) -> View:
            @wraps(view)
            def called(**given: str) -> Any:
                return view(**_parameters(parts, given))

            called._apidoc = {  # type: ignore[attr-defined]
                **getattr(view, "_apidoc", {}),
                "manual_doc": {
                    "responses": {
                        str(status): {"description": text} for status, text in (answers or {200: "see the contract"}).items()
                    }
                },
            }
            self.add_url_rule(flask_rule, endpoint, called, methods=list(methods), tags=[self._tag])
            return view

        return register


class _Rest(BaseConverter):
    """The whole rest of a path, whatever it begins with."""

    part_isolating = False
    regex = ".+"


def _add_converter(state: BlueprintSetupState) -> None:
    state.app.url_map.converters["rest"] = _Rest


def _parameters(parts: Sequence[str], given: Mapping[str, str]) -> dict[str, str]:
    """Return the parameters of the current request, decoded from its raw target."""
    raw = str(request.environ.get("REQUEST_URI", "")).partition("?")[0]
    found = raw.split("/")[1:]
    rest = parts[-1].endswith("*>")
    if len(found) < len(parts) or (len(found) > len(parts) and not rest):
        return dict(given)  # behind another server that does not hand on the raw target
    values = dict(given)
    for number, part in enumerate(parts):
        if part.startswith("<"):
            last = rest and number == len(parts) - 1
            text = "/".join(found[number:]) if last else found[number]
            values[part.strip("<*>")] = unquote_plus(text)
    return values


def ref(text: str) -> Ref:
    """Return what names a preparation or storage: digits are an id, anything else is a name."""
    if text.isascii() and text.isdigit() and int(text[:11]) <= MOST_ID:
        return int(text)
    return text


def number(text: str) -> int:
    """Return a parameter that must be a number. Raises Plain (400)."""
    if not (text.isascii() and text.isdigit()) or int(text[:20]) >= 1 << 63:
        raise Plain(NOT_A_NUMBER, 400)
    return int(text)
