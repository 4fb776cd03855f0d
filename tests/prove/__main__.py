"""``bin/prove``: run claims and print one line for each."""

from __future__ import annotations

import argparse
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from factories import PROJECT_ROOT

from prove import GROUPS, Claim, Environment, Miss, all_claims


class _TooLong(BaseException):
    """The claim's time is over."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="bin/prove", description="Show that the acceptance claims hold.")
    parser.add_argument("--seed", type=int, help="what feeds everything random; printed, so that a run can be repeated")
    parser.add_argument("--list", action="store_true", help="list the claims and run nothing")
    parser.add_argument(
        "chosen", nargs="*", metavar="GROUP|NAME", help=f"groups ({', '.join(GROUPS)}) or names; default: all"
    )
    options = parser.parse_args()
    claims = _chosen(parser, options.chosen)
    if options.list:
        for found in claims:
            print(f"{found.group}  {found.name}  (wanted {found.wanted})")
        return 0
    seed = random.randrange(1 << 32) if options.seed is None else options.seed
    print(f"seed {seed}", flush=True)
    return _run(claims, seed)


def _chosen(parser: argparse.ArgumentParser, words: Sequence[str]) -> Sequence[Claim]:
    claims = all_claims()
    known = {found.name for found in claims} | set(GROUPS)
    unknown = [word for word in words if word not in known]
    if unknown:
        parser.error(f"no group or claim {', '.join(unknown)}")
    return [found for found in claims if not words or found.group in words or found.name in words]


def _run(claims: Sequence[Claim], seed: int) -> int:
    missed = 0
    base = Path(tempfile.mkdtemp(prefix="entrance-prove-"))
    try:
        clone = base / "clone"
        subprocess.run(["git", "clone", "-q", "--no-hardlinks", str(PROJECT_ROOT), str(clone)], check=True)
        changed = subprocess.run(["git", "-C", str(PROJECT_ROOT), "status", "--porcelain"], capture_output=True, check=True)
        if changed.stdout.strip():
            print("bin/prove: changes that are not committed are not part of this", file=sys.stderr)
        for number, found in enumerate(claims):
            scratch = base / f"{number:02d}-{found.name}"
            scratch.mkdir()
            held, figure = _show(found, Environment(root=clone, scratch=scratch), seed)
            print(f"{'PASS' if held else 'MISS'} {found.name}: {figure} (wanted {found.wanted})", flush=True)
            missed += not held
            if held:
                shutil.rmtree(scratch, ignore_errors=True)
        return 1 if missed else 0
    finally:
        if missed:
            print(f"bin/prove: what the missed claims left is in {base}", file=sys.stderr)
        else:
            shutil.rmtree(base, ignore_errors=True)


def _show(found: Claim, env: Environment, seed: int) -> tuple[bool, str]:
    """Run one claim; returns whether it holds, and the figure on one line."""

    def over(number: int, frame: FrameType | None) -> None:
        raise _TooLong

    before = signal.signal(signal.SIGALRM, over)
    signal.setitimer(signal.ITIMER_REAL, found.timeout_seconds)
    begin = time.monotonic()
    try:
        held, figure = True, found.show(env, seed)
    except _TooLong:
        held, figure = False, f"not finished after {time.monotonic() - begin:.0f} s"
    except Miss as miss:
        held, figure = False, str(miss)
    except Exception as error:
        held, figure = False, f"{type(error).__name__}: {error}"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        env.close()
    return held, " ".join(figure.split())


if __name__ == "__main__":
    sys.exit(main())
