"""What is refused before anybody looks at a request, and the headers that every answer carries.

* A body larger than the limit.
* A ``Host`` that is a name which we do not go by: a foreign name that points to our address is how a web page reaches
  services of the inner network (DNS rebinding). Addresses need no list, since no name was resolved for them.
* Changes that come from another site. ``Sec-Fetch-Site``, if there, must be same-origin or none; else ``Origin``, if there,
  must be our own. A listed origin may do what our own may. GETs that change something (kill and pause in Linkis) are
  declared with ``changes_state`` and count as changes.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable
from functools import lru_cache
from typing import TypeVar
from urllib.parse import urlsplit

from flask import Flask, Request, Response, current_app, request

from common.config import Settings
from common.errors import BadInput, Forbidden, TooLarge

View = TypeVar("View", bound=Callable[..., object])

_READS = frozenset({"GET", "HEAD", "OPTIONS"})
_CSP = "default-src 'none'; frame-ancestors 'none'"
_HEADERS = tuple(
    (name, name.lower(), value)
    for name, value in (
        ("X-Content-Type-Options", "nosniff"),
        ("X-Frame-Options", "DENY"),
        ("Referrer-Policy", "no-referrer"),
        ("Cross-Origin-Resource-Policy", "same-origin"),
        ("Content-Security-Policy", _CSP),
        ("Cache-Control", "no-store"),
    )
)


def changes_state(view: View) -> View:
    """Declare a view that changes something although GET may reach it."""
    view.changes_state = True  # type: ignore[attr-defined]
    return view


def is_change(method: str, view: object) -> bool:
    """Whether a request of this method for this view would change something."""
    return method not in _READS or (method != "OPTIONS" and getattr(view, "changes_state", False))


class Guard:
    """The checks of one service."""

    def __init__(self, settings: Settings) -> None:
        self._limit = settings.limits.body_bytes
        self._names = {"localhost", settings.service.host.lower(), socket.gethostname().lower()}
        self._origins = frozenset(o.lower().rstrip("/") for o in settings.auth.allowed_origins)
        self._names.update(filter(None, (urlsplit(origin).hostname for origin in self._origins)))
        self._our_host = lru_cache(maxsize=256)(self._is_our_host)

    def install(self, app: Flask) -> None:
        """Give every answer its headers. ``check`` is called by the application, in its own order."""
        app.after_request(self._headers)

    def check(self, req: Request) -> None:
        """Raises TooLarge, BadInput or Forbidden when a request must not go on."""
        length = req.content_length if "CONTENT_LENGTH" in req.environ else None
        if length is not None and length > self._limit:
            raise TooLarge(f"the request body is larger than {self._limit} bytes")
        host = req.environ.get("HTTP_HOST")
        if host is not None and not self._our_host(host):
            raise Forbidden("the Host header names another service")
        if is_change(req.method, current_app.view_functions.get(req.endpoint or "")) and not self._from_our_side(req, host):
            raise Forbidden("changes from another site are refused")

    def _is_our_host(self, host: str) -> bool:
        try:
            parts = urlsplit(f"//{host}")
            name, _ = parts.hostname or "", parts.port
        except ValueError as error:
            raise BadInput("the Host header is malformed") from error
        if name in self._names or name.endswith(".localhost"):
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True

    def _from_our_side(self, req: Request, host: str | None) -> bool:
        origin = req.headers.get("Origin")
        if origin is not None and origin.lower() in self._origins:
            return True
        site = req.headers.get("Sec-Fetch-Site")
        if site is not None:
            return site in ("same-origin", "none")
        return origin is None or urlsplit(origin).netloc.lower() == (host or "").lower()

    def _headers(self, response: Response) -> Response:
        headers = response.headers
        named = {name.lower() for name, _ in headers}
        for name, lower, value in _HEADERS:
            if lower not in named:
                headers.add(name, value)
        origin = request.environ.get("HTTP_ORIGIN")
        if origin is not None and self._origins:
            headers.add("Vary", "Origin")
            if origin.lower() in self._origins:
                headers["Access-Control-Allow-Origin"] = origin
                headers["Access-Control-Allow-Credentials"] = "true"
                headers["Access-Control-Allow-Headers"] = "authorization,Content-Type,Token-Code,Token-User"
                headers["Access-Control-Allow-Methods"] = "POST,GET,OPTIONS,PUT,HEAD,DELETE"
                headers["Cross-Origin-Resource-Policy"] = "cross-origin"
        return response
