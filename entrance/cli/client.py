"""A small client of the service's public REST API: one kept connection, standard library only.

Where the service is and which token opens it comes from an ``Endpoint`` source that is asked anew after each failed
connection: a restarted service may have another port. With ``patience_seconds`` a request that may be sent twice is
repeated for so long while the service does not answer or says that it is closing.
"""

from __future__ import annotations

import http.client
import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from common.errors import EntranceError, NotFound

LINKIS_BASE = "/api/rest_j/v1"
SINGULARITY_BASE = "/api"
CHILDREN = 500  # in one answer
REQUEST_SECONDS = 60.0
FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 2.0


class NoAnswer(EntranceError):
    """The service does not answer."""

    code = "no_answer"


class Rejected(EntranceError):
    """The service refused; the message is its own. ``http_status`` is that of the answer."""

    code = "rejected"

    def __init__(self, message: str, http_status: int, body: Any = None) -> None:
        super().__init__(message or f"the service answered with HTTP status {http_status}")
        self.http_status, self.body = http_status, body


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """Where the service is (http or https URL, a path in front is kept) and what opens it."""

    url: str
    token: str | None = field(default=None, repr=False)


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One answer, its body read whole."""

    status: int
    headers: Mapping[str, str]  # names in lower case
    body: bytes

    def json(self) -> Any:
        """Return the body as JSON. Raises Rejected when it is not."""
        try:
            return json.loads(self.body)
        except ValueError as error:
            raise Rejected(f"not an answer of Entrance (HTTP status {self.status}, no JSON)", self.status) from error


class Client:
    """Speaks to one service. Not for several threads."""

    def __init__(self, where: Callable[[], Endpoint], *, patience_seconds: float = 0.0) -> None:
        self._where = where
        self._endpoint: Endpoint | None = None
        self._connection: http.client.HTTPConnection | None = None
        self._answered = False
        self.patience_seconds = patience_seconds

    @property
    def url(self) -> str:
        """Return the service's URL, without a slash at its end."""
        return self._located().url.rstrip("/")

    def _located(self) -> Endpoint:
        if self._endpoint is None:
            self._endpoint = self._where()
        return self._endpoint

    def close(self) -> None:
        """Close the connection and forget where the service was."""
        if self._connection is not None:
            self._connection.close()
        self._connection = self._endpoint = None

    # ---- one request

    def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        timeout_seconds: float = REQUEST_SECONDS,
        repeatable: bool | None = None,
    ) -> Answer:
        """Send a request and return the answer, whatever its status.

        ``body`` is sent as JSON when it is not bytes. ``repeatable`` (default: GET and HEAD are) allows it to be sent again.
        Raises NoAnswer.
        """
        if query:
            path += "?" + urlencode({k: _text(v) for k, v in query.items() if v is not None})
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        sent = {"Accept": "application/json", **(headers or {})}
        if data is not None:
            sent.setdefault("Content-Type", "application/json")
        again = method in {"GET", "HEAD"} if repeatable is None else repeatable
        deadline = time.monotonic() + (self.patience_seconds if again else 0.0)
        pause = FIRST_PAUSE_SECONDS
        while True:
            try:
                answer = self._once(method, path, data, sent, timeout_seconds, again)
                if answer.status != 503 or time.monotonic() >= deadline:
                    return answer
                self.close()
            except EntranceError as error:
                self.close()
                # a service that was never there is not one that comes back
                if time.monotonic() >= deadline or (isinstance(error, NotFound) and not self._answered):
                    raise
            time.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)

    def _once(
        self, method: str, path: str, data: bytes | None, headers: Mapping[str, str], timeout: float, again: bool
    ) -> Answer:
        endpoint = self._located()
        parts = urlsplit(endpoint.url)
        sent = dict(headers)
        if endpoint.token:
            sent.setdefault("Authorization", f"Bearer {endpoint.token}")
        for fresh in (False, True):
            kept = self._connection is not None
            connection = self._connection or self._connect(endpoint.url, timeout)
            if connection.sock is not None:
                connection.sock.settimeout(timeout)
            try:
                connection.request(method, parts.path.rstrip("/") + path, data, sent)
                response = connection.getresponse()
                answer = Answer(
                    status=response.status,
                    headers={k.lower(): v for k, v in response.getheaders()},
                    body=response.read(),
                )
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                self._connection = None
                # the server may have closed a kept connection just before we used it
                if kept and again and not fresh and not isinstance(error, TimeoutError):
                    continue
                raise NoAnswer(f"the service at {endpoint.url} does not answer ({_reason(error)})") from error
            self._connection = None if response.will_close else connection
            self._answered = True
            return answer
        raise AssertionError

    def _connect(self, url: str, timeout: float) -> http.client.HTTPConnection:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise Rejected(f"not a URL of a service: {url}", 0)
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        return kind(parts.hostname, parts.port, timeout=timeout)

    # ---- the dialects' forms

    def linkis(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        repeatable: bool | None = None,
    ) -> dict[str, Any]:
        """Call an endpoint with Linkis' envelope (``path`` below ``/api/rest_j/v1``) and return its ``data``.

        Raises Rejected with the envelope's message when its status is not 0.
        """
        answer = self.request(method, LINKIS_BASE + path, query=query, body=body, headers=headers, repeatable=repeatable)
        envelope = answer.json()
        if not isinstance(envelope, dict) or "status" not in envelope:
            raise Rejected(f"not an answer of Entrance (HTTP status {answer.status})", answer.status, envelope)
        if envelope["status"] != 0:
            raise Rejected(str(envelope.get("message") or ""), answer.status, envelope)
        data = envelope.get("data")
        return data if isinstance(data, dict) else {}

    def children(self, task: object) -> list[dict[str, Any]]:
        """Return the records of all children of a task, oldest first, page by page."""
        found: list[dict[str, Any]] = []
        while True:
            query = {"pageNow": len(found) // CHILDREN + 1, "pageSize": CHILDREN}
            told = self.linkis("GET", f"/entrance/{part(task)}/children", query=query)
            found += told["tasks"]
            if len(told["tasks"]) < CHILDREN:
                return found

    def singularity(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Any = None,
        timeout_seconds: float = REQUEST_SECONDS,
    ) -> Any:
        """Call an endpoint of Singularity's API (``path`` below ``/api``) and return its JSON, None for no content.

        Raises Rejected with the answer's ``err`` when its status is not 2xx.
        """
        answer = self.request(method, SINGULARITY_BASE + path, query=query, body=body, timeout_seconds=timeout_seconds)
        if not 200 <= answer.status < 300:
            try:
                told = json.loads(answer.body)
            except ValueError:
                told = answer.body.decode(errors="replace").strip()
            raise Rejected(str(told.get("err", told) if isinstance(told, dict) else told), answer.status, told)
        return answer.json() if answer.body.strip() else None


def new_idempotency_key() -> str:
    """Return a key that makes a submission repeatable: sent twice, it is one task."""
    return os.urandom(16).hex()


def part(text: object) -> str:
    """Quote one part of a path."""
    return quote(str(text), safe=":")


def _text(value: object) -> str:
    return ("true" if value else "false") if isinstance(value, bool) else str(value)


def _reason(error: Exception) -> str:
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return str(error) or type(error).__name__
