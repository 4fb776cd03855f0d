"""``create_app(core)``: wiring only. The order of a request: guard, dialect's door, view; whatever fails, the error desk."""

from __future__ import annotations

from functools import partial

from flask import Request

from entrance.console.views import make_blueprint
from entrance.dialects.blackpearl import dialect as blackpearl
from entrance.dialects.dataspaces import dialect as dataspaces
from entrance.dialects.linkis import dialect as linkis
from entrance.dialects.singularity import dialect as singularity
from entrance.web import ops
from entrance.web.api import ErrorDesk, describe
from entrance.web.application import Application
from entrance.web.auth import Auth
from entrance.web.core import Core
from entrance.web.dialect import Dialects
from entrance.web.guard import Guard
from entrance.web.state import EXTENSION, Web


def create_app(core: Core) -> Application:
    """Return the WSGI application of a service, with every dialect."""
    app = Application("entrance")
    app.config["MAX_CONTENT_LENGTH"] = core.settings.limits.body_bytes + 1  # werkzeug cuts there and says nothing
    app.json.sort_keys = False  # type: ignore[attr-defined]
    app.url_map.strict_slashes = False
    app.url_map.merge_slashes = False

    dialects = Dialects([linkis.make(), singularity.make(), blackpearl.make(), dataspaces.make()])
    guard = Guard(core.settings)
    guard.install(app)
    ErrorDesk(dialects).install(app)
    app.register_blueprint(ops.blueprint)
    app.register_blueprint(make_blueprint())
    for dialect in dialects.all:
        for blueprint in dialect.blueprints:
            app.register_blueprint(blueprint)
    documents = {dialect.name: partial(describe, app, dialect) for dialect in dialects.all}
    app.extensions[EXTENSION] = Web(core=core, auth=Auth(core), ops=ops.Ops(core, documents))

    def enter(request: Request) -> None:
        guard.check(request)
        dialect = dialects.of(request.path, request.environ.get("HTTP_AUTHORIZATION", ""))
        if dialect is not None:
            dialect.enter(request)

    app.enter = enter
    return app
