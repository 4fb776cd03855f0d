"""Errors in Singularity's words: ``{"err": "<text>: <kind>"}``, and plain text where pieces are served."""

from __future__ import annotations

from flask import Response, request

from common.errors import AlreadyExists, BadInput, EntranceError, NotFound
from entrance.core.keeping import CannotOpen
from entrance.core.pushing import CannotCheck
from entrance.dialects.singularity.wire import answer
from entrance.web.errors import InternalError, NoRoute, WrongMethod

INVALID, NOT_FOUND, DUPLICATE = "invalid parameter", "not found", "duplicate record"


class Plain(EntranceError):
    """A text that is sent as it is, without the suffix of a kind."""

    code = "singularity"

    def __init__(self, text: str, http: int) -> None:
        self.http_status = http
        super().__init__(text)


class PlainText(Plain):
    """A text that is sent as text, not as JSON."""


class Carried(BadInput):
    """An invalid parameter whose text is that of a lower error: the kind comes first, on a line of its own."""

    def __init__(self, text: str) -> None:
        super().__init__(f"{INVALID}\n{text}")


def render_error(error: EntranceError) -> Response:
    """Return the answer that tells the client of an error."""
    match error:
        case PlainText():
            return Response(str(error), error.http_status, content_type="text/plain; charset=UTF-8")
        case NoRoute() if request.path.startswith("/api"):
            return answer({"message": "Not Found", "error": "code=404, message=Not Found"}, 404)
        case NoRoute():
            return Response("piece not found", 404, content_type="text/plain; charset=UTF-8")
        case WrongMethod():
            return answer({"message": "Method Not Allowed", "error": f"code=405, {error}"}, 405)
        case InternalError():
            return answer({"err": str(error), "ref": error.ref}, 500)
    return answer({"err": text_of(error)}, error.http_status)


def text_of(error: EntranceError) -> str:
    """Return the text of an error with the suffix of its kind."""
    text = str(error)
    match error:
        case Plain() | Carried():
            return text
        case CannotOpen() | CannotCheck():  # their texts are those of lower errors
            return f"{INVALID}\n{text}"
        case BadInput() if error.http_status == 400:
            return f"{text}: {INVALID}"
        case NotFound():
            return f"{text}: {NOT_FOUND}"
        case AlreadyExists():
            return f"{text}: {DUPLICATE}"
    return text
