"""Request bodies as JSON, whatever the Content-Type says, for all dialects.

Published examples post JSON with curl's form content type, SDKs with none or with ``Content-Encoding: utf-8``; a parser
that looks at these headers would see an empty body and no error.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

import marshmallow
from flask import Request, request
from flask_smorest import Blueprint
from webargs.flaskparser import FlaskParser

from common.errors import BadInput, TooLarge

MAX_LEVELS = 100


def json_body() -> Any:
    """Return the request's body parsed as JSON, None when there is none. Raises BadInput, saying where, and TooLarge."""
    raw = raw_body()
    return parse(raw) if raw else None


def raw_body() -> bytes:
    """Return the whole body. Raises TooLarge, also for one that came in chunks without saying its length; BadInput."""
    try:
        raw = request.get_data(cache=False)
    except OSError as error:
        raise BadInput("the request body ended too early") from error
    limit = request.max_content_length
    if limit is not None and len(raw) >= limit:
        raise TooLarge(f"the request body is larger than {limit - 1} bytes")
    return raw


def json_object() -> dict[str, Any]:
    """Return the body's JSON object, {} when there is no body. Raises BadInput."""
    value = json_body()
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise BadInput("the request body must be a JSON object")
    return value


def parse(raw: bytes | str) -> Any:
    """Return a JSON value that can be stored: no NaN, no half surrogates, at most 100 levels. Raises BadInput."""
    try:
        text = raw.decode() if isinstance(raw, bytes) else raw
        value = json.loads(text, parse_constant=_no_constant)
        if text.count("{") + text.count("[") > MAX_LEVELS and _levels(value) > MAX_LEVELS:
            raise BadInput(f"not valid JSON: nested more than {MAX_LEVELS} levels deep")
        if "\\u" in text:
            json.dumps(value, ensure_ascii=False).encode()
    except json.JSONDecodeError as error:
        raise BadInput(f"not valid JSON: {error.msg} at line {error.lineno} column {error.colno}") from error
    except RecursionError as error:
        raise BadInput("not valid JSON: nested too deeply") from error
    except UnicodeError as error:
        raise BadInput("not valid JSON: not valid Unicode") from error
    except ValueError as error:
        raise BadInput(f"not valid JSON: {error}") from error
    return value


def _levels(value: Any) -> int:
    """Return how deep a value is nested, without recursion."""
    level, row = 0, [value]
    while row:
        level += 1
        row = [
            inner
            for item in row
            if isinstance(item, (dict, list))
            for inner in (item.values() if isinstance(item, dict) else item)
        ]
    return level


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


class AnyContentType(FlaskParser):
    """webargs' parser over ``json_object``; faults of a schema are one BadInput with a line for each path."""

    def _raw_load_json(self, req: Request) -> Any:
        return json_object()

    def handle_error(
        self,
        error: marshmallow.ValidationError,
        req: Request,
        schema: marshmallow.Schema,
        *,
        error_status_code: int | None,
        error_headers: Mapping[str, str] | None,
    ) -> NoReturn:
        messages = error.messages if isinstance(error.messages, dict) else {"": error.messages}
        lines = [line for location in messages.values() for line in _lines("", location)]
        raise BadInput("\n".join(lines)) from error


def _lines(path: str, messages: Any) -> Iterator[str]:
    if isinstance(messages, dict):
        for key, inner in messages.items():
            name = "" if key == "_schema" else str(key)
            yield from _lines(".".join(p for p in (path, name) if p), inner)
    elif isinstance(messages, list):
        for message in messages:
            yield f"{path}: {message}" if path else str(message)
    else:
        yield f"{path}: {messages}"


class DialectBlueprint(Blueprint):  # type: ignore[misc]
    """flask-smorest's blueprint with our parser."""

    ARGUMENTS_PARSER = AnyContentType()
