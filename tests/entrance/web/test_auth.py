"""entrance.web.auth: sessions and their life, tokens, tries, trust over loopback."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from fake_service import PASSWORDS, FakeCore
from flask import Flask, Request
from flask.testing import FlaskClient
from werkzeug.test import EnvironBuilder

from common.db.accounts import Accounts
from common.db.database import short_write
from entrance.app import create_app
from entrance.core.model import Caller
from entrance.web.auth import COOKIE, Auth
from entrance.web.errors import SessionExpired, TokenRefused, TooManyTries, WrongPassword

LOGIN = "/api/rest_j/v1/user/login"
INFO = "/api/rest_j/v1/user/userInfo"


def request(**more: object) -> Request:
    builder = EnvironBuilder("/", **more)  # type: ignore[arg-type]
    return Request(builder.get_environ())


def test_a_session_lives_from_its_last_use_and_is_written_down_when_half_of_that_is_over(core: FakeCore) -> None:
    auth = Auth(core)
    ticket = auth.login("alice", PASSWORDS["alice"], "1").ticket
    commits = core.writer.commits
    core.clock.advance(3_500_000)
    assert auth.session(ticket) == Caller(name="alice")
    assert core.writer.commits == commits, "less than half is over: nothing to write"
    core.clock.advance(200_000)
    auth.session(ticket)
    assert core.writer.commits == commits + 1
    core.clock.advance(7_200_000)
    assert auth.session(ticket) == Caller(name="alice"), "two hours after the last use"
    core.clock.advance(7_200_001)
    with pytest.raises(SessionExpired):
        auth.session(ticket)


def test_sessions_survive_a_new_start_of_the_service(core: FakeCore) -> None:
    ticket = Auth(core).login("admin", PASSWORDS["admin"], "1").ticket
    assert Auth(core).session(ticket) == Caller(name="admin", admin=True)


def test_several_sessions_of_a_user_live_side_by_side(core: FakeCore) -> None:
    auth = Auth(core)
    first, second = (auth.login("alice", PASSWORDS["alice"], "1").ticket for _ in range(2))
    auth.logout(first)
    assert auth.session(second).name == "alice"
    with pytest.raises(SessionExpired):
        auth.session(first)


def test_a_change_made_beside_the_service_counts_from_the_next_request(core: FakeCore) -> None:
    auth, token = Auth(core), core.token("bob")
    assert auth.token(token) == Caller(name="bob")
    with short_write(core.path) as tx:
        Accounts(tx).set_admin("bob", True)
    assert auth.token(token) == Caller(name="bob", admin=True)
    with short_write(core.path) as tx:
        Accounts(tx).remove_user("bob")
    with pytest.raises(TokenRefused):
        auth.token(token)


def test_a_token_ends_with_its_days(core: FakeCore) -> None:
    with short_write(core.path) as tx:
        _, token = Accounts(tx).add_token("alice", now=core.clock.now(), days=1)
    auth = Auth(core)
    core.clock.advance(86_399_999)
    assert auth.token(token).name == "alice"
    core.clock.advance(1)
    with pytest.raises(TokenRefused) as caught:
        auth.token(token)
    assert caught.value.reason == "expired"
    assert token not in str(caught.value)
    assert caught.value.shown == f"{token[:3]}***"


def test_tokens_can_be_switched_off(make_core: Callable[..., FakeCore]) -> None:
    core = make_core(auth__token_enabled=False)
    response = create_app(core).test_client().get(INFO, headers={"Authorization": f"Bearer {core.token('alice')}"})
    assert response.status_code == 401
    assert response.json["message"] == "Token authentication is not enabled."


def test_too_many_wrong_passwords_close_the_door_for_a_minute(make_core: Callable[..., FakeCore]) -> None:
    core = make_core(limits__login_tries=3)
    auth = Auth(core)
    for _ in range(3):
        with pytest.raises(WrongPassword):
            auth.login("alice", "wrong", "1.2.3.4")
    with pytest.raises(TooManyTries) as caught:
        auth.login("alice", PASSWORDS["alice"], "5.6.7.8")
    assert 1 <= caught.value.retry_after_seconds <= 60
    with pytest.raises(TooManyTries):
        auth.login("bob", PASSWORDS["bob"], "1.2.3.4")
    assert auth.login("bob", PASSWORDS["bob"], "5.6.7.8").caller.name == "bob"
    core.clock.advance(60_000)
    assert auth.login("alice", PASSWORDS["alice"], "1.2.3.4").caller.name == "alice"


def test_a_name_of_any_length_costs_no_memory(core: FakeCore) -> None:
    auth = Auth(core)
    with pytest.raises(WrongPassword):
        auth.login("x" * 5_000_000, "no", "1")
    assert max(map(len, auth._tries._at)) < 100
    with pytest.raises(WrongPassword):
        auth.login("alice" + " " * 100, "no", "1")


def test_who_is_not_logged_in_cannot_have_a_large_body_parsed(client: FlaskClient) -> None:
    body = {"userName": "alice", "password": "no", "more": "x" * 70_000}
    assert client.post(LOGIN, json=body).status_code == 413
    assert client.post(LOGIN, json={**body, "more": "x" * 60_000}).status_code == 400


def test_right_passwords_never_close_the_door(make_core: Callable[..., FakeCore]) -> None:
    auth = Auth(make_core(limits__login_tries=2))
    for _ in range(5):
        auth.login("alice", PASSWORDS["alice"], "1.2.3.4")


def test_the_refusal_of_too_many_tries_says_when_to_come_back(make_core: Callable[..., FakeCore]) -> None:
    client = create_app(make_core(limits__login_tries=1)).test_client()
    body = {"userName": "alice", "password": "wrong"}
    assert client.post(LOGIN, json=body).status_code == 400
    response = client.post(LOGIN, json=body)
    assert response.status_code == 429
    assert response.json["status"] == 1
    assert int(response.headers["Retry-After"]) > 0


def test_a_user_without_a_password_cannot_log_in_with_one(core: FakeCore) -> None:
    with short_write(core.path) as tx:
        Accounts(tx).add_user("robot", "", admin=False, now=1)
    for password in ("", "x"):
        with pytest.raises(WrongPassword):
            Auth(core).login("robot", password, "1")


def test_over_tls_the_cookie_is_secure(app: Flask) -> None:
    client = app.test_client()
    body = {"userName": "alice", "password": PASSWORDS["alice"]}
    response = client.post(LOGIN, json=body, base_url="https://localhost")
    assert "Secure" in response.headers["Set-Cookie"]


def test_the_cookie_opens_what_the_user_may_see(client: FlaskClient) -> None:
    client.post(LOGIN, json={"userName": "alice", "password": PASSWORDS["alice"]})
    assert client.get_cookie(COOKIE) is not None
    assert client.get("/metrics").status_code == 200
    assert client.get("/api/rest_j/v1/jobhistory/list").status_code == 200


def test_trust_over_loopback_is_off_until_it_is_set(core: FakeCore) -> None:
    assert Auth(core).guest(request(environ_base={"REMOTE_ADDR": "127.0.0.1"})) is None


@pytest.mark.parametrize(
    ("address", "headers", "trusted"),
    [
        ("127.0.0.1", {}, True),
        ("::1", {}, True),
        ("192.0.2.1", {}, False),
        ("127.0.0.1", {"X-Forwarded-For": "192.0.2.1"}, False),
        ("127.0.0.1", {"Forwarded": "for=192.0.2.1"}, False),
        ("127.0.0.1", {"Authorization": "AWS x:y"}, False),
    ],
)
def test_trust_is_for_bare_requests_over_loopback(
    make_core: Callable[..., FakeCore], address: str, headers: dict[str, str], trusted: bool
) -> None:
    auth = Auth(make_core(auth__trust_loopback="alice"))
    found = auth.guest(request(environ_base={"REMOTE_ADDR": address}, headers=headers))
    assert found == (Caller(name="alice") if trusted else None)


def test_trust_never_reaches_linkis_nor_the_figures(make_core: Callable[..., FakeCore]) -> None:
    client = create_app(make_core(auth__trust_loopback="admin")).test_client()
    assert client.get("/api/rest_j/v1/jobhistory/list").status_code == 401
    assert client.get("/metrics").status_code == 401


def test_a_wrong_token_is_refused_even_where_loopback_is_trusted(make_core: Callable[..., FakeCore]) -> None:
    auth = Auth(make_core(auth__trust_loopback="alice"))
    with pytest.raises(TokenRefused):
        auth.guest(request(environ_base={"REMOTE_ADDR": "127.0.0.1"}, headers={"Authorization": "Bearer nonsense"}))


def test_only_trusted_proxies_say_who_the_client_is(make_core: Callable[..., FakeCore]) -> None:
    auth = Auth(make_core(auth__trusted_proxies=["10.0.0.0/8"]))
    headers = {"X-Forwarded-For": "192.0.2.1, 10.1.1.1", "X-Forwarded-Proto": "https"}
    inside = request(environ_base={"REMOTE_ADDR": "10.2.3.4"}, headers=headers)
    outside = request(environ_base={"REMOTE_ADDR": "192.0.2.9"}, headers=headers)
    assert (auth.address(inside), auth.over_tls(inside)) == ("192.0.2.1", True)
    assert (auth.address(outside), auth.over_tls(outside)) == ("192.0.2.9", False)
