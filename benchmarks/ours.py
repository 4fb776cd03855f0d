"""Our side of whole runs: a real service in a data folder of its own, used through ``bin/entrance`` and its API."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil
from factories import LINKIS, PROJECT_ROOT, Service

from benchmarks.measure import Sample, peak_of, run_program
from benchmarks.peers import TOOLS

ENTRANCE = PROJECT_ROOT / "bin" / "entrance"
PROFILE = "unixfs-v1-2025"  # the one whose root CIDs the npm packages make too
TASKS = ("scan", "pack", "daggen")
_TIMEOUT_SECONDS = 1800.0


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """What became of one preparation: samples by kind of task, from ``/attempts``, and the ids that came out."""

    tasks: Mapping[str, Sample]
    whole: Sample
    """From the command, or from the first start of a task to the last end; with the CPU time of the service."""
    files: int
    piece_cid: str
    """v2, of the (only) data CAR."""
    root_cid: str
    """Of the source's directory."""
    car: str
    """File name of the data CAR; empty when none was written."""


class Running:
    """A service that runs, in a folder that goes away with it, and may use what lies in ``roots``."""

    def __init__(self, *roots: Path) -> None:
        self._roots = roots
        TOOLS.mkdir(parents=True, exist_ok=True)
        self._folder = Path(tempfile.mkdtemp(prefix="data-", dir=TOOLS))
        self.service = Service(
            data=self._folder / "data", settings={"SERVICE__PORT": "0"}, program=(str(ENTRANCE),), watched=False
        )
        self._names = 0

    def __enter__(self) -> Self:
        self.service.start()
        for root in self._roots:
            self.service.cli("storage", "allow", str(root))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.service.cli("stop", check=False)
        shutil.rmtree(self._folder, ignore_errors=True)

    def prepare(self, source: Path, output: Path) -> Prepared:
        """``bin/entrance prepare SOURCE OUTPUT``; starts the service when it does not run."""
        spent = self._spent()
        command = ("prepare", source, output, "--json", "--data", self.service.data)
        sample, printed = run_program(ENTRANCE, *command, environment=self.service.environment)
        told = json.loads(printed)
        (status,) = self.service.http.get(f"/api/preparation/{told['preparation']}").json()
        tasks = {job["type"]: int(job["taskId"]) for job in status["jobs"]}
        return self._prepared(told["preparation"], tasks, sample, spent)

    def submit(self, source: Path, output: Path | None, *, profile: str = PROFILE) -> Prepared:
        """Submit a scan of a folder with all that follows it; hash-only without an output."""
        name = self.new_name()
        params: dict[str, Any] = {"path": str(source), "name": name, "profile": profile, "follow": ["pack", "daggen"]}
        if output is not None:
            output.mkdir(exist_ok=True)
            params["output"] = str(output)
        spent = self._spent()
        scan = self.service.submit("scan", params)
        self._ended(scan)
        children = self.service.http.get(f"{LINKIS}/entrance/{scan}/children").data["tasks"]
        return self._prepared(name, {"scan": scan, **{c["engineType"]: int(c["taskID"]) for c in children}}, None, spent)

    def scan(self, source: Path) -> Sample:
        """Scan a folder, no more; the sample is the task's."""
        task = self.service.submit("scan", {"path": str(source), "name": self.new_name(), "follow": []})
        self._ended(task)
        return self._sample(self._attempts(task))

    def new_name(self) -> str:
        """Return a name that nothing had yet."""
        self._names += 1
        return f"bench-{self._names}"

    def _ended(self, task: int) -> None:
        state = self.service.wait_for(task, timeout_seconds=_TIMEOUT_SECONDS)
        if state != "Succeed":
            raise RuntimeError(f"task {task}: {state}: {self.service.cli('logs', str(task), check=False).stdout[-1000:]}")

    def _attempts(self, task: int) -> Sequence[Mapping[str, Any]]:
        attempts: Sequence[Mapping[str, Any]] = self.service.http.get(f"{LINKIS}/entrance/{task}/attempts").data["attempts"]
        return attempts

    @staticmethod
    def _sample(attempts: Sequence[Mapping[str, Any]]) -> Sample:
        return Sample(
            seconds=(attempts[-1]["endTime"] - attempts[0]["startTime"]) / 1000,
            cpu_seconds=sum(a["cpuSeconds"] for a in attempts),
            peak_bytes=max(a["maxRss"] for a in attempts),
        )

    def _prepared(self, preparation: int | str, tasks: Mapping[str, int], command: Sample | None, spent: float) -> Prepared:
        attempts = {kind: self._attempts(task) for kind, task in tasks.items()}
        samples = {kind: self._sample(of) for kind, of in attempts.items()}
        seconds = command.seconds if command else 0.0
        if command is None:
            times = [a for of in attempts.values() for a in of]
            seconds = (max(a["endTime"] for a in times) - min(a["startTime"] for a in times)) / 1000
        lists = self.service.http.get(f"/api/preparation/{preparation}/piece").json()
        pieces = [piece for source in lists for piece in source["pieces"]]
        (data,) = [p for p in pieces if p["pieceType"] == "data"]
        (dag,) = [p for p in pieces if p["pieceType"] == "dag"]
        whole = Sample(
            seconds=seconds,
            cpu_seconds=self._spent() - spent + ((command.cpu_seconds or 0.0) if command else 0.0),
            peak_bytes=max(s.peak_bytes or 0 for s in samples.values()),
        )
        return Prepared(
            tasks=samples,
            whole=whole,
            files=data["numOfFiles"],
            piece_cid=data["pieceCidV2"],
            root_cid=dag["rootCid"],
            car=data["storagePath"],
        )

    def _spent(self) -> float:
        """Return the CPU seconds that the service has used, its ended tasks included; 0 when it does not run."""
        total = 0.0
        with suppress(FileNotFoundError, psutil.NoSuchProcess):
            own = psutil.Process(self.service.pid)
            for process in (own, *own.children(recursive=True)):
                with suppress(psutil.NoSuchProcess):
                    times = process.cpu_times()
                    total += times.user + times.system + times.children_user + times.children_system
        return total

    def memory(self) -> Mapping[str, int]:
        """Return the peak resident memory of the service's own processes, in bytes, by their kind."""
        own = psutil.Process(self.service.pid)
        peaks = {"service": peak_of(own.pid)}
        for process in own.children(recursive=True):
            with suppress(psutil.NoSuchProcess, OSError):
                peaks["fork server"] = max(peaks.get("fork server", 0), peak_of(process.pid))
        return peaks
