"""Group ``doors``: storages and transfers."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from factories import Service, wait_until
from servers.proxy import Proxy
from servers.seaweedfs import ACCESS_KEY, SECRET_KEY, SeaweedFS
from servers.storages import add_storage

from common.storage.objects import ObjectStorage
from prove import Environment, Miss, claim
from prove._client import Client

_MIB = 1 << 20
_LARGE_BYTES = 1 << 30
_PART_BYTES = 8 * _MIB
_SMALL_FILES = 2_000


def _make_source(folder: Path, seed: int) -> dict[str, str]:
    """Fill a folder with one large and many small files; return the SHA-256 of each."""
    random_ = random.Random(seed)
    sums = {}
    for n in range(_SMALL_FILES):
        path = folder / f"small/{n % 40:02}/{n:04}.bin"
        path.parent.mkdir(parents=True, exist_ok=True)
        data = random_.randbytes(random_.randint(0, 32 << 10))
        path.write_bytes(data)
        sums[str(path.relative_to(folder))] = hashlib.sha256(data).hexdigest()
    block, whole = random_.randbytes(_MIB), hashlib.sha256()
    with (folder / "large.bin").open("wb") as file:
        for n in range(_LARGE_BYTES // _MIB):
            data = n.to_bytes(8, "big") + block[8:]
            file.write(data)
            whole.update(data)
    sums["large.bin"] = whole.hexdigest()
    return sums


def _sum(blocks: Iterator[bytes]) -> str:
    made = hashlib.sha256()
    for block in blocks:
        made.update(block)
    return made.hexdigest()


def _sums_of_bucket(storage: ObjectStorage) -> dict[str, str]:
    found = {}
    for entry in storage.list():
        with storage.open(entry.path) as stream:
            found[entry.path] = _sum(iter(lambda stream=stream: stream.read(_MIB), b""))  # type: ignore[misc]
    return found


def _sums_of_folder(folder: Path) -> dict[str, str]:
    found = {}
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as stream:
                found[str(path.relative_to(folder))] = _sum(iter(lambda stream=stream: stream.read(_MIB), b""))  # type: ignore[misc]
    return found


def _kill_twice(service: Service, client: Client, moved: int, how_far: int) -> None:
    """kill -9 of the task once a third has moved, of the service once two thirds have."""

    def far(part: int) -> bool:
        return client.data("GET", f"/entrance/{moved}/progress")["bytesDone"] >= how_far * part // 3

    wait_until(lambda: far(1), 300)
    victims = service.task_processes()
    if not victims:
        raise Miss("there was no process of the transfer to kill")
    for victim in victims:
        os.kill(victim, signal.SIGKILL)
    wait_until(lambda: far(2), 300)
    own = service.pid
    os.kill(own, signal.SIGKILL)
    wait_until(lambda: not service.running(own), 10)
    service.start()


@claim(
    group="doors",
    name="transfer-s3",
    wanted="1 GiB and 2,000 small objects to a real S3 server and back, kill -9 of task and service each way: checksums "
    "right, at most one part sent again for each kill, no upload left, keys in no file of the data folder, answer or log",
)
def transfer_s3(env: Environment, seed: int) -> str:
    """Through a proxy that counts the requests for parts."""
    server = SeaweedFS(env.scratch / "seaweedfs")
    try:
        return _transfer_s3(env, server.start(), seed)
    finally:
        server.stop()


def _transfer_s3(env: Environment, server: SeaweedFS, seed: int) -> str:
    source, back = env.scratch / "source", env.scratch / "back"
    source.mkdir()
    back.mkdir()
    sums = _make_source(source, seed)
    total = sum(path.stat().st_size for path in source.rglob("*") if path.is_file())
    server.bucket("prove")
    bucket = server.storage("prove/transfer")
    proxy = Proxy(server.endpoint)
    service = env.service(STORAGE__ALLOWED_ENDPOINTS="127.0.0.1", RETRY__LADDER_SECONDS="1").start()
    add_storage(service.data, "admin", "bucket", server.settings("prove/transfer", endpoint=proxy.url))
    for name, folder in (("source", source), ("back", back)):
        add_storage(service.data, "admin", name, {"type": "local", "path": str(folder)})

    tasks, seconds = [], []
    for one, other in (("source", "bucket"), ("bucket", "back")):
        client = Client(service)
        begin = time.monotonic()
        task = client.submit("transfer", {"from": {"storage": one}, "to": {"storage": other}})
        _kill_twice(service, client, task, total)
        state = service.wait_for(task, timeout_seconds=300)
        seconds.append(time.monotonic() - begin)
        tasks.append(task)
        if state != "Succeed":
            raise Miss(f"{one} to {other}: {state}: {Client(service).log(task)[-3:]}")
    if (there := _sums_of_bucket(bucket)) != sums:
        raise Miss(f"in the bucket {len(there.items() ^ sums.items())} objects differ")
    if (home := _sums_of_folder(back)) != sums:
        raise Miss(f"back in the folder {len(home.items() ^ sums.items())} files differ")
    parts = proxy.parts()
    again = sum(parts.values()) - _LARGE_BYTES // _PART_BYTES
    left = len(list(bucket.uploads("")))
    found = _keys_in(service, tasks)
    figure = (
        f"up {total / _MIB / seconds[0]:.0f} MiB/s, down {total / _MIB / seconds[1]:.0f} MiB/s with two kills each; "
        f"{len(sums)} checksums right; {again} of {len(parts)} parts sent again; {left} uploads left; "
        f"keys in {len(found)} places"
    )
    if again > 2 or left or found:
        raise Miss(f"{figure} {found[:3]}")
    return figure


def _keys_in(service: Service, tasks: list[int]) -> list[str]:
    """Return where one of the keys is found: answers, then files of the data folder once the service has stopped."""
    keys = (ACCESS_KEY.encode(), SECRET_KEY.encode())
    found = []
    for task in tasks:
        for path in (f"/jobhistory/{task}/get", f"/entrance/{task}/log?size=10000", f"/entrance/{task}/history"):
            body = service.http.get(f"/api/rest_j/v1{path}").body
            found += [path] if any(key in body for key in keys) else []
    found += ["/api/storage"] if any(key in service.http.get("/api/storage").body for key in keys) else []
    service.stop()
    for path in service.data.rglob("*"):
        if path.is_file() and any(key in path.read_bytes() for key in keys):
            found.append(path.name)
    return found
