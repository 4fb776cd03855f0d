"""Flask without what this service has no use for: sessions, signals, functions of blueprints around requests, names and
addresses in routing, making URLs.

Every request pays for all but the last, a fifth of the time of a short one, and every start for the last.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NoReturn, cast

from flask import Flask, Request, Response
from flask.ctx import RequestContext
from flask.globals import request_ctx
from flask.sessions import NullSession, SessionInterface, SessionMixin
from werkzeug.exceptions import HTTPException
from werkzeug.routing import MapAdapter, Rule, ValidationError

from entrance.web.guard import is_change

REMEMBERED_PATHS = 4096  # those that are polled, with the rules that they match
REMEMBERED_CHARACTERS = 256  # of a path at most


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
    """Say, as werkzeug's own builders do, that there is none: who asks for a URL gets its ``BuildError``."""
    raise ValidationError


class _Context(RequestContext):
    """One request; what its path matches is looked up once for all requests of that path."""

    app: Application

    def match_request(self) -> None:
        request = self.request
        path = _path(request.environ)
        match = self.app.matching if len(path) <= REMEMBERED_CHARACTERS else self.app.match
        try:
            request.url_rule, values = match(request.method, path)
            request.view_args = dict(values)
        except HTTPException as error:
            request.routing_exception = error


class Answer(Response):
    """A response whose bytes are all there and which redirects nowhere: it leaves as it is."""

    def __init__(self, body: bytes, status: int, content_type: str) -> None:
        super().__init__(status=status, headers=[("Content-Type", content_type), ("Content-Length", str(len(body)))])
        self.response = [body]

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        if environ["REQUEST_METHOD"] == "HEAD" or self.status_code < 200 or self.status_code in (204, 304) or self._on_close:
            return super().__call__(environ, start_response)
        start_response(self.status, self.headers.to_wsgi_list())
        return self.response


class Application(Flask):
    """A WSGI application whose routes depend on path and method alone, and which never redirects.

    ``enter`` is called before the view of each request, and raises when it must not go on. Of Flask's functions around
    requests those after requests of the application itself are called, and no others.
    """

    session_interface = _NoSessions()
    url_rule_class = _Rule

    def __init__(self, name: str) -> None:
        super().__init__(name, static_folder=None)
        self.enter: Callable[[Request], None] = lambda _: None
        # werkzeug leaves eight objects in a cycle at each match: remembered, they are no work for the garbage collector.
        self.matching = lru_cache(maxsize=REMEMBERED_PATHS)(self.match)

    def register_blueprint(self, blueprint: Any, **options: Any) -> None:
        """Raises ValueError for one with functions that would not be called."""
        super().register_blueprint(blueprint, **options)
        unheard = (self.before_request_funcs, self.url_value_preprocessors, self.teardown_request_funcs)
        if any(unheard) or self.after_request_funcs.keys() - {None}:
            raise ValueError(f"{blueprint.name} has functions around its requests")

    def match(self, method: str, path: str) -> tuple[Rule, dict[str, Any]]:
        """Return the rule that a request comes to, and the values in its path. Raises HTTPException."""
        rule, values = MapAdapter(self.url_map, "", "/", "", "http", path, method).match(return_rule=True)
        return rule, dict(values)

    def changes(self, method: str, path: str) -> bool:
        """Whether a request of this method, for this ``PATH_INFO``, would change something."""
        path = _decoded(path)
        try:
            rule, _ = (self.matching if len(path) <= REMEMBERED_CHARACTERS else self.match)(method, path)
        except HTTPException:
            return False
        return is_change(method, self.view_functions[rule.endpoint])

    def create_url_adapter(self, request: Request | None) -> MapAdapter | None:
        """Return what matches the request's path, as it came but for percent-encoding."""
        if request is None:
            return None
        environ: dict[str, Any] = request.environ
        return MapAdapter(self.url_map, "", "/", "", environ["wsgi.url_scheme"], _path(environ), request.method)

    def request_context(self, environ: dict[str, Any]) -> RequestContext:
        return _Context(self, environ)

    def ensure_sync(self, func: Any) -> Any:
        """Return the function as it is: none is a coroutine."""
        return func

    def full_dispatch_request(self) -> Response:
        self._got_first_request = True
        try:
            self.enter(request_ctx.request)
            result = self.dispatch_request()
        except Exception as error:
            result = self.handle_user_exception(error)
        return self.finalize_request(result)

    def finalize_request(self, rv: Any, from_error_handler: bool = False) -> Response:
        if from_error_handler:
            return super().finalize_request(rv, from_error_handler)
        return self.process_response(rv if isinstance(rv, Response) else self.make_response(rv))

    def process_response(self, response: Response) -> Response:
        for after in request_ctx._after_request_functions:
            response = cast(Response, after(response))
        for after in reversed(self.after_request_funcs.get(None, [])):
            response = after(response)
        return response

    def do_teardown_request(self, *_: Any) -> None:
        """Nothing: there are no such functions."""

    def do_teardown_appcontext(self, *_: Any) -> None:
        """Nothing, as above."""


def _path(environ: dict[str, Any]) -> str:
    return _decoded(environ.get("PATH_INFO", ""))


def _decoded(path_info: str) -> str:
    return path_info.encode("latin-1").decode("utf-8", "replace") or "/"
