"""The Singularity dialect as the application sees it: its blueprints, its door and its errors."""

from __future__ import annotations

from flask import request

from common.errors import NotLoggedIn
from entrance.dialects.singularity import preparations
from entrance.dialects.singularity.errors import render_error
from entrance.web.dialect import Dialect, set_caller
from entrance.web.state import the_auth


def make() -> Dialect:
    """Return the dialect."""
    return Dialect(
        name="singularity",
        title="Entrance: Singularity API",
        prefixes=("/api", "/piece"),
        blueprints=(preparations.blueprint,),
        enter=_enter,
        render_error=render_error,
    )


def _enter() -> None:
    if request.method == "OPTIONS":
        return
    caller = the_auth().guest(request)
    if caller is None:
        raise NotLoggedIn
    set_caller(caller)
