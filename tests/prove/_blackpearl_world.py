"""What the rows of the BlackPearl contract are asked of: a running service with real jobs in every status.

Everything but what says so is asked while administrators' tasks take the one slot, so that nothing moves by itself.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ds3 import STYLES, Answer, Client
from factories import LINKIS, Service, wait_until
from pearl import Pearl, open_pearl
from servers.seaweedfs import SeaweedFS

from prove import Miss

UNKNOWN = "0123edab-a4ec-4472-927e-c4df0ac9416b"
NEVER = "2026-11-21T20:50:00.000Z"
RESOURCES = ("active_job", "job")
WORDS = {"python": ("True", "False"), "java": ("true", "false"), "go": ("true", "false")}  # how SDKs write booleans
BUCKET = "bucket1"
LARGE, SMALL = "large.bin", {"a", "b/é & c", "b/d"}
LARGE_BYTES = 6 << 30  # sparse: long enough to be caught on its way
Names = dict[str, str]


@dataclass(frozen=True)
class Row:
    """One row of a chapter: what it is about, and how it is asked."""

    chapter: str
    what: str
    check: Callable[[World], None]


ROWS: list[Row] = []


def row(chapter: str, what: str) -> Callable[[Callable[[World], None]], Callable[[World], None]]:
    """Register a check as a row."""

    def register(check: Callable[[World], None]) -> Callable[[World], None]:
        ROWS.append(Row(chapter, what, check))
        return check

    return register


def same(found: object, wanted: object, what: str = "") -> None:
    """Raises Miss."""
    if found != wanted:
        raise Miss(f"{what}: {found!r}, wanted {wanted!r}")


@dataclass
class World:
    """The service, its jobs, and the SDK whose manners are in use (``style``)."""

    pearl: Pearl
    folder: Path
    style: str = "python"
    ended: dict[str, Names] = field(default_factory=dict)  # of alice, by Linkis' word
    listed: dict[str, Names] = field(default_factory=dict)  # of carol, in the order in which they were made

    @property
    def client(self) -> Client:
        return self.as_user("alice")

    def as_user(self, name: str) -> Client:
        return Client(self.pearl.service.url, *self.pearl.keys[name], style=STYLES[self.style])

    def yes(self, truth: bool = True) -> str:
        return WORDS[self.style][0 if truth else 1]

    @contextmanager
    def job(self, name: str = "alice") -> Iterator[str]:
        """The UUID of a job in progress."""
        task = self.pearl.submit("sleep", name, seconds=3600)
        try:
            yield task["jobId"]
        finally:
            self.pearl.linkis["admin"].get(f"{LINKIS}/entrance/{task['taskID']}/kill")

    def uuids(self) -> list[str]:
        """Carol's jobs, newest first."""
        return [names["jobId"] for names in reversed(self.listed.values())]

    def chosen(self, keys: str) -> list[str]:
        """Some of them by their keys, as a list shows them."""
        wanted = {self.listed[key]["jobId"] for key in keys.split()}
        return [uuid for uuid in self.uuids() if uuid in wanted]


def ids(answer: Answer) -> list[str]:
    """The jobs of a list."""
    same(answer.status, 200, "a list")
    return [e.findtext("Id") or e.get("JobId") or "" for e in answer.xml]


def cached(client: Client, uuid: str) -> set[str]:
    """The objects of a job that are in cache."""
    objects = client.get(f"/_rest_/job/{uuid}").xml.iter("Object")
    return {o.get("Name") or "" for o in objects if o.get("InCache") == "true"}


def counted(answer: Answer) -> tuple[int, int]:
    """What the headers of a page say; each comes once."""
    same(answer.doubled & {"total-result-count", "page-truncated"}, frozenset(), "headers that came twice")
    return int(answer.headers["total-result-count"]), int(answer.headers["page-truncated"])


def make_world(service: Service, folder: Path, server: SeaweedFS) -> World:
    """Start the service; make storages, jobs in every end, and carol's seven jobs in progress."""
    world = World(open_pearl(service, ("alice", "bob", "carol")), folder)
    service.cli("storage", "allow", str(folder))
    server.bucket(BUCKET)
    carol = world.pearl.linkis["carol"]
    for name in ("disk", "away"):
        (folder / name).mkdir()
        made = carol.post("/api/storage/local", {"name": name, "path": str(folder / name)})
        same(made.status, 200, made.text)
    body = {"name": "store", "path": f"{BUCKET}/prefix", "config": server.settings(BUCKET)["config"]}
    made = carol.post("/api/storage/s3", body)
    same(made.status, 200, made.text)
    _end_some(world)
    return world


def _end_some(world: World) -> None:
    pearl = world.pearl
    world.ended = {
        "Succeed": pearl.submit("echo", lines=1),
        "Failed": pearl.submit("echo", fail="no such\nluck"),
        "Timeout": pearl.submit_labelled({"jobRunningTimeout": "1"}, seconds=600),
        "Cancelled": pearl.submit(seconds=600),
    }
    same(world.client.delete(f"/_rest_/job/{world.ended['Cancelled']['jobId']}", force=None).status, 204, "cancel")
    for word, task in world.ended.items():
        pearl.service.wait_for(task["taskID"], word)


def take_slots(world: World) -> None:
    """From here on nothing starts."""
    tasks = [world.pearl.submit("sleep", "admin", seconds=3600) for _ in range(4)]  # a quarter of the slot each
    for task in tasks:
        world.pearl.service.wait_for(task["taskID"], "Running")


def make_list(world: World) -> None:
    """Carol's jobs: transfers each way, a scan and sleeps; the first stands in the middle of its work."""
    pearl, folder = world.pearl, world.folder
    fill(folder / "disk" / "up")
    up = carols_transfer(world, "disk", "up", "store", "up")
    wait_until(lambda: cached(world.as_user("carol"), up["jobId"]) == SMALL, 60, what="the small files are there")
    task, carol = f"{LINKIS}/entrance/{up['taskID']}", pearl.linkis["carol"]
    carol.get(f"{task}/pause")
    wait_until(lambda: carol.get(f"{task}/history").data["history"][-1]["state"] == "paused", 10, what="it is paused")
    take_slots(world)
    world.listed = {
        "up": up,
        "down": carols_transfer(world, "store", "up", "disk", "down"),
        "within": carols_transfer(world, "disk", "up", "away", "copy"),
        "scan": pearl.submit("scan", "carol", path=str(folder / "disk" / "up")),
        "one": pearl.submit("sleep", "carol", seconds=3600),
        "two": pearl.submit("sleep", "carol", seconds=3600),
        "last": pearl.submit("sleep", "carol", seconds=3600),
    }
    for key, name in (("one", "nightly_1"), ("two", "nightlyX1")):
        client = world.as_user("carol")
        same(client.put(f"/_rest_/job/{world.listed[key]['jobId']}", name=name, priority="LOW").status, 200, name)
    for key, level in (("last", "CRITICAL"), ("scan", "BACKGROUND")):
        path = f"{LINKIS}/entrance/{world.listed[key]['taskID']}/priority"
        pearl.linkis["carol"].post(path, {"priority": level})


def carols_transfer(world: World, source: str, path: str, target: str, to: str) -> Names:
    """Submit a transfer between two of her storages."""
    sides: dict[str, Any] = {"from": {"storage": source, "path": path}, "to": {"storage": target, "path": to}}
    return world.pearl.submit("transfer", "carol", **sides)


def fill(folder: Path) -> None:
    """Some small files and one that takes a while."""
    folder.mkdir(parents=True)
    for name in SMALL:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(name.encode() * 100)
    with (folder / LARGE).open("wb") as file:
        file.truncate(LARGE_BYTES)


def empty(folder: Path) -> None:
    """Remove what a row has left."""
    if os.path.lexists(folder):
        shutil.rmtree(folder)


def run(world: World, rows: Sequence[Row], styles: Sequence[str] = tuple(STYLES)) -> tuple[int, list[str]]:
    """Ask rows with the manners of each SDK; return how many held, and what was wrong with the others."""
    held, wrong = 0, []
    for found in rows:
        faults = []
        for style in styles:
            world.style = style
            try:
                found.check(world)
            except Exception as error:
                faults.append(f"{found.chapter} {found.what} ({style}): {type(error).__name__}: {error}")
        held += not faults
        wrong += faults
    return held, wrong
