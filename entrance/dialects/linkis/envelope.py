"""The envelope around every answer: ``{"method", "status", "message", "data"}``.

``status`` is 0 for success, 1 for an error, -1 for "not logged in" (then, and only then, HTTP says 401).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from flask import Response, request

from entrance.web.application import Answer

ROOT = "/api/rest_j"
BASE = f"{ROOT}/v1"
encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def method_of(path: str) -> str:
    """Return ``method`` for a path: ``/api`` and what follows the base."""
    return f"/api{path[len(BASE) :]}" if path.startswith(BASE) else path


def message(method: str, data: Mapping[str, Any], text: str, status: int) -> dict[str, Any]:
    """Return an envelope as an object, for lists of them."""
    return {"method": method, "status": status, "message": text, "data": data}


def answer(
    data: Mapping[str, Any] | None = None,
    text: str = "OK",
    *,
    status: int = 0,
    http: int = 200,
    method: str | None = None,
) -> Response:
    """Return the answer to the current request."""
    value = message(method_of(request.path) if method is None else method, data or {}, text, status)
    return Answer(encode(value).encode("utf-8", "replace"), http, "application/json")
