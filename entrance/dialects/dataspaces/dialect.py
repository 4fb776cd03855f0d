"""The dialect of data spaces as the application sees it: its blueprint, its door and its errors."""

from __future__ import annotations

from flask import Request

from entrance.dialects.dataspaces import views
from entrance.dialects.dataspaces.door import caller_of
from entrance.dialects.dataspaces.errors import render_error
from entrance.web.dialect import Dialect, set_caller


def make() -> Dialect:
    """Return the dialect."""
    return Dialect(
        name="dataspaces",
        title="Entrance: data transfer tasks of data spaces",
        prefixes=views.PREFIXES,
        blueprints=(views.blueprint,),
        enter=_enter,
        render_error=render_error,
    )


def _enter(request: Request) -> None:
    set_caller(caller_of(request))
