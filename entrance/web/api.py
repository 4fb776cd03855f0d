"""flask-smorest for several dialects in one application: one OpenAPI document each, one way to answer errors for all.

A document is made when somebody asks for it: they take a tenth of a start.

Every error ends here: those of the core, those that routing raises before any blueprint is known, and bugs. The dialect
of the path gives the answer its form; ``Allow``, ``WWW-Authenticate`` and ``Retry-After`` are kept whatever it does.
"""

from __future__ import annotations

import json
from typing import Any

from flask import Flask, Response, request
from flask_smorest import Api
from werkzeug.exceptions import HTTPException

from common.errors import Closing, Draining, EntranceError, TooLarge
from entrance.web.dialect import Dialect, Dialects
from entrance.web.errors import WrongMethod, from_bug, from_http

RETRY_SECONDS = 5  # what a client may wait while the service takes no tasks


def describe(app: Flask, dialect: Dialect) -> bytes:
    """Return the OpenAPI document of a dialect of this application, as JSON. Computes for 50 ms."""
    desk = Flask(dialect.name)  # flask-smorest's handlers of errors go there: ours are those of ``ErrorDesk``
    api = Api(desk, spec_kwargs={"title": dialect.title, "version": "v1", "openapi_version": "3.0.3"})
    for blueprint in dialect.blueprints:
        blueprint.register_views_in_doc(api, app, api.spec, name=blueprint.name, parameters=None)
        api.spec.tag({"name": blueprint.name, "description": blueprint.description})
    return json.dumps(api.spec.to_dict()).encode()


class ErrorDesk:
    """Turns whatever went wrong into an answer."""

    def __init__(self, dialects: Dialects) -> None:
        self._dialects = dialects

    def install(self, app: Flask) -> None:
        app.register_error_handler(EntranceError, self.answer)
        app.register_error_handler(HTTPException, lambda error: self.answer(from_http(error), error))
        app.register_error_handler(Exception, lambda error: self.answer(from_bug(error)))

    def answer(self, error: EntranceError, http: HTTPException | None = None) -> Response:
        """Return the answer in the form of the path's dialect."""
        dialect = self._dialects.of(request.path, request.headers.get("Authorization", ""))
        response = plain_error(error) if dialect is None else dialect.render_error(error)
        kept = {name: value for name, value in (http.get_headers() if http else ()) if name in _KEPT}
        if isinstance(error, WrongMethod):
            kept["Allow"] = ", ".join(error.allowed)
        elif (wait := getattr(error, "retry_after_seconds", None)) is not None:
            kept["Retry-After"] = str(wait)
        elif isinstance(error, (Draining, Closing)):
            kept["Retry-After"] = str(RETRY_SECONDS)
        elif isinstance(error, TooLarge):
            kept["Connection"] = "close"
        for name, value in kept.items():
            response.headers[name] = value
        return response


_KEPT = frozenset({"Allow", "WWW-Authenticate", "Retry-After"})


def plain_error(error: EntranceError) -> Response:
    """Return the form of errors outside all dialects."""
    return plain({"error": error.code, "message": str(error)}, error.http_status)


def plain(value: Any, status: int = 200) -> Response:
    """Return a JSON answer without any envelope."""
    return Response(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace"), status, mimetype="application/json")
