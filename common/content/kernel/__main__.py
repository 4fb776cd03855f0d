"""``python -m common.content.kernel --data DIR``: compile this machine's kernel into the data folder, say which it is.

A process of its own, so that the compiler's memory does not stay in the service. Quick when it is compiled already; of
several at once one compiles, and the others wait for it.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import sys
from pathlib import Path

from common.content import kernel

FOLDER = "kernels"  # below the data folder


def main() -> int:
    parser = argparse.ArgumentParser(prog="common.content.kernel")
    parser.add_argument("--data", type=Path, required=True, help="the service's data folder, absolute")
    folder = parser.parse_args().data / FOLDER
    folder.mkdir(mode=0o700, exist_ok=True)
    fcntl.flock(os.open(folder, os.O_RDONLY | os.O_CLOEXEC), fcntl.LOCK_EX)  # until this process ends
    sys.stdout.write(kernel.describe(kernel.load(folder, compile=True)) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
