"""Routes with their description: one call registers a view below ``/_rest_`` and documents it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from entrance.dialects.blackpearl.answers import ROOT
from entrance.web.parsing import DialectBlueprint

View = TypeVar("View", bound=Callable[..., Any])

_XML = {"description": "XML", "content": {"text/xml": {"schema": {"type": "string"}}}}


class BlackPearlBlueprint(DialectBlueprint):
    """Views of one part of the API. A trailing slash is accepted everywhere and never redirected."""

    def __init__(self, name: str, description: str) -> None:
        super().__init__(f"blackpearl-{name}", __name__, url_prefix=ROOT, description=description)
        self._tag = name

    def on(self, rule: str, methods: Sequence[str] = ("GET",)) -> Callable[[View], View]:
        """Register a view. Its docstring describes it in the OpenAPI document."""

        def register(view: View) -> View:
            view._apidoc = {  # type: ignore[attr-defined]
                **getattr(view, "_apidoc", {}),
                "manual_doc": {"responses": {"default": _XML}},
            }
            view.provide_automatic_options = False  # type: ignore[attr-defined]  # OPTIONS is a method like any other
            self.add_url_rule(rule, None, view, methods=list(methods), tags=[self._tag])
            return view

        return register
