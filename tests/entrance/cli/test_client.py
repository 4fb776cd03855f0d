"""The HTTP client of the command line, against a small real server that misbehaves on request."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from common.errors import NotFound
from entrance.cli.client import Client, Endpoint, NoAnswer, Rejected, part

Reply = Callable[["Handler"], None]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    replies: list[Reply]
    seen: list[tuple[str, str, dict[str, str], bytes]]
    connections: set[Any]

    def handle_any(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.seen.append((self.command, self.path, {k.lower(): v for k, v in self.headers.items()}, body))
        self.connections.add(self.client_address)
        self.replies.pop(0)(self)

    do_GET = do_POST = handle_any

    def answer(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: Any) -> None:
        pass


def envelope(data: dict[str, Any], status: int = 0, message: str = "OK", http_status: int = 200) -> Reply:
    body = json.dumps({"method": "/api/x", "status": status, "message": message, "data": data}).encode()
    return lambda handler: handler.answer(http_status, body)


def raw(status: int, body: bytes) -> Reply:
    return lambda handler: handler.answer(status, body)


def hang_up(handler: Handler) -> None:
    """Answer, then close the connection without a word about it."""
    handler.answer(200, b'{"status": 0, "data": {}}')
    handler.close_connection = True


def drop(handler: Handler) -> None:
    """Close the connection instead of answering."""
    handler.close_connection = True


class Server:
    def __init__(self) -> None:
        kind = type("OwnHandler", (Handler,), {"replies": [], "seen": [], "connections": set()})
        self.handler: Any = kind
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), kind)
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}"
        self.thread = threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self.thread.start()

    def will(self, *replies: Reply) -> None:
        self.handler.replies.extend(replies)

    def close(self) -> None:
        self.http.shutdown()
        self.http.server_close()
        self.thread.join()


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.close()


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    made = Client(lambda: Endpoint(url=server.url + "/", token="secret"))
    yield made
    made.close()


def test_an_envelope_gives_its_data_and_the_token_goes_with_the_request(server: Server, client: Client) -> None:
    server.will(envelope({"taskID": 7}))
    assert client.linkis("POST", "/entrance/submit", query={"a": True, "b": None}, body={"x": "é"}) == {"taskID": 7}
    method, path, headers, body = server.handler.seen[0]
    assert (method, path) == ("POST", "/api/rest_j/v1/entrance/submit?a=true")
    assert headers["authorization"] == "Bearer secret"
    assert json.loads(body) == {"x": "é"}


def test_a_refusal_carries_the_services_own_words(server: Server, client: Client) -> None:
    server.will(envelope({}, 1, "The job already completed. Do not support kill.", 400))
    with pytest.raises(Rejected) as caught:
        client.linkis("GET", "/entrance/1/kill")
    assert str(caught.value) == "The job already completed. Do not support kill."
    assert caught.value.http_status == 400


def test_singularity_errors_and_empty_answers_are_understood(server: Server, client: Client) -> None:
    server.will(raw(404, b'{"err": "storage not found"}'), raw(204, b""), raw(200, b"[1, 2]"))
    with pytest.raises(Rejected, match="storage not found"):
        client.singularity("GET", "/storage/x")
    assert client.singularity("GET", "/storage/x") is None
    assert client.singularity("GET", "/storage") == [1, 2]


def test_something_else_at_that_address_is_said_to_be_something_else(server: Server, client: Client) -> None:
    server.will(raw(200, b"<html>"), raw(200, b"[]"))
    for _ in range(2):
        with pytest.raises(Rejected, match="not an answer of Entrance"):
            client.linkis("GET", "/x")


def test_one_connection_serves_many_requests(server: Server, client: Client) -> None:
    server.will(*[envelope({})] * 5)
    for _ in range(5):
        client.linkis("GET", "/x")
    assert len(server.handler.connections) == 1


def test_a_kept_connection_that_the_server_closed_is_made_anew(server: Server, client: Client) -> None:
    server.will(hang_up, envelope({"ok": 1}))
    client.linkis("GET", "/x")
    assert client.linkis("GET", "/x") == {"ok": 1}


def test_a_request_that_changes_something_is_not_sent_twice(server: Server, client: Client) -> None:
    server.will(envelope({}), drop)
    client.linkis("GET", "/x")
    with pytest.raises(NoAnswer):
        client.linkis("POST", "/x", body={})
    assert [seen[0] for seen in server.handler.seen] == ["GET", "POST"]


def test_a_patient_client_waits_for_a_service_that_comes_back_elsewhere(server: Server) -> None:
    places = ["http://127.0.0.1:9", server.url]
    client = Client(lambda: Endpoint(url=places.pop(0) if len(places) > 1 else places[0]), patience_seconds=10)
    server.will(raw(503, b"{}"), envelope({"ok": 1}))
    assert client.linkis("GET", "/x") == {"ok": 1}
    client.close()


def test_patience_ends(server: Server) -> None:
    client = Client(lambda: Endpoint(url="http://127.0.0.1:9"), patience_seconds=0.5)
    begin = time.monotonic()
    with pytest.raises(NoAnswer, match="connection refused"):
        client.linkis("GET", "/x")
    assert time.monotonic() - begin < 5


def test_a_service_that_never_was_there_is_not_waited_for() -> None:
    def nowhere() -> Endpoint:
        raise NotFound("no service runs")

    begin = time.monotonic()
    with pytest.raises(NotFound):
        Client(nowhere, patience_seconds=30).linkis("GET", "/x")
    assert time.monotonic() - begin < 5


def test_ids_are_quoted_as_one_part_of_a_path() -> None:
    assert part("exec_id018014linkis-cg-entrancelocalhost:9001CLI_a b/c_1") == (
        "exec_id018014linkis-cg-entrancelocalhost:9001CLI_a%20b%2Fc_1"
    )


def test_an_endpoint_does_not_show_its_token() -> None:
    assert "secret" not in repr(Endpoint(url="http://x", token="secret"))
