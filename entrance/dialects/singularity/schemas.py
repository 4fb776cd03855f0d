"""Request bodies, read as Singularity's server reads them: unknown keys are ignored, missing ones are empty."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask import request

from common.content.estimate import next_power_of_two
from common.content.sizes import parse_size
from common.errors import BadInput, ContentError
from entrance.core.making import NewPreparation, checked_name
from entrance.core.sizes import DEFAULT_MAX_SIZE, DEFAULT_MIN_PIECE_SIZE, Sizes, checked_sizes
from entrance.dialects.singularity.blueprint import ref
from entrance.dialects.singularity.errors import Carried, Plain
from entrance.web.parsing import json_body

_TYPES = (  # of bodies that are read, all of them as JSON
    "application/json",
    "application/xml",
    "text/xml",
    "application/x-www-form-urlencoded",
    "multipart/form-data",
)
_KINDS: Mapping[type, str] = {str: "string", bool: "boolean", int: "number", list: "array", dict: "object"}


class Body:
    """A JSON object that was sent; every reader checks the type of its key. Faults are 400 as there."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = values

    def text(self, key: str, default: str = "") -> str:
        return str(self._of(key, str, default))

    def flag(self, key: str) -> bool:
        return bool(self._of(key, bool, False))

    def number(self, key: str) -> int:
        return int(self._of(key, int, 0))

    def object(self, key: str) -> dict[str, Any]:
        return dict(self._of(key, dict, {}))

    def texts(self, key: str) -> list[str]:
        found = self._of(key, list, [])
        for value in found:
            if not isinstance(value, str):
                raise unreadable(f"{key}: expected strings")
        return list(found)

    def size(self, key: str, default: int) -> int:
        """Return a size given as text, "" as the default. Raises Carried."""
        text = self.text(key)
        if not text.strip():
            return default
        try:
            return parse_size(text)
        except ContentError as error:
            raise Carried(f"invalid value for {key}: {error}") from error

    def _of(self, key: str, kind: type, default: Any) -> Any:
        value = self._values.get(key)
        if value is None:
            return default
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise unreadable(f"{key}: expected {_KINDS[kind]}, got {_KINDS.get(type(value), 'another type')}")
        return value


def body() -> Body:
    """Return the body of the current request; no body is an empty one. Raises Plain (400)."""
    if not request.content_length and "Transfer-Encoding" not in request.headers:
        return Body({})
    if request.mimetype not in _TYPES:
        raise unreadable(f"Unsupported Media Type: {request.mimetype or 'no Content-Type'}")
    try:
        value = json_body()
    except BadInput as error:
        raise unreadable(str(error)) from error
    if value is None:
        return Body({})
    if not isinstance(value, dict):
        raise unreadable("expected an object")
    return Body(value)


def unreadable(why: str) -> Plain:
    return Plain(f"failed to bind request body: {why}", 400)


def new_preparation(sent: Body) -> NewPreparation:
    """Return the preparation that a body asks for: first its types, then its name, then its sizes in their order.

    Raises Plain for types, BadInput for the name, Carried for sizes that are none.
    """
    for key in ("maxSize", "pieceSize", "minPieceSize"):
        sent.text(key)
    sources, outputs = sent.texts("sourceStorages"), sent.texts("outputStorages")
    delete_after_export, no_inline, no_dag = (sent.flag(key) for key in ("deleteAfterExport", "noInline", "noDag"))
    name = checked_name("preparation", sent.text("name"))
    max_size = sent.size("maxSize", DEFAULT_MAX_SIZE)
    piece_size = sent.size("pieceSize", next_power_of_two(max_size))
    checked_sizes(Sizes(max_size=max_size, piece_size=piece_size, min_piece_size=1))
    return NewPreparation(
        name=name,
        sources=[ref(text) for text in sources],
        outputs=[ref(text) for text in outputs],
        sizes=Sizes(
            max_size=max_size,
            piece_size=piece_size,
            min_piece_size=sent.size("minPieceSize", DEFAULT_MIN_PIECE_SIZE),
        ),
        delete_after_export=delete_after_export,
        no_inline=no_inline,
        no_dag=no_dag,
    )
