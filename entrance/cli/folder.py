"""The data folder as commands see it: its database, its lock, and what a running service leaves there for its owner.

entrance.db            the database
lock                   flock, held by the service for life; whoever changes the schema holds it
service.json           {"pid", "address", "url", "started"} while a service answers (0600)
cli-token              opens the service for the owner of the folder (0600)
admin-password         of the administrator that the first start made (0600)
service.log            what a detached service writes
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from common.db.peek import FILE_NAME
from common.errors import NotFound, StartRefused
from entrance.cli.client import Endpoint

if TYPE_CHECKING:
    from common.db.sql import Tx


LOCK_SECONDS = 5.0
START_SECONDS = 120.0  # of a service; a migration of a large database may be part of it


@dataclass(frozen=True, kw_only=True)
class ServiceInfo:
    """A service that answers, as it says in ``service.json``."""

    pid: int
    url: str
    started: str


class DataFolder:
    """One data folder, by absolute path. Nothing is made before it is needed."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def database(self) -> Path:
        return self.path / FILE_NAME

    @property
    def log(self) -> Path:
        return self.path / "service.log"

    def make(self) -> None:
        """Make the folder (mode 0700) when it is missing. Raises StartRefused when it cannot be used."""
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise StartRefused(f"the data folder {self.path} cannot be made: {error.strerror}") from error
        if not os.access(self.path, os.R_OK | os.W_OK | os.X_OK):
            raise StartRefused(f"the data folder {self.path} cannot be written")

    # ---- the running service

    def service(self) -> ServiceInfo | None:
        """Return what ``service.json`` says, None when it is missing or its process has gone.

        Raises StartRefused when it is not ours to read."""
        try:
            told = json.loads((self.path / "service.json").read_text(encoding="utf-8"))
            info = ServiceInfo(pid=int(told["pid"]), url=str(told["url"]), started=str(told.get("started", "")))
        except PermissionError as error:
            raise StartRefused(f"the data folder {self.path} belongs to another user") from error
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return info if is_running(info.pid) else None

    def endpoint(self) -> Endpoint:
        """Return where the service is and the owner's token. Raises NotFound when none runs."""
        info = self.service()
        if info is None:
            raise NotFound(f"no service runs with the data folder {self.path}; `entrance start` starts one")
        return Endpoint(url=info.url, token=self.token())

    def token(self) -> str | None:
        """Return the owner's token, None when there is none or it is not ours to read."""
        try:
            return (self.path / "cli-token").read_text(encoding="ascii").strip()
        except (OSError, ValueError):
            return None

    # ---- the database

    @contextmanager
    def locked(self, what: str) -> Iterator[None]:
        """Hold the folder's lock. Raises StartRefused ("``what``: a service is running ...") when it is held elsewhere."""
        self.make()
        descriptor = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            deadline = time.monotonic() + LOCK_SECONDS
            while True:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    # another command holds it for a moment; a service holds it for life
                    if self.service() is not None or time.monotonic() > deadline:
                        raise StartRefused(
                            f"{what}: a service is running with the data folder {self.path}; stop it first"
                        ) from None
                    time.sleep(0.05)
            yield
        finally:
            os.close(descriptor)

    def upgrade(self) -> bool:
        """Bring the database to this version; make it when it is missing. Returns whether anything was to do.

        Raises StartRefused when it is broken, or a service runs while the schema would change."""
        from common.db.migrate import needs_upgrade, upgrade

        self.make()
        self._wait_for_start()
        with self._readable():
            if self.database.exists() and not needs_upgrade(self.database):
                return False
            with self.locked("the database must be upgraded"):
                upgrade(self.database)
            return True

    def _wait_for_start(self) -> None:
        """Wait for a service that begins: it makes the database, or brings it to its version."""
        from entrance.cli.processes import find_service

        deadline = time.monotonic() + START_SECONDS
        while self.service() is None and find_service(self) is not None and time.monotonic() < deadline:
            time.sleep(0.05)

    def import_ahead(self) -> None:
        """Import what ``read`` and ``write`` need, a third of a second: for while something else is waited for."""
        for module in ("common.db.accounts", "common.db.migrate"):
            import_module(module)

    @contextmanager
    def write(self) -> Iterator[Tx]:
        """One short transaction on a database of this version (made and migrated when needed)."""
        from common.db.database import short_write

        self.upgrade()
        with self._readable(), short_write(self.database) as tx:
            yield tx

    @contextmanager
    def read(self) -> Iterator[Tx]:
        """Read from a database of this version (made and migrated when needed)."""
        from common.db.database import open_readonly
        from common.db.sql import Tx

        self.upgrade()
        with self._readable():
            connection = open_readonly(self.database)
            try:
                yield Tx(connection)
            finally:
                connection.close()

    @contextmanager
    def _readable(self) -> Iterator[None]:
        import sqlite3

        try:
            yield
        except sqlite3.DatabaseError as error:
            raise StartRefused(f"the database {self.database} cannot be used: {error}") from error


def is_running(pid: int) -> bool:
    """Whether the process lives (a zombie does not)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return False
    return stat.rpartition(b")")[2].split()[0:1] not in ([b"Z"], [b"X"])
