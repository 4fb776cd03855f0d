"""Errors that only the web side knows, and the way from werkzeug's exceptions to ours.

A dialect's ``render_error`` gets nothing but ``EntranceError``s; what they say is for the client.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence

from flask import request
from werkzeug.exceptions import HTTPException, MethodNotAllowed, RequestEntityTooLarge
from werkzeug.exceptions import NotFound as HttpNotFound

from common.errors import BadInput, EntranceError, NotFound, NotLoggedIn, TooLarge
from common.logging import get_log

_LOG = get_log(__name__)


class NoRoute(NotFound):
    """There is nothing at this address."""

    code = "no_route"


class WrongMethod(BadInput):
    """The address does not take this method."""

    code = "wrong_method"
    http_status = 405

    def __init__(self, allowed: Sequence[str]) -> None:
        self.allowed = tuple(sorted(allowed))
        super().__init__(f"this address takes {', '.join(self.allowed)}")


class TokenRefused(NotLoggedIn):
    """The token does not open this door. ``reason`` is one of blank, unknown, expired, user, off."""

    code = "token_refused"

    def __init__(self, reason: str, *, token: str = "", user: str = "") -> None:
        self.reason, self.user = reason, user
        self.shown = f"{token[:3]}***"  # all that an answer may show of it
        super().__init__(f"the token was refused: {reason}")


class SessionExpired(NotLoggedIn):
    """Login has expired, please log in again!"""

    code = "session_expired"


class WrongPassword(BadInput):
    """wrong user name or password!"""

    code = "wrong_password"


class TooManyTries(EntranceError):
    """There were too many wrong passwords; wait a little."""

    code = "too_many_tries"
    http_status = 429

    def __init__(self, retry_after_seconds: int) -> None:
        self.retry_after_seconds = retry_after_seconds
        super().__init__(f"too many wrong passwords, try again in {retry_after_seconds} s")


class TooManyStreams(EntranceError):
    """There are too many event streams open."""

    code = "too_many_streams"
    http_status = 429

    def __init__(self, limit: int) -> None:
        super().__init__(f"at most {limit} event streams of one user at a time")


class HttpError(EntranceError):
    """Any other refusal that the web framework makes by itself."""

    code = "http"

    def __init__(self, http_status: int, message: str) -> None:
        self.http_status = http_status
        super().__init__(message)


class InternalError(EntranceError):
    """A bug. The answer names the class of the error and a reference; the rest is in the service's log."""

    code = "bug"

    def __init__(self, error: BaseException) -> None:
        self.ref = secrets.token_hex(6)
        self.kind = type(error).__name__
        super().__init__(f"operation failed, the reason: {self.kind}")


def from_http(error: HTTPException) -> EntranceError:
    """Return the error of ours that says what werkzeug's exception says."""
    if isinstance(error, HttpNotFound):
        return NoRoute()
    if isinstance(error, MethodNotAllowed):
        return WrongMethod(list(error.valid_methods or ()))
    if isinstance(error, RequestEntityTooLarge):
        return TooLarge()
    return HttpError(error.code or 500, error.description or error.name)


def from_bug(error: BaseException) -> InternalError:
    """Write a bug into the service's log and return what the client may know of it."""
    made = InternalError(error)
    _LOG.exception("request failed", error, ref=made.ref, method=request.method, path=request.path)
    return made
