"""One service from its database to its port: wires everything, answers until it is told to stop, and stops in good order.

Imported by ``entrance.__main__`` alone, when the fork servers are on their way: what it brings takes as long as they do.
"""

from __future__ import annotations

import gc
import ipaddress
import json
import os
import signal
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import gevent
from gevent.socket import socket

from common.clock import SystemClock
from common.config import Settings
from common.db.accounts import Accounts
from common.db.sql import Tx
from common.logging import get_log
from common.storage.secrets import Secrets
from entrance.app import create_app
from entrance.core.administrator import ensure_administrator
from entrance.core.folder import Folder
from entrance.core.lifecycle import Core, Runtime
from entrance.core.preparations import Preparations
from entrance.core.setup import services_of
from entrance.web.server import make_server
from executors.launchers.base import Launcher

COLLECT_AFTER = (10_000, 20, 20)  # a request makes some thousand objects, hardly any in cycles
_LOG = get_log("entrance")


def serve(settings: Settings, folder: Folder, listener: socket, launcher: Launcher, runtime: Runtime) -> None:
    """Run the service until SIGTERM or SIGINT. Raises EntranceError when it cannot start."""
    stop = threading.Event()
    core = Core(
        settings,
        folder,
        runtime=runtime,
        launcher=launcher,
        hooks=Preparations(
            SystemClock(),
            Secrets.of_folder(folder.path),
            settings.dataspaces.default,
            settings.storage.allowed_endpoints,
        ),
        failed=lambda error: gevent.spawn(_give_up, error),
    )
    for number in (signal.SIGTERM, signal.SIGINT):
        gevent.signal_handler(number, stop.set)
    now = core.clock.now()
    if made := core.writer.call(lambda tx: ensure_administrator(tx, folder.path, now)):
        _LOG.info("administrator made", password_file=str(made))
    core.start()
    app = create_app(core)
    server = make_server(
        listener,
        app,
        changes=app.changes,
        connections=settings.service.connections,
        idle_seconds=settings.service.idle_seconds,
    )
    server.start()
    gc.freeze()  # what is there now stays: no collection need look at it again
    gc.set_threshold(*COLLECT_AFTER)
    gc.enable()
    _owner_token(core)
    host, port = settings.service.host, settings.service.port
    _announce(folder, host, port, bound=listener.getsockname()[0])
    gevent.spawn(services_of(core).jobs.start_following)
    _LOG.info("service started", host=host, port=port, data=str(folder.path))
    stop.wait()
    _LOG.info("service stopping")
    core.tasks.accept.closing = True
    server.stop_accepting()
    stopping = gevent.spawn(core.stop)
    server.stop(timeout=2)
    stopping.join()
    (folder.path / "service.json").unlink(missing_ok=True)
    folder.release()
    _LOG.info("service stopped")


def _give_up(error: BaseException) -> None:
    _LOG.exception("the writer is broken", error)
    os._exit(70)


def _owner_token(core: Core) -> None:
    """Give the owner of the data folder a token of the first administrator (``cli-token``, 0600)."""
    path = core.folder.path / "cli-token"
    old = path.read_text(encoding="ascii").strip() if path.exists() else ""

    def make(tx: Tx) -> str | None:
        accounts = Accounts(tx)
        admin, holder = accounts.first_admin(), accounts.token_holder(old) if old else None
        if admin is None or (holder is not None and holder.admin):
            return None
        return accounts.add_token(admin.name, now=core.clock.now())[1]

    if token := core.writer.call(make):
        _private(path, token + "\n")


def _announce(folder: Folder, host: str, port: int, bound: str) -> None:
    """Say where the service is. One that is bound to every address is reached from here over loopback."""
    every = ipaddress.ip_address(bound).is_unspecified
    shown = ("[::1]" if ":" in bound else "127.0.0.1") if every else f"[{host}]" if ":" in host else host
    told: dict[str, Any] = {
        "pid": os.getpid(),
        "address": f"{host}:{port}",
        "url": f"http://{shown}:{port}",
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    _private(folder.path / "service.json", json.dumps(told) + "\n")


def _private(path: Path, text: str) -> None:
    """Write a file that only its owner reads, all or nothing."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    temporary.replace(path)
