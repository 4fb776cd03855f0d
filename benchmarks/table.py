"""The report: JSON, and the same as Markdown tables."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

from benchmarks.measure import GIB, MIB, Bench, as_json
from common.content import kernel

_ROOT = Path(__file__).resolve().parent.parent


def report(bench: Bench, size: str, left_out: Sequence[str], scratch: Path) -> dict[str, Any]:
    """Return all that was measured, and where, in the form of the JSON file."""
    return {
        "machine": machine(scratch),
        "size": size,
        "leftOut": list(left_out),
        "memory": bench.memory,
        "rows": as_json(bench.rows),
    }


def machine(scratch: Path) -> dict[str, str]:
    """Describe the machine and the programs, in words."""
    loaded = kernel.load(compile=True)
    cpu = [line.partition(":")[2].strip() for line in _said("lscpu").splitlines() if line.startswith("Model name")]
    mounts = sorted((p for p in psutil.disk_partitions(all=True) if scratch.is_relative_to(p.mountpoint)), key=_depth)
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": _said("git", "-C", _ROOT, "rev-parse", "--short", "HEAD"),
        "cpu": cpu[0] if cpu else platform.machine(),
        "cores": str(os.cpu_count()),
        "memory": f"{psutil.virtual_memory().total / GIB:.0f} GiB",
        "system": f"{platform.system()} {platform.release().partition('-')[0]}",
        "kernel": kernel.describe(loaded),
        "python": platform.python_version(),
        "llvmlite": version("llvmlite") if loaded.description.tier != "portable" else "",
        "node": _said("node", "--version"),
        "inputs and CARs": mounts[-1].fstype if mounts else "",
    }


def _depth(partition: Any) -> int:
    return len(partition.mountpoint)


def _said(*command: str | Path) -> str:
    try:
        return subprocess.run([str(part) for part in command], capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def write(path: Path, told: Mapping[str, Any]) -> None:
    """Write the JSON file."""
    path.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


def markdown(told: Mapping[str, Any]) -> str:
    """Return the tables of a report."""
    lines = [f"{name}: {value}" for name, value in told["machine"].items() if value]
    lines = [" · ".join(lines), ""]
    for group in dict.fromkeys(row["group"] for row in told["rows"]):
        rows = [_cells(row) for row in told["rows"] if row["group"] == group]
        head = (group, "rate", "beside", "rate", "times (from - to)", "CPU", "times", "peak MiB", "equal")
        lines += [*_table(head, rows), ""]
    if told["memory"]:
        kinds = list(dict.fromkeys(kind for peaks in told["memory"].values() for kind in peaks))
        rows = [
            (group, *(f"{peaks[kind] / MIB:.0f}" if kind in peaks else "" for kind in kinds))
            for group, peaks in told["memory"].items()
        ]
        lines += [*_table(("peak MiB of what stays", *kinds), rows), ""]
    lines += [f"Left out: {reason}" for reason in told["leftOut"]]
    return "\n".join(lines).rstrip() + "\n"


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    ours, other, ratio = row["ours"], row["other"], row["ratio"]
    return (
        ours["name"],
        _rate(row["unit"], ours),
        other["name"] if other else "",
        _rate(row["unit"], other) if other else "",
        f"**{_short(ratio[0])}** ({_short(ratio[1])} - {_short(ratio[2])})" if ratio else "",
        _both(_cpu(row["unit"], ours), _cpu(row["unit"], other)),
        _less_cpu(ours, other),
        _both(_peak(ours), _peak(other)),
        row["same"],
    )


def _rate(unit: str, side: Mapping[str, Any]) -> str:
    return f"{side['rate'] / MIB:,.0f} MiB/s" if unit == "bytes" else f"{side['rate']:,.0f} files/s"


def _cpu(unit: str, side: Mapping[str, Any] | None) -> str:
    if side is None or side["cpu_seconds"] is None:
        return ""
    each = side["cpu_seconds"] / side["amount"]
    return f"{each * GIB:.2f} s/GiB" if unit == "bytes" else f"{each * 1e6:.0f} µs"


def _less_cpu(ours: Mapping[str, Any], other: Mapping[str, Any] | None) -> str:
    """How many times our CPU seconds the other's are."""
    if other is None or not ours["cpu_seconds"] or not other["cpu_seconds"]:
        return ""
    return _short(other["cpu_seconds"] / other["amount"] / (ours["cpu_seconds"] / ours["amount"]))


def _peak(side: Mapping[str, Any] | None) -> str:
    return f"{side['peak_bytes'] / MIB:.0f}" if side and side["peak_bytes"] else ""


def _both(ours: str, other: str) -> str:
    return f"{ours or '-'} / {other}" if other else ours


def _short(ratio: float) -> str:
    return f"{ratio:.0f}" if ratio >= 20 else f"{ratio:.1f}" if ratio >= 5 else f"{ratio:.2f}"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return a Markdown table whose columns stand one below the other."""
    cells = [tuple(head), *(tuple(row) for row in rows)]
    widths = [max(len(row[n]) for row in cells) for n in range(len(head))]
    lines = ["| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in cells]
    return [lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]]
