"""A client of Singularity's API for tests and claims: what its users do, in the terms of chapter 4 of the contract."""

from __future__ import annotations

import itertools
import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from factories import LINKIS, Http, Response, Service, wait_until
from trees import make_tree

_numbers = itertools.count(1)


class Singularity:
    """What its clients do, in the terms of chapter 4."""

    def __init__(self, service: Service, folder: Path) -> None:
        self.service, self.folder = service, folder
        self.http = Http(service.url)
        self.called: set[str] = set()  # "METHOD /path", as answered with a success

    def call(self, method: str, path: str, body: Any = None, **more: Any) -> Response:
        answer = self.http.request(method, f"/api{path}", body, **more)
        if answer.status < 300:
            self.called.add(f"{method} {path}")
        return answer

    def ok(self, method: str, path: str, body: Any = None, **more: Any) -> Any:
        """Call and return what a success says."""
        answer = self.call(method, path, body, **more)
        assert 200 <= answer.status < 300, (method, path, answer.status, answer.text)
        return answer.json() if answer.body else None

    def refused(self, status: int, text: str, method: str, path: str, body: Any = None) -> None:
        """The call must be refused with this status and exactly this text."""
        answer = self.call(method, path, body)
        said = (answer.status, answer.json())
        assert said == (status, {"err": text}), f"{method} {path}: {said}, wanted {status} {text!r}"

    # ---- making things

    def name(self, kind: str) -> str:
        return f"{kind}-{next(_numbers)}"

    def tree(self, tree: Mapping[str, Any]) -> Path:
        return make_tree(self.folder / self.name("tree"), tree)

    def storage(self, folder: Path, name: str = "") -> str:
        name = name or self.name("storage")
        self.ok("POST", "/storage/local", {"name": name, "path": str(folder)})
        return name

    def preparation(self, tree: Mapping[str, Any] | Path, *, output: bool = False, **more: Any) -> tuple[int, str]:
        """Return the id of a preparation of one source, and the source's name."""
        source = self.storage(tree if isinstance(tree, Path) else self.tree(tree))
        outputs = [self.storage(self.tree({}))] if output else []
        body = {"name": self.name("prep"), "sourceStorages": [source], "outputStorages": outputs, "maxSize": "3MB", **more}
        return self.ok("POST", "/preparation", body)["id"], source

    # ---- looking

    def jobs(self, preparation: int | str, type: str = "") -> list[dict[str, Any]]:
        (source,) = self.ok("GET", f"/preparation/{preparation}")
        return [job for job in source["jobs"] if type in ("", job["type"])]

    def settled(self, preparation: int | str) -> list[dict[str, Any]]:
        """Wait until nothing is ready or processing any more; return the jobs."""

        def done() -> list[dict[str, Any]]:
            jobs = self.jobs(preparation)
            return [] if not jobs or any(j["state"] in ("ready", "processing") for j in jobs) else jobs

        return wait_until(done, 60, what="all jobs have ended", every_seconds=0.05)

    def run(self, preparation: int | str, source: str, verb: str) -> list[dict[str, Any]]:
        self.ok("POST", f"/preparation/{preparation}/source/{source}/{verb}")
        return self.settled(preparation)

    def pieces(self, preparation: int | str) -> list[dict[str, Any]]:
        (source,) = self.ok("GET", f"/preparation/{preparation}/piece")
        pieces: list[dict[str, Any]] = source["pieces"]
        return pieces

    def push(self, preparation: int | str, source: str, path: str) -> tuple[Any, int]:
        """Register a file and put it into a pack; return the file, and what the second call answers."""
        file = self.ok("POST", f"/preparation/{preparation}/source/{source}/file", {"path": path})
        return file, self.ok("POST", f"/file/{file['id']}/prepare_to_pack")

    # ---- standing still

    @contextmanager
    def held(self) -> Iterator[None]:
        """Take all slots of the service, so that whatever is started meanwhile stays ready."""

        def queue() -> Any:
            return self.service.http.get(f"{LINKIS}/service/queue").data

        wait_until(lambda: not queue()["slotsUsed"], 60, what="nothing runs")
        tasks = []
        for number in range(4 * int(queue()["slots"])):  # each takes a quarter of a slot
            labels = {"engineType": "sleep", "userCreator": f"admin-HOLD{number}"}
            tasks.append(self.service.submit("sleep", {"seconds": 3600}, labels=labels))
        wait_until(lambda: queue()["slotsUsed"] == queue()["slots"], 60, what="all slots are taken")
        try:
            yield
        finally:
            self.service.http.post(f"{LINKIS}/entrance/actions", {"action": "kill", "ids": tasks})

    def freeze(self, preparation: int | str, type: str) -> dict[str, Any]:
        """Wait until a job of this type is processing, and stop the task processes there; return the job."""

        def found() -> dict[str, Any] | None:
            for job in self.jobs(preparation, type):
                processes = self.service.task_processes() if job["state"] == "processing" else []
                for pid in processes:
                    os.kill(pid, signal.SIGSTOP)
                if processes:
                    return self.jobs(preparation, type)[0]
            return None

        job: dict[str, Any] = wait_until(found, 20, what=f"a {type} is processing", every_seconds=0.002)
        assert job["state"] == "processing"
        return job
