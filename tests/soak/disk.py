"""A small disk of its own for the data and output folders, which can be filled to the last byte: a tmpfs."""

from __future__ import annotations

import errno
import os
import subprocess
from contextlib import suppress
from pathlib import Path

_CHUNK = 64 << 20


class SmallDisk:
    """Mounted at ``folder`` where mounting is allowed; ``mounted`` says so. Otherwise an ordinary folder, never filled."""

    def __init__(self, folder: Path, size_bytes: int) -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        mount = ["mount", "-t", "tmpfs", "-o", f"size={size_bytes},mode=755", "tmpfs", str(folder)]
        done = subprocess.run(mount, capture_output=True, check=False)
        self.mounted = done.returncode == 0
        self._ballast = folder / "ballast"

    def fill(self) -> int:
        """Take all that is left; return the bytes."""
        if not self.mounted:
            return 0
        taken, chunk = 0, _CHUNK
        descriptor = os.open(self._ballast, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            while chunk >= 4096:
                try:
                    os.posix_fallocate(descriptor, taken, chunk)
                    taken += chunk
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise
                    chunk //= 2
        finally:
            os.close(descriptor)
        return taken

    def free(self) -> None:
        """Give it back."""
        with suppress(FileNotFoundError):
            self._ballast.unlink()

    def close(self, keep: Path | None = None) -> None:
        """Unmount; with ``keep`` copy what is on it to there first."""
        self.free()
        if not self.mounted:
            return
        if keep is not None:
            subprocess.run(["cp", "-a", f"{self.folder}/.", str(keep)], check=False)
        subprocess.run(["umount", str(self.folder)], check=False, capture_output=True)
