"""What all commands share: the four options, the way to the service, output for people and for programs.

    @click.command()
    @with_env
    def show(env: Env, ...): ...

adds ``--data``, ``--url``, ``--token`` and ``--json`` to a command and hands them over as an ``Env``.
"""

from __future__ import annotations

import functools
import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

import click

from common.errors import BadInput
from entrance.cli.client import Client, Endpoint
from entrance.cli.folder import DataFolder

if TYPE_CHECKING:
    from common.config import Settings

P = ParamSpec("P")
R = TypeVar("R")

PATIENCE_SECONDS = 30.0

EXIT_FAILED, EXIT_USAGE, EXIT_CANCELLED, EXIT_TIMED_OUT = 1, 2, 3, 4


@dataclass(frozen=True, kw_only=True)
class Env:
    """Where a command works and how it answers."""

    data: str | None
    url: str | None
    token: str | None
    json: bool

    def settings(self, conf: str | None = None, **service: object) -> Settings:
        """Return the settings with what the command line says of the service on top."""
        from common.config import load

        overrides = {f"service.{name}": value for name, value in service.items()}
        return load(Path(conf) if conf else None, overrides={"service.data": self.data, **overrides})

    def folder(self) -> DataFolder:
        """Return the data folder: ``--data``, else of the settings, else ``var/`` of the project."""
        return DataFolder(Path(os.path.abspath(self.data)) if self.data else self.settings().data_folder)  # noqa: PTH100

    def client(self, *, patient: bool = False) -> Client:
        """Return a client of the service; a ``patient`` one waits up to 30 s for a service that does not answer."""
        return Client(self._endpoint, patience_seconds=PATIENCE_SECONDS if patient else 0.0)

    def _endpoint(self) -> Endpoint:
        if self.url is None:
            folder = self.folder()
            own = folder.endpoint()
            token = self.token or own.token
            if token is None:
                raise BadInput(
                    f"there is no {folder.path / 'cli-token'}: give --token, or start the service again, which makes it"
                )
            return Endpoint(url=own.url, token=token)
        if self.token is None:
            raise BadInput("--url needs a token: --token, or the environment variable ENTRANCE_TOKEN")
        return Endpoint(url=self.url, token=self.token)

    def print_json(self, value: Any) -> None:
        """Print one JSON value on a line of its own."""
        print_line(json.dumps(value, ensure_ascii=False))


def with_env(command: Callable[Concatenate[Env, P], R]) -> Callable[P, R]:
    """Give a command the four common options and an ``Env`` as its first argument."""

    @click.option(
        "--data", metavar="DIR", callback=_named, help="Data folder of the service (default: var/ in the project's root)."
    )
    @click.option(
        "--url",
        metavar="URL",
        envvar="ENTRANCE_URL",
        help="Speak to the service at this address (commands that work on the data folder do not look at it).",
    )
    @click.option("--token", metavar="TOKEN", envvar="ENTRANCE_TOKEN", help="Token for --url; better in ENTRANCE_TOKEN.")
    @click.option("--json", "as_json", is_flag=True, help="Answer with JSON, for programs.")
    @functools.wraps(command)
    def wrapped(*args: Any, data: str | None, url: str | None, token: str | None, as_json: bool, **kwargs: Any) -> R:
        return command(Env(data=data, url=url or None, token=token or None, json=as_json), *args, **kwargs)

    return wrapped  # type: ignore[return-value]


def _named(context: click.Context, option: click.Parameter, value: str | None) -> str | None:
    """Refuse the empty text that an unset variable of a script gives: it is not meant as the usual folder."""
    if value == "":
        raise click.BadParameter("is empty")
    return value


def print_line(text: str = "") -> None:
    """Print a line on standard output, at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def note(text: str) -> None:
    """Print a line for people on standard error."""
    click.echo(text, err=True)


def print_table(columns: Sequence[str], rows: Sequence[Sequence[object]], right: Sequence[str] = ()) -> None:
    """Print rows under their headings; ``right`` names the columns of numbers. Plain text when it is no terminal."""
    cells = [["" if cell is None else str(cell) for cell in row] for row in rows]
    if not sys.stdout.isatty():
        widths = [max([len(c), *(len(row[i]) for row in cells)]) for i, c in enumerate(columns)]
        for row in [list(columns), *cells]:
            shown = [v.rjust(w) if c in right else v.ljust(w) for v, w, c in zip(row, widths, columns, strict=True)]
            print_line("  ".join(shown).rstrip())
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", overflow="fold")
    for row in cells:
        table.add_row(*(Text(cell) for cell in row))
    Console().print(table)


def size_text(count: float) -> str:
    """Return a number of bytes for people: ``1.5 GiB``."""
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if abs(count) < 1024 or unit == "TiB":
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    raise AssertionError


def duration_text(seconds: float) -> str:
    """Return a duration for people: ``45s``, ``3m20s``, ``2h05m``, ``3d4h``."""
    whole = max(0, int(seconds))
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    if whole < 86400:
        return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
    return f"{whole // 86400}d{whole % 86400 // 3600}h"
