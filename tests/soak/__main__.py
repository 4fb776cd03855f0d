"""``bin/soak MINUTES [--seed N]``: torment a service for that long, then judge it; then simulate its core at length."""

from __future__ import annotations

import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from factories import Service

from soak import storm


def main() -> int:
    parser = argparse.ArgumentParser(prog="bin/soak", description="Torment a real service, then look what it did.")
    parser.add_argument("minutes", type=float, help="how long the load and the torments last; judging comes after it")
    parser.add_argument("--seed", type=int, help="what feeds everything random; printed, so that a run can be repeated")
    parser.add_argument("--tasks", type=int, default=1_000_000_000, help="stop submitting after so many")
    parser.add_argument("--pause", type=float, default=0.7, metavar="SECONDS", help="between two torments (default 0.7)")
    parser.add_argument(
        "--events",
        type=int,
        default=10_000_000,
        help="then simulate so many events of the core (default ten million)",
    )
    options = parser.parse_args()
    seed = random.randrange(1 << 32) if options.seed is None else options.seed
    print(f"seed {seed}", flush=True)
    size = storm.Size(tasks=options.tasks, seconds=60 * options.minutes, pause_seconds=options.pause)
    failed = _torment(size, seed) if options.minutes else 0
    if options.events:
        command = [sys.executable, "-P", "-m", "simulation", "--seed", str(seed), "--events", str(options.events)]
        failed |= subprocess.run([*command, "--jobs", str(os.cpu_count() or 1)], check=False).returncode
    return 1 if failed else 0


def _torment(size: storm.Size, seed: int) -> int:
    """One storm, told on standard output; returns the exit status."""
    folder = Path(tempfile.mkdtemp(prefix="entrance-soak-"))
    report = storm.run(folder, Service(data=folder / "data", watched=False), size, seed)
    for text in report.left_out:
        print(f"left out: {text}")
    print(report.figure)
    if not report.problems:
        shutil.rmtree(folder, ignore_errors=True)
        return 0
    for text in report.problems[:40]:
        print(f"PROBLEM {text}")
    for entry in report.stories:
        print(f"  {entry}")
    print(f"seed {seed} found {len(report.problems)} problems; what it left is in {folder}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
