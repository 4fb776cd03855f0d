"""Bytes over HTTP with ranges: 200, 206, 304, 416 (RFC 9110). One range per answer; of several all is sent."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from email.utils import formatdate, parsedate_to_datetime
from typing import TYPE_CHECKING

from flask import Response, request

from entrance.web.state import the_core

if TYPE_CHECKING:
    from entrance.core.content import Readable

_RANGE = re.compile(r"bytes=\s*(\d*)-(\d*)\s*")
OCTETS = "application/octet-stream"


def serve(found: Readable, *, content_type: str = OCTETS, headers: Mapping[str, str] | None = None) -> Response:
    """Return the answer to a GET or HEAD for these bytes; they are read while they are sent, off the event loop."""
    sent = {"Accept-Ranges": "bytes", **(headers or {})}
    if found.modified_ns:
        sent["Last-Modified"] = formatdate(found.modified_ns // 1_000_000_000, usegmt=True)
    if _is_known(sent):
        found.close()
        return _answer(b"", 304, sent, content_type)
    first, last, status = 0, found.size - 1, 200
    wanted = request.headers.get("Range", "")
    if wanted.startswith("bytes=") and "," not in wanted and _range_counts(sent):
        bounds = _bounds(wanted, found.size)
        if bounds is None:
            return _no_such_range(found, sent)
        (first, last), status = bounds, 206
        sent["Content-Range"] = f"bytes {first}-{last}/{found.size}"
    length = last - first + 1
    sent["Content-Length"] = str(length)
    if request.method == "HEAD" or length <= 0:
        found.close()
        return _answer(b"", status, sent, content_type)
    return _answer(_blocks(found, first, length), status, sent, content_type)


def _bounds(wanted: str, size: int) -> tuple[int, int] | None:
    """Return the first and last byte of a range, None when there is no such byte."""
    match = _RANGE.fullmatch(wanted)
    if match is None:
        return None
    first, last = match.group(1)[:20], match.group(2)[:20]
    if not first:
        length = min(int(last), size) if last else 0
        return (size - length, size - 1) if length else None
    begin = int(first)
    end = min(int(last), size - 1) if last else size - 1
    return (begin, end) if begin < size and begin <= end else None


def _is_known(sent: Mapping[str, str]) -> bool:
    """Whether the client has said that it has these bytes already."""
    condition = request.headers.get("If-None-Match")
    if condition is None or "Etag" not in sent:
        return False
    tags = [tag.strip().removeprefix("W/") for tag in condition.split(",")]
    return "*" in tags or sent["Etag"] in tags


def _range_counts(sent: Mapping[str, str]) -> bool:
    """Whether ``If-Range``, if there, names these bytes."""
    condition = request.headers.get("If-Range")
    if condition is None or condition == sent.get("Etag"):
        return True
    with suppress(ValueError, TypeError):
        known = parsedate_to_datetime(sent["Last-Modified"]) if "Last-Modified" in sent else None
        return known is not None and parsedate_to_datetime(condition) == known
    return False


def _no_such_range(found: Readable, sent: Mapping[str, str]) -> Response:
    found.close()
    headers = {**sent, "Content-Range": f"bytes */{found.size}"}
    return _answer(b"invalid range: failed to overlap\n", 416, headers, "text/plain; charset=UTF-8")


def _answer(body: bytes | Iterator[bytes], status: int, headers: Mapping[str, str], content_type: str) -> Response:
    response = Response(body, status, content_type=content_type, direct_passthrough=False)
    for name, value in headers.items():
        response.headers[name] = value
    return response


def _blocks(found: Readable, first: int, length: int) -> Iterator[bytes]:
    """Return the bytes to send; the first of them are read now, so that what cannot be read is still an error."""
    offload = the_core().offload
    blocks = found.read(first, length)
    try:
        begin = offload(next, blocks, b"")
    except BaseException:
        offload(found.close)
        raise

    def send() -> Iterator[bytes]:
        block = begin
        try:
            while block:
                yield block
                block = offload(next, blocks, b"")
        finally:
            offload(found.close)

    return send()
