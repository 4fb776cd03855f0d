"""The end of a run: what is lost, doubled, left over, cut out of a log, or told differently by different APIs."""

from __future__ import annotations

import os
import re
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from factories import Service, wait_until
from servers.seaweedfs import SeaweedFS

from common.errors import StorageNotFound
from soak.doors import ANN, Doors
from soak.journal import Given, Journal
from soak.work import Places

_NUMBERED = re.compile(r" (line|step) (\d+) of (\d+)$")
_FINAL = ("succeeded", "failed", "cancelled", "timed_out")
_LAST = {
    "Succeed": "Congratulations. Your job completed",
    "Failed": "Sorry, your job executed failed",
    "Cancelled": "was kill by user successfully",
}
_PEARL = {"Succeed": "COMPLETED", "Failed": "CANCELED", "Cancelled": "CANCELED", "Timeout": "CANCELED"}
_SENSECORE = {"Succeed": 2, "Failed": 3, "Cancelled": 4, "Timeout": 3}
_SINGULARITY = {"Succeed": "complete", "Failed": "error", "Cancelled": "error", "Timeout": "error"}
_PAGE = 1000
_SMALL_LOG = 64 << 10
_SWEPT_SECONDS = 90.0  # the janitor comes once a minute
_MOST_VERIFIED = 10
_MOST_DESCRIPTORS = 60  # of a service at rest


@dataclass
class Verdict:
    """What was found. ``notes`` are figures."""

    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    faulty: list[int] = field(default_factory=list)  # tasks, for their stories
    notes: dict[str, Any] = field(default_factory=dict)

    @property
    def problems(self) -> list[str]:
        return [*self.lost, *self.doubled, *self.left, *self.wrong]


class Judge:
    """Looks through the doors only; files, processes and objects are counted where they lie."""

    def __init__(
        self, service: Service, doors: Doors, journal: Journal, places: Places, server: SeaweedFS | None, in_order: bool
    ) -> None:
        self._service, self._doors, self._journal, self._places = service, doors, journal, places
        self._server, self._in_order = server, in_order
        self._line = doors.line(ANN)
        self.verdict = Verdict()
        self.seconds: list[float] = []  # that each part took

    def judge(self, finish_seconds: float) -> None:
        """All of it, one part after the other; a part that cannot be carried out is a problem of its own."""
        parts: Sequence[Callable[[], None]] = (
            lambda: self.finish(finish_seconds),
            self.products,
            self.tasks,
            self.leftovers,
            self.after_stop,
        )
        for part in parts:
            begin = time.monotonic()
            try:
                part()
            except Exception as error:
                traceback.print_exc()
                self.verdict.wrong.append(f"the judge was stopped: {type(error).__name__}: {error}")
            self.seconds.append(time.monotonic() - begin)

    # ---- the end of all tasks

    def finish(self, seconds: float) -> None:
        """Let go on what is paused, start again what Singularity's jobs have stopped at, until nothing is left to do."""
        deadline = time.monotonic() + seconds
        open_ = -1
        while time.monotonic() < deadline:
            listed = self._line.data("GET", f"{self._list(1)}&status=Inited,Scheduled,Running")
            if paused := [row["taskID"] for row in listed["tasks"] if row["paused"]]:
                self._line.data("POST", "/entrance/actions", {"action": "resume", "ids": paused})
            busy, open_ = self._start_jobs(), int(listed["totalPage"])
            if not open_ and not busy:
                return
            time.sleep(0.5)
        rows = self._line.data("GET", f"{self._list(1)}&status=Inited,Scheduled,Running")["tasks"]
        for row in rows[:3]:
            states = self._line.data("GET", f"/entrance/{row['taskID']}/history")["history"][-4:]
            self.verdict.lost.append(f"task {row['taskID']} ({row['engineType']}) does not end: {states}")
            self.verdict.faulty.append(row["taskID"])
        self.verdict.lost.append(f"{open_} tasks are left after {seconds:.0f} s")

    def _start_jobs(self) -> bool:
        """Start every job that was made through Singularity's API and is not complete; tell whether there are any."""
        busy = False
        for name in self._prepared("prepare by its jobs"):
            (source,) = self._preparation(name)
            states = [(job["type"], job["state"]) for job in source["jobs"]]
            kinds = {kind for kind, state in states if state != "complete"}
            if not kinds and "daggen" not in {kind for kind, _ in states}:
                kinds = {"daggen"}
            for kind in kinds:
                verb = "start-pack/0" if kind == "pack" else f"start-{kind}"
                self._doors.singularity("POST", f"/preparation/{name}/source/{name}-in/{verb}")
            busy = busy or bool(kinds)
        return busy

    def _prepared(self, kind: str) -> Iterator[str]:
        """Names of the preparations that were made, and not killed."""
        for given in list(self._journal.tasks.values()):
            if given.wish.kind == kind and not given.kill_tried:
                yield str(given.wish.params["name"])

    def _preparation(self, name: str) -> Any:
        answer = self._doors.singularity("GET", f"/preparation/{name}")
        assert answer.status == 200, (name, answer.text)
        return answer.json()

    # ---- each task

    @staticmethod
    def _list(page: int) -> str:
        return f"/jobhistory/list?isAdminView=true&pageSize={_PAGE}&pageNow={page}"

    def _rows(self) -> dict[int, dict[str, Any]]:
        rows: dict[int, dict[str, Any]] = {}
        page, found = 1, [dict[str, Any]()] * _PAGE
        while len(found) == _PAGE:  # a page behind the last one is the last one again
            found = self._line.data("GET", self._list(page))["tasks"]
            rows |= {row["taskID"]: row for row in found}
            page += 1
        return rows

    def tasks(self) -> None:
        """Every acknowledged task: there, ended as it must, once, with its whole log."""
        rows, verdict = self._rows(), self.verdict
        ends: Counter[str] = Counter()
        for task, given in self._journal.tasks.items():
            row = rows.get(task)
            if row is None:
                verdict.lost.append(f"task {task} ({given.wish.kind} by {given.door}) is not there")
                continue
            ends[row["status"]] += 1
            found = self._faults(given, row)
            if found:
                verdict.faulty.append(task)
                verdict.wrong += [f"task {task} ({given.wish.kind}, {row['status']}): {text}" for text in found]
        submitted = {"echo", "sleep", "transfer"}
        strays = [t for t, row in rows.items() if t not in self._journal.tasks and row["engineType"] in submitted]
        if len(strays) > self._journal.unanswered:
            verdict.doubled.append(f"{len(strays)} tasks that nobody was told of, such as {strays[:3]}")
        verdict.notes |= {"ends": dict(ends), "rows": len(rows), "untold": len(strays)}
        self._views(rows)

    def _faults(self, given: Given, row: dict[str, Any]) -> list[str]:
        wish, status = given.wish, row["status"]
        found = []
        by_jobs = wish.kind == "prepare by its jobs"
        if status not in given.allowed and not by_jobs:
            found.append(f"ended {status}, not {' or '.join(sorted(given.allowed))}: {row['errDesc']}")
        if status == "Failed" and wish.reason not in (row["errDesc"] or ""):
            found.append(f"the reason is {row['errDesc']!r}, not {wish.reason!r}")
        states = [h["state"] for h in self._line.data("GET", f"/entrance/{given.task}/history")["history"]]
        ends = [state for state in states if state in _FINAL]
        if len(ends) != 1 or states[-1] not in _FINAL:
            found.append(f"its ends are {ends} in {states[-5:]}")
        lines = self._line.log(given.task)
        if any("another attempt holds the lock" in line for line in lines):
            self.verdict.doubled.append(f"task {given.task} ran twice at once")
        return [*found, *self._log_faults(given, status, lines)]

    def _log_faults(self, given: Given, status: str, lines: Sequence[str]) -> list[str]:
        found = []
        if not lines or not lines[0].endswith(f"task {given.task} log"):
            found.append("its log does not begin at the beginning")
        last = _LAST.get(status, "")
        if not lines or last not in lines[-1]:
            found.append(f"its log ends with {lines[-1:]}")
        if sum(last in line for line in lines) != 1 or sum(any(x in line for x in _LAST.values()) for line in lines) != 1:
            found.append("its log ends more than once")
        if self._in_order:
            heads = [x[:23] for x in lines if re.match(r"\d{4}-\d\d-\d\d \d\d:", x)]
            if any(a > b for a, b in pairwise(heads)):
                found.append("its log is not in the order of time")
        whole = status == "Succeed" or (status, given.wish.kind) == ("Failed", "failing")
        for word, wanted in (("line", given.wish.lines), ("step", given.wish.steps)):
            found += _sequence_faults(word, wanted, lines, whole=whole)
        return found

    # ---- all four views

    def _views(self, rows: dict[int, dict[str, Any]]) -> None:
        """The lists of BlackPearl, SenseCore and Singularity show what Linkis' does."""
        verdict, compared = self.verdict, 0
        uuids = self._uuids(rows)
        wanted: dict[str, set[str]] = {"completed_job": set(), "canceled_job": set(), "active_job": set()}
        resource = {"COMPLETED": "completed_job", "CANCELED": "canceled_job"}
        for task, row in rows.items():
            wanted[resource.get(_PEARL.get(row["status"], ""), "active_job")].add(uuids[task])
        for name, ids in wanted.items():
            shown = self._pearl_ids(name)
            compared += len(shown)
            if shown != ids:
                verdict.wrong.append(
                    f"BlackPearl's {name} shows {len(shown)}, not {len(ids)}; differing: {list(shown ^ ids)[:3]}"
                )
        transfers = {uuids[t]: _SENSECORE.get(r["status"], 1) for t, r in rows.items() if r["engineType"] == "transfer"}
        states = self._sensecore_states()
        compared += len(states)
        if states != transfers:
            differing = {k for k in transfers.keys() | states.keys() if transfers.get(k) != states.get(k)}
            verdict.wrong.append(f"SenseCore's list differs for {len(differing)} transfers, such as {list(differing)[:3]}")
        for name in [*self._prepared("prepare"), *self._prepared("prepare by its jobs")]:
            for source in self._preparation(name):
                for job in source["jobs"]:
                    compared += 1
                    row_ = rows.get(job.get("taskId", 0))
                    if row_ is not None and job["state"] != _SINGULARITY.get(row_["status"]):
                        verdict.wrong.append(f"{name}: job {job['id']} is {job['state']}, its task {row_['status']}")
        verdict.notes["views compared"] = compared

    def _uuids(self, rows: dict[int, dict[str, Any]]) -> dict[int, str]:
        """The UUID of each task: told when it was submitted, else asked for."""
        found: dict[int, str] = {}
        for task in rows:
            given = self._journal.tasks.get(task)
            found[task] = given.uuid if given and given.uuid else self._doors.pearl("GET", f"job/{task}").xml.attrib["JobId"]
        return found

    def _pearl_ids(self, resource: str) -> set[str]:
        found: set[str] = set()
        offset = 0
        while True:
            answer = self._doors.pearl("GET", resource, page_length=str(_PAGE), page_offset=str(offset))
            assert answer.status == 200, (resource, answer.body)
            page = [job.findtext("Id") or "" for job in answer.xml]
            found |= set(page)
            if len(page) < _PAGE:
                return found
            offset += _PAGE

    def _sensecore_states(self) -> dict[str, int]:
        found: dict[str, int] = {}
        page = 1
        while True:
            answer = self._doors.sensecore({"page_no": page, "page_size": 500})
            assert answer.status == 200, answer.text
            tasks = answer.json()["tasks"]
            found |= {task["id"]: task["task_state"] for task in tasks}
            if len(tasks) < 500:
                return found
            page += 1

    # ---- what was made

    def products(self) -> None:
        """Preparations are whole and what they say is on the disk; what was transferred is what it was."""
        names = [*self._prepared("prepare"), *self._prepared("prepare by its jobs")]
        cars = 0
        for name in names:
            folder = self._places.out / name
            recorded: dict[str, int] = {}
            for source in self._doors.singularity("GET", f"/preparation/{name}/piece").json():
                recorded |= {piece["storagePath"]: piece["fileSize"] for piece in source["pieces"]}
            there = {path.name: path.stat().st_size for path in folder.iterdir() if path.suffix == ".car"}
            cars += len(there)
            if recorded != there or not there:
                self.verdict.wrong.append(f"{name}: {len(recorded)} pieces are recorded, {len(there)} CARs are there")
            for source in self._preparation(name):
                if open_ := [f"{j['type']} {j['state']}" for j in source["jobs"] if j["state"] != "complete"]:
                    self.verdict.wrong.append(f"{name} is not complete: {open_}")
        chosen = names[:: max(1, len(names) // _MOST_VERIFIED)]
        verified = [self._service.submit("verify", {"preparation": name}) for name in chosen]
        for name, task in zip(chosen, verified, strict=True):
            if (end := self._service.wait_for(task, timeout_seconds=120)) != "Succeed":
                self.verdict.wrong.append(f"{name}: verify ended {end}")
        self._journal.counts["verified"] = len(verified)
        moved = self._transfers()
        self.verdict.notes |= {"preparations": len(names), "CARs": cars, "verified": len(chosen), "transferred": moved}

    def _transfers(self) -> int:
        moved = 0
        if self._server is None:
            return 0
        out = self._server.storage("soak/out")
        for given in self._journal.tasks.values():
            if given.wish.executor != "transfer" or given.kill_tried:
                continue
            params = given.wish.params
            source, target = self._places.exports / params["from"]["path"], params["to"]["path"]
            for path in source.iterdir():
                moved += 1
                try:
                    if given.wish.kind == "transfer out":
                        copy = out.open(f"{target}/{path.name}").read()
                    else:
                        copy = (self._places.imports / target / path.name).read_bytes()
                except (StorageNotFound, OSError):
                    copy = None
                if copy != path.read_bytes():
                    said = "is not there" if copy is None else "is not the same there"
                    self.verdict.wrong.append(f"task {given.task} ({given.wish.kind}): {path.name} {said}")
        return moved

    # ---- what is left over

    def leftovers(self) -> None:
        """Nothing may be left: processes, work folders, temporary files, small logs, uploads, descriptors."""
        try:
            wait_until(lambda: not self._left(), _SWEPT_SECONDS, every_seconds=1.0)
        except AssertionError:
            self.verdict.left += self._left()
        descriptors = len(os.listdir(f"/proc/{self._service.pid}/fd"))
        self.verdict.notes["descriptors"] = descriptors
        if descriptors > _MOST_DESCRIPTORS:
            self.verdict.left.append(f"the service has {descriptors} descriptors open")
        self.verdict.notes["service MiB"] = _resident_mib(self._service.pid)

    def _left(self) -> list[str]:
        found = []
        data = self._service.data
        servers = self._service.fork_servers()
        if tasks := self._service.task_processes():
            found.append(f"processes {tasks[:5]} below the fork servers")
        if others := set(self._service.processes()) - {self._service.pid, *servers, *tasks}:
            found.append(f"processes {sorted(others)[:5]}")
        found += [f"work folder {path.name}" for path in (data / "work").iterdir()]
        found += [f"log {path.name}" for path in (data / "logs").rglob("*") if path.is_file() and _is_small(path)]
        for folder in (self._places.out, self._places.imports):
            found += [f"temporary {p.relative_to(folder)}" for p in folder.rglob("*") if p.is_file() and _is_temporary(p)]
        if self._server is not None:
            found += [f"upload {upload}" for upload in uploads(self._server)]
        return found

    def after_stop(self) -> None:
        """Stop it in good order: then no process is left at all."""
        self._line.close()
        self._service.cli("stop")
        if left := self._service.processes():
            self.verdict.left.append(f"processes {left} after the stop")


def uploads(server: SeaweedFS) -> list[str]:
    """Return the multipart uploads that nobody has ended."""
    client = server.storage("soak")._client
    answer = client.list_multipart_uploads(Bucket="soak")
    return [upload["Key"] for upload in answer.get("Uploads", [])]


def _is_temporary(path: Path) -> bool:
    return path.name.startswith(".") or path.name.endswith((".part", ".tmp"))


def _is_small(path: Path) -> bool:
    return path.suffix == ".log" and path.stat().st_size < _SMALL_LOG


def _resident_mib(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") >> 20


def _sequence_faults(word: str, wanted: int, lines: Sequence[str], *, whole: bool) -> list[str]:
    """The numbers of a log: each attempt counts up without a gap, from somewhere that is not behind a gap."""
    reached, before = 0, None
    for line in lines:
        if "Your job is Running now" in line:
            before = None
        elif (found := _NUMBERED.search(line)) and found[1] == word:
            number = int(found[2])
            if before is not None and number != before + 1:
                return [f"{word} {number} follows {word} {before}"]
            if number > reached + 1:
                return [f"{word} {number} comes when {reached} is the last one known"]
            before, reached = number, max(reached, number)
    if whole and reached != wanted:
        return [f"{reached} of {wanted} {word}s are in its log"]
    return []
