"""A wall clock that jumps, for the service and the commands; needs a C compiler (``clock.c`` says how it is done)."""

from __future__ import annotations

import mmap
import os
import shutil
import struct
import subprocess
from pathlib import Path

MOST_SECONDS = 600  # from the true time: what is signed with it must be believed


class JumpingClock:
    """The service and commands that are started while it is open see its time; tasks, whose environment is clean, do not."""

    def __init__(self, folder: Path) -> None:
        library, self._file = folder / "clock.so", folder / "clock"
        source = Path(__file__).with_name("clock.c")
        subprocess.run([compiler() or "cc", "-O2", "-shared", "-fPIC", "-o", library, source], check=True)
        self._file.write_bytes(struct.pack("=q", 0))
        with self._file.open("r+b") as file:
            self._shared = mmap.mmap(file.fileno(), 8)
        os.environ["LD_PRELOAD"], os.environ["SOAK_CLOCK"] = str(library), str(self._file)

    def set(self, milliseconds: int) -> None:
        """Set how far it is off."""
        self._shared[:8] = struct.pack("=q", milliseconds)

    def close(self) -> None:
        self.set(0)
        for name in ("LD_PRELOAD", "SOAK_CLOCK"):
            os.environ.pop(name, None)


def compiler() -> str | None:
    """Return a C compiler, if there is one."""
    return shutil.which("cc") or shutil.which("gcc")
