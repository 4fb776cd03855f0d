"""``user``, ``token`` and ``key``: accounts in the data folder. A running service sees a change at the next request."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

import click

from common.clock import SystemClock
from common.db.peek import ADMIN, has_administrator
from common.errors import BadInput
from entrance.cli.folder import DataFolder
from entrance.cli.frame import Env, note, print_line, print_table, with_env


@click.group()
def user() -> None:
    """Users and their passwords."""


@click.group()
def token() -> None:
    """Tokens for programs: whoever holds one acts as its user."""


@click.group()
def key() -> None:
    """Access keys: pairs of access id and secret for signed requests (BlackPearl, data spaces)."""


# ---- users


@user.command("add")
@click.argument("name")
@click.option("--admin", is_flag=True, help="May do everything of everyone.")
@click.option("--password-file", type=click.File("r"), help="Holds the password; - is standard input. One newline is cut.")
@click.option("--no-password", is_flag=True, help="Only tokens and keys open the service for this user.")
@with_env
def add_user(env: Env, name: str, admin: bool, password_file: TextIO | None, no_password: bool) -> None:
    """Add the user NAME. Asks for the password unless it is in a file."""
    from common.db.accounts import Accounts, hash_password

    password_hash = "" if no_password else hash_password(_password(password_file))
    with env.folder().write() as tx:
        made = Accounts(tx).add_user(name, password_hash, admin=admin, now=SystemClock().now())
    if env.json:
        env.print_json({"name": made.name, "admin": made.admin})
    else:
        note(f"user {made.name} added{' (administrator)' if made.admin else ''}")


@user.command("password")
@click.argument("name")
@click.option("--password-file", type=click.File("r"), help="Holds the password; - is standard input. One newline is cut.")
@with_env
def set_password(env: Env, name: str, password_file: TextIO | None) -> None:
    """Give the user NAME a new password; ends the user's sessions."""
    from common.db.accounts import Accounts, hash_password

    password_hash = hash_password(_password(password_file))
    with env.folder().write() as tx:
        Accounts(tx).set_password(name, password_hash)
    _done(env, f"password of {name} changed")


@user.command("admin")
@click.argument("name")
@click.option("--off", is_flag=True, help="Take the role away.")
@with_env
def set_admin(env: Env, name: str, off: bool) -> None:
    """Make the user NAME an administrator."""
    from common.db.accounts import Accounts

    with env.folder().write() as tx:
        Accounts(tx).set_admin(name, not off)
    _done(env, f"{name} is {'no longer an' if off else 'an'} administrator")


@user.command("remove")
@click.argument("name")
@with_env
def remove_user(env: Env, name: str) -> None:
    """Remove the user NAME with its tokens, sessions and keys; its tasks stay."""
    from common.db.accounts import Accounts

    with env.folder().write() as tx:
        Accounts(tx).remove_user(name)
    _done(env, f"user {name} removed")


@user.command("list")
@with_env
def list_users(env: Env) -> None:
    """List the users."""
    from common.db.accounts import Accounts

    with env.folder().read() as tx:
        users = Accounts(tx).users()
    if env.json:
        env.print_json([{"name": u.name, "admin": u.admin, "createdTime": u.created_at} for u in users])
    else:
        print_table(
            ["NAME", "ROLE", "SINCE"], [(u.name, "administrator" if u.admin else "user", _day(u.created_at)) for u in users]
        )


# ---- tokens


@token.command("create")
@click.argument("name")
@click.option("--days", type=int, help="Life of the token; without it it lives for ever.")
@with_env
def create_token(env: Env, name: str, days: int | None) -> None:
    """Make a token of the user NAME and print it, alone. It is not kept anywhere and cannot be shown again."""
    from common.db.accounts import Accounts

    with env.folder().write() as tx:
        made, secret = Accounts(tx).add_token(name, now=SystemClock().now(), days=days)
    if env.json:
        env.print_json({"id": made.id, "user": made.user, "token": secret, "expiresTime": made.expires_at})
    else:
        print_line(secret)


@token.command("list")
@with_env
def list_tokens(env: Env) -> None:
    """List the tokens: their first characters, owner and life."""
    from common.db.accounts import Accounts

    with env.folder().read() as tx:
        tokens = Accounts(tx).tokens()
    if env.json:
        env.print_json(
            [
                {"id": t.id, "user": t.user, "prefix": t.prefix, "createdTime": t.created_at, "expiresTime": t.expires_at}
                for t in tokens
            ]
        )
    else:
        rows = [(t.id, t.prefix + "...", t.user, _day(t.created_at), _day(t.expires_at) or "never") for t in tokens]
        print_table(["ID", "TOKEN", "USER", "SINCE", "EXPIRES"], rows, right=["ID"])


@token.command("revoke")
@click.argument("token_id", type=int, metavar="ID")
@with_env
def revoke_token(env: Env, token_id: int) -> None:
    """Make the token with this ID (see `token list`) useless at once."""
    from common.db.accounts import Accounts

    with env.folder().write() as tx:
        Accounts(tx).remove_token(token_id)
    _done(env, f"token {token_id} revoked")


# ---- keys


@key.command("create")
@click.argument("name")
@with_env
def create_key(env: Env, name: str) -> None:
    """Make a key of the user NAME and print `ACCESS_ID SECRET` on one line. The secret cannot be shown again."""
    from common.db.accounts import Accounts
    from common.storage.secrets import Secrets

    folder = env.folder()
    folder.make()
    secrets = Secrets.of_folder(folder.path)
    with folder.write() as tx:
        made = Accounts(tx).add_key(name, secrets, now=SystemClock().now())
    if env.json:
        env.print_json({"accessId": made.access_id, "secret": made.secret, "user": made.user})
    else:
        print_line(f"{made.access_id} {made.secret}")


@key.command("list")
@with_env
def list_keys(env: Env) -> None:
    """List the keys, without their secrets."""
    from common.db.accounts import Accounts

    with env.folder().read() as tx:
        keys = Accounts(tx).keys()
    if env.json:
        env.print_json([{"accessId": k.access_id, "user": k.user, "createdTime": k.created_at} for k in keys])
    else:
        print_table(["ACCESS ID", "USER", "SINCE"], [(k.access_id, k.user, _day(k.created_at)) for k in keys])


@key.command("revoke")
@click.argument("access_id")
@with_env
def revoke_key(env: Env, access_id: str) -> None:
    """Make the key ACCESS_ID useless at once."""
    from common.db.accounts import Accounts

    with env.folder().write() as tx:
        Accounts(tx).remove_key(access_id)
    _done(env, f"key {access_id} revoked")


# ---- the first administrator


def ensure_administrator(folder: DataFolder) -> None:
    """Make the administrator when there is none; the password is told once on standard error. Raises Conflict."""
    if has_administrator(folder.database):
        return
    from entrance.core import administrator

    with folder.write() as tx:
        made = administrator.ensure_administrator(tx, folder.path, SystemClock().now())
    if made is not None:
        tell_administrator(made)


def tell_administrator(path: Path) -> None:
    """Tell the password of the administrator who was just made."""
    password = path.read_text(encoding="ascii").strip()
    note(f"administrator {ADMIN} made, password {password} (kept in {path})")


# ---- helpers


def _password(file: TextIO | None) -> str:
    if file is not None:
        try:
            return file.read().removesuffix("\n")
        except UnicodeDecodeError as error:
            raise BadInput("the password file is not UTF-8 text") from error
    if not sys.stdin.isatty():
        raise click.UsageError("no terminal to ask for the password at: give --password-file FILE")
    password: str = click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    return password


def _done(env: Env, text: str) -> None:
    if env.json:
        env.print_json({"ok": True})
    else:
        note(text)


def _day(at: int | None) -> str:
    return "" if at is None else datetime.fromtimestamp(at / 1000, UTC).strftime("%Y-%m-%d")
