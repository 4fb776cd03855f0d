"""``python -m common.content.kernel --data DIR``: compile this machine's kernel into the data folder, say which it is.

A process of its own, so that the compiler's memory does not stay in the fork server, nor come into its tasks. Quick when it
is compiled already; of several at once one compiles, and the others wait for it. ``--installation`` instead of
``--data DIR`` compiles it into the Python environment, for all data folders to come.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import sys
from pathlib import Path

from common.content import kernel
from common.content.kernel.native import INSTALLED

FOLDER = "kernels"  # below the data folder


def main() -> int:
    parser = argparse.ArgumentParser(prog="common.content.kernel")
    place = parser.add_mutually_exclusive_group(required=True)
    place.add_argument("--data", type=Path, help="the service's data folder, absolute")
    place.add_argument("--installation", action="store_true", help="compile into the Python environment")
    options = parser.parse_args()
    if options.installation:
        folder = INSTALLED
        folder.mkdir(parents=True, exist_ok=True)
    else:
        folder = options.data / FOLDER
        folder.mkdir(mode=0o700, exist_ok=True)
    fcntl.flock(os.open(folder, os.O_RDONLY | os.O_CLOEXEC), fcntl.LOCK_EX)  # until this process ends
    sys.stdout.write(kernel.describe(kernel.load(folder, compile=True)) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
