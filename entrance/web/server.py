"""gevent's pywsgi with what a service on its own needs.

* ``TCP_NODELAY``, and small answers in one send: head and body in two sends cost 40 ms of delayed acknowledgement each.
* A turn for everybody: of many requests that are there at once, two are read and answered at each turn of the event loop.
  Answered in one go they would hold up all else, and so would a peer whose next request is always there. Of the two one is a
  request that changes something, if there is any: who steers does not wait behind hundreds who look, nor they behind him.
* An idle limit, so that slow clients hold no connection for ever; event streams, which only write, live on.
* Requests whose length could be read in two ways are refused and their connection is closed (request smuggling).
* What is left of a body that was too large is not read to its end.

Imported by ``entrance.__main__`` alone, after the patching.
"""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import lru_cache
from typing import Any
from urllib.parse import unquote

import gevent
from gevent import socket as sockets
from gevent.hub import Waiter
from gevent.pool import Pool
from gevent.pywsgi import WSGIHandler, WSGIServer, format_date_time

BACKLOG = 1024
SMALL_ANSWER_BYTES = 64 << 10  # sent together with the head
MAX_DISCARDED_BYTES = 16 << 20  # read of a refused body, so that the client sees the answer

REQUESTS_A_TURN = 2  # of the event loop

MAX_HEADERS = 100
MAX_HEADER_BYTES = 64 << 10  # of one line

USUAL_NAME_BYTES = 64  # names of headers that are remembered, with what they mean

_FRAMING = frozenset({"content-length", "transfer-encoding"})
_BODILESS = (204, 304)
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, section 5.6.2
_BARE = re.compile(r"[\r\n\0]")  # section 5.5: no value has these
_BAD_REQUEST = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n%s"


class Ambiguous(ValueError):
    """The length of a request can be read in more than one way."""


class RequestHeaders:
    """The header lines of a request, as pywsgi asks for them. Of a name that came twice ``get`` returns the first value."""

    status = ""  # pywsgi's: what is wrong with them

    def __init__(self) -> None:
        self.environ: list[tuple[str, str]] = []  # names as WSGI has them, in their order
        self._first: dict[str, str] = {}

    def add(self, name: str, key: str | None, value: str) -> None:
        """Add a line: its name in lower case, and as WSGI has it."""
        if key is not None:
            self.environ.append((key, value.strip()))
        self._first.setdefault(name, value)

    def get(self, name: str, default: str | None = None) -> str | None:
        return self._first.get(name.lower(), default)

    getheader = get

    def __delitem__(self, name: str) -> None:
        del self._first[name.lower()]

    @property
    def typeheader(self) -> str | None:
        return self._first.get("content-type")


_BESIDE = frozenset({"content-type", "content-length"})  # WSGI has them under names of their own


def _header_name(raw: bytes) -> tuple[str, str | None] | None:
    """Return a header's name in lower case and as WSGI has it (None = not at all); None when it is not a name."""
    name = raw.decode("iso-8859-1")
    if not _TOKEN.fullmatch(name):
        return None
    lower = name.lower()
    hidden = "_" in name or lower in _BESIDE  # with underscores two names could look like one
    return lower, None if hidden else f"HTTP_{lower.upper().replace('-', '_')}"


_usual_header_name = lru_cache(maxsize=256)(_header_name)


@lru_cache(maxsize=256)
def _sent_name(name: str) -> tuple[str, bytes]:
    """Return the name of an answer's header in lower case, and as it is sent."""
    return name.lower(), _sent(name)


def _sent(text: str) -> bytes:
    """Raises ValueError for what would break the head of an answer."""
    if "\n" in text or "\r" in text:
        raise ValueError(f"{text!r} would break the answer")
    return text.encode("latin-1")


@lru_cache(maxsize=2)
def _date(second: int) -> bytes:
    date: bytes = format_date_time(second)
    return date


class Turns:
    """Lets those who wait go on, a few at each turn of the event loop: by turns one who changes and one who looks."""

    def __init__(self) -> None:
        self._changing: deque[Waiter] = deque()
        self._looking: deque[Waiter] = deque()
        self._gone_on = 0  # at this turn of the loop
        self._next = gevent.get_hub().loop.timer(0.0)

    def wait(self, *, changes: bool) -> None:
        """Return when it is this greenlet's turn."""
        if not self._gone_on:
            self._next.start(self._turn)
        if self._gone_on < REQUESTS_A_TURN and not self._changing and not self._looking:
            self._gone_on += 1
            return
        waiter = Waiter()
        (self._changing if changes else self._looking).append(waiter)
        waiter.get()

    def _turn(self) -> None:
        self._next.stop()
        self._gone_on = min(REQUESTS_A_TURN, len(self._changing) + len(self._looking))
        if self._gone_on:
            self._next.start(self._turn)
        for number in range(self._gone_on):
            first, second = (self._looking, self._changing) if number % 2 else (self._changing, self._looking)
            (first or second).popleft().switch(None)


class FairHandler(WSGIHandler):  # type: ignore[misc]
    """One connection."""

    idle_seconds = 60
    turns: Turns
    changes: Callable[[str, str], bool]
    _had_turn = False

    def handle(self) -> None:
        self.socket.settimeout(self.idle_seconds)
        super().handle()

    def handle_one_request(self) -> Any:
        """Have the turn before the request is read, if its head is there in one piece, as a rule."""
        try:
            begun: bytes = b"" if self.rfile.closed else self.rfile.peek(1)
        except OSError:
            return None
        self._had_turn = b"\r\n\r\n" in begun
        if self._had_turn:
            method, _, rest = begun.partition(b" ")
            self._wait(method.decode("latin-1"), rest.partition(b" ")[0].decode("latin-1"))
        return super().handle_one_request()

    def handle_one_response(self) -> None:
        if not self._had_turn:
            self._wait(self.command, self.path)
        super().handle_one_response()

    def _check_http_version(self) -> bool:
        return self.request_version == "HTTP/1.1" or bool(super()._check_http_version())

    def _wait(self, method: str, target: str) -> None:
        path = target.partition("?")[0]
        self.turns.wait(changes=self.changes(method, unquote(path, "latin-1") if "%" in path else path))

    def _read_headers(self, lines: Any, seekable: int) -> Any:
        """Read the header lines up to the empty one (RFC 9112, section 5; folded lines are refused, as it asks).

        ``seekable`` is of pywsgi's call and has no meaning.
        """
        headers = RequestHeaders()
        framed = 0  # lines that tell how long the body is
        for _ in range(MAX_HEADERS + 1):
            line: bytes = lines.readline(MAX_HEADER_BYTES + 1)
            if line in (b"\r\n", b"\n"):
                break
            raw, colon, rest = line.partition(b":")
            value = rest.decode("iso-8859-1").removesuffix("\n").removesuffix("\r").strip(" \t")
            named = _usual_header_name(raw) if len(raw) <= USUAL_NAME_BYTES else _header_name(raw)
            # Others may read such a line differently, and one without an end was cut.
            if not colon or not line.endswith(b"\n") or named is None or _BARE.search(value):
                raise Ambiguous("a header line is malformed")
            headers.add(*named, value)
            framed += named[0] in _FRAMING
        else:
            raise Ambiguous("there are too many header lines")
        if framed:
            if framed > 1:
                raise Ambiguous("Content-Length and Transfer-Encoding exclude each other, and each comes once")
            length, encoding = headers.get("content-length"), headers.get("transfer-encoding")
            if length is not None and not (length.isascii() and length.strip().isdigit()):
                raise Ambiguous("Content-Length is not a number")
            if encoding is not None and encoding.strip().lower() != "chunked":
                raise Ambiguous("the only Transfer-Encoding is chunked")
        return headers

    MessageClass = _read_headers  # pywsgi's name

    def _headers(self) -> Sequence[tuple[str, str]]:
        environ: Sequence[tuple[str, str]] = self.headers.environ
        return environ

    def get_environ(self) -> dict[str, Any]:
        environ: dict[str, Any] = super().get_environ()
        environ["REQUEST_URI"] = self.path  # as it came, still percent-encoded: what signatures are made over
        return environ

    def _sendall(self, data: bytes | bytearray) -> None:
        sent = 0
        if len(data) <= SMALL_ANSWER_BYTES and not self.response_use_chunked:
            with suppress(OSError):  # said again by what follows
                sent = self.socket.send(data)  # all of it, as a rule
            self.response_length += sent
        if sent < len(data):
            super()._sendall(data[sent:])

    def _handle_client_error(self, ex: BaseException) -> tuple[str, bytes]:
        text = str(ex).encode("utf-8", "replace") if isinstance(ex, Ambiguous) else b"this is not a request of HTTP/1.1"
        return "400", _BAD_REQUEST % (len(text), text)

    def _write_with_headers(self, data: bytes) -> None:
        self.headers_sent = True
        self.finalize_headers()
        head = bytearray(b"HTTP/1.1 " + self.status + b"\r\n")
        for name, value in self.response_headers:
            head += name + b": " + value + b"\r\n"
        head += b"\r\n"
        if self.response_use_chunked or len(data) > SMALL_ANSWER_BYTES:
            self._sendall(head)
            self._write(data)
        else:
            self._sendall(head + data)

    def start_response(self, status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Callable[..., None]:
        if status.startswith("413"):
            body = self.wsgi_input
            body.chunked_input = False
            if body.content_length is not None:
                body.content_length = min(body.content_length, body.position + MAX_DISCARDED_BYTES)
        code = int(status.partition(" ")[0])
        if exc_info is not None or code in _BODILESS or self.request_version != "HTTP/1.1":
            super().start_response(status, headers, exc_info)
            return self._write_more
        self._orig_status, self.code = status, code
        self.status = _sent(status)
        self.provided_date = self.provided_content_length = None
        sent: list[tuple[bytes, bytes]] = []
        self.response_headers = sent
        for name, value in headers:
            lower, name_sent = _sent_name(name)
            sent.append((name_sent, _sent(value)))
            if lower == "content-length":
                self.provided_content_length = value
            elif lower == "date":
                self.provided_date = value
            elif lower == "connection" and value == "close":
                self.close_connection = True
        if self.provided_date is None:
            date = _date(int(time.time()))
            self.provided_date = date.decode()
            sent.append((b"Date", date))
        return self._write_more

    def _write_more(self, data: bytes) -> None:
        self.write(data)

    def log_request(self) -> None:
        """Nothing: requests are not logged."""


def listen(host: str, port: int) -> sockets.socket:
    """Return a listening socket whose connections send at once; port 0 takes a free one. Raises OSError."""
    family = sockets.AF_INET6 if ":" in host else sockets.AF_INET
    listener = sockets.socket(family, sockets.SOCK_STREAM)
    try:
        listener.setsockopt(sockets.SOL_SOCKET, sockets.SO_REUSEADDR, 1)
        listener.setsockopt(sockets.IPPROTO_TCP, sockets.TCP_NODELAY, 1)
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def make_server(
    listener: sockets.socket,
    application: Callable[..., Any],
    *,
    changes: Callable[[str, str], bool],
    connections: int,
    idle_seconds: int,
) -> WSGIServer:
    """Return a server for at most ``connections`` at a time; ``start``, then ``stop(timeout)`` to let requests end.

    ``changes`` tells of a method and a path (latin-1, as WSGI has it) whether such a request would change something.
    """
    parts = {"idle_seconds": idle_seconds, "turns": Turns(), "changes": staticmethod(changes)}
    handler = type("Handler", (FairHandler,), parts)
    environ = {"SERVER_NAME": listener.getsockname()[0]}  # else a name server is asked for it
    return WSGIServer(listener, application, log=None, spawn=Pool(connections), handler_class=handler, environ=environ)
