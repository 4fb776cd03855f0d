"""Query parameters as DS3 clients send them: names in any letter case, ``+`` is a plus, flags without a value.

Every value that does not parse is a BadInput that names the parameter.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from urllib.parse import unquote_to_bytes

from common.errors import BadInput

_MILLISECONDS_FROM = 100_000_000_000  # an integer date of this size or more is in milliseconds, a smaller one in seconds
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DATE = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:\.(\d{0,6}))?(?:(Z)|([+-])(\d\d):?(\d\d))?", re.ASCII | re.IGNORECASE
)
_INTEGER = re.compile(r"[+-]?\d{1,18}", re.ASCII)
_TRUTHS = {"true": True, "false": False}


class Query:
    """The parameters of one request. Unknown ones are ignored; of several of one name the first counts."""

    def __init__(self, raw: str) -> None:
        """Take the query string as it came. Raises BadInput when it is not percent-encoded UTF-8."""
        self._values: dict[str, str] = {}
        for part in raw.split("&"):
            name, _, value = part.partition("=")
            if name:
                self._values.setdefault(_decoded(name).lower(), _decoded(value))

    def flag(self, name: str) -> bool:
        """Whether the parameter is there, whatever its value."""
        return name in self._values

    def text(self, name: str) -> str | None:
        """Return a text, None when it is not there."""
        return self._values.get(name)

    def boolean(self, name: str) -> bool | None:
        value = self._values.get(name)
        if value is None:
            return None
        if value.lower() not in _TRUTHS:
            raise BadInput(f"{name} must be true or false")
        return _TRUTHS[value.lower()]

    def word(self, name: str, words: Iterable[str]) -> str | None:
        """Return one of an enumeration's words, in upper case."""
        value = self._values.get(name)
        if value is None:
            return None
        known = list(words)
        if value.upper() not in known:
            raise BadInput(f"{name} must be one of {', '.join(known)}")
        return value.upper()

    def integer(self, name: str, default: int, least: int, most: int) -> int:
        value = self._values.get(name)
        if value is None:
            return default
        if not _INTEGER.fullmatch(value) or not least <= int(value) <= most:
            raise BadInput(f"{name} must be a number from {least} to {most}")
        return int(value)

    def date(self, name: str) -> int | None:
        """Return a date in ms since 1970."""
        value = self._values.get(name)
        if value is None:
            return None
        at = _date(value)
        if at is None:
            raise BadInput(f"{name} must be a date such as 2026-11-21T20:50:00.000Z")
        return at


def _decoded(text: str) -> str:
    try:
        return unquote_to_bytes(text.encode("latin-1")).decode()
    except UnicodeError as error:
        raise BadInput("the query is not percent-encoded UTF-8") from error


def _date(text: str) -> int | None:
    if _INTEGER.fullmatch(text):
        number = int(text)
        at = number if abs(number) >= _MILLISECONDS_FROM else number * 1000
        return at if _writable(at) else None
    found = _DATE.fullmatch(text)
    if found is None:
        return None
    *parts, decimals, _, sign, hours, minutes = found.groups()
    try:
        moment = datetime(*(int(p) for p in parts), tzinfo=UTC)  # type: ignore[arg-type, misc]
    except ValueError:
        return None
    at = (moment - _EPOCH) // timedelta(milliseconds=1) + int((decimals or "").ljust(3, "0")[:3])
    if sign:
        if int(hours) > 23 or int(minutes) > 59:
            return None
        offset = (int(hours) * 60 + int(minutes)) * 60_000
        at += offset if sign == "-" else -offset
    return at if _writable(at) else None


def _writable(at: int) -> bool:
    try:
        date_text(at)
    except OverflowError:
        return False
    return True


def date_text(at: int) -> str:
    """Return a time in ms as it is written: UTC with three decimals. Raises OverflowError outside the years 1 to 9999."""
    moment = _EPOCH + timedelta(milliseconds=at)
    return f"{moment.replace(tzinfo=None).isoformat(timespec='milliseconds')}Z"
