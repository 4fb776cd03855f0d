"""What the simulated service works with instead of the machine's own: threads, time, and a database in memory."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from simulation.fibers import Kernel
from simulation.machines import Disk, OneReader

from common.db import writer
from common.db.migrate import upgrade
from entrance.core import accepting, changes, dispatch, intake, lifecycle, logs


@contextmanager
def lent(kernel: Kernel, disk: Disk) -> Iterator[None]:
    """The core's modules with the kernel's threads and time, and the one connection for a database."""
    kept: list[tuple[Any, str, Any]] = []

    def put(module: Any, name: str, value: Any) -> None:
        if hasattr(module, name):
            kept.append((module, name, getattr(module, name)))
            setattr(module, name, value)

    for module in (accepting, changes, dispatch, intake, lifecycle, logs, writer):
        put(module, "threading", kernel.threading())
        put(module, "time", kernel.time())
        put(module, "queue", kernel.queue())
    put(lifecycle, "upgrade", lambda path: None)
    put(lifecycle, "Readers", lambda path: OneReader(disk))
    put(lifecycle, "open_writable", lambda path: disk)
    try:
        yield
    finally:
        for module, name, value in reversed(kept):
            setattr(module, name, value)


@cache
def empty_database() -> sqlite3.Connection:
    """A database in memory with the present schema and nothing in it."""
    with tempfile.TemporaryDirectory() as folder:
        upgrade(Path(folder) / "entrance.db")
        made = sqlite3.connect(":memory:", isolation_level=None)
        source = sqlite3.connect(Path(folder) / "entrance.db")
        source.backup(made)
        source.close()
    return made
