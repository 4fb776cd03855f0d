"""Scenes of the four-doors scenario around transfers to a bucket, which take turns with packs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from servers.proxy import Proxy
from servers.seaweedfs import ACCESS_KEY, SECRET_KEY, SeaweedFS

from prove._day import Day, expect
from prove._day_packs import SOURCE, packs
from prove._doors import LONG

_MIB = 1 << 20


@contextmanager
def storages(day: Day, folder: Path, server: SeaweedFS) -> Iterator[None]:
    """Storages of ann's, made through Singularity: a folder, a bucket, the same over a slow line, and one that is gone."""
    doors = day.doors
    folder.mkdir()
    for n in range(4):
        (folder / f"{n}.bin").write_bytes(day.chance.randbytes(12 * _MIB))
    day.service.cli("storage", "allow", str(folder))
    doors.singularity("POST", "/storage/local", {"name": "exports", "path": str(folder)})
    slow, gone = Proxy(server.endpoint, bytes_per_second=2 * _MIB), Proxy(server.endpoint)
    keys = {"accessKeyId": ACCESS_KEY, "secretAccessKey": SECRET_KEY}
    for name, endpoint in (("bucket", server.endpoint), ("slow", slow.url), ("gone", gone.url)):
        config = {**keys, "endpoint": endpoint, "region": "us-east-1"}
        body = {"name": name, "path": f"day/{name}", "config": config, "clientConfig": {"lowlevelRetries": 1}}
        doors.singularity("POST", "/storage/s3/other", body)
    gone.close()
    yield
    slow.close()


def _transfer(day: Day, target: str, path: str = "", **labels: str) -> int:
    """Submit a transfer of the folder, or of a path in it, through Linkis."""
    where = {"storage": "exports", **({"path": path} if path else {})}
    return day.doors.submit("transfer", {"from": where, "to": {"storage": target}}, **labels)


def one_after_another(day: Day, first: int, second: int) -> None:
    """One pack goes through every door: submitted, raised, overtaking, paused, shown, cancelled; a transfer beside it."""
    doors = day.doors
    one, left = packs(doors)[first][0], packs(doors)[second][0]
    day.step(f"{day.kill(left)} cancels a paused pack", doors.look(left, "cancelled"))
    doors.singularity("POST", f"{SOURCE}/start-pack/{first}")
    day.step("Singularity starts the other", doors.look(one, "running"))
    older = [doors.submit("sleep", LONG), _transfer(day, "slow")]
    day.chance.shuffle(older)
    pack = doors.submit("pack", {"job": second})
    waiting = [doors.look(task, "queued") for task in (*older, pack)]
    day.step("Linkis submits a sleep, a transfer and last a pack, which all wait", *waiting)
    day.priority(pack, "URGENT")
    day.step("BlackPearl sets the pack URGENT", doors.look(pack, "queued"))
    doors.singularity("POST", f"{SOURCE}/pause-pack/{first}")
    running = doors.look(pack, "running")
    still = [doors.look(task, "queued") for task in older]
    day.step("Singularity pauses the pack that runs: the new one overtakes both", doors.look(one, "paused"), running, *still)
    changed = doors.singularity("POST", f"{SOURCE}/pause-pack/{second}")
    expect([job["taskId"] for job in changed], [pack])
    told = "Singularity pauses it: sleep and transfer run, SenseCore lists the transfer"
    day.step(told, doors.look(pack, "paused"), *[doors.look(task, "running") for task in older])
    (listed,) = doors.sensecore({"page_no": 1, "page_size": 10, "transfer_type": 2})["tasks"]
    expect((listed["source_path"], listed["oss_config"]["access_key"]), ("/", ""))
    for task in day.chance.sample([*older, pack], 3):
        day.step(f"{day.kill(task)} cancels task {task}", doors.look(task, "cancelled"))


def transfers(day: Day, pack: int) -> None:
    """A transfer is paused in each of its states; then each way that one can end."""
    doors = day.doors
    task = packs(doors)[pack][0]
    doors.singularity("POST", f"{SOURCE}/start-pack/{pack}")
    moved = _transfer(day, "slow")
    told = "Singularity starts a pack, Linkis submits a transfer, which waits"
    day.step(told, doors.look(task, "running"), doors.look(moved, "queued"))
    day.step(f"{day.pause(moved)} pauses it", doors.look(moved, "paused before it ran"))
    day.step(f"{day.resume(moved)} lets it go on", doors.look(moved, "queued"))
    doors.singularity("POST", f"{SOURCE}/pause-pack/{pack}")
    day.step("Singularity pauses the pack: the transfer runs", doors.look(task, "paused"), doors.look(moved, "running"))
    day.step(f"{day.pause(moved)} pauses it", doors.look(moved, "paused"))
    doors.singularity("POST", f"{SOURCE}/start-pack/{pack}")
    told = f"Singularity starts the pack, {day.resume(moved)} lets the transfer go on, which waits"
    day.step(told, doors.look(task, "running"), doors.look(moved, "queued again"))
    doors.singularity("POST", f"{SOURCE}/pause-pack/{pack}")
    doors.look(moved, "running")
    day.step(f"Singularity pauses the pack, {day.kill(moved)} cancels the transfer", doors.look(moved, "cancelled"))

    ends = {
        "succeeded": _transfer(day, "bucket"),
        "failed": _transfer(day, "bucket", "none"),
        "timed out": _transfer(day, "slow", jobRunningTimeout="2"),
        "waiting to retry": _transfer(day, "gone"),
    }
    seen = [doors.look(task, state, timeout_seconds=60) for state, task in ends.items()]
    day.step("Linkis submits four that end in their own ways", *seen)
    lost = ends["waiting to retry"]
    day.step(f"{day.kill(lost)} cancels the one that waits", doors.look(lost, "cancelled"))
