"""Answers of the BlackPearl surface: XML in UTF-8, each with the number of its request."""

from __future__ import annotations

import secrets
from collections.abc import Iterable

from flask import Response, g

from entrance.dialects.blackpearl.markup import DECLARATION

ROOT = "/_rest_"
CONTENT_TYPE = "text/xml;charset=UTF-8"
_NUMBER_BITS = 63  # positive in 64 bits with sign
_NUMBER_HEADER = "x-amz-request-id"


def request_number() -> int:
    """Return the number of the current request, the same each time."""
    if "blackpearl_request" not in g:
        g.blackpearl_request = secrets.randbits(_NUMBER_BITS)
    number: int = g.blackpearl_request
    return number


def answer(body: str | Iterable[str], status: int = 200) -> Response:
    """Return an answer with a body: one root element, or its parts, which are then sent as they come."""
    content = DECLARATION + body if isinstance(body, str) else _encoded(body)
    response = Response(content, status, content_type=CONTENT_TYPE)
    response.headers[_NUMBER_HEADER] = str(request_number())
    return response


def _encoded(parts: Iterable[str]) -> Iterable[bytes]:
    yield DECLARATION.encode()
    for part in parts:
        yield part.encode()


def no_content() -> Response:
    """Return 204."""
    response = Response(status=204)
    response.headers[_NUMBER_HEADER] = str(request_number())
    return response
