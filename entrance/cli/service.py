"""``serve``, ``start``, ``stop``, ``status``: the service as a process. The scripts in ``bin`` end here.

The service itself is ``python -m entrance --data DIR``. It refuses to start with one sentence on standard error and status
1, and writes ``DIR/service.json`` when it answers; a detached one has ``DIR/service.log`` as its standard error.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from common.db.peek import ADMIN_FILE
from common.errors import StartRefused
from entrance.cli.accounts import ensure_administrator, tell_administrator
from entrance.cli.client import Client, Endpoint, NoAnswer
from entrance.cli.folder import START_SECONDS, DataFolder, ServiceInfo
from entrance.cli.frame import Env, note, print_line, with_env
from entrance.cli.processes import find_all, find_service, send, wait_gone

if TYPE_CHECKING:
    from common.config import Settings

USUAL_SECONDS = 5.0
STOP_SECONDS = 20.0  # an orderly stop takes 15 s at most
KILL_SECONDS = 5.0
STATUS_RUNNING, STATUS_STOPPED, STATUS_UNCLEAR = 0, 3, 4

F = TypeVar("F", bound=Callable[..., Any])


def _service_options(command: F) -> F:
    for option in (
        click.option(
            "--conf", metavar="FILE", type=click.Path(), help="Settings file (conf/entrance.toml shows all settings)."
        ),
        click.option("--port", type=click.IntRange(0, 65535), help="Port to listen on; 0 takes a free one (default: 9001)."),
        click.option("--host", metavar="H", help="Address to listen on (default: 127.0.0.1)."),
    ):
        command = option(command)
    return command


@click.command()
@_service_options
@with_env
def serve(env: Env, host: str | None, port: int | None, conf: str | None) -> None:
    """Run the service in the foreground, until SIGTERM or Ctrl-C."""
    settings = env.settings(conf, host=host, port=port)
    folder = _free_folder(settings)
    ensure_administrator(folder)
    command = _command(folder, settings, conf)
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(command[0], command)  # noqa: S606 - our own interpreter with a list of arguments


@click.command()
@_service_options
@click.option("--foreground", is_flag=True, help="Stay in the foreground, as `entrance serve` does.")
@with_env
@click.pass_context
def start(context: click.Context, env: Env, host: str | None, port: int | None, conf: str | None, foreground: bool) -> None:
    """Start the service and return when it answers; prints its address."""
    if foreground:
        context.invoke(serve, host=host, port=port, conf=conf, data=env.data, url=env.url, token=env.token, as_json=env.json)
        return
    settings = env.settings(conf, host=host, port=port)
    info = start_detached(settings, conf)
    if env.json:
        env.print_json({"url": info.url, "pid": info.pid, "data": str(settings.data_folder)})
    else:
        print_line(info.url)


@click.command()
@with_env
def stop(env: Env) -> None:
    """Stop the service: running tasks keep the work done and go on after the next start. Nothing running is no error."""
    folder = env.folder()
    pid = find_service(folder)
    killed = False
    if pid is not None:
        send(pid, signal.SIGTERM)
        if not wait_gone(pid, STOP_SECONDS):
            killed = True
            send(pid, signal.SIGKILL)
            wait_gone(pid, KILL_SECONDS)
    # what a crashed service may have left; after an orderly stop there is nothing
    left = [other for other in find_all(folder) if not wait_gone(other, 2.0)]
    for other in left:
        send(other, signal.SIGKILL)
    left = [other for other in left if not wait_gone(other, KILL_SECONDS)]
    if left:
        raise StartRefused(f"processes {', '.join(map(str, left))} of the service could not be ended")
    if env.json:
        env.print_json({"wasRunning": pid is not None, "killed": killed})
    elif killed:
        note(f"the service did not stop within {STOP_SECONDS:.0f} s and was killed; its tasks go on after the next start")
    else:
        note("stopped" if pid is not None else f"no service runs with the data folder {folder.path}")


@click.command()
@with_env
@click.pass_context
def status(context: click.Context, env: Env) -> None:
    """Say whether the service runs. Exit status: 0 running, 3 stopped, 4 there is a process that does not answer."""
    if env.url is not None and env.data is None:
        context.exit(_status_of(env, env.url))
    folder = env.folder()
    pid, info = find_service(folder), folder.service()
    state, code = "stopped", STATUS_STOPPED
    if pid is not None and info is not None and answers(info.url):
        state, code = "running", STATUS_RUNNING
    elif pid is not None:
        state, code = "not answering", STATUS_UNCLEAR
    if env.json:
        known: dict[str, object] = {"pid": pid} if pid is not None else {}
        if info is not None and code == STATUS_RUNNING:
            known = {"pid": pid, "url": info.url, "started": info.started}
        env.print_json({"state": state, "data": str(folder.path), **known})
    elif info is not None and code == STATUS_RUNNING:
        print_line(f"running at {info.url} (process {pid}, since {info.started}, data folder {folder.path})")
    elif code == STATUS_UNCLEAR:
        print_line(f"process {pid} does not answer (data folder {folder.path}, log {folder.log})")
    else:
        print_line(f"stopped (data folder {folder.path})")
    context.exit(code)


def _status_of(env: Env, url: str) -> int:
    """Tell of a service that is known by its address alone."""
    running = answers(url)
    if env.json:
        env.print_json({"state": "running" if running else "stopped", "url": url})
    else:
        print_line(f"running at {url}" if running else f"no service answers at {url}")
    return STATUS_RUNNING if running else STATUS_STOPPED


# ---- for other commands too


def start_detached(settings: Settings, conf: str | None = None) -> ServiceInfo:
    """Start a service that outlives us and return when it answers.

    Raises StartRefused in the service's own words when it cannot start (port taken, folder in use, database broken).
    """
    return begin_detached(settings, conf).wait()


def begin_detached(settings: Settings, conf: str | None = None) -> Beginning:
    """Start a service that outlives us. Raises StartRefused when one runs already."""
    folder = _free_folder(settings)
    password = folder.path / ADMIN_FILE
    known = _changed_at(password)
    with open(folder.log, "ab", opener=_private) as log:
        begin = log.tell()
        child = subprocess.Popen(
            _command(folder, settings, conf),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=folder.path,
            start_new_session=True,
        )
    return Beginning(folder, child, begin, password, known)


class Beginning:
    """A service that begins."""

    def __init__(
        self, folder: DataFolder, child: subprocess.Popen[bytes], log_begin: int, password: Path, known: int | None
    ) -> None:
        self._folder, self._child, self._log_begin, self._password, self._known = folder, child, log_begin, password, known

    def wait(self, meanwhile: Callable[[], object] = lambda: None) -> ServiceInfo:
        """Call ``meanwhile``, and return when the service answers.

        Raises StartRefused in its own words. What begins is ended then, and at an interrupt.
        """
        try:
            meanwhile()
            return _wait_for(self._folder, self._child, self._log_begin)
        except BaseException:
            self._child.terminate()
            with suppress(subprocess.TimeoutExpired):
                self._child.wait(1.0)
            raise
        finally:
            if _changed_at(self._password) not in (None, self._known):
                tell_administrator(self._password)


def _changed_at(path: Path) -> int | None:
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return None


def answers(url: str) -> bool:
    """Whether the service at this address answers an HTTP request."""
    try:
        client = Client(lambda: Endpoint(url=url))
        client.request("GET", "/health", timeout_seconds=5.0)
        client.close()
    except NoAnswer:
        return False
    return True


def _free_folder(settings: Settings) -> DataFolder:
    """Return the data folder; refuse a second service."""
    folder = DataFolder(settings.data_folder)
    folder.make()
    pid = find_service(folder)
    if pid is not None:
        info = folder.service()
        where = f"at {info.url} " if info is not None else ""
        raise StartRefused(f"a service is running {where}with the data folder {folder.path} already (process {pid})")
    return folder


def _command(folder: DataFolder, settings: Settings, conf: str | None) -> list[str]:
    command = [sys.executable, "-P", "-m", "entrance", "--data", str(folder.path)]
    command += ["--host", settings.service.host, "--port", str(settings.service.port)]
    if conf:
        command += ["--conf", str(Path(conf).absolute())]
    return command


def _wait_for(folder: DataFolder, child: subprocess.Popen[bytes], log_begin: int) -> ServiceInfo:
    began = time.monotonic()
    while (waited := time.monotonic() - began) < START_SECONDS:
        if child.poll() is not None:
            raise StartRefused(_last_words(folder.log, log_begin, child.returncode))
        info = folder.service()
        if info is not None and info.pid == child.pid and answers(info.url):
            return info
        time.sleep(0.01 if waited < USUAL_SECONDS else 0.2)
    raise StartRefused(f"the service did not answer within {START_SECONDS:.0f} s; {folder.log} may say why")


def _last_words(log: Path, begin: int, status: int) -> str:
    """The sentence with which a service refused to start: the last line in its log that is no JSON and no traceback."""
    with log.open("rb") as file:
        file.seek(begin)
        lines = file.read().decode(errors="replace").splitlines()
    if status == 1 and not any(line.startswith("Traceback ") for line in lines):
        sentences = [line for line in lines if line.strip() and not line.startswith(("{", " "))]
        if sentences:
            return sentences[-1].removeprefix("entrance: ")
    how = f"signal {-status}" if status < 0 else f"exit status {status}"
    return f"the service ended while it started ({how}); {log} says why"


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
