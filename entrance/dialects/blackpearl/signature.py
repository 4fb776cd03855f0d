"""AWS signature version 2, as S3 used it before version 4 and the DS3 SDKs still do. Pure.

    Authorization: AWS {access id}:{signature}
    signature = base64(HMAC-SHA1(secret, string-to-sign))

    string-to-sign =
        METHOD            LF
        checksum          LF    of the one checksum header that is there
        Content-Type      LF
        Date              LF    empty when there is an x-amz-date
        x-amz- headers          each name:value LF, sorted by name
        path                    as it came on the wire, percent-encoding kept
        ?sub-resources          sorted, only those of ``SUB_RESOURCES``

Source: the contract, chapter 2; the path and the headers are the received bytes, since every SDK encodes in its own way.
"""

from __future__ import annotations

import base64
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

SCHEME = "AWS "
CHECKSUM_HEADERS = ("content-md5", "content-crc32", "content-crc32c", "content-sha256", "content-sha512")
SUB_RESOURCES = frozenset(
    {
        "acl",
        "delete",
        "lifecycle",
        "location",
        "logging",
        "notification",
        "partNumber",
        "policy",
        "requestPayment",
        "torrent",
        "uploadId",
        "uploads",
        "versionId",
        "versioning",
        "versions",
        "website",
    }
)
_AMZ, _AMZ_DATE = "x-amz-", "x-amz-date"


@dataclass(frozen=True, kw_only=True)
class Received:
    """A request as it came: ``target`` is the request target, ``headers`` by lower-case name; bytes as Latin-1 text."""

    method: str
    target: str
    headers: Mapping[str, str]


def credentials(authorization: str) -> tuple[str, str] | None:
    """Return access id and signature of an ``Authorization`` header; None when it is of another scheme or broken."""
    if not authorization.startswith(SCHEME):
        return None
    access_id, colon, signature = authorization[len(SCHEME) :].rpartition(":")
    return (access_id, signature) if colon and access_id and signature else None


def date_of(received: Received) -> int | None:
    """Return when the client says that it signed, in ms; None when it does not, or not with a date of RFC 2822."""
    text = received.headers.get(_AMZ_DATE) or received.headers.get("date") or ""
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    if date.tzinfo is None:  # -0000 and no zone at all: UTC
        date = date.replace(tzinfo=UTC)
    return int((date - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() * 1000)


def strings_to_sign(received: Received) -> tuple[bytes, ...]:
    """Return what the client may have signed, one or two forms.

    SDKs differ in whether the value of a sub-resource is signed where the name alone says all (``versions=False``).
    """
    head = [
        received.method,
        next((received.headers[h] for h in CHECKSUM_HEADERS if h in received.headers), ""),
        received.headers.get("content-type", ""),
        "" if _AMZ_DATE in received.headers else received.headers.get("date", ""),
    ]
    head += [f"{name}:{value.strip()}" for name, value in sorted(received.headers.items()) if name.startswith(_AMZ)]
    path, _, query = received.target.partition("?")
    found = sorted(p for p in query.split("&") if p.partition("=")[0] in SUB_RESOURCES)
    forms = {"&".join(found): None, "&".join(sorted(p.partition("=")[0] for p in found)): None}
    return tuple(
        "\n".join([*head, f"{path}?{resources}" if resources else path]).encode("latin-1", "replace") for resources in forms
    )


def sign(secret: str, message: bytes) -> str:
    """Return the signature of a message."""
    return base64.b64encode(hmac.digest(secret.encode(), message, "sha1")).decode()


def fits(received: Received, secret: str, signature: str) -> bool:
    """Whether the signature is that of the request; takes as long for a wrong one as for a right one."""
    given = signature.encode("latin-1", "replace")
    results = [hmac.compare_digest(sign(secret, message).encode(), given) for message in strings_to_sign(received)]
    return any(results)
