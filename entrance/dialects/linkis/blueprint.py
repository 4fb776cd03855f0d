"""Routes with their description: one call registers a view and documents it, and adds nothing to the cost of a request."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from entrance.dialects.linkis.envelope import BASE
from entrance.web.guard import changes_state
from entrance.web.parsing import DialectBlueprint

View = TypeVar("View", bound=Callable[..., Any])


class LinkisBlueprint(DialectBlueprint):
    """Views of one part of the API; paths are relative to the base path."""

    def __init__(self, name: str, description: str) -> None:
        super().__init__(f"linkis-{name}", __name__, url_prefix=BASE, description=description)
        self._tag = name

    def on(
        self,
        rule: str,
        methods: Sequence[str] = ("GET",),
        *,
        data: Mapping[str, str] | None = None,
        query: Mapping[str, str] | None = None,
        changes: bool = False,
    ) -> Callable[[View], View]:
        """Register a view. ``data`` and ``query`` map names to "type: description" for the OpenAPI document.

        ``changes``: GET changes something here, so that a GET from another site is refused.
        """

        def register(view: View) -> View:
            api = dict(getattr(view, "_apidoc", {}))
            api["manual_doc"] = {
                "parameters": [
                    {"in": "query", "name": name, **_described(text, "schema")} for name, text in (query or {}).items()
                ],
                "responses": {"200": _answer(data or {}), "default": _answer({})},
            }
            view._apidoc = api  # type: ignore[attr-defined]
            if changes:
                changes_state(view)
            self.add_url_rule(rule, None, view, methods=list(methods), tags=[self._tag])
            return view

        return register


def _described(text: str, holder: str) -> dict[str, Any]:
    kind, _, description = text.partition(":")
    return {holder: {"type": kind}, "description": description.strip()}


def _answer(data: Mapping[str, str]) -> dict[str, Any]:
    properties = {}
    for name, text in data.items():
        kind, _, description = text.partition(":")
        properties[name] = {"type": kind, "description": description.strip()}
    schema = {
        "type": "object",
        "required": ["method", "status", "message", "data"],
        "properties": {
            "method": {"type": "string"},
            "status": {"type": "integer", "enum": [0, 1, -1]},
            "message": {"type": "string"},
            "data": {"type": "object", "properties": properties},
        },
    }
    return {"description": "the envelope", "content": {"application/json": {"schema": schema}}}
