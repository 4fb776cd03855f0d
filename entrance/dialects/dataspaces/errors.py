"""Errors as google.rpc.Status, the documented form of the service, for everything that goes wrong on its paths."""

from __future__ import annotations

from flask import Response

from common.errors import (
    BadInput,
    Closing,
    Draining,
    EntranceError,
    Forbidden,
    NotFound,
    NotLoggedIn,
    TooLarge,
)
from entrance.web.api import plain
from entrance.web.errors import HttpError, WrongMethod

# google.rpc.Code (google/rpc/code.proto)
INVALID_ARGUMENT, NOT_FOUND, PERMISSION_DENIED = 3, 5, 7
UNIMPLEMENTED, INTERNAL, UNAVAILABLE, UNAUTHENTICATED = 12, 13, 14, 16


def render_error(error: EntranceError) -> Response:
    """Return the answer that tells the client of an error."""
    status, code = _status_and_code(error)
    return plain({"code": code, "message": str(error), "details": []}, status)


def _status_and_code(error: EntranceError) -> tuple[int, int]:
    match error:
        case NotLoggedIn():
            return 401, UNAUTHENTICATED
        case Forbidden():
            return 403, PERMISSION_DENIED
        case NotFound():
            return 404, NOT_FOUND
        case WrongMethod():
            return 405, UNIMPLEMENTED
        case TooLarge():
            return 413, INVALID_ARGUMENT
        case BadInput():
            return 400, INVALID_ARGUMENT
        case Draining() | Closing():
            return 503, UNAVAILABLE
        case HttpError(http_status=status) if status < 500:
            return status, INVALID_ARGUMENT
        case _:
            return 500, INTERNAL
