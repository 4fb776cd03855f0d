"""A DS3 client that builds and signs requests as the published SDKs do, from the contract alone; nothing of ours signs here.

python   Date with -0000; no Content-Type without a body; flags bare; only letters, digits and _.-~/ unescaped
java     Date with +0000; Content-Type application/xml on every request; flags bare; !$'()*,&=@: unescaped too
go       Date with +0000; no Content-Type; flags as name=; ; and + escaped by hand
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import quote, urlsplit
from xml.etree import ElementTree

SUB_RESOURCES = {
    "acl", "delete", "lifecycle", "location", "logging", "notification", "partNumber", "policy", "requestPayment",
    "torrent", "uploadId", "uploads", "versionId", "versioning", "versions", "website",
}  # fmt: skip


@dataclass(frozen=True)
class Answer:
    """One answer; header names in lower case, ``doubled`` those that came more than once."""

    status: int
    version: int
    headers: Mapping[str, str]
    doubled: frozenset[str]
    body: bytes

    @property
    def xml(self) -> ElementTree.Element:
        return ElementTree.fromstring(self.body)

    @property
    def error(self) -> str:
        """The code of an error body, after the checks that every SDK makes of one."""
        root = self.xml
        assert root.tag == "Error", self.body
        assert int(root.findtext("HttpErrorCode") or "") == self.status
        assert int(root.findtext("ResourceId") or "") == int(self.headers["x-amz-request-id"])
        assert root.findtext("Message")
        assert root.findtext("Resource")
        return root.findtext("Code") or ""


@dataclass(frozen=True)
class Style:
    """What an SDK does in its own way."""

    date: str = "%a, %d %b %Y %H:%M:%S -0000"
    content_type: str = ""
    bare: str = "_.-~/"
    flag: str = ""


STYLES = {
    "python": Style(),
    "java": Style(date="%a, %d %b %Y %H:%M:%S +0000", content_type="application/xml", bare="_.-~/!$'()*,&=@:"),
    "go": Style(date="%a, %d %b %Y %H:%M:%S +0000", bare="_.-~/!$'()*,&=@:", flag="="),
}


@dataclass
class Client:
    """Signs with one key; ``offset`` seconds are added to the clock."""

    url: str
    access_id: str
    secret: str
    style: Style = field(default_factory=Style)
    offset: float = 0.0

    def request(
        self,
        method: str,
        path: str,
        query: Mapping[str, str | None] | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        raw: bool = False,
    ) -> Answer:
        """Send a signed request. ``path`` is decoded unless ``raw``; a query value of None is a flag.

        ``headers`` go over those of the style; a header given as "" is not sent.
        """
        target = path if raw else quote(path, safe=self.style.bare)
        parts = [
            name + self.style.flag if value is None else f"{name}={quote(value, safe='')}"
            for name, value in (query or {}).items()
        ]
        if parts:
            target += "?" + "&".join(parts)
        sent = {"Date": time.strftime(self.style.date, time.gmtime(time.time() + self.offset))}
        if self.style.content_type:
            sent["Content-Type"] = self.style.content_type
        sent |= dict(headers or {})
        sent = {name: value for name, value in sent.items() if value != ""}
        sent.setdefault("Authorization", f"AWS {self.access_id}:{self.sign(method, target, sent)}")
        return send(self.url, method, target, sent, body)

    def sign(self, method: str, target: str, headers: Mapping[str, str]) -> str:
        return sign(self.secret, method, target, headers)

    def get(self, path: str, **query: str | None) -> Answer:
        return self.request("GET", path, query)

    def put(self, path: str, **query: str | None) -> Answer:
        return self.request("PUT", path, query)

    def delete(self, path: str, **query: str | None) -> Answer:
        return self.request("DELETE", path, query)


def string_to_sign(method: str, target: str, headers: Mapping[str, str]) -> str:
    """Return what is signed of a request, as the contract's chapter 2 says."""
    lower = {name.lower(): value for name, value in headers.items()}
    path, _, query = target.partition("?")
    resources = sorted(p for p in query.split("&") if p.split("=")[0] in SUB_RESOURCES)
    checksums = ("content-md5", "content-crc32", "content-crc32c", "content-sha256", "content-sha512")
    lines = [
        method,
        next((lower[c] for c in checksums if c in lower), ""),
        lower.get("content-type", ""),
        "" if "x-amz-date" in lower else lower.get("date", ""),
        *[f"{name}:{lower[name]}" for name in sorted(lower) if name.startswith("x-amz-")],
        path + ("?" + "&".join(resources) if resources else ""),
    ]
    return "\n".join(lines)


def sign(secret: str, method: str, target: str, headers: Mapping[str, str]) -> str:
    """Return the signature of a request."""
    digest = hmac.new(secret.encode(), string_to_sign(method, target, headers).encode(), hashlib.sha1).digest()
    return base64.b64encode(digest).decode()


def send(url: str, method: str, target: str, headers: Mapping[str, str], body: bytes | None = None) -> Answer:
    """Send a request as it is: nothing is added but Host and, with a body, its length."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=30)
    try:
        connection.putrequest(method, target, skip_accept_encoding=True)
        for name, value in headers.items():
            connection.putheader(name, value)
        if body is not None:
            connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body)
        answer = connection.getresponse()
        names = [name.lower() for name, _ in answer.getheaders()]
        return Answer(
            answer.status,
            answer.version,
            {name.lower(): value for name, value in answer.getheaders()},
            frozenset(n for n in names if names.count(n) > 1),
            answer.read(),
        )
    finally:
        connection.close()
