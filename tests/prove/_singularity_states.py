"""The tables of states of the Singularity contract's chapter 3.3, cell by cell, against a running service.

A job is brought into a state; then what the table refuses is refused with its text, and what it allows is done:

    before          start       again       pause       again       start
    none            ready       400         paused      400         ready
    created         ready       ...
    paused, error, complete (a pack: 400)
    processing      400         -           paused      400         ready

All but ``processing`` is looked at while every slot of the service is taken, so that nothing moves by itself.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from factories import wait_until
from singularity import Singularity

from prove import Miss

MANY = {"f%05d": {"text": "x", "count": 20_000}}
LARGE_BYTES = 3 << 30  # sparse
INVALID, MISSING = ": invalid parameter", ": not found"


def same(found: Any, wanted: Any, what: str) -> None:
    """Raises Miss."""
    if found != wanted:
        raise Miss(f"{what}: {found!r}, wanted {wanted!r}")


def shown(job: Any) -> tuple[str, str, str]:
    """What the tables speak of."""
    return job["state"], job["errorMessage"], job["errorStackTrace"]


@dataclass
class Row:
    """A job (``id``: of a pack) in a state of the tables, and how many cells have been checked."""

    api: Singularity
    type: str
    preparation: int
    source: str
    id: int = 0
    cells: int = 0

    @property
    def base(self) -> str:
        return f"/preparation/{self.preparation}/source/{self.source}"

    def path(self, verb: str) -> str:
        return f"{self.base}/{verb}-{self.type}" + (f"/{self.id}" if self.type == "pack" else "")

    def job(self) -> Any:
        """The job as the status shows it; None when there is none."""
        return next((j for j in self.api.jobs(self.preparation, self.type) if self.id in (0, j["id"])), None)

    def does(self, verb: str, state: str, error: str = "") -> None:
        answer = self.api.ok("POST", self.path(verb))
        same(shown(answer[0] if self.type == "pack" else answer), (state, error, ""), f"POST {self.path(verb)}")
        self.cells += 1

    def refuses(self, verb: str) -> None:
        if self.type == "pack":
            why = "is running or complete" if verb == "start" else "is not running"
            text = f"pack job {self.id} for source '{self.source}' {why}"
        else:
            why = "is already running" if verb == "start" else "is not running"
            text = f"{self.type} job for sourceAttachment '{self.source}' {why}"
        self.api.refused(400, text + INVALID, "POST", self.path(verb))
        self.cells += 1

    def stands(self, state: str, error: str = "") -> None:
        job = self.job()
        same(job and shown(job), (state, error, ""), f"{self.type} of preparation {self.preparation}")

    def walk(self, error: str = "") -> None:
        """From a state that can be started round to ready, with every slot taken."""
        self.refuses("pause")
        self.does("start", "ready", error if self.type == "pack" else "")
        self.stands("ready")
        self.refuses("start")
        self.does("pause", "paused")
        self.stands("paused")
        self.refuses("pause")
        self.does("start", "ready")

    def halt(self) -> None:
        """From processing."""
        frozen = self.api.freeze(self.preparation, self.type)
        same(bool(frozen.get("workerId")), True, "a processing job names its worker")
        self.refuses("start")
        self.does("pause", "paused")
        self.stands("paused")
        self.does("start", "ready")


def check_states(api: Singularity) -> int:
    """Check every cell and return how many there were. Raises Miss, AssertionError."""
    rows: list[Row] = []

    def row(type: str, tree: Any, *, id: int = 0, **more: Any) -> Row:
        rows.append(Row(api, type, *api.preparation(tree, **more), id=id))
        return rows[-1]

    fresh = [row(type, {"a.txt": "x"}) for type in ("scan", "daggen")]
    failed = [_failed_scan(row), _failed_daggen(row), _failed_pack(row)]
    complete = [row(type, {"a.txt": "x"}) for type in ("scan", "daggen", "pack")]
    for found in complete:
        _complete(found)
    created = row("pack", {"a.txt": "x"})
    _push(created, "a.txt")
    waiting = _created_daggen(row)
    with api.held():
        for found in fresh:
            _check_none(found)
        for found, error in failed:
            found.stands("error", error)
            found.walk(error)
        for found in complete:
            found.stands("complete")
            if found.type == "pack":
                found.refuses("start")
                found.refuses("pause")
            else:
                found.walk()
        created.stands("created")
        created.walk()
        waiting.stands("created")
        waiting.walk()
    for found in rows:
        api.settled(found.preparation)
    created.stands("complete")
    for type in ("scan", "daggen", "pack"):
        found = row(type, _large(api) if type == "pack" else MANY, maxSize="31.5GiB")
        _begin(found)
        found.halt()
        api.settled(found.preparation)
        found.stands("complete")
    return sum(found.cells for found in rows) + _check_all_packs(api) + _check_nobody(api)


# ---- into states --------------------------------------------------------------------------------------------------


def _push(row: Row, *paths: str) -> None:
    for path in paths:
        row.api.push(row.preparation, row.source, path)
    row.id = row.api.jobs(row.preparation, "pack")[-1]["id"]


def _folder(row: Row) -> Path:
    (found,) = [s["path"] for s in row.api.ok("GET", "/storage") if s["name"] == row.source]
    return Path(found)


def _failed_scan(row: Any) -> tuple[Row, str]:
    found: Row = row("scan", {"a.txt": "x"})
    folder = _folder(found)
    folder.rename(folder.with_name(f"{folder.name}-away"))
    found.api.run(found.preparation, found.source, "start-scan")
    folder.with_name(f"{folder.name}-away").rename(folder)
    return found, found.job()["errorMessage"]


def _failed_daggen(row: Any) -> tuple[Row, str]:
    found: Row = row("daggen", {"a.txt": "x"})
    found.api.run(found.preparation, found.source, "start-daggen")
    return found, "dag is not ready to be generated"


def _failed_pack(row: Any) -> tuple[Row, str]:
    found: Row = row("pack", {"a.txt": "x"})
    _push(found, "a.txt")
    (_folder(found) / "a.txt").write_text("another")
    found.api.ok("POST", found.path("start"))
    found.api.settled(found.preparation)
    text = str(found.job()["errorMessage"])
    same(bool(re.fullmatch(r"fileRange has been modified: a\.txt, .+: file has been modified", text)), True, text)
    return found, text


def _complete(row: Row) -> None:
    row.api.run(row.preparation, row.source, "start-scan")
    if row.type == "daggen":
        row.api.run(row.preparation, row.source, "start-daggen")
    row.id = row.job()["id"] if row.type == "pack" else 0


def _created_daggen(row: Any) -> Row:
    """A daggen that waits for packs: asked for through another door, since this one does not wait."""
    found: Row = row("daggen", {"a.txt": "x"})
    found.api.push(found.preparation, found.source, "a.txt")
    params = {"preparation": found.preparation, "source": found.source, "wait": True}
    found.api.service.submit("daggen", params)
    return found


def _large(api: Singularity) -> Path:
    folder = api.tree({})
    with (folder / "large.bin").open("wb") as file:
        file.truncate(LARGE_BYTES)
    return folder


def _begin(row: Row) -> None:
    """Let a job begin that takes a while."""
    if row.type == "daggen":
        row.api.run(row.preparation, row.source, "start-scan")
    if row.type == "pack":
        _push(row, "large.bin")
    row.api.ok("POST", row.path("start"))


# ---- other tables -------------------------------------------------------------------------------------------------


def _check_none(row: Row) -> None:
    same(row.job(), None, "a job before the first start")
    text = f"{row.type} job for sourceAttachment '{row.source}' does not exist"
    row.api.refused(404, text + MISSING, "POST", row.path("pause"))
    row.does("start", "ready")
    row.stands("ready")
    row.cells += 1


def _check_all_packs(api: Singularity) -> int:
    """``job_id`` 0: what can be is changed, the rest is left, and nothing is an error."""
    tree = {f"{n}.bin": {"derivedBuffer": 2_500_000 + n} for n in range(4)}
    row = Row(api, "pack", *api.preparation(tree))
    with api.held():
        _push(row, *tree)
        packs = [j["id"] for j in api.jobs(row.preparation, "pack")]
        same([j["state"] for j in api.jobs(row.preparation)], ["ready"] * 3 + ["created"], "packs that were pushed")
        api.ok("POST", f"{row.base}/pause-pack/{packs[2]}")
        (_folder(row) / "1.bin").write_bytes(b"changed")
    wait_until(lambda: [j["state"] for j in api.jobs(row.preparation)] == ["complete", "error", "paused", "created"], 60)
    with api.held():
        for verb, state in (("start", "ready"), ("pause", "paused")):
            changed = api.ok("POST", f"{row.base}/{verb}-pack/0")
            same([j["id"] for j in changed], packs[1:], f"{verb}-pack/0")
            same({shown(j) for j in changed}, {(state, "", "")}, f"{verb}-pack/0")
            same(api.ok("POST", f"{row.base}/{verb}-pack/0"), [], f"{verb}-pack/0 once more")
    return 4


def _check_nobody(api: Singularity) -> int:
    """What there is not."""
    row = Row(api, "pack", *api.preparation({"a.txt": "x"}))
    other = Row(api, "pack", *api.preparation({"a.txt": "x"}))
    _push(row, "a.txt")
    for verb in ("start", "pause"):
        for id, of in ((999_999, row), (row.id, other)):
            text = f"pack job {id} for source '{of.source}' does not exist"
            api.refused(404, text + MISSING, "POST", f"{of.base}/{verb}-pack/{id}")
        same(api.call("POST", f"{row.base}/{verb}-pack").status, 404, f"{verb}-pack without a number")
    for verb in ("start-scan", "pause-scan", "start-daggen", "pause-daggen", "start-pack/0", "pause-pack/0"):
        for of, source in ((row.preparation, other.source), (row.preparation, "nobody"), (999_999, row.source)):
            text = f"sourceAttachment '{source}' is not attached to preparation {of}"
            api.refused(404, text + MISSING, "POST", f"/preparation/{of}/source/{source}/{verb}")
    prep, source = api.preparation({"a.txt": "x"}, noDag=True)
    text = f"dag generation is disabled for preparation '{prep}'"
    api.refused(400, text + INVALID, "POST", f"/preparation/{prep}/source/{source}/start-daggen")
    return 6 + 18 + 1
