"""A service that Singularity's clients can speak to as they are: without credentials, over loopback."""

from __future__ import annotations

import itertools
import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from factories import Http, Response, Service, wait_until
from trees import make_tree

_numbers = itertools.count(1)


class Singularity:
    """What its clients do, in the terms of chapter 4."""

    def __init__(self, service: Service, folder: Path) -> None:
        self.service, self.folder = service, folder
        self.http = Http(service.url)

    def call(self, method: str, path: str, body: Any = None, **more: Any) -> Response:
        return self.http.request(method, f"/api{path}", body, **more)

    def ok(self, method: str, path: str, body: Any = None, **more: Any) -> Any:
        """Call and return what a success says."""
        answer = self.call(method, path, body, **more)
        assert 200 <= answer.status < 300, (method, path, answer.status, answer.text)
        return answer.json() if answer.body else None

    def refused(self, status: int, text: str, method: str, path: str, body: Any = None) -> None:
        """The call must be refused with this status and exactly this text."""
        answer = self.call(method, path, body)
        assert (answer.status, answer.json()) == (status, {"err": text})

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

    def jobs(self, preparation: int, type: str = "") -> list[dict[str, Any]]:
        (source,) = self.ok("GET", f"/preparation/{preparation}")
        return [job for job in source["jobs"] if type in ("", job["type"])]

    def settled(self, preparation: int) -> list[dict[str, Any]]:
        """Wait until nothing is ready or processing any more; return the jobs."""

        def done() -> list[dict[str, Any]]:
            jobs = self.jobs(preparation)
            return [] if not jobs or any(j["state"] in ("ready", "processing") for j in jobs) else jobs

        return wait_until(done, 60, what="all jobs have ended", every_seconds=0.05)

    def run(self, preparation: int, source: str, verb: str) -> list[dict[str, Any]]:
        self.ok("POST", f"/preparation/{preparation}/source/{source}/{verb}")
        return self.settled(preparation)

    def pieces(self, preparation: int) -> list[dict[str, Any]]:
        (source,) = self.ok("GET", f"/preparation/{preparation}/piece")
        pieces: list[dict[str, Any]] = source["pieces"]
        return pieces

    # ---- standing still

    def freeze(self, preparation: int, type: str) -> dict[str, Any]:
        """Wait until a job of this type is processing, and stop the task processes there; return the job."""

        def found() -> dict[str, Any] | None:
            for job in self.jobs(preparation, type):
                processes = self._task_processes() if job["state"] == "processing" else []
                for pid in processes:
                    os.kill(pid, signal.SIGSTOP)
                if processes:
                    return self.jobs(preparation, type)[0]
            return None

        job: dict[str, Any] = wait_until(found, 20, what=f"a {type} is processing", every_seconds=0.002)
        assert job["state"] == "processing"
        return job

    def _task_processes(self) -> list[int]:
        """The children of the service's fork server."""
        found = set(self.service.processes())
        servers = {pid for pid in found if b"forkserver" in Path(f"/proc/{pid}/cmdline").read_bytes()}
        parents = {pid: _parent(pid) for pid in servers}
        return [pid for pid, parent in parents.items() if parent in servers]


def _parent(pid: int) -> int:
    with suppress(OSError):
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return 0


def _start(tmp_path_factory: pytest.TempPathFactory, **settings: str) -> Iterator[Singularity]:
    folder = tmp_path_factory.mktemp("singularity")
    service = Service(data=folder / "data", settings={"AUTH__TRUST_LOOPBACK": "admin", **settings}).start()
    service.cli("storage", "allow", str(folder))
    yield Singularity(service, folder)
    service.cli("stop", check=False)


@pytest.fixture(scope="session")
def singularity(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Singularity]:
    """A running service."""
    yield from _start(tmp_path_factory)


@pytest.fixture(scope="session")
def busy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Singularity]:
    """A running service whose one slot is taken: what is started stays ready."""
    for found in _start(tmp_path_factory, SCHEDULER__SLOTS="1"):
        tasks = [found.service.submit("sleep", {"seconds": 3600}) for _ in range(4)]
        for task in tasks:
            found.service.wait_for(task, "Running")
        yield found
