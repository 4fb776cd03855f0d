"""Group ``prepare``: a folder becomes CAR files, with the ids that other implementations give."""

from __future__ import annotations

import http.client
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import reference
from factories import Service, wait_until
from trees import contents, listed, parts_left

from prove import Environment, Miss, claim
from prove._client import Client
from prove._memory import watched
from prove._trees import random_tree

PACKAGES = ("ipfs-car@3.1.0", "@ipld/car@5.4.7", "multiformats@13")


def _prepare(service: Service, source: Path, output: Path, *options: str) -> Any:
    return json.loads(service.cli("prepare", str(source), str(output), "--json", *options, timeout_seconds=900).stdout)


def _cars(output: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in sorted(output.glob("*.car"))}


@claim(
    group="prepare",
    name="prepare-fresh",
    wanted="a fresh clone without caches: `bin/entrance prepare DIR OUT` ends with a table of pieces in under 90 s",
)
def prepare_fresh(env: Environment, seed: int) -> str:
    """Installation included."""
    clone, source = env.scratch / "clone", env.scratch / "source"
    env.run("git", "clone", "-q", env.root, clone)
    random_tree(random.Random(seed), source, 1 << 20)
    (source / "large.bin").write_bytes(random.Random(seed).randbytes(50 << 20))
    begin = time.monotonic()
    done = subprocess.run(
        [clone / "bin" / "entrance", "prepare", source, env.scratch / "out", "--data", env.scratch / "data"],
        env={**os.environ, "PIP_NO_CACHE_DIR": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    took = time.monotonic() - begin
    env.run(clone / "bin" / "stop-entrance.sh", "--data", env.scratch / "data")
    if done.returncode != 0 or "baga6ea4sea" not in done.stdout:
        raise Miss(f"exit status {done.returncode}: {done.stdout[-300:]} {done.stderr[-300:]}")
    if took >= 90:
        raise Miss(f"{took:.0f} s")
    return f"{took:.0f} s with installation"


@claim(
    group="prepare",
    name="vectors",
    wanted="all golden values, and every known tree through the running service: CARs, pieces, directories, DAG CAR",
)
def vectors(env: Environment, seed: int) -> str:
    """The tests that hold the vectors, run in the clone."""
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "tests/common/content",
            "tests/executors/test_pack_vectors.py",
            "tests/e2e",
            "-k",
            "vector or golden or known or public or commp or unixfs or pack",
        ],
        cwd=env.root,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise Miss(done.stdout.strip()[-600:])
    return done.stdout.strip().splitlines()[-1].strip("= ")


# ---- random trees


class _Node:
    """The programs of npm, installed for this claim."""

    def __init__(self, env: Environment) -> None:
        self.folder = env.scratch / "node"
        self.folder.mkdir()
        (self.folder / "package.json").write_text('{"type": "module"}')
        env.run("npm", "install", "--prefix", self.folder, "--no-audit", "--no-fund", *PACKAGES)
        script = Path(__file__).with_name("verify_cars.mjs")
        (self.folder / script.name).write_text(script.read_text())

    def verify(self, cars: list[tuple[Path, int]]) -> dict[str, tuple[list[str], int]]:
        """Read CARs whole; return roots and number of blocks by file name."""
        listing = self.folder / f"cars-{threading.get_ident()}.json"
        listing.write_text(json.dumps([[str(p), n] for p, n in cars]))
        done = subprocess.run(
            ["node", "verify_cars.mjs", listing], cwd=self.folder, capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            raise Miss(f"@ipld/car: {done.stderr.strip()[-300:]}")
        rows = [json.loads(line) for line in done.stdout.splitlines()]
        return {r["file"]: (r["roots"], r["blocks"]) for r in rows}

    def unpack(self, car: Path, folder: Path) -> None:
        done = subprocess.run(
            [self.folder / "node_modules" / ".bin" / "ipfs-car", "unpack", car, "--output", folder],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise Miss(f"ipfs-car unpack: {done.stderr.strip()[-300:]}")


TREES = 300


@claim(
    group="prepare",
    name="random-trees",
    wanted=f"{TREES} random trees: @ipld/car reads every CAR, the reference's ids, extract and ipfs-car give it back",
    timeout_seconds=2400,
)
def random_trees(env: Environment, seed: int) -> str:
    """Two at a time, each through `bin/entrance prepare`."""
    node = _Node(env)
    service = env.service().start()
    service.cli("storage", "allow", str(env.scratch))
    figures = {"trees": 0, "cars": 0, "files": 0, "bytes": 0, "unpacked": 0}
    todo = list(range(TREES))
    faults: list[BaseException] = []
    lock = threading.Lock()

    def work() -> None:
        while not faults:
            with lock:
                if not todo:
                    return
                number = todo.pop(0)
            try:
                counts = _one_tree(service, node, env.scratch / f"tree-{number}", random.Random(f"{seed}-{number}"))
            except BaseException as error:
                faults.append(Miss(f"tree {number} of seed {seed}: {error}"))
                return
            with lock:
                for name, count in counts.items():
                    figures[name] += count

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if faults:
        raise faults[0]
    return ", ".join(f"{count} {name}" for name, count in figures.items())


def _one_tree(service: Service, node: _Node, folder: Path, chance: random.Random) -> dict[str, int]:
    max_size = chance.choice([6_000_000, 3_000_000, 1_500_000, 400_000, 60_000])
    minimum = chance.choice([1 << 20, 1 << 14, 128]) if max_size > 1 << 20 else 128
    source, output = folder / "source", folder / "out"
    random_tree(chance, source, reference.split_size(max_size))
    files, folders = listed(source)
    if not files:
        (source / "only").write_bytes(b"one")
        files, folders = listed(source)
    wanted = reference.prepare(files, folders, max_size=max_size, min_piece_size=minimum)
    told = _prepare(service, source, output, "--max-size", str(max_size), "--min-piece-size", str(minimum))
    should = [*wanted.cars, *([wanted.dag] if wanted.dag else [])]
    pieces = [p for kind in ("data", "dag") for p in told["pieces"] if p["pieceType"] == kind]
    if len(pieces) != len(should):
        raise Miss(f"{len(pieces)} pieces, the reference has {len(should)}")
    read = node.verify([(output / p["storagePath"], len(w.data)) for p, w in zip(pieces, should, strict=True)])
    for piece, car in zip(pieces, should, strict=True):
        same = {
            "pieceCid": car.piece_cid,
            "pieceCidV2": car.piece_cid_v2,
            "rootCid": car.root,
            "pieceSize": car.piece_size,
            "fileSize": car.exported[0],
        }
        if any(piece[key] != value for key, value in same.items()):
            raise Miss(f"{ {k: (piece[k], v) for k, v in same.items() if piece[k] != v} }")
        if (output / piece["storagePath"]).read_bytes()[: len(car.data)] != car.data:
            raise Miss(f"{piece['storagePath']} has other bytes")
        if read[str(output / piece["storagePath"])] != ([car.root], car.blocks):
            raise Miss(f"{piece['storagePath']}: @ipld/car sees {read[str(output / piece['storagePath'])]}")
    service.cli("extract", str(told["preparation"]), str(folder / "back"))
    if contents(folder / "back") != contents(source):
        raise Miss("extract gave another tree")
    unpacked = 0
    if wanted.dag is not None:
        _merge(folder / "all.car", wanted)
        node.unpack(folder / "all.car", folder / "unpacked")
        if _files(folder / "unpacked") != _files(source):
            raise Miss("ipfs-car gave another tree")
        unpacked = 1
    count = {
        "trees": 1,
        "cars": len(pieces),
        "files": len(files),
        "bytes": sum(len(c) for _, c in files),
        "unpacked": unpacked,
    }
    subprocess.run(["rm", "-rf", folder], check=True)
    return count


def _merge(path: Path, wanted: reference.Preparation) -> None:
    """One CAR of the DAG and all data CARs, under the root of the DAG (they agree byte for byte with those made)."""
    assert wanted.dag is not None
    header = len(reference.car_header(b"\0" * 36))
    body = b"".join(c.data[header:] for c in [wanted.dag, *wanted.cars])
    path.write_bytes(wanted.dag.data[:header] + body)


def _files(folder: Path) -> dict[str, str | None]:
    return {path: digest for path, digest in contents(folder).items() if digest is not None}


# ---- the same whatever the order


@claim(
    group="prepare",
    name="any-order",
    wanted="the same ids with one slot and with four, and with jobs ending in ten random orders",
)
def any_order(env: Environment, seed: int) -> str:
    """A tree of a dozen jobs, with files that span several of them."""
    chance = random.Random(seed)
    source = env.scratch / "source"
    random_tree(chance, source, 1 << 20)
    for n in range(6):
        (source / f"spans-{n}.bin").write_bytes(chance.randbytes(chance.randint(3_000_000, 9_000_000)))
    seen: dict[str, tuple[tuple[str, ...], ...]] = {}
    jobs = 0
    for slots in ("1", "4"):
        service = env.service(f"slots-{slots}", SCHEDULER__SLOTS=slots).start()
        told = _prepare(service, source, env.scratch / f"out-{slots}", "--max-size", "4000000")
        seen[f"{slots} slots"] = _ids(told["pieces"])
        service.stop()
    service = env.service("orders", SCHEDULER__SLOTS="4").start()
    service.cli("storage", "allow", str(env.scratch))
    client = Client(service)
    for turn in range(10):
        output = env.scratch / f"out-order-{turn}"
        output.mkdir()
        name = f"order-{turn}"
        params = {"path": str(source), "output": str(output), "name": name, "maxSize": 4_000_000, "follow": []}
        _done(service, client.submit("scan", params, f"O{turn}"))
        (status,) = service.http.get(f"/api/preparation/{name}").json()
        ids = [j["id"] for j in status["jobs"] if j["type"] == "pack"]
        jobs = len(ids)
        chance.shuffle(ids)
        for job in ids:
            _done(service, client.submit("pack", {"job": job}, f"O{turn}"))
        _done(service, client.submit("daggen", {"preparation": name, "source": status["source"]["name"]}, f"O{turn}"))
        (pieces,) = service.http.get(f"/api/preparation/{name}/piece").json()
        seen[f"order {turn}"] = _ids(pieces["pieces"])
    if len(set(seen.values())) != 1:
        raise Miss(f"{len(set(seen.values()))} different sets of ids in {len(seen)} runs")
    return f"{jobs} jobs, {len(seen)} runs, one set of ids"


def _ids(pieces: list[Any]) -> tuple[tuple[str, ...], ...]:
    return tuple(sorted((p["pieceType"], p["pieceCid"], p["rootCid"], str(p["fileSize"])) for p in pieces))


def _done(service: Service, task: int) -> None:
    state = service.wait_for(task, timeout_seconds=120)
    if state != "Succeed":
        raise Miss(f"task {task}: {state}")


# ---- interrupted


def _large(path: Path, size: int, chance: random.Random) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    block = chance.randbytes(8 << 20)
    with path.open("wb") as file:
        for n in range(size // len(block)):
            file.write(n.to_bytes(8, "little") + block[8:])


@claim(
    group="prepare",
    name="interrupted",
    wanted="20 kills (-9 of service or task) and 20 pauses: equal bytes, no leftovers, at most 2 s of work done again",
    timeout_seconds=1800,
)
def interrupted(env: Environment, seed: int) -> str:
    """A gigabyte in three files, prepared again and again until enough has happened."""
    chance = random.Random(seed)
    source = env.scratch / "source"
    for n in range(3):
        _large(source / f"f{n}.bin", 360 << 20, chance)
    plain = env.service("plain").start()
    _prepare(plain, source, env.scratch / "plain-out", "--max-size", "900000000")
    plain.stop()
    wanted = _cars(env.scratch / "plain-out")
    service = env.service("torn", RETRY__LADDER_SECONDS="1", RETRY__MAX_RETRIES="10").start()
    counts = {"service": 0, "task": 0, "pause": 0}
    loss, runs = Loss(service), 0
    while counts["service"] + counts["task"] < 20 or counts["pause"] < 20:
        runs += 1
        output = env.scratch / f"out-{runs}"
        running = threading.Thread(
            target=lambda output=output: service.cli(
                "prepare", str(source), str(output), "--max-size", "900000000", check=False, timeout_seconds=600
            )
        )
        running.start()
        while running.is_alive():
            time.sleep(chance.uniform(0.15, 0.9))
            _interrupt(service, chance, counts, loss)
        running.join()
        _prepare(service, source, output, "--max-size", "900000000")
        if _cars(output) != wanted:
            raise Miss(f"run {runs}: other bytes after {counts}")
        wait_until(lambda output=output: not parts_left(output), 10, what="no temporary names are left")
        subprocess.run(["rm", "-rf", output], check=True)
    figure = (
        f"{runs} runs, {counts}, same bytes each time, at most {loss.worst:.2f} s of work done again "
        f"({loss}; of {loss.looked_at} attempts, up to {loss.longest:.1f} s long)"
    )
    if loss.worst > 2:
        raise Miss(figure)
    return figure


def _interrupt(service: Service, chance: random.Random, counts: dict[str, int], loss: Loss) -> None:
    """Do one thing to a pack that runs: kill the service, kill the task's process, or pause and resume it."""
    with suppress(OSError, ValueError, LookupError, AssertionError, StopIteration, http.client.HTTPException):
        client = Client(service)
        rows = client.data("GET", "/jobhistory/listundonetasks?engineType=pack")["tasks"]
        packs = [r["taskID"] for r in rows if r["status"] == "Running" and r["engineType"] == "pack"]
        kind = chance.choice([k for k, n in counts.items() if n < 20] or ["pause"])
        if kind == "pause":
            task = packs[0]
            begun = [begun for begun in loss.begun(client, packs) if begun.task == task]
            client.data("GET", f"/entrance/{task}/pause")
            wait_until(lambda: client.data("GET", f"/entrance/{task}/history")["history"][-1]["state"] != "running", 5)
            loss.count(begun, kind)
            client.data("GET", f"/entrance/{task}/resume")
        elif kind == "task":
            tasks = service.task_processes()
            begun = loss.begun(client, packs)
            os.kill(chance.choice(tasks), signal.SIGKILL)
            wait_until(lambda: any(loss.count(begun, kind, only="died")), 5)
        else:
            begun = loss.begun(client, packs)
            service.kill()
            loss.count(begun, kind)
            service.start()
        counts[kind] += 1


@dataclass(frozen=True, kw_only=True)
class Begun:
    """A pack just before it is interrupted."""

    task: int
    attempt: int
    ran: float  # seconds
    done: int  # bytes, as far as it has told


class Loss:
    """How much of what a pack had done is done again: what it had told just before, less what the checkpoint holds after.

    In seconds of the attempt that did it: the part of its time that led to nothing. Starting the service is not work.
    """

    def __init__(self, service: Service) -> None:
        self._database = service.data / "entrance.db"
        self._from: dict[tuple[int, int], int] = {}  # the place at which an attempt of a task began, where it is known
        self._worst: dict[str, float] = {}  # by what was done to it
        self.longest, self.looked_at = 0.0, 0

    @property
    def worst(self) -> float:
        return max(self._worst.values(), default=0.0)

    def __str__(self) -> str:
        return ", ".join(f"{kind} {seconds:.2f}" for kind, seconds in self._worst.items())

    def begun(self, client: Client, tasks: Sequence[int]) -> list[Begun]:
        found = []
        for task in tasks:
            last = self._attempts(client, task)[-1]
            done = client.data("GET", f"/entrance/{task}/progress")["bytesDone"]
            ran = time.time() - last["startTime"] / 1000
            found.append(Begun(task=task, attempt=last["attempt"], ran=ran, done=done))
        return found

    def count(self, begun: Sequence[Begun], kind: str, only: str = "") -> list[Begun]:
        """Take in what became of interrupted attempts (``only`` those with this end), before the next ones begin."""
        counted = []
        for of in begun:
            stored, ending, packed = self._stored(of)
            if (only and ending != only) or packed:
                continue
            counted.append(of)
            self._from[of.task, of.attempt + 1] = stored
            first = self._from.get((of.task, of.attempt), 0 if of.attempt == 1 else of.done)
            if of.done > first:
                lost = of.ran * max(0, of.done - stored) / (of.done - first)
                self._worst[kind] = max(self._worst.get(kind, 0.0), lost)
                self.longest, self.looked_at = max(self.longest, of.ran), self.looked_at + 1
        return counted

    @staticmethod
    def _attempts(client: Client, task: int) -> list[dict[str, Any]]:
        attempts: list[dict[str, Any]] = client.data("GET", f"/entrance/{task}/attempts")["attempts"]
        return attempts

    def _stored(self, of: Begun) -> tuple[int, str, bool]:
        """Return the place in the CAR that the checkpoint names, how the attempt has ended, and whether the CAR is there."""
        with closing(sqlite3.connect(f"file:{self._database}?mode=ro", uri=True)) as connection:
            row = connection.execute("SELECT checkpoint FROM progress WHERE task_id = ?", (of.task,)).fetchone()
            end = connection.execute(
                "SELECT ending FROM attempts WHERE task_id = ? AND number = ?", (of.task, of.attempt)
            ).fetchone()
            car = connection.execute("SELECT 1 FROM cars WHERE task_id = ?", (of.task,)).fetchone()
        place = int(json.loads(row[0])["cursor"][2]) if row and row[0] else 0
        return place, (end and end[0]) or "", car is not None


# ---- memory


@claim(
    group="prepare",
    name="memory",
    wanted="20,000 small files and one of 3 GiB in one tree: under 250 MiB in any process",
    timeout_seconds=1200,
)
def memory(env: Environment, seed: int) -> str:
    """Resident memory of every process, looked at twenty times a second."""
    chance = random.Random(seed)
    source = env.scratch / "source"
    for n in range(20_000):
        path = source / f"d{n % 100}" / f"file-{n}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(chance.randbytes(chance.randint(0, 16_384)))
    _large(source / "large.bin", 3 << 30, chance)
    service = env.service().start()
    with watched(service) as most:
        told = _prepare(service, source, env.scratch / "out")
    if told["files"] != 20_001:
        raise Miss(f"{told['files']} files")
    figure = ", ".join(f"{kind} {size / (1 << 20):.0f} MiB" for kind, size in sorted(most.items()))
    if max(most.values()) >= 250 << 20:
        raise Miss(figure)
    return figure
