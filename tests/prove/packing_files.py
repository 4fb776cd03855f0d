"""Group ``packing``: files by the thousand and by the million, folders that are very wide, trees with very many folders.

A task's time is that of its own attempts, as the service tells it: from the start of its process to its end, what waits for
the catalogue included. Memory is the most that any process of the service had resident.
"""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
import statistics
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from factories import Service, wait_until

from prove import Environment, Miss, claim
from prove._client import Client
from prove._memory import watched

MEMORY_FILESYSTEM = Path("/dev/shm")
IN_A_FOLDER = 1_000


# ---- sources


@contextmanager
def light_folder(env: Environment, inodes: int) -> Iterator[Path]:
    """A folder where files cost little: in memory where there is room for so many, else in the claim's own."""
    folder = None
    if MEMORY_FILESYSTEM.is_dir() and os.statvfs(MEMORY_FILESYSTEM).f_favail > 2 * inodes:
        folder = Path(tempfile.mkdtemp(prefix="entrance-claim-", dir=MEMORY_FILESYSTEM))
    try:
        yield folder or env.scratch
    finally:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)


def _make_folder(folder: str, seed: int, count: int, least: int, most: int, first: int = 0) -> None:
    chance = random.Random(f"{seed}-{folder}")
    pool = chance.randbytes(2 * most + 1)
    os.makedirs(folder, exist_ok=True)
    at = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for n in range(first, first + count):
            size = chance.randint(least, most)
            start = chance.randint(0, most)
            fd = os.open(f"file-{n:07d}.bin", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644, dir_fd=at)
            if size:
                os.write(fd, pool[start : start + size])
            os.close(fd)
    finally:
        os.close(at)


def _make_tree(root: Path, seed: int, files: int, least: int = 0, most: int = 0) -> Path:
    """Make ``files`` files of ``least`` to ``most`` bytes, a thousand in each folder, twenty folders in each above."""
    calls = [
        (str(root / f"part-{n // 20:03d}" / f"folder-{n:04d}"), seed, min(IN_A_FOLDER, files - n * IN_A_FOLDER), least, most)
        for n in range(-(-files // IN_A_FOLDER))
    ]
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(_make_folder, *zip(*calls, strict=True)))
    return root


# ---- tasks


@dataclass(frozen=True, kw_only=True)
class Spent:
    """What the attempts of tasks have cost."""

    seconds: float
    cpu_seconds: float

    def __add__(self, other: Spent) -> Spent:
        return Spent(seconds=self.seconds + other.seconds, cpu_seconds=self.cpu_seconds + other.cpu_seconds)


class World:
    """A running service that may read and write below one folder."""

    def __init__(self, service: Service, root: Path) -> None:
        self.service = service.start()
        service.cli("storage", "allow", str(root))
        self.client = Client(service)

    def prepare(self, source: Path, name: str, output: Path | None = None, follow: tuple[str, ...] = ()) -> dict[str, Spent]:
        """Prepare a folder; return what its tasks have cost, by executor."""
        params = {"path": str(source), "name": name, "follow": list(follow)}
        if output is not None:
            output.mkdir(parents=True, exist_ok=True)
            params["output"] = str(output)
        return self.run("scan", params)

    def again(self, name: str) -> dict[str, Spent]:
        """Scan a prepared folder again, with what follows; return what its tasks have cost."""
        found = self.service.http.get("/api/preparation").json()
        source = next(p["sourceStorages"][0]["name"] for p in found if p["name"] == name)
        return self.run("scan", {"preparation": name, "source": source, "follow": ["pack", "daggen"]})

    def rows(self, statement: str) -> list[tuple[int, ...]]:
        """Look into the catalogue."""
        with closing(sqlite3.connect(f"file:{self.service.data / 'entrance.db'}?mode=ro", uri=True)) as connection:
            return connection.execute(statement).fetchall()

    def run(self, executor: str, params: dict[str, object]) -> dict[str, Spent]:
        task = self.client.submit(executor, params)
        wait_until(lambda: self.client.status(task) not in ("Inited", "Scheduled", "Running"), 800, every_seconds=0.1)
        if self.client.status(task) != "Succeed":
            raise Miss(f"{executor} ended {self.client.status(task)}: {self.client.log(task)[-3:]}")
        spent = {executor: self._spent(task)}
        for child in self.client.data("GET", f"/entrance/{task}/children?pageNow=1&pageSize=500")["tasks"]:
            kind, cost = child["executeApplicationName"], self._spent(child["taskID"])
            spent[kind] = spent[kind] + cost if kind in spent else cost
        return spent

    def _spent(self, task: int) -> Spent:
        attempts = self.client.data("GET", f"/entrance/{task}/attempts")["attempts"]
        return Spent(
            seconds=sum(a["endTime"] - a["startTime"] for a in attempts) / 1000,
            cpu_seconds=sum(a["cpuSeconds"] for a in attempts),
        )


# ---- the claims

SMALL_FILES, LEAST, MOST = 20_000, 4 << 10, 64 << 10
ROUNDS = 5


@claim(
    group="packing",
    name="small-files",
    wanted="20,000 files of 4 to 64 KiB: over 20,000 files/s through scan, pack and daggen together, once running",
)
def small_files(env: Environment, seed: int) -> str:
    """The median of several preparations of one tree, by the own times of their tasks; the CARs go to memory."""
    with light_folder(env, SMALL_FILES) as folder:
        source = _make_tree(folder / "source", seed, SMALL_FILES, LEAST, MOST)
        world = World(env.service(), folder)
        rounds = []
        for n in range(ROUNDS + 1):
            output = folder / f"out-{n}"
            rounds.append(world.prepare(source, f"small-{n}", output, ("pack", "daggen")))
            shutil.rmtree(output)
    seconds = sorted((sum(s.seconds for s in spent.values()), n) for n, spent in enumerate(rounds) if n)
    took, n = seconds[len(seconds) // 2]
    parts = ", ".join(f"{kind} {spent.seconds:.2f} s" for kind, spent in rounds[n].items())
    figure = f"{SMALL_FILES / took:.0f} files/s ({parts}; best {SMALL_FILES / seconds[0][0]:.0f})"
    if SMALL_FILES / took < 20_000:
        raise Miss(figure)
    return figure


MANY, SOME = 1_000_000, 10_000


@claim(
    group="packing",
    name="scan-million",
    wanted="1,000,000 empty files: over 50,000 files/s, under 300 MiB in any process, a file costs at most 1.3 times what "
    "it does among 10,000",
    timeout_seconds=600,
)
def scan_million(env: Environment, seed: int) -> str:
    """Small scans before and after the large one, their median; by the own times of the tasks."""
    with light_folder(env, MANY) as folder:
        many, some = _make_tree(folder / "many", seed, MANY), _make_tree(folder / "some", seed, SOME)
        world = World(env.service(), folder)
        world.prepare(some, "warm")
        few = [world.prepare(some, f"few-{n}")["scan"].seconds for n in range(7)]
        with watched(world.service) as most:
            spent = world.prepare(many, "many")["scan"]
        few += [world.prepare(some, f"few-{n}")["scan"].seconds for n in range(7, 14)]
    each, each_of_few = spent.seconds / MANY, statistics.median(few) / SOME
    memory = ", ".join(f"{kind} {size / (1 << 20):.0f} MiB" for kind, size in sorted(most.items()))
    figure = f"{1 / each:.0f} files/s, {each / each_of_few:.2f} times the {1e6 * each_of_few:.1f} us of 10,000; {memory}"
    if 1 / each < 50_000 or each > 1.3 * each_of_few or max(most.values()) >= 300 << 20:
        raise Miss(figure)
    return figure


WIDE, FOLDERS, BRANCHES = 1_000_000, 200_000, 40


def make_folders(root: Path, count: int) -> Path:
    """Make ``count`` folders of one file each, in three levels; returns the file of one of the deepest."""
    numbers = [f"{n:02d}" for n in range(BRANCHES)]
    middle = (root / f"{n:06d}" / m for n in range(count) for m in numbers)
    at = root
    for number, at in zip(range(count), (at for m in middle for at in (m, *(m / n for n in numbers))), strict=False):
        at.mkdir(parents=True)
        (at / "file").write_bytes(b"%d" % number)
    return at / "file"


@claim(
    group="packing",
    name="daggen-wide",
    wanted="a folder of 1,000,000 files and a tree of 200,000 folders: under 250 MiB in any process; a file that is touched "
    "makes the folders above it anew and no other, in under a tenth of the time",
    timeout_seconds=900,
)
def daggen_wide(env: Environment, seed: int) -> str:
    """Of a folder that is sharded the contract wants all shards once it is touched; so that is shown on the tree."""
    with light_folder(env, WIDE + 2 * FOLDERS) as folder:
        _make_folder(str(folder / "wide"), seed, WIDE, 1, 8)
        touched = make_folders(folder / "tree", FOLDERS)
        world = World(env.service(), folder)
        with watched(world.service) as most:
            wide = world.prepare(folder / "wide", "wide", follow=("pack", "daggen"))["daggen"]
            tree = world.prepare(folder / "tree", "tree", follow=("pack", "daggen"))["daggen"]
            touched.write_bytes(b"something else")
            again = world.again("tree")["daggen"]
        ((blocks, written),) = world.rows(
            "SELECT blocks, (SELECT count(*) FROM directory_nodes WHERE car_id = cars.id) FROM cars"
            " WHERE type = 'dag' ORDER BY id DESC LIMIT 1"
        )
    above = len(touched.relative_to(folder / "tree").parts)
    memory = ", ".join(f"{kind} {size / (1 << 20):.0f} MiB" for kind, size in sorted(most.items()))
    figure = (
        f"{memory}; daggen {wide.seconds:.1f} s of the folder, {tree.seconds:.1f} s of the tree; "
        f"one file touched: {written} folders in {blocks} blocks, {again.seconds:.2f} s"
    )
    if max(most.values()) >= 250 << 20 or (blocks, written) != (above, above) or again.cpu_seconds > tree.cpu_seconds / 10:
        raise Miss(figure)
    return figure
