"""``/user/*`` and the gateway's heartbeat: login, logout, who am I. None of them needs a login to be asked."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any

from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from flask import Response, request

from common.errors import EntranceError
from entrance.core.model import Caller
from entrance.dialects.linkis.blueprint import LinkisBlueprint
from entrance.dialects.linkis.cookies import clear_ticket, set_ticket
from entrance.dialects.linkis.door import caller_of
from entrance.dialects.linkis.envelope import answer
from entrance.dialects.linkis.errors import LinkisError
from entrance.dialects.linkis.schemas import Login
from entrance.web.auth import COOKIE
from entrance.web.errors import SessionExpired, TooManyTries, WrongPassword
from entrance.web.state import the_auth, the_core

blueprint = LinkisBlueprint("user", "Login and sessions")


@blueprint.on(
    "/user/login",
    ("POST",),
    data={
        "userName": "string",
        "isAdmin": "boolean",
        "sessionTimeOut": "integer: milliseconds",
        "enableWatermark": "boolean",
    },
)
@blueprint.arguments(Login(), required=False)
def login(body: Mapping[str, Any]) -> Response:
    """Begin a session; the ticket comes as a cookie."""
    name = (body.get("userName") or request.args.get("userName") or "").strip()
    password = body.get("password") or request.args.get("password") or ""
    if not name:
        raise _refusal("Username can not be empty!")
    if not password.strip():
        raise _refusal("Password can not be blank!")
    auth, ticket = the_auth(), request.cookies.get(COOKIE)
    present = _session()
    if present is not None and present.name == name.lower():
        text = f"{present.name} already logged in, please log out before signing in"
        return answer({"userName": present.name}, text)
    try:
        made = auth.login(name, _clear(password), auth.address(request))
    except (WrongPassword, TooManyTries) as error:
        raise _refusal(str(error), error) from error
    if present is not None and ticket:
        auth.logout(ticket)
    return _logged_in(made.caller, made.ticket)


@blueprint.on("/user/token-login", ("POST",), data={"userName": "string", "isAdmin": "boolean"})
def token_login() -> Response:
    """Begin a session with a token instead of a password."""
    caller = caller_of(request)
    return _logged_in(caller, the_auth().begin_session(caller))


def _logged_in(caller: Caller, ticket: str) -> Response:
    response = answer({"userName": caller.name, "isAdmin": caller.admin, **_session_facts()}, "login successful")
    set_ticket(response, ticket)
    return response


def _session_facts() -> dict[str, Any]:
    return {"sessionTimeOut": the_core().settings.auth.session_seconds * 1000, "enableWatermark": False}


def _refusal(text: str, cause: EntranceError | None = None) -> EntranceError:
    return LinkisError(
        text,
        http=cause.http_status if cause is not None else 400,
        data=_session_facts(),
        retry_after_seconds=getattr(cause, "retry_after_seconds", None),
    )


def _session() -> Caller | None:
    """Return whose session the cookie names, if it is alive."""
    ticket = request.cookies.get(COOKIE)
    try:
        return the_auth().session(ticket) if ticket else None
    except SessionExpired:
        return None


@blueprint.on("/user/logout", ("GET", "POST"), changes=True)
def logout() -> Response:
    """End the session; without one, nothing happens."""
    ticket = request.cookies.get(COOKIE)
    if ticket:
        the_auth().logout(ticket)
    response = answer(text="Logout successful!")
    clear_ticket(response)
    return response


@blueprint.on("/user/userInfo", data={"userName": "string"})
def user_info() -> Response:
    """Who is logged in."""
    return answer({"userName": caller_of(request).name}, "get user information succeed!")


@blueprint.on("/user/heartbeat")
def heartbeat() -> Response:
    """Keep the session alive."""
    caller_of(request)
    return answer(text="Maintain heartbeat success")


@blueprint.on(
    "/user/baseinfo",
    data={"resultSetExportEnable": "boolean", "linkisClusterName": "string", "engineLogOnlyAdminEnable": "boolean"},
)
def base_info() -> Response:
    """What the console asks of the service when it starts."""
    return answer(
        {
            "resultSetExportEnable": True,
            "linkisClusterName": the_core().instance,
            "engineLogOnlyAdminEnable": False,
        }
    )


@blueprint.on("/user/oauth-redirect")
def oauth_redirect() -> Response:
    """Not offered; the console asks and goes on."""
    raise LinkisError("OAuth is not enabled")


@blueprint.on("/gateway/heartbeat", data={"gatewayList": "array: host:port", "isHealthy": "boolean"})
def gateway_heartbeat() -> Response:
    """For the Java SDK in discovery mode."""
    return answer({"gatewayList": [the_core().instance], "isHealthy": True})


# ---- encrypted passwords ------------------------------------------------------------------------------------------


@blueprint.on(
    "/user/publicKey",
    data={
        "enableSSL": "boolean",
        "enableLoginEncrypt": "boolean",
        "publicKey": "string: base64 of DER SubjectPublicKeyInfo, when passwords must be encrypted",
        "debugTime": "integer: milliseconds",
    },
)
def public_key() -> Response:
    """Whether, and with what, the password must be encrypted."""
    if not the_core().settings.auth.login_encrypt:
        return answer({"enableSSL": False, "enableLoginEncrypt": False})
    der = the_auth().login_key().public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return answer(
        {
            "enableSSL": False,
            "enableLoginEncrypt": True,
            "publicKey": base64.b64encode(der).decode(),
            "debugTime": the_core().clock.now(),
        }
    )


def _clear(password: str) -> str:
    """Return the password in clear; what cannot be decrypted is a wrong password like any other."""
    if not the_core().settings.auth.login_encrypt:
        return password
    try:
        body = base64.b64decode(password, validate=True)
        return the_core().offload(the_auth().login_key().decrypt, body, padding.PKCS1v15()).decode()
    except (binascii.Error, ValueError):
        return ""
