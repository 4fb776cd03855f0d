"""Runs the simulation: ``PYTHONPATH=.:tests python -m simulation --events N [--seed S] [--trace FROM..TO] [--jobs N]``.

One event in thirty-two is one of the whole service (``whole``), the others are of the pure core (``world``). Prints the
figures and ends with 0, or says how an invariant broke and how to see it again, and ends with 1. With ``--trace`` each
event of that stretch is printed with the state of its task before and after; only its world is run.
"""

from __future__ import annotations

import argparse
import multiprocessing
import secrets
import sys
import time
from collections import Counter
from functools import partial
from typing import Any

from simulation.whole import EVENTS_PER_WHOLE, WholeFailed, run_whole, wholes
from simulation.world import EVENTS_PER_WORLD, SimulationFailed, World, describe, worlds

from entrance.dialects.linkis.wire import status_word

WHOLE_SHARE = 32

Job = tuple[bool, str, int]  # whether it is a whole service, seed of the world, events


def jobs_of(seed: str, events: int) -> list[Job]:
    """All worlds that ``events`` events are made of."""
    of_wholes = events // WHOLE_SHARE
    plain = [(False, name, most) for name, most in worlds(seed, events - of_wholes)]
    return plain + [(True, name, most) for name, most in wholes(seed, of_wholes)]


def run_world(job: Job) -> Counter[str] | str:
    """Run one world; return what happened in it, or how it broke."""
    whole, name, most = job
    try:
        return run_whole(name, most) if whole else World(name, word=status_word).run(most).seen_events
    except (SimulationFailed, WholeFailed) as error:
        return str(error)


def trace_whole(name: str, first: int, last: int) -> int:
    """Print what happens in a whole service from event ``first`` to ``last``."""
    try:
        run_whole(name, EVENTS_PER_WHOLE, lambda line: print(line) if first <= int(line.split()[0]) <= last else None)
    except WholeFailed as error:
        print(f"\n{error}")
        return 1
    return 0


def _tell(start: int, first: int, last: int, entry: Any) -> None:
    if first <= start + entry[0] <= last:
        print(describe(entry, start))


def trace(seed: str, events: int, first: int, last: int) -> int:
    """Print events number ``first`` to ``last``."""
    for number, (name, most) in enumerate(worlds(seed, events)):
        start = number * EVENTS_PER_WORLD
        if start > last or start + most < first:
            continue
        world = World(name, word=status_word)
        world.told = partial(_tell, start, first, last)
        try:
            world.run(most)
        except SimulationFailed as error:
            print(f"\n{error}")
            return 1
    return 0


def run(seed: str, events: int, jobs: int) -> int:
    """Run all worlds, ``jobs`` at a time."""
    seen: Counter[str] = Counter()
    begin, count, all_jobs = time.monotonic(), 0, jobs_of(seed, events)
    with multiprocessing.get_context("fork").Pool(jobs) as pool:
        for number, outcome in enumerate(pool.imap(run_world, all_jobs)):
            if isinstance(outcome, str):
                print(outcome)
                return 1
            seen += outcome
            count += all_jobs[number][2]
            if number % 40 == 39:
                print(f"{count} events, {time.monotonic() - begin:.0f} s", file=sys.stderr)
    print(f"seed {seed}: {events} events, no invariant broken, {time.monotonic() - begin:.0f} s; {dict(seen.most_common())}")
    return 0


def main(arguments: list[str]) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m simulation", description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--seed", default=str(secrets.randbelow(1_000_000_000)))
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--jobs", type=int, default=1, help="worlds at a time, one process each")
    parser.add_argument("--trace", metavar="FROM..TO", help="print these events, each with the state before and after")
    parser.add_argument("--whole", action="store_true", help="--seed names a world of the whole service, --trace is of it")
    asked = parser.parse_args(arguments)
    if asked.trace is None:
        return run(asked.seed, asked.events, asked.jobs)
    first, _, last = asked.trace.partition("..")
    if asked.whole:
        return trace_whole(asked.seed, int(first), int(last))
    return trace(asked.seed, max(asked.events, int(last)), int(first), int(last))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
