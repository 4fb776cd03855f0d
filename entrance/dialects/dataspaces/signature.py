"""The HMAC scheme of SenseCore's gateway. Pure.

    X-Date: Sat, 21 Nov 2026 20:50:00 GMT
    Authorization: hmac accesskey="ID", algorithm="hmac-sha256", headers="x-date", signature="S"
    S = base64(HMAC-SHA256(secret, "x-date: " + value of X-Date))

Source: the contract, chapter 1.
"""

from __future__ import annotations

import base64
import hmac
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

SCHEME = "hmac"
_PAIR = re.compile(r'(\w+)\s*=\s*"([^"]*)"')
_WANTED = {"algorithm": "hmac-sha256", "headers": "x-date"}


@dataclass(frozen=True, kw_only=True)
class Credentials:
    """What an ``Authorization`` header of the scheme says."""

    access_id: str
    signature: str


def is_of_scheme(authorization: str) -> bool:
    """Whether a header speaks of this scheme, rightly or wrongly."""
    return authorization.partition(" ")[0].lower() == SCHEME


def credentials(authorization: str) -> Credentials | None:
    """Return what a header says; None when something is missing, or it wants another algorithm or other headers."""
    pairs = {name.lower(): value for name, value in _PAIR.findall(authorization)}
    if any(pairs.get(name, "").lower() != value for name, value in _WANTED.items()):
        return None
    if not pairs.get("accesskey") or not pairs.get("signature"):
        return None
    return Credentials(access_id=pairs["accesskey"], signature=pairs["signature"])


def date_of(x_date: str) -> int | None:
    """Return the time of an ``X-Date`` header in ms; None when it is no date."""
    try:
        date = parsedate_to_datetime(x_date)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    if date.tzinfo is None:
        date = date.replace(tzinfo=UTC)
    return int((date - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() * 1000)


def sign(secret: str, x_date: str) -> str:
    """Return the signature for a date."""
    message = f"x-date: {x_date}".encode("latin-1", "replace")
    return base64.b64encode(hmac.digest(secret.encode(), message, "sha256")).decode()


def fits(secret: str, x_date: str, signature: str) -> bool:
    """Whether the signature is right; takes as long for a wrong one."""
    return hmac.compare_digest(sign(secret, x_date).encode(), signature.encode("latin-1", "replace"))
