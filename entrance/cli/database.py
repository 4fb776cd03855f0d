"""``db``: the database of the data folder."""

from __future__ import annotations

import click

from entrance.cli.frame import Env, note, with_env


@click.group()
def db() -> None:
    """The database of the data folder."""


@db.command("upgrade")
@with_env
def upgrade(env: Env) -> None:
    """Make the database, or bring it to this version. Not while a service runs; a start does it by itself."""
    folder = env.folder()
    changed = folder.upgrade()
    if env.json:
        env.print_json({"database": str(folder.database), "changed": changed})
    else:
        note(f"{folder.database} {'upgraded' if changed else 'is up to date'}")
