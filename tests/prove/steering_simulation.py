"""Group ``steering``: the pure core under everything that can happen to it, for long."""

from __future__ import annotations

import os
import subprocess
import sys

from prove import Environment, Miss, claim

EVENTS = 10_000_000
JOBS = 2


@claim(
    group="steering",
    name="simulation-long",
    wanted=f"{EVENTS:,} events of the simulated service break no invariant",
    timeout_seconds=1800.0,
)
def simulation_long(env: Environment, seed: int) -> str:
    """What the tests do with a million events, on two cores; ``bin/soak --simulation`` does it as often as one likes."""
    command = [sys.executable, "-m", "simulation", "--seed", str(seed), "--events", str(EVENTS), "--jobs", str(JOBS)]
    done = subprocess.run(
        command,
        cwd=env.root,
        env={**os.environ, "PYTHONPATH": os.pathsep.join((".", "tests"))},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise Miss((done.stdout.strip() or done.stderr.strip())[-3000:])
    return done.stdout.strip()
