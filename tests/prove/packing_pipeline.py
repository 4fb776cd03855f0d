"""Group ``packing``: one large file, at the limit of the machine.

Packs are submitted over HTTP to a running service; their time is that of the attempt as ``/attempts`` tells it, CPU seconds
and peak memory are those of its process as the launcher was told when it ended. *H* is what ``hashlib.sha256`` does with
chunks of 1 MiB in one thread, measured before and after each pack. Figures are medians.
"""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import signal
import sqlite3
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from factories import LINKIS, Service, wait_until
from harness import Harness

from common.content import kernel
from executors.packing import layout
from prove import Environment, Miss, claim
from prove._client import Client
from prove.prepare import Loss

MEMORY_FILESYSTEM = Path("/dev/shm")
LARGE_BYTES = 4 << 30
INTERRUPTED_BYTES = 8 << 30
FOLDER_BYTES = 1 << 30
RUNS = 3
PAUSES, KILLS = 50, 20
_PAUSES_EACH, _KILLS_EACH = 25, 10  # in one pack: it is not begun again more than ten times after an error
NPM = ("ipfs-car@3.1.0", "fr32-sha2-256-trunc254-padded-binary-tree-multihash@3.3.0")
_BLOCK = 16 << 20
_ENDS = ("Succeed", "Failed", "Cancelled", "Timeout")


def _make_file(path: Path, size: int, chance: random.Random) -> Path:
    """Make a file of which no two chunks are alike."""
    path.parent.mkdir(parents=True, exist_ok=True)
    block = chance.randbytes(8 << 20)
    with path.open("wb") as file:
        for at in range(0, size, len(block)):
            file.write((at.to_bytes(8, "little") + block[8:])[: size - at])
    return path


def _hash_rate() -> float:
    """H, in bytes a second."""
    chunk, count, begin = bytes(1 << 20), 0, time.perf_counter()
    while (took := time.perf_counter() - begin) < 0.5:
        hashlib.sha256(chunk).digest()
        count += len(chunk)
    return count / took


@dataclass(frozen=True, kw_only=True)
class Spent:
    """One pack, with H of that moment."""

    seconds: float
    cpu_seconds: float
    memory: int
    rate: float  # in units of H


class World:
    """A running service with a file to pack, as often as wanted."""

    def __init__(self, service: Service, source: Path, folders: Sequence[Path]) -> None:
        self.service, self._source = service, source
        self.size = sum(path.stat().st_size for path in source.iterdir())
        service.start()
        for folder in folders:
            service.cli("storage", "allow", str(folder))
        self.client = Client(service)
        self._count = 0

    def job(self, output: Path | None) -> int:
        """Prepare the source once more, for a folder that is empty then (None: inline); return its pack job."""
        self._count += 1
        params = {"path": str(self._source), "name": f"p{self._count}", "follow": []}
        if output is not None:
            shutil.rmtree(output, ignore_errors=True)
            output.mkdir(parents=True)
            params["output"] = str(output)
        self.end_of(self.client.submit("scan", params))
        (status,) = self.service.http.get(f"/api/preparation/p{self._count}").json()
        (job,) = [j["id"] for j in status["jobs"] if j["type"] == "pack"]
        return int(job)

    def end_of(self, task: int, timeout_seconds: float = 600) -> None:
        wait_until(lambda: self.client.status(task) in _ENDS, timeout_seconds, every_seconds=0.1)
        if self.client.status(task) != "Succeed":
            raise Miss(f"task {task} ended {self.client.status(task)}: {self.client.log(task)[-3:]}")

    def pack(self, output: Path | None) -> Spent:
        """Pack; the CAR goes afterwards."""
        job, before = self.job(output), _hash_rate()
        task = self.client.submit("pack", {"job": job})
        self.end_of(task)
        hash_rate = (before + _hash_rate()) / 2
        (attempt,) = self.service.http.get(f"{LINKIS}/entrance/{task}/attempts").data["attempts"]
        seconds = (attempt["endTime"] - attempt["startTime"]) / 1000
        with closing(sqlite3.connect(f"file:{self.service.data / 'entrance.db'}?mode=ro", uri=True)) as connection:
            select = "SELECT cpu_seconds, max_rss_bytes FROM attempts WHERE task_id = ?"
            cpu, memory = connection.execute(select, (task,)).fetchone()
        if output is not None:
            shutil.rmtree(output)
        return Spent(seconds=seconds, cpu_seconds=cpu, memory=memory, rate=self.size / seconds / hash_rate)


@contextmanager
def _in_memory(env: Environment, size: int) -> Iterator[tuple[Path, str]]:
    """A folder on tmpfs with room for ``size`` bytes beside what is in use; where there is none, one on disk, and why."""
    free = shutil.disk_usage(MEMORY_FILESYSTEM).free if MEMORY_FILESYSTEM.is_dir() else 0
    available = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if min(free, available) < size + (2 << 30):
        yield env.scratch, f"no room for {size >> 20} MiB in {MEMORY_FILESYSTEM}: on disk"
        return
    folder = Path(tempfile.mkdtemp(prefix="entrance-claim-", dir=MEMORY_FILESYSTEM))
    try:
        yield folder, ""
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _plain_write(folder: Path, size: int) -> float:
    """Write so many bytes into a new file and remove it; return the CPU seconds.

    Memory that is new to a virtual machine costs its first user a multiple: the machine gets it here, before it counts.
    """
    block = memoryview(bytes(_BLOCK))
    begin = time.process_time()
    descriptor = os.open(folder / "plain", os.O_WRONLY | os.O_CREAT)
    try:
        for at in range(0, size, len(block)):
            os.pwrite(descriptor, block, at)
    finally:
        os.close(descriptor)
    spent = time.process_time() - begin
    (folder / "plain").unlink()
    return spent


def _dd(source: Path, target: Path) -> float:
    begin = time.monotonic()
    subprocess.run(["dd", f"if={source}", f"of={target}", "bs=16M", "conv=fsync"], check=True, capture_output=True)
    took = time.monotonic() - begin
    target.unlink()
    return took


class _Table:
    """Figures of a claim, each with what it has to reach."""

    def __init__(self) -> None:
        self._said: list[str] = []
        self._short: list[str] = []

    def add(self, what: str, value: float, *, least: float = 0.0, most: float = float("inf")) -> None:
        limit = f" (at least {least})" if least else f" (at most {most})" if most < float("inf") else ""
        self._said.append(f"{what} {value:.2f}")
        if not least <= value <= most:
            self._short.append(f"{what} {value:.2f}{limit}")

    def end(self, *more: str) -> str:
        text = "; ".join([*self._said, *filter(None, more)])
        if self._short:
            raise Miss(f"short: {', '.join(self._short)}. All: {text}")
        return text


@claim(
    group="packing",
    name="pack-large",
    wanted="4 GiB, 2 threads: in memory 0.75 H, with SHA-NI 0.40 H, hash-only 1.0 H, disk 0.9 of dd; 1.4 CPU s/GiB, 250 MiB",
    timeout_seconds=1500,
)
def pack_large(env: Environment, seed: int) -> str:
    """Three packs of each kind; those to disk take turns with dd."""
    source = env.scratch / "source"
    file = _make_file(source / "large.bin", LARGE_BYTES, random.Random(seed))
    gib = LARGE_BYTES / (1 << 30)
    table = _Table()
    with _in_memory(env, LARGE_BYTES) as (memory, why):
        world = World(env.service(SCHEDULER__SLOTS="2"), source, [env.scratch, memory])
        plain, runs = [], []
        for _ in range(RUNS):
            plain.append(_plain_write(memory, LARGE_BYTES) / gib)
            runs.append(world.pack(memory / "out"))
        table.add("CAR in memory, H", _median(r.rate for r in runs), least=0.75)
        table.add("CPU s/GiB", _median(r.cpu_seconds / gib for r in runs), most=1.4)
        table.add("of a plain write", _median(plain))
        table.add("memory MiB", max(r.memory for r in runs) / (1 << 20), most=250)
        inline = [world.pack(None) for _ in range(RUNS)]
        table.add("hash-only, H", _median(r.rate for r in inline), least=1.0)
        table.add("CPU s/GiB", _median(r.cpu_seconds / gib for r in inline), most=1.4)
        pairs = []
        for _ in range(RUNS):
            copied = _dd(file, env.scratch / "copy")
            pairs.append((copied, world.pack(env.scratch / "out")))
        table.add("on disk, of dd", _median(c / r.seconds for c, r in pairs), least=0.9)
        table.add("CPU s/GiB", _median(r.cpu_seconds / gib for _, r in pairs), most=1.4)
        _only_kernel(world.service.data / "kernels", "shani")
        forced = []
        for _ in range(RUNS):
            _plain_write(memory, LARGE_BYTES)
            forced.append(world.pack(memory / "out"))
        table.add("SHA-NI, H", _median(r.rate for r in forced), least=0.40)
    return table.end(why)


def _median(values: Iterator[float] | Sequence[float]) -> float:
    return statistics.median(values)


def _only_kernel(folder: Path, tier: str) -> None:
    """Leave one compiled kernel to the tasks of a service: they take what is there, and compile nothing."""
    shutil.rmtree(folder)
    folder.mkdir(mode=0o700)
    kernel.compile(folder, tier=tier)


# ---- the same bytes


@claim(
    group="packing",
    name="pack-same-bytes",
    wanted=f"1 to 3 threads, batches of 1 to 64 MiB: equal; 8 GiB, {PAUSES} pauses, {KILLS} kills: equal, 0.5 s again",
    timeout_seconds=1500,
)
def pack_same_bytes(env: Environment, seed: int) -> str:
    """Batch sizes in this process, since no setting has them; interruptions of a pack of the service at random places."""
    chance = random.Random(seed)
    combinations = _same_for_all_shapes(env.scratch / "shapes", chance)
    source, output, wanted = (env.scratch / name for name in ("source", "out", "wanted"))
    _make_file(source / "large.bin", INTERRUPTED_BYTES, chance)
    service = env.service(RETRY__LADDER_SECONDS="0", RETRY__MAX_RETRIES="10")
    world = World(service, source, [env.scratch])
    world.end_of(world.client.submit("pack", {"job": world.job(wanted)}))
    loss, done, runs = Loss(service), {"pause": 0, "task": 0}, 0
    while done["pause"] < PAUSES or done["task"] < KILLS:
        runs += 1
        _interrupted_pack(world, output, chance, loss, done)
        _compare(wanted, output)
        shutil.rmtree(output)
    figure = (
        f"{combinations} shapes alike; {runs} packs with {done['pause']} pauses and {done['task']} kills, same bytes; "
        f"at most {loss.worst:.2f} s done again ({loss}; of {loss.looked_at} attempts, up to {loss.longest:.1f} s long)"
    )
    if loss.worst > 0.5:
        raise Miss(figure)
    return figure


def _same_for_all_shapes(folder: Path, chance: random.Random) -> int:
    """Pack a tree with every number of threads and size of batch; returns how many there were."""
    source = folder / "source"
    _make_file(source / "large.bin", 128 << 20, chance)
    for n in range(300):
        (source / f"small-{n}").write_bytes(chance.randbytes(chance.randint(0, 20_000)))
    (source / "odd.bin").write_bytes(chance.randbytes(chance.randint(3 << 20, 9 << 20)))
    kernel.compile(folder / "kernels")
    seen: set[tuple[str, str]] = set()
    count, usual = 0, layout.BATCH_BYTES
    try:
        for mib in (1, 4, 16, 64):
            for threads in (1, 2, 3):
                layout.BATCH_BYTES = mib * ((1 << 20) + 1024)
                seen |= _pack_here(folder / f"{mib}-{threads}", source, threads)
                count += 1
    finally:
        layout.BATCH_BYTES = usual
    if len(seen) != 2:  # a CAR and its index
        raise Miss(f"{len(seen)} different files of {count} packs of the same tree")
    return count


def _pack_here(folder: Path, source: Path, threads: int) -> set[tuple[str, str]]:
    made = Harness(folder / "service", cores=threads)
    shutil.copytree(folder.parent / "kernels", made.folder / "kernels")
    (folder / "out").mkdir()
    made.prepare(source, folder / "out", follow=["pack"])
    made.run()
    found = {(path.name, hashlib.sha256(path.read_bytes()).hexdigest()) for path in (folder / "out").iterdir()}
    shutil.rmtree(folder)
    return found


def _interrupted_pack(world: World, output: Path, chance: random.Random, loss: Loss, done: dict[str, int]) -> None:
    """Pack, and at random places of the CAR pause and resume, or kill its process, until there were enough of both."""
    job = world.job(output)
    task = world.client.submit("pack", {"job": job})
    kinds = ["pause"] * min(PAUSES - done["pause"], _PAUSES_EACH) + ["task"] * min(KILLS - done["task"], _KILLS_EACH)
    chance.shuffle(kinds)
    places = sorted(chance.randrange(world.size) for _ in kinds)
    for kind, place in zip(kinds, places, strict=True):
        while (at := _progress(world, task)) is not None and at < place:
            time.sleep(0.005)
        if at is None:
            break
        begun = loss.begun(world.client, [task])
        if kind == "pause":
            world.client.data("GET", f"/entrance/{task}/pause")
        else:
            for process in world.service.task_processes():
                os.kill(process, signal.SIGKILL)
        number = begun[0].attempt
        wait_until(lambda number=number: _ended(world, task, number), 10, every_seconds=0.01, what="the attempt has ended")
        done[kind] += bool(loss.count(begun, kind))
        if kind == "pause" and world.client.status(task) != "Succeed":
            world.client.data("GET", f"/entrance/{task}/resume")
    world.end_of(task)


def _progress(world: World, task: int) -> int | None:
    """Return the bytes that an attempt that runs now has told of, None when the task has ended."""
    if world.client.status(task) in _ENDS:
        return None
    attempts = world.client.data("GET", f"/entrance/{task}/attempts")["attempts"]
    if not attempts or attempts[-1]["endTime"] or not world.service.task_processes():
        return 0 if not attempts else -1
    return int(world.client.data("GET", f"/entrance/{task}/progress")["bytesDone"])


def _ended(world: World, task: int, number: int) -> bool:
    attempts: list[Any] = world.client.data("GET", f"/entrance/{task}/attempts")["attempts"]
    return any(a["attempt"] == number and a["endTime"] for a in attempts)


def _compare(wanted: Path, found: Path) -> None:
    names = sorted(path.name for path in wanted.iterdir())
    if sorted(path.name for path in found.iterdir()) != names:
        raise Miss(f"other files: {sorted(path.name for path in found.iterdir())} instead of {names}")
    for name in names:
        if subprocess.run(["cmp", wanted / name, found / name], capture_output=True, check=False).returncode != 0:
            raise Miss(f"{name} has other bytes")


# ---- against what people use


@claim(
    group="packing",
    name="prepare-ten-times",
    wanted="`bin/entrance prepare` of 1 GiB, start of the service included: 10 times as fast as ipfs-car and the WASM CommP",
    timeout_seconds=900,
)
def prepare_ten_times(env: Environment, seed: int) -> str:
    """Twice each, in turns; the best of both."""
    chance = random.Random(seed)
    source, node = env.scratch / "source", env.scratch / "node"
    for n in range(16):
        _make_file(source / f"part-{n:02}.bin", FOLDER_BYTES // 16, chance)
    node.mkdir()
    (node / "package.json").write_text('{"type": "module"}')
    env.run("npm", "install", "--prefix", node, "--no-audit", "--no-fund", *NPM)
    shutil.copy(Path(__file__).with_name("commp_wasm.mjs"), node)
    env.run(env.root / "bin" / "entrance", "ps", "--data", env.scratch / "none", check=False)  # installs what is missing
    ours, theirs = [], []
    for turn in range(2):
        begin = time.monotonic()
        service = env.service(f"data-{turn}")
        env.run(service.program[0], "prepare", source, env.scratch / f"out-{turn}", "--data", service.data)
        ours.append(time.monotonic() - begin)
        service.stop()
        shutil.rmtree(env.scratch / f"out-{turn}")
        car = env.scratch / "theirs.car"
        begin = time.monotonic()
        env.run(node / "node_modules" / ".bin" / "ipfs-car", "pack", source, "--output", car)
        env.run("node", node / "commp_wasm.mjs", car)
        theirs.append(time.monotonic() - begin)
        car.unlink()
    times = min(theirs) / min(ours)
    figure = f"{times:.1f} times ({min(ours):.1f} s, {min(theirs):.1f} s)"
    if times < 10:
        raise Miss(figure)
    return figure
