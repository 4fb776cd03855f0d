"""``bin/soak MINUTES [--seed N]``: torment a service for that long, then judge it."""

from __future__ import annotations

import argparse
import random
import shutil
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
    options = parser.parse_args()
    seed = random.randrange(1 << 32) if options.seed is None else options.seed
    print(f"seed {seed}", flush=True)
    folder = Path(tempfile.mkdtemp(prefix="entrance-soak-"))
    service = Service(data=folder / "data", watched=False)
    size = storm.Size(tasks=options.tasks, seconds=60 * options.minutes, pause_seconds=options.pause)
    report = storm.run(folder, service, size, seed)
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
