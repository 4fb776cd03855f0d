"""Preparations whose output is a bucket of a real S3 server: the same CARs as in a folder, whatever is killed meanwhile."""

from __future__ import annotations

import os
import random
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from factories import LINKIS, Service, wait_until
from harness import Context, Harness, recorded
from servers.proxy import Proxy
from servers.seaweedfs import ACCESS_KEY, SECRET_KEY, SeaweedFS
from servers.world import StoreWorld
from singularity import Singularity

from common.task import State
from entrance.core.making import NewPreparation, Sizes, create_preparation, create_storage
from entrance.core.preparations import Preparations
from executors.base import StopRequested

MIB = 1 << 20


class World(StoreWorld):
    """Preparations of the source, into the bucket or the folder."""

    def __init__(self, service: Service, server: SeaweedFS, root: str, folder: Path) -> None:
        super().__init__(service, server, root, folder, target="folder")
        self.api = Singularity(service, folder)

    def preparation(self, name: str, output: str) -> Any:
        """Scan, pack and generate the DAG of the source; return its pieces."""
        self.begin(name, output)
        jobs = self.api.settled(name)
        assert {job["state"] for job in jobs} == {"complete"}, jobs
        self.api.run(name, "source", "start-daggen")
        return self.pieces(name)

    def begin(self, name: str, output: str) -> None:
        body = {"name": name, "sourceStorages": ["source"], "outputStorages": [output], "maxSize": "100MB"}
        self.api.ok("POST", "/preparation", body)
        self.api.ok("POST", f"/preparation/{name}/source/source/start-scan")

    def pieces(self, name: str) -> Any:
        return self.api.pieces(name)

    def pack(self, name: str) -> int:
        """Return the task that packs."""

        def found() -> Any:
            tasks = self.service.http.get(f"{LINKIS}/jobhistory/list?pageSize=50").data["tasks"]
            return [task["taskID"] for task in tasks if task["runType"] == "pack"]

        return int(wait_until(found, 30, what="a pack is there")[0])

    def objects(self) -> dict[str, bytes]:
        return {entry.path: self.bucket.open(entry.path).read() for entry in self.bucket.list()}

    def outgoing(self) -> list[str]:
        return [path.name for path in (self.service.data / "outgoing").iterdir()]


@pytest.fixture
def world(
    make_service: Callable[..., Service],
    object_server: SeaweedFS,
    place: str,
    tmp_path: Path,
) -> World:
    settings = {"STORAGE__ALLOWED_ENDPOINTS": "127.0.0.1", "RETRY__LADDER_SECONDS": "1", "AUTH__TRUST_LOOPBACK": "admin"}
    service = make_service(**settings).start()
    return World(service, object_server, place, tmp_path)


def test_a_bucket_gets_the_cars_that_a_folder_gets_and_they_are_read_back_from_there(world: World, tmp_path: Path) -> None:
    files = {"big.bin": os.urandom(20 * MIB + 3)} | {f"d{n % 3}/{n}.txt": os.urandom(99 * n) for n in range(40)}
    for name, body in files.items():
        (world.source / name).parent.mkdir(exist_ok=True)
        (world.source / name).write_bytes(body)
    same = ("pieceType", "pieceCid", "rootCid", "pieceSize", "fileSize", "storagePath", "numOfFiles")
    pieces, others = world.preparation("there", "bucket"), world.preparation("here", "folder")
    assert [[piece[key] for key in same] for piece in pieces] == [[piece[key] for key in same] for piece in others]
    assert [piece["pieceType"] for piece in pieces] == ["data", "dag"]
    assert world.objects() == {path.name: path.read_bytes() for path in world.target.iterdir()}
    assert (world.uploads(), world.outgoing()) == ([], [])

    for path in world.source.rglob("*.*"):
        path.unlink()
    http = world.service.http
    for path in world.target.iterdir():
        path.unlink()
    world.api.ok("DELETE", "/preparation/here", {})
    for piece in pieces:
        body = world.bucket.open(piece["storagePath"]).read()
        assert http.get(f"/piece/{piece['pieceCid']}").body == body
        part = http.request("GET", f"/piece/{piece['pieceCid']}", headers={"Range": "bytes=70-9999"})
        assert (part.status, part.body) == (206, body[70:10_000])
    assert world.api.ok("GET", f"/piece/{pieces[0]['pieceCid']}/metadata")["carBlocks"]
    known = world.api.ok("GET", "/preparation/there/source/source/explore/d1")["subEntries"]
    version = known[0]["fileVersions"][0]
    assert http.get(f"/api/file/{version['id']}/retrieve").body == files[known[0]["path"]]
    out = tmp_path / "out"
    world.service.cli("extract", "there", str(out))
    assert {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*.*")} == files
    verified = world.service.submit("verify", {"preparation": "there"})
    assert world.service.wait_for(verified) == "Succeed", world.service.log()

    world.api.ok("DELETE", "/preparation/there", {"removeCars": True})
    assert world.objects() == {}

    world.service.stop()
    for path in world.service.data.rglob("*"):
        body = path.read_bytes() if path.is_file() else b""
        assert ACCESS_KEY.encode() not in body and SECRET_KEY.encode() not in body, path


def test_a_car_on_its_way_survives_kill_9_of_its_process_and_of_the_service(world: World) -> None:
    (world.source / "big.bin").write_bytes(os.urandom(40 * MIB))
    world.proxy.bytes_per_second = 12 * MIB
    world.begin("there", "bucket")
    wait_until(lambda: len(world.proxy.parts()) >= 3, 60)
    for victim in world.service.task_processes():
        os.kill(victim, signal.SIGKILL)
    wait_until(lambda: len(world.proxy.parts()) >= 5, 60)
    assert not world.pieces("there"), "what is on its way is none yet"
    os.kill(world.service.pid, signal.SIGKILL)
    world.service.start()
    assert world.service.wait_for(world.pack("there"), timeout_seconds=90) == "Succeed", world.service.log()
    (piece,) = world.pieces("there")
    assert world.service.http.get(f"/piece/{piece['pieceCid']}").body == world.bucket.open(piece["storagePath"]).read()
    assert sum(world.proxy.parts().values()) <= 6 + 2, world.proxy.parts()  # one part for each kill
    assert sorted(world.objects()) == [piece["storagePath"], f"{piece['storagePath']}.idx"]
    assert (world.uploads(), world.outgoing()) == ([], [])
    verified = world.service.submit("verify", {"preparation": "there"})
    assert world.service.wait_for(verified) == "Succeed"


def test_a_pack_that_is_killed_on_its_way_leaves_no_upload_and_no_file(world: World) -> None:
    (world.source / "big.bin").write_bytes(os.urandom(30 * MIB))
    world.proxy.bytes_per_second = 8 * MIB
    world.begin("there", "bucket")
    wait_until(world.uploads, 60)
    task = world.pack("there")
    stages = world.service.http.get(f"{LINKIS}/entrance/{task}/progress").data["progressInfo"]
    assert any(stage["id"].startswith("store") for stage in stages), stages
    world.service.http.get(f"{LINKIS}/entrance/{task}/kill")
    wait_until(lambda: world.service.state(task) == "Cancelled", 20)
    wait_until(lambda: not world.outgoing(), 20)
    world.proxy.bytes_per_second = 0
    world.service.stop()
    world.service.start()  # its janitor looks at once
    wait_until(lambda: not world.uploads(), 60)
    assert not world.pieces("there")
    assert not [name for name in world.objects() if name.endswith(".car")]


# ---- stopped at everything that is said


def preparation(harness: Harness, source: Path, settings: dict[str, Any]) -> None:
    harness.hooks = Preparations(harness.clock, allowed_endpoints=settings["allowed_endpoints"])
    harness.allow(source)
    with harness.tx() as tx:
        from_ = create_storage(tx, user="alice", name="source", type="local", path=str(source), now=0)
        to = create_storage(
            tx, user="alice", name="bucket", type="s3", path=settings["path"], config=settings["config"], now=0
        )
        wanted = NewPreparation(name="there", sources=[from_.id], outputs=[to.id], sizes=Sizes(max_size=100_000_000))
        create_preparation(tx, user="alice", admin=False, wanted=wanted, now=0)
    follow = ["pack", "daggen"]
    harness.add("scan", {"preparation": "there", "source": "source", "follow": follow})
    harness.run(only="scan")


def test_attempts_that_end_at_anything_they_say_are_gone_on_from(
    object_server: SeaweedFS, place: str, tmp_path: Path
) -> None:
    source, bucket = tmp_path / "source", object_server.storage(place)
    source.mkdir()
    (source / "big.bin").write_bytes(random.Random(1).randbytes(9 * MIB))
    (source / "small.txt").write_text("text")
    undisturbed = Harness(tmp_path / "undisturbed")
    (tmp_path / "cars").mkdir()
    undisturbed.prepare(source, tmp_path / "cars", maxSize="100MB", follow=["pack", "daggen"])
    undisturbed.run()
    harness = Harness(tmp_path / "service")
    preparation(harness, source, dict(object_server.settings(place)))
    reached: set[tuple[int, str, int]] = set()
    said: Counter[tuple[int, int, str]] = Counter()

    def stop(kind: str, ctx: Context) -> None:
        said[ctx.task_id, ctx.attempt, kind] += 1
        point = (ctx.task_id, kind, said[ctx.task_id, ctx.attempt, kind])
        if kind in ("own", "publish", "published") and point not in reached:
            reached.add(point)
            raise StopRequested

    while tasks := harness.tasks(State.QUEUED, State.WAITING_RETRY):
        harness.attempt(tasks[0].id, stop)
        harness.recover()
    assert {task.state for task in harness.tasks()} == {State.SUCCEEDED}, harness.states()
    assert len(reached) == 8, "its files, the upload or scratch files, before and after the commit: of a pack and a daggen"
    assert list(bucket.uploads("")) == []
    assert {entry.path: bucket.open(entry.path).read() for entry in bucket.list()} == {
        path.name: path.read_bytes() for path in (tmp_path / "cars").iterdir()
    }
    assert recorded(harness) == recorded(undisturbed)
    assert list((tmp_path / "service/outgoing").iterdir()) == []


def packing(harness: Harness, source: Path, settings: Any) -> int:
    """Scan; return the task that packs."""
    preparation(harness, source, dict(settings))
    (task,) = [task for task in harness.tasks(State.QUEUED) if task.executor == "pack"]
    return task.id


@pytest.mark.parametrize("end", ["aborted", "completed"])
def test_an_upload_that_another_has_ended_meanwhile_costs_no_attempt(
    object_server: SeaweedFS, place: str, tmp_path: Path, end: str
) -> None:
    source, bucket = tmp_path / "source", object_server.storage(place)
    source.mkdir()
    (source / "big.bin").write_bytes(os.urandom(17 * MIB))
    proxy = Proxy(object_server.endpoint, bytes_per_second=16 * MIB)
    harness = Harness(tmp_path / "service")
    task = packing(harness, source, object_server.settings(place, endpoint=proxy.url))
    ended: list[str] = []

    def another(kind: str, ctx: Context) -> None:
        """A pack of the same content, which has found the upload too, or begun it."""
        found = list(bucket.uploads("")) if kind == "step" and proxy.parts() and not ended else []
        for upload in found:
            ended.append(upload.id)
            if end == "aborted":
                bucket.abort(upload.path, upload.id)
                continue
            (made,) = (harness.folder / "outgoing").glob(".*.car.part")
            body, size = made.read_bytes(), bucket.part_bytes(17 * MIB)
            parts = [
                bucket.send_part(upload.path, upload.id, number, body[at : at + size])
                for number, at in enumerate(range(0, len(body), size), 1)
            ]
            bucket.complete(upload.path, upload.id, parts)

    done = harness.attempt(task, another)
    proxy.close()
    assert (done.state, done.attempt, len(ended)) == (State.SUCCEEDED, 1, 1), harness.reports[task].lines
    (car,) = harness.catalogue.cars(1, 0, 10)
    assert [entry.path for entry in bucket.list()] == [car.storage_path, f"{car.storage_path}.idx"]
    assert bucket.stat(car.storage_path).size == car.file_size
    assert list(bucket.uploads("")) == []


def test_a_car_that_goes_before_it_is_recorded_is_sent_again(object_server: SeaweedFS, place: str, tmp_path: Path) -> None:
    source, bucket = tmp_path / "source", object_server.storage(place)
    source.mkdir()
    (source / "small.txt").write_text("text")
    harness = Harness(tmp_path / "service")
    task = packing(harness, source, object_server.settings(place))
    gone: list[str] = []

    def removed(kind: str, ctx: Context) -> None:
        """Another preparation had the same CAR, and is removed with it."""
        paths = [entry.path for entry in bucket.list()] if kind == "step" and not gone else []
        if len(paths) == 2:
            gone.append(paths[0])
            bucket.delete(paths[0])

    assert harness.attempt(task, removed).state is State.WAITING_RETRY
    assert (len(gone), harness.catalogue.cars(1, 0, 10)) == (1, [])
    assert any("before it was recorded" in line for _, line in harness.reports[task].lines)
    assert harness.attempt(task).state is State.SUCCEEDED
    assert [entry.path for entry in bucket.list()] == [gone[0], f"{gone[0]}.idx"]


def test_a_pack_waits_for_the_disk_that_outgoing_leads_to(object_server: SeaweedFS, place: str, tmp_path: Path) -> None:
    source, disk = tmp_path / "source", tmp_path / "disk"
    source.mkdir()
    (source / "small.txt").write_text("text")
    harness = Harness(tmp_path / "service")
    task = packing(harness, source, object_server.settings(place))
    outgoing = harness.folder / "outgoing"
    outgoing.symlink_to(disk)
    assert harness.attempt(task).state is State.WAITING_RETRY
    assert harness.reports[task].lines[-1] == ("ERROR", f"{outgoing}: it is no folder, or a link to one that is not there")
    disk.mkdir()
    assert harness.attempt(task).state is State.SUCCEEDED
