"""XML 1.0 as BlackPearl's clients read it: elements, attributes, no namespaces."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from xml.sax.saxutils import escape

Value = str | int | bool | None

DECLARATION = '<?xml version="1.0" encoding="UTF-8"?>'

_FORBIDDEN = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # XML 1.0, production 2 (Char)
_PLAIN = re.compile(r"[\w .,:/@+*-]*", re.ASCII)  # most texts, which are written as they are
_IN_ATTRIBUTES = {'"': "&quot;", "\t": "&#9;", "\n": "&#10;", "\r": "&#13;"}
_IN_TEXT = {"\r": "&#13;"}


def text(value: Value) -> str:
    """Return a value as it is written: truth in lower case, None as nothing; what XML cannot hold becomes U+FFFD."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else _FORBIDDEN.sub("\ufffd", str(value))


def element(name: str, children: Iterable[str] = (), attributes: Mapping[str, Value] | None = None) -> str:
    """Return an element around children that are markup already."""
    inside = "".join(children)
    head = name + "".join(f' {key}="{_escaped(value, _IN_ATTRIBUTES)}"' for key, value in (attributes or {}).items())
    return f"<{head}>{inside}</{name}>" if inside else f"<{head}/>"


def fields(values: Mapping[str, Value]) -> Iterable[str]:
    """Yield one element for each value."""
    for name, value in values.items():
        inside = _escaped(value, _IN_TEXT)
        yield f"<{name}>{inside}</{name}>" if inside else f"<{name}/>"


def _escaped(value: Value, entities: dict[str, str]) -> str:
    if not isinstance(value, str):
        return text(value)
    return value if _PLAIN.fullmatch(value) else escape(text(value), entities)
