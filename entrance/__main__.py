"""``python -m entrance --data DIR``: the service as one process.

The one place that patches gevent, makes the launcher and starts the server. Writes ``DIR/service.json`` when it answers and
removes it at an orderly stop (SIGTERM, SIGINT). What prevents the start is one sentence on standard error, exit status 1; a
broken writer ends the service with status 70.
"""

import gc

from gevent import events, monkey

gc.disable()  # until the service answers: what is made before stays
events.notify_and_call_entry_points = events.notify  # else the metadata of all packages are read 25 times for plug-ins
monkey.patch_all()

import argparse
import json
import os
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import gevent

from common.clock import SystemClock
from common.config import Settings, load
from common.db.accounts import Accounts
from common.db.sql import Tx
from common.errors import EntranceError, StartRefused
from common.logging import get_log, set_up
from common.storage.secrets import Secrets
from entrance.core.lifecycle import Core, Folder, Runtime
from entrance.core.preparations import Preparations
from entrance.native import HubRuntime
from entrance.web.server import listen, make_server
from executors.launchers.local import LocalLauncher
from executors.launchers.split import SplitLauncher

COLLECT_AFTER = (10_000, 20, 20)  # a request makes some thousand objects, hardly any in cycles
SWITCH_SECONDS = 0.0001  # how long the writer thread waits for the interpreter (docs/adr/0002)
SMALL_EXECUTORS = ("echo", "sleep", "command")  # those that need no heavy library
_LOG = get_log("entrance")


def main() -> int:
    parser = argparse.ArgumentParser(prog="entrance", description="The task service.")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--host")
    parser.add_argument("--port", type=int)
    parser.add_argument("--conf", type=Path)
    options = parser.parse_args()
    set_up()
    try:
        settings = load(
            options.conf,
            overrides={
                "service.data": str(options.data) if options.data else None,
                "service.host": options.host,
                "service.port": options.port,
            },
        )
        return _run(settings)
    except EntranceError as error:
        print(f"entrance: {error}", file=sys.stderr)  # noqa: T201
        return 1


def _run(settings: Settings) -> int:
    sys.setswitchinterval(SWITCH_SECONDS)
    folder = Folder(settings.data_folder)
    (folder.path / "service.json").unlink(missing_ok=True)
    host, port = settings.service.host, settings.service.port
    try:
        listener = listen(host, port)
    except OSError as error:
        raise StartRefused(f"cannot listen on {host}:{port}: {error.strerror}") from error
    port = listener.getsockname()[1]
    settings = replace(settings, service=replace(settings.service, port=port))

    stop = threading.Event()
    broken: list[BaseException] = []

    def failed(error: BaseException) -> None:
        broken.append(error)
        gevent.spawn(_give_up, error)

    core = Core(
        settings,
        folder,
        runtime=HubRuntime(settings.service.threads),
        make_launcher=_local,
        hooks=Preparations(
            SystemClock(),
            Secrets.of_folder(folder.path),
            settings.dataspaces.default,
            settings.storage.allowed_endpoints,
        ),
        failed=failed,
    )
    for number in (signal.SIGTERM, signal.SIGINT):
        gevent.signal_handler(number, stop.set)
    core.warm_up()
    kernel = None if any((folder.path / "kernels").glob("*.o")) else _compile_kernel(folder)
    from entrance.app import create_app  # while the fork server starts on another core
    from entrance.core.setup import services_of

    if kernel is not None:
        kernel.join()
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
    _announce(folder, host, port)
    gevent.spawn(services_of(core).jobs.start_following)
    if kernel is None:
        _compile_kernel(folder)  # this one may differ: the machine or the program may be new
    _LOG.info("service started", host=host, port=port, data=str(folder.path))
    stop.wait()
    _LOG.info("service stopping")
    core.service.closing = True
    server.stop_accepting()
    stopping = gevent.spawn(core.stop)
    server.stop(timeout=2)
    stopping.join()
    (folder.path / "service.json").unlink(missing_ok=True)
    folder.release()
    _LOG.info("service stopped")
    return 0


def _local(data: Path, instance: str, settings: Settings, runtime: Runtime) -> SplitLauncher:
    small = LocalLauncher(data=data, instance=f"{instance}-small", executors=SMALL_EXECUTORS, offload=runtime.offload)
    large = LocalLauncher(
        data=data,
        instance=instance,
        preload=("common.db.database", "numpy", "executors.warm"),
        awaited=False,  # it imports for a second, and the service answers meanwhile
        offload=runtime.offload,
    )
    return SplitLauncher(small, large, SMALL_EXECUTORS)


def _compile_kernel(folder: Folder) -> threading.Thread:
    """Have the hashing kernel compiled, in a process of its own, if it is not there yet. Returns what does it."""

    def compile_it() -> None:
        command = [sys.executable, "-P", "-m", "common.content.kernel", "--data", str(folder.path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
        if done.returncode == 0:
            _LOG.info("hashing kernel", kernel=done.stdout.strip())
        else:
            _LOG.warning("hashing kernel not compiled, packing will be slow", reason=done.stderr.strip()[-500:])

    thread = threading.Thread(target=compile_it, name="kernel", daemon=True)
    thread.start()
    return thread


def _give_up(error: BaseException) -> None:
    _LOG.exception("the writer is broken", error)
    os._exit(70)


def _owner_token(core: Core) -> None:
    """Give the owner of the data folder a token of the first administrator (``cli-token``, 0600), if there is one."""
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


def _announce(folder: Folder, host: str, port: int) -> None:
    shown = "127.0.0.1" if host in ("0.0.0.0", "") else f"[{host}]" if ":" in host else host  # noqa: S104
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


if __name__ == "__main__":
    sys.exit(main())
