"""Group ``packing``: the kernel of piece commitments, each tier forced, against hashlib in the same process."""

from __future__ import annotations

import json
import sys

from prove import Environment, Miss, claim

WANTED = {"avx512": 0.90, "shani": 0.40}
"""Least ratio of one thread to H, by tier; the others are told and not judged."""


@claim(
    group="packing",
    name="commp",
    wanted="CommP of one thread at least 0.90 H with AVX-512 and 0.40 H with SHA-NI alone; the same results on every tier",
    timeout_seconds=300.0,
)
def commp(env: Environment, seed: int) -> str:
    paths = f"PYTHONPATH={env.root}:{env.root / 'tests'}"
    done = env.run("env", paths, sys.executable, "-P", "-m", "prove._commp", str(seed), str(env.scratch / "kernels"))
    report = json.loads(done.stdout)
    ratios: dict[str, float] = report["ratios"]
    figure = ", ".join(f"{tier} {ratio:.2f} H" for tier, ratio in ratios.items())
    figure += "".join(f", no {tier} here" for tier in report["missing"])
    figure += f"; H is {report['h']} MiB/s on {report['processor']}"
    if report["differing"] or report["wrong"]:
        wrong = ", ".join([*(f"{tier} differs from portable" for tier in report["differing"]), *report["wrong"]])
        raise Miss(f"{wrong}; {figure}")
    if short := [tier for tier, least in WANTED.items() if ratios.get(tier, least) < least]:
        raise Miss(f"too slow: {', '.join(short)}; {figure}; all results the same")
    return f"{figure}; all results the same"
