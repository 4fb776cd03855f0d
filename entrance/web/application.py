"""Flask without what this service has no use for: its sessions, names and addresses in routing, making URLs.

Every request pays for the first two, a tenth of the time of a short one, and every start for the last.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

from flask import Flask, Request, Response
from flask.sessions import NullSession, SessionInterface, SessionMixin
from werkzeug.routing import MapAdapter, Rule


class _NoSessions(SessionInterface):
    """Who is asking is known by ``web.auth``; Flask's own signed cookie is never made."""

    _none = NullSession()

    def open_session(self, app: Flask, request: Request) -> SessionMixin:
        return self._none

    def save_session(self, app: Flask, session: SessionMixin, response: Response) -> None:
        """Nothing."""


class _Rule(Rule):
    """Matches paths, and makes none: the code for that is compiled for each rule, which takes longer than all the rest."""

    def _compile_builder(self, append_unknown: bool = True) -> Callable[..., tuple[str, str]]:
        return _no_url


def _no_url(*_: Any, **__: Any) -> NoReturn:
    raise NotImplementedError("this application makes no URLs")


class Application(Flask):
    """A WSGI application whose routes depend on path and method alone, and which never redirects."""

    session_interface = _NoSessions()
    url_rule_class = _Rule

    def create_url_adapter(self, request: Request | None) -> MapAdapter | None:
        """Return what matches the request's path, as it came but for percent-encoding."""
        if request is None:
            return None
        environ: dict[str, Any] = request.environ
        path = environ.get("PATH_INFO", "").encode("latin-1").decode("utf-8", "replace") or "/"
        return MapAdapter(self.url_map, "", "/", "", environ["wsgi.url_scheme"], path, environ["REQUEST_METHOD"])
