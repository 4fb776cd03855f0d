"""S3-compatible storages: what goes beyond the contract that all storages share (tests/contracts/test_storages.py)."""

from __future__ import annotations

import hashlib
import http.server
import os
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from servers.seaweedfs import ACCESS_KEY, SECRET_KEY, SeaweedFS

from common.errors import BadInput, StorageForbidden, StorageNotFound, StorageUnavailable
from common.storage import open_storage
from common.storage.endpoints import Gate
from common.storage.objects import ObjectStorage, Scrubber
from common.storage.options import options_of

MIB = 1 << 20


@pytest.fixture
def storage(object_server: SeaweedFS, place: str) -> ObjectStorage:
    return object_server.storage(place)


def test_variables_of_the_environment_mean_nothing(
    object_server: SeaweedFS,
    place: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in {
        "AWS_ENDPOINT": "http://127.0.0.1:1",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
        "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:1",
        "AWS_REGION": "elsewhere",
        "AWS_ACCESS_KEY_ID": "WRONG",
        "AWS_SECRET_ACCESS_KEY": "wrong",
        "AWS_SESSION_TOKEN": "wrong",
        "AWS_PROFILE": "nobody",
        "AWS_CA_BUNDLE": "/nowhere",
        "AWS_SKIP_SIGNATURE": "true",
        "AWS_VIRTUAL_HOSTED_STYLE_REQUEST": "true",
    }.items():
        monkeypatch.setenv(name, value)
    storage = object_server.storage(place)
    storage.put_bytes("x", b"1")
    assert [entry.path for entry in storage.list()] == ["x"]
    assert storage.open("x").read() == b"1"


@pytest.mark.parametrize("more", [{"secret_access_key": "not-the-right-secret"}, {"access_key_id": "NOBODYKNOWSTHISKEY"}])
def test_wrong_keys_are_forbidden_and_are_not_told(
    object_server: SeaweedFS,
    place: str,
    more: dict[str, str],
) -> None:
    storage = object_server.storage(place, **more)
    for ask in (
        storage.check,
        lambda: storage.stat("x"),
        lambda: list(storage.list()),
        lambda: storage.put_bytes("x", b"1"),
        lambda: storage.begin("x"),
        lambda: storage.open("x"),
    ):
        with pytest.raises(StorageForbidden) as found:
            ask()
        for text in (str(found.value), repr(found.value), repr(storage.options)):
            for key in (ACCESS_KEY, SECRET_KEY, *more.values(), "Signature="):
                assert key not in text
        assert found.value.__cause__ is None


def test_without_keys_nothing_is_signed(object_server: SeaweedFS, place: str) -> None:
    settings = dict(object_server.settings(place, access_key_id="", secret_access_key=""))
    assert not options_of(settings).signed
    with pytest.raises(StorageForbidden):
        ObjectStorage("public", settings).check()


def test_a_store_that_does_not_answer_is_unavailable(object_server: SeaweedFS, place: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    storage = object_server.storage(place, endpoint=f"http://127.0.0.1:{port}")
    for ask in (storage.check, lambda: storage.begin("x")):
        with pytest.raises(StorageUnavailable, match="connection"):
            ask()


def test_virtual_host_style_puts_the_bucket_into_the_host() -> None:
    settings = {
        "type": "s3",
        "path": "bucket/in",
        "config": {"force_path_style": "false", "endpoint": "https://s3.example.org"},
    }
    storage = ObjectStorage("x", settings)
    assert storage.options.host == "bucket.s3.example.org"


def test_an_entity_tag_is_the_md5_and_that_of_parts_is_the_md5_of_their_md5s(storage: ObjectStorage) -> None:
    data = os.urandom(9 * MIB)
    assert storage.put_bytes("small", data[:100]) == hashlib.md5(data[:100]).hexdigest()
    upload = storage.begin("large")
    parts = [storage.send_part("large", upload, n, data[(n - 1) * 5 * MIB : n * 5 * MIB]) for n in (1, 2)]
    assert storage.parts("large", upload) == parts
    assert [found.path for found in storage.uploads("la")] == ["large"]
    tag = storage.complete("large", upload, parts)
    assert tag == hashlib.md5(b"".join(bytes.fromhex(part.tag) for part in parts)).hexdigest() + "-2"
    assert storage.tag("large") == tag
    assert storage.part_size_of("large") == 5 * MIB
    assert list(storage.uploads("")) == []


def test_an_aborted_upload_is_gone_and_may_be_aborted_again(storage: ObjectStorage) -> None:
    upload = storage.begin("x")
    storage.abort("x", upload)
    storage.abort("x", upload)
    with pytest.raises(StorageNotFound):
        storage.parts("x", upload)
    assert list(storage.uploads("")) == []


def test_what_is_replaced_while_it_is_read_is_not_mixed(storage: ObjectStorage) -> None:
    storage.put_bytes("x", b"a" * 100)
    reader = storage.reader("x")
    storage.put_bytes("x", b"b" * 100)
    with pytest.raises(StorageUnavailable, match="changed"):
        reader.read_into([memoryview(bytearray(10))], 0)


def test_more_entries_than_are_sorted_in_memory_come_in_order(
    storage: ObjectStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("common.storage.objects.SORT_ENTRIES", 4)
    names = [f"{n:02}{tail}" for n in range(15) for tail in ("", "-x", "/y")]
    for name in names:
        storage.put_bytes(name, b"")
    assert [entry.path for entry in storage.list()] == sorted(names)


def test_a_part_is_large_enough_that_ten_thousand_hold_the_file(storage: ObjectStorage) -> None:
    for size in (0, 1, 8 * MIB, 80_000 * MIB, 80_000 * MIB + 1, 5 << 40):
        part = storage.part_bytes(size)
        assert part % MIB == 0
        assert part >= 8 * MIB
        assert -(-size // part) <= 10_000


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"path": "x"}, "bucket"),
        ({"path": "bucket//x"}, "empty parts"),
        ({"config": {"access_key_id": "AK"}}, "secret_access_key is missing"),
        ({"config": {"endpoint": "http://example.org"}}, "HTTPS only"),
        ({"config": {"endpoint": "ftp://example.org"}}, "http"),
        ({"config": {"endpoint": "https://user:pass@example.org"}}, "nothing else"),
        ({"config": {"region": "us east"}}, "region"),
        ({"client_config": {"caCert": ["/etc/passwd"]}}, "PEM"),
        ({"client_config": {"clientCert": "x"}}, "not supported"),
        ({"config": {"chunk_size": "much"}}, "chunk_size"),
    ],
)
def test_settings_that_cannot_be_right_are_refused_in_a_sentence(settings: dict[str, Any], why: str) -> None:
    with pytest.raises(BadInput, match=why):
        open_storage("x", {"type": "s3", "path": "bucket/x", **settings})


def test_texts_of_stores_lose_keys_and_signatures() -> None:
    scrub = Scrubber(["AKIAEXAMPLE", "se/cr+et"])
    text = (
        "GET https://x/y?X-Amz-Credential=AKIAEXAMPLE%2F2026&X-Amz-Signature=0a1b2c&z=1 "
        "Authorization: AWS4-HMAC-SHA256 Credential=AKIAEXAMPLE/2026, Signature=ffee\n"
        "<AWSAccessKeyId>AKIAEXAMPLE</AWSAccessKeyId><StringToSign>AWS4\nabc</StringToSign> se/cr+et se%2Fcr%2Bet"
    )
    said = scrub(text)
    for hidden in ("AKIAEXAMPLE", "0a1b2c", "ffee", "se/cr+et", "se%2Fcr%2Bet", "AWS4\nabc"):
        assert hidden not in said
    assert "z=1" in said


@pytest.fixture
def inner() -> Iterator[tuple[str, list[str]]]:
    """A server of the inner network that would give its secrets away, and what it was asked."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.send_header("Content-Length", "5")
            self.send_header("Last-Modified", "Sun, 22 Nov 2026 00:00:00 GMT")
            self.end_headers()
            self.wfile.write(b"INNER")

        do_HEAD = do_CONNECT = do_GET

        def log_message(self, *_: object) -> None:
            return None

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"127.0.0.1:{server.server_port}", asked
    server.shutdown()
    server.server_close()


def test_the_gate_leads_to_public_addresses_of_its_host_only(inner: tuple[str, list[str]]) -> None:
    authority, asked = inner
    host, _, port = authority.partition(":")
    gate = Gate(host, int(port))
    for target in (authority, "169.254.169.254:80", "localhost:22", "example.org:443"):
        assert not _connected(gate, f"CONNECT {target} HTTP/1.1")
    assert not _connected(gate, f"GET http://{authority}/ HTTP/1.1")
    assert asked == []


def _connected(gate: Gate, line: str) -> bool:
    port = int(gate.url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), 5) as connection:
        connection.sendall(f"{line}\r\nHost: x\r\n\r\n".encode())
        return connection.recv(100).startswith(b"HTTP/1.1 200")


def test_a_storage_that_is_not_listed_goes_through_the_gate(
    inner: tuple[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    authority, asked = inner
    monkeypatch.setattr("common.storage.objects.public_addresses", lambda host, port: ["203.0.113.1"])
    settings = {
        "type": "s3",
        "path": "bucket",
        "config": {"endpoint": f"https://{authority}"},
        "client_config": {"insecureSkipVerify": True, "lowlevelRetries": 0},
    }
    storage = ObjectStorage("x", settings)  # its name led to a public address a moment ago, and does not any more
    for ask in (storage.check, lambda: storage.begin("x")):
        with pytest.raises((StorageUnavailable, StorageForbidden)):
            ask()
    assert asked == []
