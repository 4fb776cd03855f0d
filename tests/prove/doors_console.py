"""Group ``doors``: the console in Debian's Chromium, against a real service of the clone."""

from __future__ import annotations

import json
import re
import struct
from pathlib import Path
from typing import Any

from prove import Environment, Miss, claim

PAGES = {  # every page and part of one that must have been shown, in each theme and language
    "tasks", "tasks/one", "tasks/one?tab=usage", "tasks/one?tab=result", "tasks/one?tab=children", "tasks/one?tab=asked",
    "tasks/one?tab=history", "submit", "preparations", "preparations/one", "preparations/one?tab=pieces",
}  # fmt: skip
LOOKS = ("light en", "dark zh")
PICTURES = ("login", "tasks", "tasks-action", "task", "task-log", "task-children", "task-result", "task-history", "submit",
            "preparations", "preparation", "preparation-pieces")  # fmt: skip
_SMALLEST_BYTES = 20_000  # of a picture that shows something


@claim(
    group="doors",
    name="console",
    wanted="browser tests of each page and action pass against a real service, both themes, both languages: no error on the "
    "browser's console, no request outside the origin, no violation of the policy; a picture of each page in both themes",
    timeout_seconds=900,
)
def console(env: Environment, seed: int) -> str:
    """The suite of the clone in the clone's own environment; then its pictures, taken anew."""
    run = ["env", "CI=true", f"BROWSER_TALLY={env.scratch}", env.root / "bin" / "test", "-q", "tests/browser"]
    done = env.run(*run, "tests/entrance/console", check=False, timeout_seconds=600)
    summary = next((line for line in reversed(done.stdout.splitlines()) if " in " in line and "passed" in line), "")
    if done.returncode != 0 or "skipped" in summary:
        raise Miss(f"{summary.strip('= ')} {(done.stdout + done.stderr)[-700:]}")
    tallies: list[dict[str, Any]] = [json.loads(path.read_text()) for path in env.scratch.glob("tally-*.json")]
    for look in LOOKS:
        missing = PAGES - {page for tally in tallies for page in tally["shown"].get(look, {})}
        if missing:
            raise Miss(f"not shown in {look}: {', '.join(sorted(missing))}")
    if faults := [fault for tally in tallies for fault in tally["faults"]]:
        raise Miss(f"{len(faults)} faults in browsers, first: {faults[0]}")
    pictures = _pictures(env)
    passed = re.search(r"(\d+) passed", summary)
    shown = sum(sum(pages.values()) for tally in tallies for pages in tally["shown"].values())
    tabs, requests, expected = (sum(tally[key] for tally in tallies) for key in ("tabs", "requests", "expected"))
    return (
        f"{passed[1] if passed else '?'} tests, {tabs} tabs; {len(PAGES)} pages and parts in {' and '.join(LOOKS)}, "
        f"{shown} views with {requests} requests; 0 errors on the console, 0 requests outside, 0 violations "
        f"({expected} refusals that tests provoke); {pictures} pictures"
    )


def _pictures(env: Environment) -> int:
    """Take the pictures of the manual anew; return how many there are, each of which shows something."""
    folder = env.root / "docs" / "images"
    kept = {path.name for path in folder.glob("*.png")}
    for path in folder.glob("*.png"):
        path.unlink()
    python = env.root / ".venv" / "bin" / "python"
    env.run("env", f"PYTHONPATH={env.root / 'tests'}", python, "-m", "browser.pictures", timeout_seconds=300)
    taken = {path.name for path in folder.glob("*.png")}
    wanted = {f"{name}-{theme}.png" for name in PICTURES for theme in ("light", "dark")}
    if kept != taken or not wanted <= taken:
        raise Miss(
            f"pictures differ from those of the repository: {', '.join(sorted(kept ^ taken) or sorted(wanted - taken))}"
        )
    empty = [
        name for name in taken if (folder / name).stat().st_size < _SMALLEST_BYTES or _size(folder / name) < (1200, 700)
    ]
    if empty:
        raise Miss(f"pictures that show nothing: {', '.join(empty)}")
    in_readme = re.findall(r"docs/images/([\w-]+\.png)", (env.root / "README.md").read_text())
    if len(in_readme) < 2 or not taken.issuperset(in_readme):
        raise Miss(f"pictures in the README: {in_readme}")
    return len(taken)


def _size(path: Path) -> tuple[int, int]:
    """Width and height of a PNG file."""
    width, height = struct.unpack(">II", path.read_bytes()[16:24])
    return width, height
