"""Which endpoints may be used."""

from __future__ import annotations

import socket

import pytest

from common.errors import BadInput, StorageUnavailable
from common.storage.endpoints import check_endpoint, is_public, parse_endpoint


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.8.8.8", "10.0.0.1", "172.16.5.4", "192.168.1.1", "169.254.169.254", "0.0.0.0", "100.64.0.1",
        "224.0.0.1", "255.255.255.255", "::1", "::", "fe80::1", "fe80::1%eth0", "fd00::1", "::ffff:127.0.0.1",
        "::ffff:169.254.169.254", "64:ff9b::a00:1", "2002:7f00:1::", "ff02::1",
    ],
)  # fmt: skip
def test_inner_addresses_are_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "52.95.110.1", "2606:4700::1111", "64:ff9b::808:808"])
def test_addresses_of_the_internet_are_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "text",
    ["https://127.0.0.1", "https://localhost:8443", "https://[::1]", "https://0x7f.1", "https://2130706433", "https://0"],
)
def test_an_inner_endpoint_is_refused_unless_it_is_listed(text: str) -> None:
    with pytest.raises((BadInput, StorageUnavailable)):
        check_endpoint(text, ())


@pytest.mark.parametrize(
    ("text", "allowed"),
    [
        ("http://127.0.0.1:8333", ["127.0.0.1"]),
        ("http://127.0.0.1:8333", ["127.0.0.1:8333"]),
        ("https://LOCALHOST", ["localhost"]),
        ("http://[::1]:9000", ["[::1]:9000"]),
        ("http://[::1]:9000", ["::1"]),
        ("https://store.internal.", ["store.internal"]),
    ],
)
def test_a_listed_endpoint_may_be_anywhere(text: str, allowed: list[str]) -> None:
    assert check_endpoint(text, allowed).listed


@pytest.mark.parametrize("allowed", [["127.0.0.1:1"], ["127.0.0.2"], ["0.0.1"], [""]])
def test_what_is_listed_is_meant_exactly(allowed: list[str]) -> None:
    with pytest.raises(BadInput):
        check_endpoint("https://127.0.0.1:8333", allowed)


def test_every_address_of_a_name_must_be_public(monkeypatch: pytest.MonkeyPatch) -> None:
    def found(*addresses: str) -> None:
        answer = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 443)) for address in addresses]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: answer)

    found("8.8.8.8", "8.8.4.4")
    assert not check_endpoint("store.example.org", ()).listed
    found("8.8.8.8", "10.0.0.1")
    with pytest.raises(BadInput, match="inner network"):
        check_endpoint("store.example.org", ())


def test_the_form_of_an_endpoint() -> None:
    assert parse_endpoint("s3.example.org", ()).url == "https://s3.example.org"
    assert parse_endpoint("https://s3.example.org:444/", ()).url == "https://s3.example.org:444"
    for text in ("https://", "file:///etc/passwd", "https://h/path", "https://h?x=1", "https://h:99999", "https://u@h"):
        with pytest.raises(BadInput):
            parse_endpoint(text, ())
