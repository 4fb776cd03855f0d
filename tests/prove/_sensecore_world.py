"""Real transfers in every state that SenseCore's list can show, for the checks of its contract."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from factories import LINKIS, Http, Service, wait_until
from servers.seaweedfs import SeaweedFS

from prove import Environment, Miss

SPACE = "6794a734-54e7-11ed-b7c4-76337673fb0d"
PATH = f"/aids/aidmp/data/v2/dataSpaces/{SPACE}/task:list"
HUGE_BYTES, HUGE_FILES = (1 << 44) - 4096, 513  # sparse, the largest that a file may be; together above 2^53
LARGE_BYTES = 6 << 30
BUCKET = "sensecore"
WEATHER = {"repoId": "17", "repoName": "Weather-2023 100%_*", "commitMsg": "nightly"}


def same(found: object, wanted: object, what: str) -> None:
    """Raises Miss."""
    if found != wanted:
        raise Miss(f"{what}: {found!r}, wanted {wanted!r}")


@dataclass
class World:
    """A service with real transfers in every state, by a word for each; clients over loopback act as alice."""

    service: Service
    folder: Path
    alice: Http
    uuids: dict[str, str] = field(default_factory=dict)  # word -> UUID, in the order in which they were made
    numbers: dict[str, int] = field(default_factory=dict)
    states: dict[str, int] = field(default_factory=dict)  # what each must be shown as
    types: dict[str, int] = field(default_factory=dict)

    def listed(self, body: Any = None) -> dict[str, Any]:
        answer = Http(self.service.url).request("POST", PATH, body)
        same(answer.status, 200, f"{body}: {answer.text}")
        found: dict[str, Any] = answer.json()
        return found

    def words(self, found: Mapping[str, Any]) -> list[str]:
        """The tasks of an answer by their words."""
        by_uuid = {uuid: word for word, uuid in self.uuids.items()}
        return [by_uuid[task["id"]] for task in found["tasks"]]

    def newest(self, wanted: Callable[[str], bool] = lambda word: True) -> list[str]:
        return [word for word in reversed(self.uuids) if wanted(word)]

    def submit(self, word: str, source: str, target: str, state: int, type: int, **more: Any) -> int:
        """Submit a transfer of alice's; ``source`` and ``target`` are ``storage:path``."""
        labels = {"engineType": "transfer", **more.pop("labels", {})}
        (one, path), (other, to) = source.split(":"), target.split(":")
        params = {"from": {"storage": one, "path": path}, "to": {"storage": other, "path": to}, "dataSpaceId": SPACE, **more}
        body = {"executionContent": {"code": json.dumps(params), "runType": "transfer"}, "labels": labels}
        data = self.alice.post(f"{LINKIS}/entrance/submit", body).data
        self.uuids[word], self.states[word], self.types[word] = data["jobId"], state, type
        self.numbers[word] = int(data["taskID"])
        return self.numbers[word]

    def steer(self, verb: str, word: str) -> None:
        same(self.alice.get(f"{LINKIS}/entrance/{self.numbers[word]}/{verb}").status, 200, f"{verb} {word}")

    def moving(self, word: str) -> None:
        """Wait until its large file is on its way."""
        path = f"{LINKIS}/entrance/{self.numbers[word]}/progress"
        wait_until(lambda: self.alice.get(path).data["bytesDone"] > 1 << 20, 60, what=f"{word} moves")


def make_world(env: Environment, server: SeaweedFS) -> World:
    settings = {"AUTH__TRUST_LOOPBACK": "alice", "SCHEDULER__SLOTS": "1", "STORAGE__ALLOWED_ENDPOINTS": "127.0.0.1"}
    service, folder = env.service(**settings).start(), env.scratch / "storages"
    world = World(service, folder, service.user("alice"))
    _make_storages(world, server)
    world.submit("out", "disk:small", "store:out", 2, 2, **WEATHER)
    service.wait_for(world.numbers["out"], "Succeed")
    world.submit("in", "store:out", "disk:in", 2, 1, repoName="Große Daten")
    world.submit("within", "disk:small", "away:copy", 2, 1)
    world.submit("huge", "disk:huge", "away:huge", 2, 1)
    world.submit("some failed", "disk:small", "away:blocked", 3, 1)
    world.submit("not there", "store:nothing", "disk:x", 3, 1)
    world.submit("too long", "disk:large", "store:too-long", 3, 2, labels={"jobRunningTimeout": "1"})
    for word, end in (("too long", "Timeout"), ("some failed", "Failed"), ("not there", "Failed"), ("huge", "Succeed")):
        same(service.wait_for(world.numbers[word], timeout_seconds=120), end, word)
    world.submit("cancelled", "disk:large", "store:cancelled", 4, 2)
    world.moving("cancelled")
    world.steer("kill", "cancelled")
    world.submit("paused", "store:out", "disk:paused", 1, 1)
    world.steer("pause", "paused")
    world.states["paused"] = 1 if "running" in _history(world, "paused") else 0
    world.submit("halted", "disk:large", "store:halted", 1, 2, **WEATHER)
    world.moving("halted")
    world.steer("pause", "halted")
    wait_until(lambda: _history(world, "halted")[-1] == "paused", 10, what="halted is paused")
    world.submit("running", "disk:large", "store:running", 1, 2)
    world.moving("running")
    for _ in range(3):  # with it they take the whole slot
        service.wait_for(service.submit("sleep", {"seconds": 3600}), "Running")
    for process in service.task_processes():  # they stand still
        os.kill(process, signal.SIGSTOP)
    for word in ("first", "second"):
        world.submit(f"{word} in the queue", "disk:small", "store:later", 0, 2)
    world.submit("paused before it ran", "disk:small", "away:later", 0, 1)
    world.steer("pause", "paused before it ran")
    return world


def _make_storages(world: World, server: SeaweedFS) -> None:
    """Folders ``disk`` and ``away`` and the bucket ``store``, with what is to be moved."""
    disk, away = world.folder / "disk", world.folder / "away"
    for path in (disk / "small", disk / "large", disk / "huge", away / "huge", away / "blocked" / "a"):
        path.mkdir(parents=True)
    for name, size in (("a", 1000), ("b", 1001), ("c", 1002)):
        (disk / "small" / name).write_bytes(name.encode() * size)
    for path in [disk / "large" / "file", *(side / "huge" / f"{n:03}" for side in (disk, away) for n in range(HUGE_FILES))]:
        with path.open("wb") as file:
            file.truncate(LARGE_BYTES if path.name == "file" else HUGE_BYTES)
        os.utime(path, ns=(0, 0))  # the same on both sides: what is there already is not moved
    server.bucket(BUCKET)
    world.service.cli("storage", "allow", str(world.folder))
    config = {**server.settings(BUCKET)["config"], "force_path_style": "true"}
    for type, body in (
        ("local", {"name": "disk", "path": str(disk)}),
        ("local", {"name": "away", "path": str(away)}),
        ("s3", {"name": "store", "path": f"{BUCKET}/prefix", "config": config}),
    ):
        made = world.alice.post(f"/api/storage/{type}", body)
        same(made.status, 200, made.text)


def _history(world: World, word: str) -> list[str]:
    data = world.alice.get(f"{LINKIS}/entrance/{world.numbers[word]}/history").data
    return [entry["state"] for entry in data["history"]]
