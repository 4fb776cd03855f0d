"""The BlackPearl dialect as the application sees it: its blueprints, its door and its errors."""

from __future__ import annotations

from flask import Request

from entrance.dialects.blackpearl import jobs, system
from entrance.dialects.blackpearl.answers import ROOT
from entrance.dialects.blackpearl.door import caller_of
from entrance.dialects.blackpearl.errors import NotServed, render_error
from entrance.dialects.blackpearl.signature import SCHEME
from entrance.web.dialect import Dialect, set_caller


def make() -> Dialect:
    """Return the dialect."""
    return Dialect(
        name="blackpearl",
        title="Entrance: BlackPearl job API",
        prefixes=(ROOT,),
        blueprints=(jobs.blueprint, system.blueprint),
        enter=_enter,
        render_error=render_error,
        scheme=SCHEME,
    )


def _enter(request: Request) -> None:
    set_caller(caller_of(request))
    if not request.path.startswith(ROOT):
        raise NotServed
