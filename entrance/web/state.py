"""What one application holds, and the way to it from inside a request. Nothing is global."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from flask import current_app

from entrance.web.auth import Auth
from entrance.web.core import Core

if TYPE_CHECKING:
    from entrance.web.ops import Ops

EXTENSION = "entrance"


@dataclass(frozen=True, kw_only=True)
class Web:
    """The parts of one application that views need."""

    core: Core
    auth: Auth
    ops: Ops
    streams: Counter[str] = field(default_factory=Counter)  # open event streams of each user


def the_web() -> Web:
    """Return what the application of the current request holds."""
    web: Web = current_app.extensions[EXTENSION]
    return web


def the_core() -> Core:
    """Return the service that the current request is for."""
    return the_web().core


def the_auth() -> Auth:
    """Return who opens the doors of that service."""
    return the_web().auth
