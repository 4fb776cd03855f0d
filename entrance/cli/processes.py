"""Processes of a service, found by what their command lines show: ``--data`` with the absolute data folder."""

from __future__ import annotations

import itertools
import os
import select
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from entrance.cli.folder import DataFolder, is_running

SERVICE_MODULE = "entrance"
COMMAND_LINE_MODULE = "entrance.cli"


def find_service(folder: DataFolder) -> int | None:
    """Return the process of the service of this folder, whether it answers already (or still) or not."""
    info = folder.service()
    for pid, module in _of_folder(folder):
        if module == SERVICE_MODULE and (info is None or info.pid == pid):
            return pid
    return None


def find_all(folder: DataFolder) -> list[int]:
    """Return every process of the service of this folder; commands of the command line are not among them."""
    return [pid for pid, module in _of_folder(folder) if module != COMMAND_LINE_MODULE]


def wait_gone(pid: int, timeout_seconds: float) -> bool:
    """Wait until the process has ended; returns whether it has."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    except OSError:  # a kernel without pidfds
        deadline = time.monotonic() + timeout_seconds
        while is_running(pid) and time.monotonic() < deadline:
            time.sleep(0.05)
        return not is_running(pid)
    try:
        poller = select.poll()
        poller.register(descriptor, select.POLLIN)
        return bool(poller.poll(timeout_seconds * 1000)) or not is_running(pid)
    finally:
        os.close(descriptor)


def send(pid: int, number: signal.Signals) -> None:
    """Send a signal; no error when the process has gone."""
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def _of_folder(folder: DataFolder) -> Iterator[tuple[int, str]]:
    """Yield (pid, module) of the Python processes that show ``-m MODULE`` of ours and ``--data FOLDER``."""
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            argv = (entry / "cmdline").read_bytes().decode(errors="surrogateescape").split("\0")
        except OSError:
            continue
        module, data = _after(argv, "-m"), _after(argv, "--data")
        if module.split(".")[0] in {"entrance", "executors"} and data and _same(data, folder.path):
            yield int(entry.name), module


def _after(argv: Sequence[str], option: str) -> str:
    return next((value for name, value in itertools.pairwise(argv) if name == option), "")


def _same(path: str, folder: Path) -> bool:
    """Whether both name one folder: by text, else through symbolic links."""
    if path == str(folder):
        return True
    with suppress(OSError):
        return folder.samefile(path)
    return False
