"""Group ``steering``: ten thousand tasks under the tormentor."""

from __future__ import annotations

import sys

from soak import storm

from prove import Environment, Miss, claim

TASKS = 10_000
SECONDS = 1000.0  # of load; then the rest is let through, and judged


@claim(
    group="steering",
    name="storm",
    wanted="10,000 mixed tasks under kill -9, full disks, cut lines and jumping clocks, steered through all APIs: losses 0, "
    "doubles 0, leftovers 0, one end each, logs whole and in order, four views that agree",
    timeout_seconds=1500,
)
def storm_(env: Environment, seed: int) -> str:
    """What ``bin/soak`` does, with this many tasks; what it found is told on standard error."""
    report = storm.run(env.scratch, env.service(), storm.Size(tasks=TASKS, seconds=SECONDS), seed)
    for text in (*report.left_out, *report.problems[:20], *report.stories):
        print(f"  {text}", file=sys.stderr)
    if report.problems:
        raise Miss(f"{len(report.problems)} problems, first: {'; '.join(report.problems[:3])}; {report.figure}")
    if report.submitted < TASKS:
        raise Miss(f"only {report.submitted} tasks in {SECONDS:.0f} s; {report.figure}")
    left_out = f"; left out: {', '.join(report.left_out)}" if report.left_out else ""
    return report.figure + left_out
