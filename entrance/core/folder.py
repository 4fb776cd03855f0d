"""The data folder of a running service, locked for its life."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from common.db.peek import FILE_NAME
from common.errors import StartRefused


class Folder:
    """Made when it is missing. Raises StartRefused when another service holds it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._fd = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._fd)
            raise StartRefused(f"another service is running on the data folder {path}") from error

    @property
    def database(self) -> Path:
        return self.path / FILE_NAME

    @property
    def instance(self) -> str:
        """The folder's name among all of this machine, the same in each life of the service; a copy has another."""
        found = self.path.stat()
        return f"{found.st_dev:x}-{found.st_ino:x}"

    def release(self) -> None:
        os.close(self._fd)
