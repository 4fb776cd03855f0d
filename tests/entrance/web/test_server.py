"""entrance.web.server over raw sockets: framing that cannot be read in two ways, limits, keep-alive without delay."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import gevent
import pytest
from factories import LINKIS, Service

from entrance.web.server import Turns

HEALTH = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
SUBMIT = f"POST {LINKIS}/entrance/submit HTTP/1.1\r\nHost: localhost\r\n".encode()


@contextmanager
def connected(service: Service) -> Iterator[socket.socket]:
    parts = urlsplit(service.url)
    with socket.create_connection((parts.hostname, parts.port), timeout=10) as connection:
        yield connection


def until_closed(connection: socket.socket) -> bytes:
    """Return all that comes until the other side closes."""
    parts = []
    try:
        while part := connection.recv(65536):
            parts.append(part)
    except ConnectionResetError:
        pass
    return b"".join(parts)


def one_answer(connection: socket.socket) -> tuple[int, bytes]:
    """Return status and body of one answer with a length."""
    head = b""
    while b"\r\n\r\n" not in head:
        part = connection.recv(65536)
        assert part, head
        head += part
    head, _, body = head.partition(b"\r\n\r\n")
    length = next(int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length"))
    while len(body) < length:
        body += connection.recv(65536)
    return int(head.split()[1]), body


@pytest.mark.parametrize(
    "headers",
    [
        b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n",
        b"Content-Length: 2\r\nContent-Length: 3\r\n",
        b"Content-Length: +2\r\n",
        b"Content-Length : 2\r\n",
        b"no header\r\nContent-Length: 2\r\n",
        b"Content-Length: 0x2\r\n",
        b"Content-Length: -1\r\n",
        b"Transfer-Encoding: gzip, chunked\r\n",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
        b"X-Folded: a\r\n b\r\nContent-Length: 2\r\n",
        b"X-Bare: a\rContent-Length: 9\r\nContent-Length: 2\r\n",
        b"X-Long: " + b"a" * (65 << 10) + b"\r\nContent-Length: 2\r\n",
        b"X-Many: a\r\n" * 101,
    ],
)
def test_a_body_whose_length_is_ambiguous_is_refused_and_the_connection_closed(
    shared_service: Service, headers: bytes
) -> None:
    with connected(shared_service) as connection:
        connection.sendall(SUBMIT + headers + b"\r\n{}" + HEALTH)
        answer = until_closed(connection)
    assert answer.startswith(b"HTTP/1.1 400")
    assert answer.count(b"HTTP/1.1") == 1, "what follows is not taken for a request"


def test_a_request_that_is_cut_in_its_headers_is_not_carried_out(shared_service: Service) -> None:
    with connected(shared_service) as connection:
        connection.sendall(HEALTH.rstrip(b"\r\n"))
        connection.shutdown(socket.SHUT_WR)
        assert until_closed(connection).startswith(b"HTTP/1.1 400")


def test_a_chunked_body_is_read(shared_service: Service) -> None:
    body = json.dumps({"executionContent": {"code": "{}", "runType": "echo"}, "labels": {"engineType": "echo"}}).encode()
    token = f"Authorization: Bearer {shared_service.http.token}\r\n".encode()
    chunks = b"%x\r\n%s\r\n%x\r\n%s\r\n0\r\n\r\n" % (10, body[:10], len(body) - 10, body[10:])
    with connected(shared_service) as connection:
        connection.sendall(SUBMIT + token + b"Transfer-Encoding: chunked\r\n\r\n" + chunks)
        status, answer = one_answer(connection)
    assert (status, json.loads(answer)["status"]) == (200, 0)


@pytest.mark.parametrize("framing", [b"Content-Length: 1073741824\r\n", b"Transfer-Encoding: chunked\r\n"])
def test_a_body_without_end_gets_413_and_is_not_read_on(shared_service: Service, framing: bytes) -> None:
    token = f"Authorization: Bearer {shared_service.http.token}\r\n".encode()
    block = b"x" * (1 << 20)
    if b"chunked" in framing:
        block = b"100000\r\n" + block + b"\r\n"
    sent = 0
    with connected(shared_service) as connection:
        connection.sendall(SUBMIT + token + framing + b"\r\n")
        try:
            for _ in range(200):
                connection.sendall(block)
                sent += 1
        except OSError:
            pass
        answer = until_closed(connection)
    assert sent < 200, "the service read everything"
    assert not answer or answer.startswith(b"HTTP/1.1 413")


def test_many_requests_of_one_connection_are_answered_without_delay(shared_service: Service) -> None:
    with connected(shared_service) as connection:
        one = []
        for _ in range(50):
            begin = time.monotonic()
            connection.sendall(HEALTH)
            assert one_answer(connection)[0] == 200
            one.append(time.monotonic() - begin)
    assert sorted(one)[25] < 0.03, "no 40 ms of delayed acknowledgement"


def test_a_line_that_is_no_request_is_refused(shared_service: Service) -> None:
    with connected(shared_service) as connection:
        connection.sendall(b"\x16\x03\x01 hello\r\n\r\n")
        assert until_closed(connection).startswith(b"HTTP/1.1 400")


def test_who_changes_something_does_not_wait_behind_all_who_look_nor_they_behind_him() -> None:
    turns, order = Turns(), list[str]()

    def come(name: str, changes: bool) -> None:
        turns.wait(changes=changes)
        order.append(name)

    names = [*(f"look {n}" for n in range(6)), *(f"change {n}" for n in range(4))]
    gevent.joinall([gevent.spawn(come, name, name.startswith("change")) for name in names])
    assert order == [
        *("look 0", "look 1"),  # there was room for the first two
        *("change 0", "look 2", "change 1", "look 3", "change 2", "look 4", "change 3", "look 5"),
    ]


def test_a_request_whose_head_comes_in_pieces_is_answered(shared_service: Service) -> None:
    with connected(shared_service) as connection, connected(shared_service) as other:
        for whole in (HEALTH, HEALTH * 2):
            for start in range(0, len(whole), 20):
                connection.sendall(whole[start : start + 20])
                other.sendall(HEALTH)  # its answer comes when the loop has seen the piece
                assert one_answer(other)[0] == 200
            assert one_answer(connection)[0] == 200
