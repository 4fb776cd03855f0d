"""Watching the memory of a running service, for claims."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from factories import Service


@contextmanager
def watched(service: Service) -> Iterator[dict[str, int]]:
    """Watch the resident memory of every process of a service; the largest in bytes by kind of process."""
    most: dict[str, int] = {}
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(0.05):
            for pid in service.processes():
                with suppress(OSError, ValueError, IndexError):
                    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
                    line = Path(f"/proc/{pid}/cmdline").read_bytes()
                    kind = "tasks" if b"forkserver" in line else "service" if b"entrance\0--data" in line else "command"
                    most[kind] = max(most.get(kind, 0), pages * 4096)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield most
    finally:
        stop.set()
        thread.join()
