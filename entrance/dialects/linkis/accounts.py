"""``/users``, ``/tokens``, ``/keys``: accounts, for administrators. A secret is shown once, by the call that makes it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from flask import Response

from common.db.accounts import Accounts, User, hash_password
from common.storage.secrets import Secrets
from entrance.core.access import check_admin
from entrance.dialects.linkis.blueprint import LinkisBlueprint
from entrance.dialects.linkis.envelope import answer
from entrance.dialects.linkis.schemas import ChangedUser, NewKey, NewToken, NewUser
from entrance.web.dialect import the_caller
from entrance.web.state import the_core

T = TypeVar("T")
blueprint = LinkisBlueprint("accounts", "Users, tokens and keys (administrators)")


def _read(what: Callable[[Accounts], T]) -> T:
    check_admin(the_caller())
    with the_core().readers.read() as tx:
        return what(Accounts(tx))


def _write(what: Callable[[Accounts], T]) -> T:
    check_admin(the_caller())
    return the_core().writer.call(lambda tx: what(Accounts(tx)))


def _hash(password: str) -> str:
    check_admin(the_caller())
    return the_core().offload(hash_password, password)


# ---- users --------------------------------------------------------------------------------------------------------


def _user(user: User) -> dict[str, Any]:
    return {"name": user.name, "admin": user.admin, "createdTime": user.created_at}


@blueprint.on("/users", data={"users": "array: by name"})
def users() -> Response:
    """All users."""
    return answer({"users": [_user(u) for u in _read(Accounts.users)]})


@blueprint.on("/users", ("POST",), data={"user": "object"})
@blueprint.arguments(NewUser())
def add_user(body: Mapping[str, Any]) -> Response:
    """Add a user."""
    password = _hash(body["password"]) if body["password"] else ""
    now = the_core().clock.now()
    made = _write(lambda accounts: accounts.add_user(body["name"], password, admin=body["admin"], now=now))
    return answer({"user": _user(made)})


@blueprint.on("/users/<name>", ("PUT",))
@blueprint.arguments(ChangedUser())
def change_user(body: Mapping[str, Any], name: str) -> Response:
    """Give a user another password (that ends the user's sessions) or another role."""
    password = _hash(body["password"]) if body.get("password") else None
    admin = body.get("admin")

    def change(accounts: Accounts) -> None:
        if password is not None:
            accounts.set_password(name, password)
        if admin is not None:
            accounts.set_admin(name, admin)

    _write(change)
    return answer()


@blueprint.on("/users/<name>", ("DELETE",))
def remove_user(name: str) -> Response:
    """Remove a user with tokens, sessions and keys; tasks stay."""
    _write(lambda accounts: accounts.remove_user(name))
    return answer()


# ---- tokens -------------------------------------------------------------------------------------------------------


@blueprint.on("/tokens", data={"tokens": "array: oldest first, without their secrets"})
def tokens() -> Response:
    """All tokens."""
    found = _read(Accounts.tokens)
    return answer(
        {
            "tokens": [
                {
                    "id": t.id,
                    "user": t.user,
                    "prefix": t.prefix,
                    "createdTime": t.created_at,
                    "expiresTime": t.expires_at,
                }
                for t in found
            ]
        }
    )


@blueprint.on("/tokens", ("POST",), data={"id": "integer", "token": "string: shown this once", "expiresTime": "integer"})
@blueprint.arguments(NewToken())
def add_token(body: Mapping[str, Any]) -> Response:
    """Make a token for a user."""
    now = the_core().clock.now()
    made, secret = _write(lambda accounts: accounts.add_token(body["user"], now=now, days=body["days"]))
    return answer({"id": made.id, "user": made.user, "token": secret, "expiresTime": made.expires_at})


@blueprint.on("/tokens/<int:number>", ("DELETE",))
def remove_token(number: int) -> Response:
    """Take a token back."""
    _write(lambda accounts: accounts.remove_token(number))
    return answer()


# ---- keys ---------------------------------------------------------------------------------------------------------


@blueprint.on("/keys", data={"keys": "array: oldest first, without their secrets"})
def keys() -> Response:
    """All keys for signed requests."""
    found = _read(Accounts.keys)
    return answer({"keys": [{"accessId": k.access_id, "user": k.user, "createdTime": k.created_at} for k in found]})


@blueprint.on("/keys", ("POST",), data={"accessId": "string", "secret": "string: shown this once"})
@blueprint.arguments(NewKey())
def add_key(body: Mapping[str, Any]) -> Response:
    """Make a key for a user."""
    now = the_core().clock.now()
    secrets = Secrets.of_folder(the_core().settings.data_folder)
    made = _write(lambda accounts: accounts.add_key(body["user"], secrets, now=now))
    return answer({"accessId": made.access_id, "user": made.user, "secret": made.secret})


@blueprint.on("/keys/<access_id>", ("DELETE",))
def remove_key(access_id: str) -> Response:
    """Take a key back."""
    _write(lambda accounts: accounts.remove_key(access_id))
    return answer()
