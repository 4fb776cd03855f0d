"""``doctor``: whether this machine and the data folder are fit for the service, a line for each thing."""

from __future__ import annotations

import os
import platform
import shutil
import socket
import sqlite3
import stat
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import click

from common.errors import EntranceError
from entrance.cli.folder import DataFolder
from entrance.cli.frame import EXIT_FAILED, Env, print_line, size_text, with_env
from entrance.cli.processes import find_service

if TYPE_CHECKING:
    from common.config import Settings

OK, WARN, FAIL = "ok", "warn", "FAIL"
LITTLE_SPACE_BYTES = 5 << 30
FEW_OPEN_FILES = 1024
OLDEST_SQLITE = (3, 35, 0)  # RETURNING


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that was looked at. FAIL: the service cannot start, or not work."""

    name: str
    verdict: str
    text: str


@click.command()
@click.option("--conf", metavar="FILE", type=click.Path(), help="Settings file to check with.")
@with_env
@click.pass_context
def doctor(context: click.Context, env: Env, conf: str | None) -> None:
    """Check this machine, the settings and the data folder; makes and migrates the folder when it is missing.

    One line for each thing: ok, warn, or FAIL for what keeps the service from working; exit status 1 when there is one.
    """
    findings = list(examine(env, conf))
    if env.json:
        env.print_json([asdict(finding) for finding in findings])
    else:
        colours = {OK: "green", WARN: "yellow", FAIL: "red"}
        for finding in findings:
            verdict = click.style(f"{finding.verdict:<4}", fg=colours[finding.verdict])
            shown = verdict if sys.stdout.isatty() else click.unstyle(verdict)
            print_line(f"{shown}  {finding.name:<12} {finding.text}")
    if any(finding.verdict == FAIL for finding in findings):
        context.exit(EXIT_FAILED)


def examine(env: Env, conf: str | None) -> Iterator[Finding]:
    """Look at everything, one finding after the other."""
    yield _python()
    yield _sqlite()
    try:
        settings = env.settings(conf)
    except EntranceError as error:
        yield Finding(name="settings", verdict=FAIL, text=str(error))
        return
    yield Finding(name="settings", verdict=OK, text=f"{conf or 'defaults'}, environment on top")
    folder = DataFolder(settings.data_folder)
    checks: list[tuple[str, Callable[[], Finding]]] = [
        ("data folder", lambda: _data_folder(folder)),
        ("disk space", lambda: _space(folder)),
        ("database", lambda: _database(folder)),
        ("accounts", lambda: _accounts(folder)),
        ("slots", lambda: _slots(settings)),
        ("open files", _open_files),
        ("kernel", lambda: _kernel(folder)),
        ("service", lambda: _service(folder, settings)),
    ]
    for name, check in checks:
        try:
            yield check()
        except (EntranceError, OSError, sqlite3.Error) as error:
            yield Finding(name=name, verdict=FAIL, text=str(error))


def _python() -> Finding:
    verdict = OK if sys.version_info >= (3, 11) else FAIL
    return Finding(name="python", verdict=verdict, text=f"{platform.python_version()} ({sys.executable})")


def _sqlite() -> Finding:
    verdict = OK if sqlite3.sqlite_version_info >= OLDEST_SQLITE else FAIL
    return Finding(name="sqlite", verdict=verdict, text=sqlite3.sqlite_version)


def _data_folder(folder: DataFolder) -> Finding:
    folder.make()
    mode = stat.S_IMODE(folder.path.stat().st_mode)
    if mode & 0o077:
        text = f"{folder.path} is open to other users (mode {mode:04o}; chmod 700)"
        return Finding(name="data folder", verdict=WARN, text=text)
    return Finding(name="data folder", verdict=OK, text=f"{folder.path}, writable, mode {mode:04o}")


def _space(folder: DataFolder) -> Finding:
    usage = shutil.disk_usage(folder.path)
    verdict = WARN if usage.free < LITTLE_SPACE_BYTES else OK
    return Finding(name="disk space", verdict=verdict, text=f"{size_text(usage.free)} free of {size_text(usage.total)}")


def _database(folder: DataFolder) -> Finding:
    changed = folder.upgrade()
    with folder.read() as tx:
        mode = str(tx.connection.execute("PRAGMA journal_mode").fetchone()[0])
    what = "made or migrated now" if changed else "up to date"
    size = size_text(folder.database.stat().st_size)
    text = f"{folder.database}, {size}, schema {what}, journal mode {mode}"
    return Finding(name="database", verdict=OK if mode == "wal" else WARN, text=text)


def _accounts(folder: DataFolder) -> Finding:
    from common.db.accounts import Accounts

    with folder.read() as tx:
        users = Accounts(tx).users()
    admins = [user.name for user in users if user.admin]
    text = f"{len(users)} users, administrators: {', '.join(admins)}" if admins else "no administrator; a start makes one"
    return Finding(name="accounts", verdict=OK, text=text)


def _slots(settings: Settings) -> Finding:
    cores = len(os.sched_getaffinity(0))
    slots = settings.scheduler.slots or cores
    verdict = WARN if slots > 2 * cores else OK
    return Finding(name="slots", verdict=verdict, text=f"{slots} on {cores} cores")


def _open_files() -> Finding:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    verdict = WARN if 0 <= soft < FEW_OPEN_FILES else OK
    return Finding(name="open files", verdict=verdict, text=f"limit {soft}, at most {hard}")


def _kernel(folder: DataFolder) -> Finding:
    from common.content import kernel

    description = kernel.load(folder.path / "kernels").description
    reason = f" ({description.reason})" if description.reason else ""
    verdict = WARN if description.tier == "portable" else OK
    return Finding(name="kernel", verdict=verdict, text=f"{description.tier}, leaves: {description.leaves}{reason}")


def _service(folder: DataFolder, settings: Settings) -> Finding:
    from entrance.cli.service import answers

    pid, info = find_service(folder), folder.service()
    if pid is not None:
        if info is not None and answers(info.url):
            return Finding(name="service", verdict=OK, text=f"running at {info.url} (process {pid})")
        return Finding(name="service", verdict=FAIL, text=f"process {pid} does not answer; {folder.log} may say why")
    host, port = settings.service.host, settings.service.port
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return Finding(name="service", verdict=WARN, text=f"stopped; {host}:{port} cannot be had: {error.strerror}")
    return Finding(name="service", verdict=OK, text=f"stopped; port {port} of {host} is free")
