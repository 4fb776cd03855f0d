"""``storage``: where data may lie, and the places where it does.

Storages are made and listed through the service, as by any client; which local folders are allowed and the key of all stored
secrets are matters of the data folder, for its owner alone.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from common.clock import SystemClock
from common.errors import BadInput
from entrance.cli.client import Client, Rejected, part
from entrance.cli.frame import EXIT_FAILED, Env, note, print_table, with_env

CLIENT_SECRETS = ("headers", "clientKey")  # of a ClientConfig


@click.group()
def storage() -> None:
    """Say where data may lie, and make, list and check storages."""


# ---- places


@storage.command("create")
@click.argument("name")
@click.argument("type_", metavar="TYPE", type=click.Choice(["local", "s3"]))
@click.argument("path")
@click.argument("pairs", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--provider", metavar="P", help="Whose store it is: aws, minio, ceph, other, ...")
@click.option("--client", "client_pairs", multiple=True, metavar="KEY=VALUE", help="A setting of the ClientConfig.")
@with_env
def create(
    env: Env, name: str, type_: str, path: str, pairs: Sequence[str], provider: str | None, client_pairs: Sequence[str]
) -> None:
    """Make the storage NAME: PATH is a local folder, or BUCKET[/PREFIX] of an S3-compatible store.

    KEY=VALUE are its options, such as endpoint, region, access_key_id, secret_access_key. KEY=@FILE takes the value from
    a file (- is standard input; one newline at its end is cut), KEY alone asks for it. Secrets come in these two ways only,
    since others can see a command line. The service lists the root once; what cannot be listed is not made.
    """
    from entrance.core.storage_secrets import is_secret

    config = {key: _value(key, pair, secret=is_secret(key)) for key, pair in _split(pairs)}
    client_config = {key: _json(_value(key, pair, secret=key in CLIENT_SECRETS)) for key, pair in _split(client_pairs)}
    if type_ == "local" and env.url is None:
        path = str(Path(path).absolute())
    body = {"name": name, "path": path, "config": config, "clientConfig": client_config}
    made = env.client().singularity("POST", f"/storage/{type_}" + (f"/{part(provider)}" if provider else ""), body=body)
    if env.json:
        env.print_json(made)
    else:
        note(f"storage {made['name']} made ({made['type']}, {made['path']})")


@storage.command("list")
@with_env
def list_storages(env: Env) -> None:
    """List the storages, and the preparations that use them. Secrets are masked."""
    found = env.client().singularity("GET", "/storage")
    if env.json:
        env.print_json(found)
        return
    rows = [(s["id"], s["name"], s["type"], s["path"], _users(s), s["createdAt"][:10]) for s in found]
    print_table(["ID", "NAME", "TYPE", "PATH", "USED BY", "SINCE"], rows, right=["ID"])


@storage.command("check")
@click.argument("names", metavar="[NAME]...", nargs=-1)
@with_env
@click.pass_context
def check(context: click.Context, env: Env, names: Sequence[str]) -> None:
    """See whether storages (without NAME: all) can be reached and listed. Exit status 1 when one cannot."""
    client = env.client()
    names = names or [s["name"] for s in client.singularity("GET", "/storage")]
    found = [{"name": name, **_checked(client, name)} for name in names]
    if env.json:
        env.print_json(found)
    else:
        print_table(["NAME", "STATE"], [(f["name"], "ok" if f["ok"] else f["message"]) for f in found])
    if not all(f["ok"] for f in found):
        context.exit(EXIT_FAILED)


def _checked(client: Client, name: str) -> dict[str, Any]:
    try:
        client.singularity("GET", f"/storage/{part(name)}/explore/%2F", query={"limit": 1})
    except Rejected as error:
        return {"ok": False, "message": " ".join(str(error).split())}
    return {"ok": True, "message": ""}


def _users(found: Mapping[str, Any]) -> str:
    of = {"preparationsAsSource": "source of", "preparationsAsOutput": "output of"}
    return ", ".join(f"{text} {p['name']}" for key, text in of.items() for p in found.get(key) or ())


# ---- options


def _split(pairs: Sequence[str]) -> list[tuple[str, str]]:
    """Return (key, pair) of each; the key may be all there is."""
    found = [(pair.partition("=")[0], pair) for pair in pairs]
    for key, pair in found:
        if not key:
            raise click.UsageError(f"{pair} is not KEY=VALUE")
    return found


def _value(key: str, pair: str, *, secret: bool) -> str:
    """Return the value of a pair, from where it says. Raises click.UsageError, BadInput."""
    _, equals, text = pair.partition("=")
    if not equals:
        return str(click.prompt(key, hide_input=secret, err=True))
    if text.startswith("@"):
        try:
            told = sys.stdin.read() if text == "@-" else Path(text[1:]).read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            raise BadInput(f"{key}: {text[1:]} cannot be read: {getattr(error, 'strerror', None) or 'no UTF-8'}") from error
        return told.removesuffix("\n").removesuffix("\r")
    if secret and text:
        raise click.UsageError(f"{key} would be seen in the list of processes: give {key}=@FILE, or {key} alone to be asked")
    return text


def _json(text: str) -> Any:
    """Return a value that is JSON as it, anything else as text."""
    try:
        return json.loads(text)
    except ValueError:
        return text


# ---- the data folder


@storage.command("allow")
@click.argument("directory", metavar="DIR", required=False)
@click.option("--list", "show", is_flag=True, help="List what is allowed.")
@click.option("--remove", is_flag=True, help="Take the permission for DIR back.")
@with_env
def allow(env: Env, directory: str | None, show: bool, remove: bool) -> None:
    """Allow storages and transfers inside the local folder DIR (it must exist; symbolic links are followed here, once)."""
    from common.db.accounts import Accounts

    if (directory is None) != show:
        raise click.UsageError("give a folder, or --list")
    if directory is None:
        with env.folder().read() as tx:
            roots = Accounts(tx).roots()
        if env.json:
            env.print_json([{"path": r.path, "preparation": r.preparation_id} for r in roots])
        else:
            print_table(["PATH", "FOR"], [(r.path, r.preparation_id or "all") for r in roots])
        return
    try:
        path = Path(directory).resolve(strict=not remove)
    except OSError as error:
        raise BadInput(f"{directory}: {error.strerror}") from error
    if not remove and not path.is_dir():
        raise BadInput(f"{directory} is not a folder")
    with env.folder().write() as tx:
        if remove:
            Accounts(tx).disallow(str(path))
        else:
            Accounts(tx).allow(str(path), now=SystemClock().now())
    if env.json:
        env.print_json({"path": str(path), "allowed": not remove})
    else:
        note(f"{path} is {'no longer ' if remove else ''}allowed")


@storage.command("rekey")
@with_env
def rekey(env: Env) -> None:
    """Encrypt all stored secrets with a new key, while the service runs or not.

    Copies of the database from before need the old key file. With the key in ENTRANCE_SECRET_KEY, put the new one in front
    of the old, a blank between, for the service and for this command; afterwards take the old one away.
    """
    from entrance.cli.rekey import rekey as change

    done = change(env.folder())
    if env.json:
        env.print_json({"storages": done.storages, "keys": done.keys})
    else:
        note(f"the secrets of {done.storages} storages and {done.keys} access keys are encrypted with the new key")
