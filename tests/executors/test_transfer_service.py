"""Transfers by a running service with a real S3 server: kill -9 of tasks and of the service, kill, keys."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from factories import LINKIS, Service, wait_until
from servers.seaweedfs import ACCESS_KEY, SECRET_KEY, SeaweedFS
from servers.world import StoreWorld

MIB = 1 << 20


class World(StoreWorld):
    """Transfers between the storages."""

    def submit(self, source: str, target: str, **more: Any) -> int:
        params = {"from": {"storage": source}, "to": {"storage": target}, **more}
        return self.service.submit("transfer", params)


@pytest.fixture
def world(
    make_service: Callable[..., Service],
    object_server: SeaweedFS,
    place: str,
    tmp_path: Path,
) -> World:
    service = make_service(STORAGE__ALLOWED_ENDPOINTS="127.0.0.1", RETRY__LADDER_SECONDS="1").start()
    return World(service, object_server, place, tmp_path, target="target")


def test_an_upload_survives_kill_9_of_its_process_and_of_the_service(world: World) -> None:
    data = os.urandom(50 * MIB + 5)
    (world.source / "big").write_bytes(data)
    small = {f"small/{n}": os.urandom(100) for n in range(200)}
    for name, body in small.items():
        (world.source / name).parent.mkdir(exist_ok=True)
        (world.source / name).write_bytes(body)
    world.proxy.bytes_per_second = 12 * MIB
    task = world.submit("source", "bucket")
    wait_until(lambda: len(world.proxy.parts()) >= 3, 60)
    for victim in world.service.task_processes():
        os.kill(victim, signal.SIGKILL)
    wait_until(lambda: len(world.proxy.parts()) >= 5, 60)
    os.kill(world.service.pid, signal.SIGKILL)
    world.service.start()
    assert world.service.wait_for(task, timeout_seconds=90) == "Succeed", world.service.log()
    assert world.bucket.open("big").read() == data
    assert {name: world.bucket.open(name).read() for name in small} == small
    assert sum(world.proxy.parts().values()) <= 7 + 2, world.proxy.parts()  # one part for each kill
    assert world.uploads() == []


def test_a_download_survives_kill_9_and_a_killed_upload_leaves_nothing(world: World) -> None:
    data = os.urandom(60 * MIB)
    world.bucket.put("big", iter([data]))
    task = world.submit("bucket", "target")
    wait_until(lambda: any(p.stat().st_size > 4 * MIB for p in world.target.glob(".*.part")), 60)
    for victim in world.service.task_processes():
        os.kill(victim, signal.SIGKILL)
    assert world.service.wait_for(task, timeout_seconds=90) == "Succeed"
    assert (world.target / "big").read_bytes() == data
    assert [p.name for p in world.target.iterdir()] == ["big"]

    (world.source / "again").write_bytes(data)
    world.proxy.bytes_per_second = 8 * MIB
    task = world.submit("source", "bucket")
    wait_until(world.uploads, 60)
    world.service.http.get(f"{LINKIS}/entrance/{task}/kill")
    wait_until(lambda: world.service.wait_for(task, timeout_seconds=10) == "Cancelled", 20)
    world.proxy.bytes_per_second = 0
    world.service.stop()
    world.service.start()  # its janitor looks at once
    wait_until(lambda: not world.uploads(), 60)


def test_keys_are_in_no_file_of_the_data_folder_and_in_no_answer(world: World) -> None:
    (world.source / "file").write_bytes(b"x")
    task = world.submit("source", "bucket")
    assert world.service.wait_for(task, timeout_seconds=60) == "Succeed"
    assert world.bucket.open("file").read() == b"x"
    answers = [
        world.service.http.get(f"{LINKIS}/jobhistory/{task}/get").body,
        world.service.http.get(f"{LINKIS}/entrance/{task}/log").body,
        world.service.http.get("/api/storage").body,
    ]
    world.service.stop()
    files = [path.read_bytes() for path in world.service.data.rglob("*") if path.is_file()]
    for body in answers + files:
        assert ACCESS_KEY.encode() not in body
        assert SECRET_KEY.encode() not in body
