"""Errors in Linkis' words. Numbers and texts are those of Linkis 1.8, English halves only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask import Response, request

from common.errors import (
    Draining,
    EntranceError,
    Forbidden,
    InvalidParams,
    NotLoggedIn,
    QueueFull,
    UnknownExecutor,
)
from entrance.dialects.linkis.envelope import answer
from entrance.web.errors import InternalError, NoRoute, TokenRefused
from entrance.web.state import the_core

SERVICE_KIND = "linkis-cg-entrance"

_TOKEN_REASONS = {  # 15205, 15204, 15201, 15202
    "blank": "token is null",
    "unknown": "Invalid Token",
    "expired": "Token is not valid or stale",
    "user": "Illegal TokenUser for Token",
}


class LinkisError(EntranceError):
    """Status 1 with a text of Linkis, and its number when it has one."""

    code = "linkis"

    def __init__(
        self,
        text: str,
        *,
        errno: int | None = None,
        http: int = 400,
        data: Mapping[str, Any] | None = None,
        retry_after_seconds: int | None = None,
    ) -> None:
        self.errno, self.http_status, self.data = errno, http, dict(data or {})
        self.retry_after_seconds = retry_after_seconds
        super().__init__(text)


class BadVersion(EntranceError):
    """Another version of the base path."""

    http_status = 400

    def __init__(self, version: str) -> None:
        super().__init__(f"The gatewayv1 not support version {version}.")


def permission_text(verb: str, owner: str) -> str:
    """Return what is said about somebody else's task (the spelling is theirs)."""
    return f"You have no permission to {verb} this job, excecute by user:{owner}"


def in_linkis_words(error: EntranceError) -> LinkisError | None:
    """Return the error with Linkis' number and text, if Linkis has them."""
    match error:
        case LinkisError():
            return error
        case InvalidParams(faults=faults):
            lines = [f"{'code.' + f.path if f.path else 'code'}: {f.what}" for f in faults]
            return LinkisError("\n".join(lines), errno=20009)
        case UnknownExecutor(name=name, known=known):
            text = f"Label params invalid, no executor for engineType {name}; there are: {', '.join(known)}"
            return LinkisError(text, errno=20009)
        case QueueFull():
            return LinkisError("The submission job failed and the queue is full!", errno=12001)
        case Draining():
            return LinkisError("Submitting the query failed! the service is going offline", errno=30009, http=503)
        case _:
            return None


def render_error(error: EntranceError) -> Response:
    """Return the answer that tells the client of an error."""
    if isinstance(error, NotLoggedIn):
        return answer(text=_login_text(error), status=-1, http=401, method=request.path)
    if isinstance(error, InternalError):
        return answer({"ref": error.ref}, str(error), status=1, http=500)
    if isinstance(error, NoRoute):
        return answer(text=f"unknown request URI {request.path}", status=1, http=404, method=request.path)
    if isinstance(error, Forbidden) and error.owner:
        return answer(text=permission_text(getattr(error, "verb", "view"), error.owner), status=1, http=403)
    known = in_linkis_words(error)
    if known is None:
        method = request.path if request.url_rule is None else None
        return answer(text=str(error), status=1, http=error.http_status, method=method)
    if known.errno is None:
        return answer(known.data, str(known), status=1, http=known.http_status)
    data = {**known.data, "errorMsg": _detail(known.errno, str(known))}
    return answer(data, f"error code: {known.errno}, error message: {known}.", status=1, http=known.http_status)


def _login_text(error: NotLoggedIn) -> str:
    if not isinstance(error, TokenRefused):
        return str(error)
    if error.reason == "off":
        return "Token authentication is not enabled."
    if error.reason == "pair":
        return "Token-Code and Token-User are both needed."
    reason = _TOKEN_REASONS[error.reason]
    return f"Token Authentication Failed, token: {error.shown}, tokenUser: {error.user}, reason: {reason}"


def _detail(errno: int, text: str) -> dict[str, Any]:
    host, _, port = the_core().instance.rpartition(":")
    return {
        "level": 2,
        "errCode": errno,
        "desc": text,
        "ip": host,
        "port": int(port) if port.isdigit() else 0,
        "serviceKind": SERVICE_KIND,
    }
