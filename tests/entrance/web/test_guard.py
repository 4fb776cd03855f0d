"""entrance.web.guard: what is refused before anybody looks at a request, and the headers of every answer."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from fake_service import FakeCore
from flask import Flask
from flask.testing import FlaskClient

from entrance.app import create_app

LOGOUT = "/api/rest_j/v1/user/logout"  # GET and POST, both change something
READ = "/api/rest_j/v1/user/baseinfo"


@pytest.mark.parametrize("host", ["localhost:9001", "127.0.0.1", "192.0.2.7:9001", "[::1]:9001", "a.localhost", "LOCALHOST"])
def test_addresses_and_local_names_are_our_hosts(client: FlaskClient, host: str) -> None:
    assert client.get("/health", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example:9001", "127.0.0.1.evil.example", ""])
def test_a_foreign_name_that_points_here_is_refused(client: FlaskClient, host: str) -> None:
    assert client.get("/health", headers={"Host": host}).status_code == 403


def test_a_malformed_host_is_a_bad_request(client: FlaskClient) -> None:
    assert client.get("/health", headers={"Host": "[::1"}).status_code == 400


@pytest.mark.parametrize("method", ["GET", "POST", "HEAD"])
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
        ({"Sec-Fetch-Site": "none"}, 200),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "cross-site", "Origin": "http://localhost"}, 403),
        ({"Origin": "http://localhost"}, 200),
        ({"Origin": "http://localhost:81"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://evil.example"}, 403),
    ],
)
def test_changes_come_from_our_own_side_only(client: FlaskClient, method: str, headers: dict[str, str], status: int) -> None:
    assert client.open(LOGOUT, method=method, headers=headers).status_code == status


def test_reads_from_another_site_are_answered_without_leave_to_look(client: FlaskClient) -> None:
    response = client.get(READ, headers={"Origin": "http://evil.example", "Sec-Fetch-Site": "cross-site"})
    assert response.status_code == 200
    assert "Access-Control-Allow-Origin" not in response.headers


def test_a_listed_origin_may_do_what_our_own_may(make_core: Callable[..., FakeCore]) -> None:
    client = create_app(make_core(auth__allowed_origins=["https://console.example"])).test_client()
    headers = {"Origin": "https://console.example", "Sec-Fetch-Site": "cross-site"}
    response = client.post(LOGOUT, headers=headers)
    assert response.status_code == 200
    assert response.headers["Access-Control-Allow-Origin"] == "https://console.example"
    assert response.headers["Access-Control-Allow-Credentials"] == "true"
    assert client.options(LOGOUT, headers=headers).headers["Access-Control-Allow-Headers"].startswith("authorization")
    other = client.post(LOGOUT, headers={"Origin": "https://other.example"})
    assert other.status_code == 403
    assert "Access-Control-Allow-Origin" not in other.headers
    assert client.get("/health", headers={"Host": "console.example"}).status_code == 200


@pytest.mark.parametrize("path", ["/health", READ, "/api/rest_j/v1/nothing", "/nothing", "/openapi.json"])
def test_every_answer_carries_the_security_headers(client: FlaskClient, path: str) -> None:
    headers = client.get(path).headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "DENY"
    assert "default-src" in headers["Content-Security-Policy"]
    assert headers["Referrer-Policy"] == "no-referrer"


def test_a_body_over_the_limit_is_refused_in_the_dialects_own_form(make_core: Callable[..., FakeCore]) -> None:
    core = make_core(limits__body_bytes=2048)
    client = create_app(core).test_client()
    headers = {"Authorization": f"Bearer {core.token('alice')}"}
    response = client.post("/api/rest_j/v1/entrance/submit", data=b"x" * 2049, headers=headers)
    assert response.status_code == 413
    assert response.json["status"] == 1
    assert response.headers["Connection"] == "close"


def test_nothing_redirects(app: Flask) -> None:
    client = app.test_client()
    for path in (
        "/health/",
        "/health//",
        "/api/rest_j/v1//user/baseinfo",
        "/api/rest_j/v1/user/baseinfo/",
        "/openapi.json/",
    ):
        assert client.get(path).status_code in (200, 401, 404), path


@pytest.mark.parametrize(
    ("method", "path", "changes"),
    [
        ("GET", READ, False),
        ("GET", LOGOUT, True),
        ("OPTIONS", LOGOUT, False),
        ("GET", "/api/rest_j/v1/entrance/7/kill", True),
        ("GET", "/api/rest_j/v1/entrance/7/status", False),
        ("POST", "/api/rest_j/v1/entrance/submit", True),
        ("GET", "/nowhere/\xc3\xbc", False),
        ("GET", "/" + "x" * 5000, False),
    ],
)
def test_it_is_known_of_method_and_path_whether_a_request_would_change_something(
    core: FakeCore, method: str, path: str, changes: bool
) -> None:
    app = create_app(core)
    assert [app.changes(method, path) for _ in range(2)] == [changes] * 2
