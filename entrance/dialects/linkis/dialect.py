"""The Linkis dialect as the application sees it: its blueprints, its door and its errors."""

from __future__ import annotations

from flask import Request

from entrance.dialects.linkis import accounts, downloads, events, files, history, operation, own, users, views
from entrance.dialects.linkis.door import caller_of
from entrance.dialects.linkis.envelope import BASE, ROOT
from entrance.dialects.linkis.errors import BadVersion, render_error
from entrance.web.dialect import Dialect, set_caller

OPEN_BODY_BYTES = 64 << 10  # what anybody may have parsed; 10 MiB of JSON hold everybody up for most of a second
_OPEN = (f"{BASE}/user/", f"{BASE}/gateway/heartbeat")


def make() -> Dialect:
    """Return the dialect."""
    return Dialect(
        name="linkis",
        title="Entrance: Linkis API",
        prefixes=(ROOT,),
        blueprints=(
            users.blueprint,
            views.blueprint,
            history.blueprint,
            operation.blueprint,
            own.blueprint,
            accounts.blueprint,
            events.blueprint,
            files.blueprint,
            downloads.blueprint,
        ),
        enter=_enter,
        render_error=render_error,
    )


def _enter(request: Request) -> None:
    path = request.path
    if not path.startswith(f"{BASE}/") and path != BASE:
        raise BadVersion(path[len(ROOT) + 1 :].partition("/")[0])
    if request.method == "OPTIONS" or path.startswith(_OPEN):
        request.max_content_length = OPEN_BODY_BYTES + 1
        return
    set_caller(caller_of(request))
