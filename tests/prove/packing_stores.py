"""Group ``packing``: CARs that go into a bucket of a real S3 server, whatever is killed on the way."""

from __future__ import annotations

import os
import random
import signal
import time
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from factories import Service, wait_until
from servers.proxy import Proxy
from servers.seaweedfs import SeaweedFS
from servers.storages import add_storage
from singularity import Singularity

from common.storage.objects import ObjectStorage
from prove import Environment, Miss, claim

_MIB = 1 << 20
ROUNDS = 20
LONGEST_SECONDS = 1.5
"""How long after the last kill the next one may come; a round takes two or three seconds."""


@claim(
    group="packing",
    name="cars-into-a-store",
    wanted="every CAR equal to the one in a folder, nothing half, no upload and no file left, whatever is killed when",
)
def cars_into_a_store(env: Environment, seed: int) -> str:
    """Twenty preparations of a file each, their packs and the service killed with SIGKILL at random moments.

    Then one whose upload somebody else takes away, and one whose pack its user kills.
    """
    server = SeaweedFS(env.scratch / "seaweedfs").start()
    try:
        return _World(env, seed, server).show()
    finally:
        server.stop()


class _World:
    def __init__(self, env: Environment, seed: int, server: SeaweedFS) -> None:
        self._chance = random.Random(seed)
        self._service: Service = env.service(
            STORAGE__ALLOWED_ENDPOINTS="127.0.0.1", RETRY__LADDER_SECONDS="1,1,1,1,1,1", AUTH__TRUST_LOOPBACK="admin"
        ).start()
        self._proxy = Proxy(server.endpoint, bytes_per_second=20 * _MIB)
        server.bucket("cars")
        self._bucket: ObjectStorage = server.storage("cars/kept")
        self._api = Singularity(self._service, env.scratch)
        self._folder = env.scratch / "folder"
        self._folder.mkdir()
        add_storage(self._service.data, "admin", "folder", {"type": "local", "path": str(self._folder)})
        add_storage(self._service.data, "admin", "bucket", server.settings("cars/kept", endpoint=self._proxy.url))

    def show(self) -> str:
        kills, uploading = 0, 0
        for number in range(ROUNDS):
            source = self._source(number)
            self._begin(f"there-{number}", source, "bucket")
            for _ in range(self._chance.randint(1, 3)):
                time.sleep(self._chance.uniform(0.05, LONGEST_SECONDS))
                if self._complete(f"there-{number}"):
                    break
                uploading += bool(list(self._bucket.uploads("")))
                self._kill()
                kills += 1
            wait_until(partial(self._complete, f"there-{number}"), 120, what="the pack is complete")
            self._check(number, source)
        return (
            f"{ROUNDS} CARs equal, {kills} kills, {uploading} of them while an upload was there; "
            f"{self._taken_away(ROUNDS)}; {self._cancelled(ROUNDS + 1)}"
        )

    def _source(self, number: int, mib: int = 0) -> str:
        folder = self._service.data.parent / f"source-{number}"
        folder.mkdir()
        (folder / "file.bin").write_bytes(self._chance.randbytes((mib or self._chance.choice([3, 9, 33])) * _MIB))
        name = f"source-{number}"
        add_storage(self._service.data, "admin", name, {"type": "local", "path": str(folder)})
        return name

    def _begin(self, name: str, source: str, output: str) -> None:
        body = {"name": name, "sourceStorages": [source], "outputStorages": [output], "maxSize": "100MB"}
        self._api.ok("POST", "/preparation", body)
        self._api.ok("POST", f"/preparation/{name}/source/{source}/start-scan")

    def _pieces(self, name: str) -> list[dict[str, Any]]:
        (source,) = self._api.ok("GET", f"/preparation/{name}/piece")
        found: list[dict[str, Any]] = source["pieces"]
        return found

    def _complete(self, name: str) -> bool:
        (source,) = self._api.ok("GET", f"/preparation/{name}")
        packs = [job["state"] for job in source["jobs"] if job["type"] == "pack"]
        if "error" in packs:
            raise Miss(f"the pack of {name} has failed: {source['jobs']}")
        return packs == ["complete"]

    def _kill(self) -> None:
        if self._chance.random() < 0.3:
            os.kill(self._service.pid, signal.SIGKILL)
            self._service.start()
            return
        for process in self._service.task_processes():
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)

    def _check(self, number: int, source: str) -> None:
        """The CAR and its index are those that a folder gets, under the same names, and nothing else is there."""
        self._begin(f"here-{number}", source, "folder")
        wait_until(lambda: self._complete(f"here-{number}"), 60, what="the pack into the folder is complete")
        (piece,) = self._pieces(f"there-{number}")
        name = piece["storagePath"]
        for path in (name, f"{name}.idx"):
            if self._bucket.open(path).read() != (self._folder / path).read_bytes():
                raise Miss(f"{path} is not what a folder gets")
        if {entry.path for entry in self._bucket.list()} != {path.name for path in self._folder.iterdir()}:
            raise Miss("the store has other objects than the folder has files")
        self._check_left()

    def _check_left(self) -> None:
        outgoing = Path(self._service.data / "outgoing")
        wait_until(lambda: not list(outgoing.iterdir()), 20, what="nothing is on its way")
        if left := [upload.path for upload in self._bucket.uploads("")]:
            raise Miss(f"uploads are left: {left}")

    def _taken_away(self, number: int) -> str:
        """Somebody aborts the upload: it is begun anew."""
        source = self._source(number, 33)
        self._begin(f"there-{number}", source, "bucket")
        upload = wait_until(lambda: [u for u in self._bucket.uploads("") if u.path.endswith(".car")], 30)[0]
        self._bucket.abort(upload.path, upload.id)
        wait_until(lambda: self._complete(f"there-{number}"), 60, what="the pack is complete")
        self._check(number, source)
        return "an upload that was taken away is begun anew"

    def _cancelled(self, number: int) -> str:
        """A user kills the pack while its CAR is on its way: nothing of it stays."""
        self._begin(f"there-{number}", self._source(number, 33), "bucket")
        wait_until(lambda: any(u.path.endswith(".car") for u in self._bucket.uploads("")), 30)
        tasks = self._service.http.get("/api/rest_j/v1/jobhistory/list?pageSize=50").data["tasks"]
        running = [task["taskID"] for task in tasks if task["runType"] == "pack" and task["status"] == "Running"]
        for task in running:
            self._service.http.get(f"/api/rest_j/v1/entrance/{task}/kill")
        self._service.stop()
        self._service.start()
        wait_until(lambda: not list(self._bucket.uploads("")), 90, what="the upload is aborted")
        self._check_left()
        if self._pieces(f"there-{number}"):
            raise Miss("a pack that was killed has a piece")
        return "of a pack that is killed nothing is left"
