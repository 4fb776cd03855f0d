"""A running preparation as the command line sees it: one scan task, and the packs and the daggen below it.

``Run.look`` asks the service how far each stage is; ``follow`` shows it until the end, as live bars on a terminal and as a
line for each stage elsewhere.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from entrance.cli.client import Client, part
from entrance.cli.frame import duration_text, note, size_text
from entrance.cli.watch import EXIT_STATUS

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

FIRST_POLL_SECONDS = 0.05  # what is soon done is looked at often
POLL_SECONDS = 0.4
STAGES = ("scan", "pack", "daggen")
RATE_SECONDS = 5.0  # over which rates are taken
SHOWN_WARNINGS = 20


@dataclass(kw_only=True)
class Stage:
    """How far one stage is. ``done`` of ``total`` in bytes (scan: files); total 0 = not known."""

    name: str
    done: int = 0
    total: int = 0
    jobs: int = 0
    jobs_done: int = 0
    running: bool = False
    ended: bool = False

    def text(self) -> str:
        """Return the figures for people."""
        if self.name == "scan":
            return f"{self.done} files"
        if self.name == "pack":
            return f"{size_text(self.done)} of {size_text(max(self.total, self.done))}, {self.jobs_done} of {self.jobs} CARs"
        return "done" if self.ended else "waits for the packs" if not self.running else ""


@dataclass(kw_only=True)
class Outcome:
    """The end of a run: of its tasks the first that did not succeed, or its scan."""

    status: str
    task_id: str
    reason: str
    files: int
    bytes: int
    seconds: Mapping[str, float]


@dataclass
class Run:
    """A scan with what follows from it, and tasks that are submitted once all before them have succeeded."""

    client: Client
    scan: str
    later: list[Callable[[], str]] = field(default_factory=list)  # each submits a task and returns its id
    tasks: list[str] = field(init=False)
    _ended: dict[int, Mapping[str, Any]] = field(default_factory=dict)  # progress of children that have ended

    def __post_init__(self) -> None:
        self.tasks = [self.scan]

    # ---- looking

    def look(self) -> tuple[bool, list[Stage]]:
        """Return whether everything has ended, and the three stages."""
        statuses = [self._ask(task, "status")["status"] for task in self.tasks]
        if self.later and all(status == "Succeed" for status in statuses):
            self.tasks.append(self.later.pop(0)())
            statuses.append("Scheduled")
        told = self._ask(self.scan, "progress")
        children = self._children()
        stages = [self._scan_stage(told, statuses[0], children), self._pack_stage(told, children), self._dag_stage(children)]
        return all(status in EXIT_STATUS for status in statuses), stages

    def _scan_stage(self, told: Mapping[str, Any], status: str, children: Sequence[Mapping[str, Any]]) -> Stage:
        folders = _info(told, "scan")
        listed = folders is not None and folders[0] == folders[1]
        below = sum(self._progress(c).get("filesDone") or 0 for c in children) if status not in EXIT_STATUS else 0
        files = max(0, int(told.get("filesDone") or 0) - below)
        ended = status in EXIT_STATUS or (listed and bool(children))
        return Stage(name="scan", done=files, total=files if ended else 0, running=not ended, ended=ended)

    def _pack_stage(self, told: Mapping[str, Any], children: Sequence[Mapping[str, Any]]) -> Stage:
        packs = [c for c in children if c["executeApplicationName"] == "pack"]
        reports = [self._progress(c) for c in packs]
        new = _info(told, "new bytes")
        done = sum(int(r.get("bytesDone") or 0) for r in reports)
        known = sum(int(r.get("bytesTotal") or 0) for r in reports)
        over = sum(c["status"] in EXIT_STATUS for c in packs)
        total = max(known, new[1] if new else 0)
        whole = bool(packs) and all(c["status"] == "Succeed" for c in packs)
        return Stage(
            name="pack",
            done=total if whole else done,
            total=total,
            jobs=len(packs),
            jobs_done=over,
            running=any(c["status"] == "Running" for c in packs),
            ended=bool(packs) and over == len(packs),
        )

    def _dag_stage(self, children: Sequence[Mapping[str, Any]]) -> Stage:
        mine = [c for c in children if c["executeApplicationName"] == "daggen"]
        if not mine:
            return Stage(name="daggen")
        told = self._progress(mine[-1])
        ended = mine[-1]["status"] in EXIT_STATUS
        share = 1000 if ended else int(float(told.get("progress") or 0) * 1000)
        return Stage(
            name="daggen", done=share, total=1000, jobs=1, running=mine[-1]["status"] == "Running" and not ended, ended=ended
        )

    def _children(self) -> list[Mapping[str, Any]]:
        """Return the packs and daggens as records of the history."""
        below = [child for task in self.tasks for child in self.client.children(task)]
        return [
            c for c in [*below, *map(self._record, self.tasks[1:])] if c["executeApplicationName"] == "daggen" or c in below
        ]

    def _record(self, task: str) -> Mapping[str, Any]:
        found = self.client.linkis("GET", f"/jobhistory/{part(task)}/get")["task"]
        assert isinstance(found, dict)
        return found

    def _progress(self, child: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return how far a child is; nothing while it has not begun. That of an ended one is asked for once."""
        number = int(child["taskID"])
        if number in self._ended:
            return self._ended[number]
        if child["status"] in ("Inited", "Scheduled"):
            return {}
        told = self._ask(str(number), "progress")
        if child["status"] in EXIT_STATUS:
            self._ended[number] = told
        return told

    def _ask(self, task: str, what: str) -> dict[str, Any]:
        return self.client.linkis("GET", f"/entrance/{part(task)}/{what}")

    # ---- steering

    def act(self, action: str) -> None:
        """Kill, pause or resume all that belongs to it."""
        self.client.linkis("POST", "/entrance/actions", body={"action": action, "ids": self.tasks}, repeatable=True)

    # ---- the end

    def outcome(self) -> Outcome:
        """Return how it ended, once it has."""
        rows = [self._record(task) for task in self.tasks]
        worst = next((row for row in rows if row["status"] != "Succeed"), rows[0])
        told = self._ask(self.scan, "progress")
        size = _info(told, "bytes")
        return Outcome(
            status=worst["status"],
            task_id=str(worst["taskID"]),
            reason=str(worst.get("errDesc") or ""),
            files=int(told.get("filesTotal") or 0),
            bytes=size[1] if size else 0,
            seconds=self._seconds(),
        )

    def _seconds(self) -> dict[str, float]:
        """Return, for each stage, the time from the first start to the last end of its tasks."""
        attempts = self._ask(self.scan, "attempts").get("attempts") or []
        spans: dict[str, list[tuple[int | None, int | None]]] = {name: [] for name in STAGES}
        spans["scan"] = [(a["startTime"], a["endTime"]) for a in attempts]
        for child in self._children():
            spans.setdefault(child["executeApplicationName"], []).append(
                (child.get("engineStartTime"), child.get("requestEndTime"))
            )
        return {name: _span(spans[name]) for name in STAGES}

    def warnings(self) -> list[str]:
        """Return the first warnings of the scan's log."""
        told = self.client.linkis("GET", f"/entrance/{part(self.scan)}/log", query={"fromLine": 0, "size": 10_000})
        lines = told["log"][1].split("\n") if isinstance(told.get("log"), list) else []
        return [line.split(" WARN ", 1)[-1] for line in lines if line.strip()]


def _span(times: Sequence[tuple[int | None, int | None]]) -> float:
    starts, ends = [a for a, _ in times if a], [b for _, b in times if b]
    return max(0, max(ends) - min(starts)) / 1000 if starts and ends else 0.0


def _info(told: Mapping[str, Any], name: str) -> tuple[int, int] | None:
    """Return (done, total) of a stage of a progress answer."""
    for stage in told.get("progressInfo") or []:
        if str(stage["id"]).partition("(")[0] == name:
            return int(stage["succeedTasks"]), int(stage["totalTasks"])
    return None


# ---- showing ------------------------------------------------------------------------------------------------------


def follow(run: Run, *, quiet: bool = False) -> None:
    """Show the run until everything of it has ended."""
    began = time.monotonic()
    with _display(quiet) as display:
        while True:
            ended, stages = run.look()
            display.show(stages)
            if ended:
                return
            time.sleep(min(POLL_SECONDS, FIRST_POLL_SECONDS + (time.monotonic() - began) / 20))


@contextmanager
def _display(quiet: bool) -> Iterator[_Lines]:
    if quiet:
        yield _Lines(silent=True)
    elif not sys.stderr.isatty():
        yield _Lines()
    else:
        bars = _Bars()
        with bars.progress:
            yield bars


class _Lines:
    """A line on standard error for each stage that begins or ends."""

    def __init__(self, *, silent: bool = False) -> None:
        self._silent = silent
        self._said: set[tuple[str, bool]] = set()

    def show(self, stages: Sequence[Stage]) -> None:
        for stage in stages:
            key = (stage.name, stage.ended)
            if self._silent or key in self._said or not (stage.ended or stage.running):
                continue
            self._said |= {key, (stage.name, False)}
            note(f"{stage.name}: {stage.text() if stage.ended else 'running'}")


class _Bars(_Lines):
    """Live bars with rate and time left."""

    def __init__(self) -> None:
        super().__init__()
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn

        self.progress: Progress = Progress(
            TextColumn("{task.description:<6}"),
            BarColumn(bar_width=30),
            TextColumn("{task.percentage:>3.0f}%"),
            TextColumn("{task.fields[figures]}"),
            console=Console(stderr=True),
        )
        self._rates = {name: Rate() for name in STAGES}
        self._bars: dict[str, TaskID] = {
            name: self.progress.add_task(name, total=None, start=False, figures="") for name in STAGES
        }

    def show(self, stages: Sequence[Stage]) -> None:
        for stage in stages:
            bar, rate = self._bars[stage.name], self._rates[stage.name].take(stage.done, time.monotonic())
            if stage.running or stage.ended:
                self.progress.start_task(bar)
            text = stage.text()
            if stage.running and rate and stage.name != "daggen":
                text += f", {rate:,.0f} files/s" if stage.name == "scan" else f", {size_text(rate)}/s"
                if stage.total > stage.done:
                    text += f", {duration_text((stage.total - stage.done) / rate)} left"
            total = max(stage.total, stage.done, 1) if stage.total or stage.ended else None
            done = total or 0 if stage.ended else stage.done
            self.progress.update(bar, total=total, completed=done, figures=text)


class Rate:
    """How fast a number grows, over the last seconds."""

    def __init__(self) -> None:
        self._seen: list[tuple[float, int]] = []

    def take(self, value: int, now: float) -> float:
        """Note the number and return its growth per second."""
        self._seen = [(at, v) for at, v in self._seen if now - at <= RATE_SECONDS] + [(now, value)]
        begin, first = self._seen[0]
        return max(0.0, (value - first) / (now - begin)) if now > begin else 0.0
