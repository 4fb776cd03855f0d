"""Temporary files without a name: nothing of them is left when the process ends, however it ends."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import IO


def unnamed_file(folder: Path) -> IO[bytes]:
    """Return an empty file in ``folder``, to be written, read, and closed by the caller."""
    return tempfile.TemporaryFile(dir=folder)
