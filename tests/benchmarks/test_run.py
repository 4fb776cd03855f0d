"""The benchmarks run and tell what they measured. No speed decides anything here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from factories import PROJECT_ROOT


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run the command without the programs of others, which come from the network."""
    return subprocess.run(
        [sys.executable, "-P", "-m", "benchmarks", "--size", "tiny", "--no-peers", *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": f"{PROJECT_ROOT}:{PROJECT_ROOT / 'tests'}"},
        capture_output=True,
        text=True,
        check=False,
    )


def lines(printed: str, head: str) -> Sequence[str]:
    """Return the lines of a table below its head."""
    rows = printed.splitlines()
    start = next(number for number, row in enumerate(rows) if row.startswith(f"| {head}"))
    return rows[start + 2 : rows.index("", start)]


def test_groups_are_measured_through_the_service_and_shown_again_from_the_file(tmp_path: Path) -> None:
    told = tmp_path / "told.json"
    done = run("kernels", "large", "--scratch", tmp_path, "--json", told)
    assert done.returncode == 0, done.stderr
    report = json.loads(told.read_text())
    kernels = [row for row in report["rows"] if row["group"] == "kernels"]
    large = [row for row in report["rows"] if row["group"] == "large file"]
    assert {row["other"]["name"] for row in kernels if row["other"]} == {"hashlib"}
    assert any(row["same"] == "digests" for row in kernels), "leaf hashes are held against hashlib's"
    packs = [row for row in large if row["ours"]["name"].startswith("pack task")]
    assert len(packs) == 3
    assert all(row["ratio"][1] <= row["ratio"][0] <= row["ratio"][2] for row in packs)
    assert all(sample["cpu_seconds"] > 0 and sample["peak_bytes"] > 0 for row in packs for sample in row["ours"]["samples"])
    assert report["memory"]["large file"]["service"] > 0
    assert report["machine"]["cpu"] and report["leftOut"], "the machine is named, and what was left out"
    assert len(lines(done.stdout, "kernels")) == len(kernels)
    assert list(tmp_path.iterdir()) == [told], "inputs and CARs are gone"
    assert run("--show", told).stdout.strip() == done.stdout.strip()


def test_an_unknown_group_is_refused_with_the_known_ones() -> None:
    done = run("everything")
    assert done.returncode == 2
    assert "limits, kernels, large, small, scanning, growth" in done.stderr
