"""Runs the simulation: ``PYTHONPATH=.:tests python -m simulation --events N [--seed S] [--trace FROM..TO] [--jobs N]``.

Prints the figures and ends with 0, or says how an invariant broke and how to see it again, and ends with 1. With ``--trace``
each event of that stretch is printed with the state of its task before and after; only the world that it lies in is run.
"""

from __future__ import annotations

import argparse
import multiprocessing
import secrets
import sys
import time
from collections import Counter

from simulation.world import EVENTS_PER_WORLD, SimulationFailed, World, describe, worlds

from entrance.dialects.linkis.wire import status_word


def run_world(world: tuple[str, int]) -> Counter[str] | str:
    """Run one world; return what happened in it, or how it broke."""
    try:
        return World(world[0], word=status_word).run(world[1]).seen_events
    except SimulationFailed as error:
        return str(error)


def trace(seed: str, events: int, first: int, last: int) -> int:
    """Print events number ``first`` to ``last``."""
    for number, (name, most) in enumerate(worlds(seed, events)):
        start = number * EVENTS_PER_WORLD
        if start > last or start + most < first:
            continue
        world = World(name, word=status_word)
        world.told = lambda entry, start=start: (  # type: ignore[misc]
            print(describe(entry, start)) if first <= start + entry[0] <= last else None
        )
        try:
            world.run(most)
        except SimulationFailed as error:
            print(f"\n{error}")
            return 1
    return 0


def run(seed: str, events: int, jobs: int) -> int:
    """Run all worlds, ``jobs`` at a time."""
    seen: Counter[str] = Counter()
    begin = time.monotonic()
    with multiprocessing.get_context("fork").Pool(jobs) as pool:
        for done, outcome in enumerate(pool.imap(run_world, worlds(seed, events)), 1):
            if isinstance(outcome, str):
                print(outcome)
                return 1
            seen += outcome
            if sys.stderr.isatty() or done % 40 == 0:
                print(f"{min(done * EVENTS_PER_WORLD, events)} events, {time.monotonic() - begin:.0f} s", file=sys.stderr)
    print(f"seed {seed}: {events} events, no invariant broken, {time.monotonic() - begin:.0f} s; {dict(seen.most_common())}")
    return 0


def main(arguments: list[str]) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m simulation", description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--seed", default=str(secrets.randbelow(1_000_000_000)))
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--jobs", type=int, default=1, help="worlds at a time, one process each")
    parser.add_argument("--trace", metavar="FROM..TO", help="print these events, each with the state before and after")
    asked = parser.parse_args(arguments)
    if asked.trace is None:
        return run(asked.seed, asked.events, asked.jobs)
    first, _, last = asked.trace.partition("..")
    return trace(asked.seed, max(asked.events, int(last)), int(first), int(last))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
