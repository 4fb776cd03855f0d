"""Group ``steering``: the power goes at random moments."""

from __future__ import annotations

import hashlib
import http.client
import os
import random
import signal
import threading
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from factories import Service, wait_until

from prove import Environment, Miss, claim
from prove._client import Client
from prove._disk import Disk

CUTS = 20
DISK_BYTES = 2 << 30
_ENDS = ("Succeed", "Failed", "Cancelled", "Timeout")
_BROKEN = (OSError, http.client.HTTPException, ValueError, AssertionError, KeyError)


@dataclass
class _Known:
    """What the service has said yes to. Filled by threads while the power may go at any moment."""

    tasks: list[int] = field(default_factory=list)
    kills: set[int] = field(default_factory=set)  # asked for
    killed: set[int] = field(default_factory=set)  # answered
    ends: dict[int, str] = field(default_factory=dict)  # words that a client has seen
    scans: dict[int, str] = field(default_factory=dict)  # task -> name of its preparation


class _User(threading.Thread):
    """Submits, kills, pauses and looks until told to stop; writes down each answer."""

    def __init__(self, service: Service, known: _Known, seed: str, sources: tuple[Path, Path], turn: int) -> None:
        super().__init__(daemon=True)
        self._service, self._known, self._random, self._turn = service, known, random.Random(seed), turn
        self._source, self._outputs = sources
        self.stopped = threading.Event()

    def run(self) -> None:
        client: Client | None = None
        number = 0
        while not self.stopped.is_set():
            try:
                client = client or Client(self._service)
                if number % 400 == 5:
                    self._prepare(client, f"p{self._turn}-{number}")
                self._step(client)
            except _BROKEN:
                client = None
                time.sleep(0.01)
            number += 1

    def _prepare(self, client: Client, name: str) -> None:
        output = self._outputs / name
        output.mkdir()
        _sync(output, self._outputs)  # the folder is the user's
        params = {"path": str(self._source), "output": str(output), "name": name, "maxSize": 2_000_000}
        task = client.submit("scan", {**params, "follow": ["pack", "daggen"]}, "PREPARE")
        self._known.scans[task] = name
        self._known.tasks.append(task)

    def _step(self, client: Client) -> None:
        choose, known = self._random, self._known
        match choose.choices(("submit", "kill", "pause", "look"), weights=(5, 1, 1, 3))[0]:
            case "submit":
                executor = choose.choice(("echo", "sleep"))
                params = {"lines": choose.randint(1, 30), "seconds": round(choose.uniform(0, 0.4), 2), "steps": 5}
                known.tasks.append(client.submit(executor, params, f"P{choose.randint(0, 2)}"))
            case "kill" if mine := [t for t in known.tasks[-20:] if t not in known.scans]:
                known.kills.add(task := choose.choice(mine))
                if client.call("GET", f"/entrance/{task}/kill")["status"] == 0 and client.status(task) == "Cancelled":
                    known.killed.add(task)
            case "pause" if known.tasks:
                task = choose.choice(known.tasks[-20:])
                if client.call("GET", f"/entrance/{task}/pause")["status"] == 0:
                    client.call("GET", f"/entrance/{task}/resume")
            case "look" if known.tasks:
                task = choose.choice(known.tasks[-40:])
                if (word := client.status(task)) in _ENDS:
                    known.ends[task] = word
            case _:
                pass


def _stop_all(service: Service) -> list[int]:
    """Stop every process of the service where it stands; return them."""
    stopped: list[int] = []
    while fresh := [p for p in service.processes() if p not in stopped]:
        for pid in sorted(fresh, key=lambda p: p != service.pid):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
        stopped += fresh
    return stopped


def _sync(*folders: Path) -> None:
    for folder in folders:
        fd = os.open(folder, os.O_RDONLY)
        os.fsync(fd)
        os.close(fd)


def _cars(folder: Path) -> dict[str, str]:
    """Final names of the CARs below a folder, with digests of what they hold."""
    return {str(p.relative_to(folder)): _digest(p) for p in folder.rglob("*.car") if not p.name.startswith(".")}


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@claim(
    group="steering",
    name="power-loss",
    wanted="power cut at 20 random moments while tasks are submitted, run, killed, paused, prepared: nothing acknowledged "
    "lost, no CAR under its final name with wrong bytes, the work goes on",
    timeout_seconds=900,
)
def power_loss(env: Environment, seed: int) -> str:
    """Data and output folder lie on a file system of their own; each cut leaves what it had on its disk (``_disk``).

    Packing is deterministic: every CAR must be, to the byte, the one of that name which an undisturbed run made.
    """
    chance = random.Random(seed)
    source = env.scratch / "source"
    source.mkdir()
    for n in range(40):
        (source / f"{n:02d}.bin").write_bytes(chance.randbytes(chance.randint(1, 400_000)))
    disk = Disk(env.scratch, DISK_BYTES)
    try:
        return _cut_often(env, seed, chance, disk, source)
    finally:
        env.close()
        env.services.clear()
        disk.close()


def _cut_often(env: Environment, seed: int, chance: random.Random, disk: Disk, source: Path) -> str:
    service = env.service(f"{disk.at.name}/data", SCHEDULER__SLOTS="2", RETRY__MAX_RETRIES="10").start()
    outputs = disk.at / "out"
    outputs.mkdir()
    _sync(outputs, disk.at)
    for folder in (source, outputs):
        service.cli("storage", "allow", str(folder))
    reference = _reference(service, source, outputs)
    known, seen, slowest = _Known(), Counter[str](), 0.0
    for turn in range(CUTS):
        users = [_User(service, known, f"{seed}-{turn}-{n}", (source, outputs), turn * 10 + n) for n in range(2)]
        for user in users:
            user.start()
        time.sleep(chance.uniform(0.2, 3.0))
        stopped = _stop_all(service)
        for user in users:
            user.stopped.set()
        disk.cut()
        for pid in stopped:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for pid in stopped:
            wait_until(partial(_is_gone, service, pid), 10, what="all processes are gone")
        for user in users:
            user.join(timeout=30)
        disk.come_back()
        _no_wrong_car(outputs, reference, f"after cut {turn + 1}")
        begin = time.monotonic()
        service.start()
        slowest = max(slowest, time.monotonic() - begin)
        _nothing_lost(service, known, seen, f"after cut {turn + 1}")
    client = Client(service)
    for name in known.scans.values():
        if _pieces(service, name) != set(reference):
            raise Miss(f"preparation {name} has other pieces than an undisturbed one")
    _no_wrong_car(outputs, reference, "at the end")
    cars = _cars(outputs)
    missing = [f"{name}/{car}" for name in known.scans.values() for car in reference if f"{name}/{car}" not in cars]
    if missing:
        raise Miss(f"{len(missing)} CARs of finished preparations are missing, such as {missing[0]}")
    parts = list(outputs.rglob(".*.part"))
    if parts:
        raise Miss(f"{len(parts)} temporary files are left, such as {parts[0]}")
    client.close()
    return (
        f"{CUTS} cuts: {len(known.tasks)} tasks acknowledged, {len(known.killed)} kills, {len(known.ends)} ends seen, "
        f"{len(known.scans)} preparations, {len(cars)} CARs; lost 0, wrong 0; {dict(seen)}; slowest start {slowest:.1f} s"
    )


def _is_gone(service: Service, pid: int) -> bool:
    return not service.running(pid)


def _reference(service: Service, source: Path, outputs: Path) -> dict[str, str]:
    """Prepare undisturbed; return the CARs by name. The names are their piece CIDs."""
    output = outputs / "reference"
    output.mkdir()
    params = {"path": str(source), "output": str(output), "name": "reference", "maxSize": 2_000_000}
    task = service.submit("scan", {**params, "follow": ["pack", "daggen"]})
    if (state := service.wait_for(task, timeout_seconds=60)) != "Succeed":
        raise Miss(f"the undisturbed preparation: {state}")
    found = _cars(output)
    if set(found) != _pieces(service, "reference"):
        raise Miss("the undisturbed preparation's files are not its pieces")
    return found


def _pieces(service: Service, name: str) -> set[str]:
    (pieces,) = service.http.get(f"/api/preparation/{name}/piece").json()
    return {piece["storagePath"] for piece in pieces["pieces"]}


def _no_wrong_car(outputs: Path, reference: dict[str, str], when: str) -> None:
    for path, digest in _cars(outputs).items():
        if reference.get(Path(path).name) != digest:
            raise Miss(f"{when}: {path} holds other bytes than its name says")


def _nothing_lost(service: Service, known: _Known, seen: Counter[str], when: str) -> None:
    """What was answered still holds, and every task comes to its end."""
    client = Client(service)
    for task, word in known.ends.items():
        if (now := client.status(task)) != word:
            raise Miss(f"{when}: task {task} was {word} and is {now}")
    for task in known.killed:
        if (now := client.status(task)) != "Cancelled":
            raise Miss(f"{when}: task {task} was killed and is {now}")
    for task in known.tasks:
        if client.call("GET", f"/jobhistory/{task}/get")["status"] != 0:
            raise Miss(f"{when}: task {task} is lost")
        told = client.data("GET", f"/entrance/{task}/status")
        if told["status"] not in _ENDS:
            seen["unfinished when the power went"] += 1
            if told["paused"]:
                client.data("GET", f"/entrance/{task}/resume")
    try:
        client.idle(60)
    except TimeoutError as error:
        raise Miss(f"{when}: the work does not go on: {error}") from error
    for task in known.tasks:
        word = client.status(task)
        if word != "Succeed" and not (word == "Cancelled" and task in known.kills):
            row = client.data("GET", f"/jobhistory/{task}/get")["task"]
            raise Miss(f"{when}: task {task} ({row['executeApplicationName']}) ended {word}: {row['errDesc']}")
        known.ends[task] = word
    client.close()
