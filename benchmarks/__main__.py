"""``benchmarks/run [--size tiny|default|full] [--json FILE] [GROUP ...]``: measure, print the table, write the JSON."""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

import psutil

from benchmarks import growth, kernels, large, limits, scanning, small, table
from benchmarks.measure import GIB, Bench
from benchmarks.peers import Peers
from benchmarks.sizes import SIZES, Sizes

GROUPS = {"limits": limits, "kernels": kernels, "large": large, "small": small, "scanning": scanning, "growth": growth}
MEMORY = Path("/dev/shm")


def main() -> int:
    """Return the exit status."""
    parser = argparse.ArgumentParser(prog="benchmarks/run", description="Ratios against other programs, in one run.")
    parser.add_argument("groups", nargs="*", metavar="GROUP", help=f"of {', '.join(GROUPS)}; all by default")
    parser.add_argument("--size", choices=SIZES, default="default", help="how much; default: about ten minutes on two cores")
    parser.add_argument("--full", dest="size", action="store_const", const="full", help="to 8 GiB and a million files")
    parser.add_argument("--rounds", type=int, help="samples of each program")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything there, with all samples")
    parser.add_argument("--scratch", type=Path, metavar="DIR", help="for inputs and CARs; default: memory, if they fit")
    parser.add_argument("--no-peers", action="store_true", help="only ours, and what every machine has")
    parser.add_argument("--show", type=Path, nargs="+", metavar="FILE", help="only print the tables of such files")
    asked = parser.parse_args()
    if unknown := [name for name in asked.groups if name not in GROUPS]:
        parser.error(f"no group {', '.join(unknown)}; there are: {', '.join(GROUPS)}")
    if asked.show:
        for path in asked.show:
            print(table.markdown(json.loads(path.read_text(encoding="utf-8"))))
        return 0
    begin = time.monotonic()

    def note(text: str) -> None:
        print(f"[{time.monotonic() - begin:4.0f} s] {text}", file=sys.stderr, flush=True)

    sizes = SIZES[asked.size]
    bench = Bench(rounds=asked.rounds or sizes.rounds, note=note)
    scratch = Path(tempfile.mkdtemp(prefix="entrance-benchmarks-", dir=asked.scratch or _roomy(sizes)))
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that what was started ends, and what was measured is told
    status = 0
    peers = Peers(wanted=not asked.no_peers)
    try:
        for name, group in GROUPS.items():
            if not asked.groups or name in asked.groups:
                group.measures(bench, sizes, peers, scratch)
    except KeyboardInterrupt:
        note("interrupted: what follows is not all")
        status = 130
    finally:
        peers.release()
        told = table.report(bench, asked.size, peers.left_out, scratch)
        shutil.rmtree(scratch, ignore_errors=True)
    if asked.json:
        table.write(asked.json, told)
    print(table.markdown(told))
    return status


def _roomy(sizes: Sizes) -> Path | None:
    """Return the file system in memory when everything fits with as much again left for the programs, else None."""
    if not MEMORY.is_dir():
        return None
    free = min(shutil.disk_usage(MEMORY).free, psutil.virtual_memory().available - 2 * GIB)
    return MEMORY if sizes.room < free else None


if __name__ == "__main__":
    sys.exit(main())
