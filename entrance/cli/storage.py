"""``storage``: where data may lie. Local folders are allowed in the data folder, by its owner alone."""

from __future__ import annotations

from pathlib import Path

import click

from common.clock import SystemClock
from common.errors import BadInput
from entrance.cli.frame import Env, note, print_table, with_env


@click.group()
def storage() -> None:
    """Say where data may lie."""


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
