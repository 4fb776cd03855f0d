"""The Singularity dialect as the application sees it: its blueprints, its door and its errors."""

from __future__ import annotations

from flask import Request

from common.errors import NotLoggedIn
from entrance.dialects.singularity import content, files, jobs, others, pieces, preparations, storages
from entrance.dialects.singularity.errors import render_error
from entrance.web.dialect import Dialect, set_caller
from entrance.web.state import the_auth, the_core


def make() -> Dialect:
    """Return the dialect."""
    return Dialect(
        name="singularity",
        title="Entrance: Singularity API",
        prefixes=("/api", "/piece"),
        blueprints=(
            preparations.blueprint,
            storages.blueprint,
            jobs.blueprint,
            files.blueprint,
            pieces.blueprint,
            content.blueprint,
            others.blueprint,
        ),
        enter=_enter,
        render_error=render_error,
    )


def _enter(request: Request) -> None:
    if request.method == "OPTIONS" or _is_public(request):
        return
    caller = the_auth().guest(request)
    if caller is None:
        raise NotLoggedIn
    set_caller(caller)


def _is_public(request: Request) -> bool:
    """Whether anyone may make a request: that for a piece, if the administrator says so."""
    public = the_core().settings.content.access == "public"
    return public and request.endpoint == f"{content.blueprint.name}.{content.PIECE}"
