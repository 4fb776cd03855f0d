"""Query parameters in Linkis' manner: blank counts as missing, unknown ones are ignored."""

from __future__ import annotations

import re

from flask import request

from entrance.dialects.linkis.errors import LinkisError

_NAME = re.compile(r"[a-zA-Z\-\d_.]+")
_MAX_DIGITS = 18


def text(name: str) -> str | None:
    """Return a parameter without blanks around it, None when it is missing or blank."""
    value = request.args.get(name)
    return value.strip() or None if value is not None else None


def integer(name: str, default: int) -> int:
    """Return an integer. Raises LinkisError when it is none."""
    value = optional_integer(name)
    return default if value is None else value


def optional_integer(name: str) -> int | None:
    """Return an integer, None when it is missing. Raises LinkisError when it is none."""
    value = text(name)
    if value is None:
        return None
    digits = value[1:] if value[0] in "+-" else value
    if not (digits.isascii() and digits.isdigit() and len(digits) <= _MAX_DIGITS):
        raise LinkisError(f"{name} must be an integer")
    return int(value)


def flag(name: str) -> bool:
    """Whether a parameter is ``true``."""
    return (text(name) or "").lower() == "true"


def plain_name(name: str, what: str) -> str | None:
    """Return a name of letters, digits, ``-``, ``_`` and ``.``. Raises LinkisError 21304 for another."""
    value = text(name)
    if value is not None and not _NAME.fullmatch(value):
        raise LinkisError(f"Invalid {what} : {value}", errno=21304)
    return value
