"""Scans, packs, daggens that are paused or killed at any moment: the same bytes and rows at the end, nothing left over."""

from __future__ import annotations

import hashlib
import itertools
import os
import random
import shutil
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import Context, Harness, recorded

from common.content.kernel import SLAB_PAYLOAD
from common.task import State, Task
from executors import walking
from executors.base import StopRequested
from executors.packing import layout
from executors.packing import work as packing
from executors.packing.files import Files
from executors.packing.line import Line

SEEDS = int(os.environ.get("INTERRUPTION_SEEDS", "2"))
LONGEST_SECONDS = {"scan": 0.04, "pack": 0.3, "daggen": 0.08}
"""How long an attempt may live before it is killed."""


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Large and small files, a deep folder, a file of several ranges."""
    root = tmp_path_factory.mktemp("interrupted") / "source"
    chance = random.Random(7)
    for n in range(300):
        path = root / f"small/{n % 7}/{n:04}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(chance.randbytes(chance.randint(0, 9000)))
    (root / "big.bin").write_bytes(chance.randbytes(23_000_001))
    (root / "small/3/bigger.bin").write_bytes(chance.randbytes(9_000_000))
    return root


def prepare(folder: Path, source: Path, *, output: bool = True) -> Harness:
    harness = Harness(folder / "service")
    (folder / "out").mkdir()
    harness.prepare(source, folder / "out" if output else None, maxSize="60MB", follow=["pack", "daggen"])
    return harness


def outcome(harness: Harness) -> tuple[dict[str, object], dict[str, str], list[tuple[object, ...]]]:
    """What is recorded, what lies in the folders, and the CARs."""
    files = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for folder in (harness.folder / "inline", harness.folder.parent / "out")
        if folder.is_dir()
        for path in folder.iterdir()
    }
    cars = [(c.type, c.piece_cid, c.car_size, c.file_size, c.files, c.blocks) for c in harness.catalogue.cars(1)]
    rows = {  # without ids: those that an attempt took and did not use are never used again
        table: [{k: v for k, v in row.items() if k not in ("id", "fileId", "parentId")} for row in found]
        for table, found in recorded(harness).items()
    }
    return rows, files, cars


@pytest.fixture(scope="module")
def undisturbed(source: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[bool, tuple[object, ...]]:
    found = {}
    for output in (True, False):
        harness = prepare(tmp_path_factory.mktemp("undisturbed"), source, output=output)
        harness.run()
        assert {task.state for task in harness.tasks()} == {State.SUCCEEDED}
        found[output] = outcome(harness)
    return found


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Checkpoints come often, so that there is something to go on from, and as often where the disk is slow."""
    monkeypatch.setattr(packing, "CHECKPOINT_SECONDS", 0.03)
    monkeypatch.setattr(packing, "CHECKPOINT_PART", 1000)
    monkeypatch.setattr(packing, "TICK_SECONDS", 0.01)
    monkeypatch.setattr(walking, "BATCH_ROWS", 40)
    monkeypatch.setattr(layout, "BATCH_BYTES", 2 << 20)
    read, sync, syncing = Line._read, Files.sync, threading.Lock()

    def slowly(line: Line, batch: layout.Batch, view: memoryview) -> None:
        with syncing:  # else a whole pack might be read while its first checkpoint goes to the disk
            pass
        time.sleep(0.05)
        read(line, batch, view)

    def alone(files: Files) -> None:
        with syncing:
            sync(files)

    monkeypatch.setattr(Line, "_read", slowly)
    monkeypatch.setattr(Files, "sync", alone)


@pytest.mark.parametrize("output", [True, False], ids=["exported", "inline"])
def test_pauses_at_every_second_checkpoint_change_nothing(
    source: Path, tmp_path: Path, undisturbed: dict[bool, tuple[object, ...]], output: bool
) -> None:
    harness = prepare(tmp_path, source, output=output)
    attempts = resumed = 0
    while waiting := harness.tasks(State.QUEUED, State.WAITING_RETRY):
        task = waiting[0]
        begun = harness.reports[task.id].checkpoints if task.id in harness.reports else 0

        def stop(kind: str, context: Context, begun: int = begun) -> None:
            if kind == "step" and context.report.checkpoints >= begun + 2:
                raise StopRequested

        attempts += 1
        harness.attempt(task.id, stop)
        resumed += "going on at byte" in harness.reports[task.id].text()
    assert outcome(harness) == undisturbed[output]
    assert attempts > 8
    assert resumed


@pytest.mark.parametrize("border", [1, 2, 3, 16])
def test_a_pack_goes_on_from_wherever_a_checkpoint_can_be(
    source: Path, tmp_path: Path, undisturbed: dict[bool, tuple[object, ...]], monkeypatch: pytest.MonkeyPatch, border: int
) -> None:
    """The first slab border lies in the first block, the sixteenth in the last leaf of a range with a link node."""

    def save(line: Line) -> tuple[layout.Cursor, bytes] | None:
        with line._lock:
            if line._reached.offset < border * SLAB_PAYLOAD:
                return None
            return line._planner.cursors[border], line.slabs.save(border)

    def stop(kind: str, context: Context) -> None:
        if kind == "step" and context.report.checkpoints:
            raise StopRequested

    harness = prepare(tmp_path, source)
    harness.run(only="scan")
    (pack,) = harness.tasks(State.QUEUED)
    with monkeypatch.context() as patch:
        patch.setattr(Line, "save", save)
        harness.attempt(pack.id, stop)
    harness.run()
    assert "going on at byte" in harness.reports[pack.id].text()
    assert outcome(harness) == undisturbed[True]


@pytest.mark.parametrize("output", [True, False], ids=["exported", "inline"])
def test_kills_at_everything_that_is_said_change_nothing(
    source: Path, tmp_path: Path, undisturbed: dict[bool, tuple[object, ...]], output: bool
) -> None:
    """The first attempt of each task dies before the first thing that it has to say, the second before the second, ..."""
    harness = prepare(tmp_path, source, output=output)
    kills: Counter[str] = Counter()
    while waiting := harness.tasks(State.QUEUED, State.WAITING_RETRY):
        task, said = waiting[0], itertools.count()

        def die(kind: str, context: Context, task: Task = task, said: itertools.count[int] = said) -> None:
            if next(said) == task.attempt:
                os.kill(os.getpid(), signal.SIGKILL)

        harness.connection.execute("UPDATE tasks SET errors = 0")
        kills[task.executor] += harness.attempt_killed(task.id, hook=die)
    assert {task.state for task in harness.tasks()} == {State.SUCCEEDED}, harness.states()
    assert outcome(harness) == undisturbed[output]
    assert kills["scan"] > 8
    assert kills["pack"] > 8
    assert kills["daggen"] > 3


@pytest.mark.parametrize("seed", range(SEEDS))
@pytest.mark.timeout(300)
def test_kills_at_random_moments_change_nothing(
    source: Path, tmp_path: Path, undisturbed: dict[bool, tuple[object, ...]], seed: int
) -> None:
    chance = random.Random(seed)
    output = seed % 3 != 0
    harness = prepare(tmp_path, source, output=output)
    kills: Counter[str] = Counter()
    while waiting := harness.tasks(State.QUEUED, State.WAITING_RETRY):
        executor = waiting[0].executor
        patience = chance.uniform(0.0, LONGEST_SECONDS[executor]) if kills[executor] < 12 else 60.0
        harness.connection.execute("UPDATE tasks SET errors = 0")
        kills[executor] += harness.attempt_killed(waiting[0].id, patience)
    assert {task.state for task in harness.tasks()} == {State.SUCCEEDED}, harness.states()
    assert outcome(harness) == undisturbed[output]
    assert kills.total()


@pytest.mark.parametrize("seed", range(SEEDS))
@pytest.mark.timeout(300)
def test_pauses_at_random_moments_change_nothing(
    source: Path, tmp_path: Path, undisturbed: dict[bool, tuple[object, ...]], seed: int
) -> None:
    chance = random.Random(seed)
    output = seed % 3 != 0
    harness = prepare(tmp_path, source, output=output)
    pauses = 0
    while waiting := harness.tasks(State.QUEUED, State.WAITING_RETRY):
        steps = iter(range(chance.randrange(25) if pauses < 15 else 1 << 60))

        def stop(kind: str, context: Context, steps: Iterator[int] = steps) -> None:
            if kind == "step" and next(steps, None) is None:
                raise StopRequested

        pauses += harness.attempt(waiting[0].id, stop).state is not State.SUCCEEDED
    assert {task.state for task in harness.tasks()} == {State.SUCCEEDED}, harness.states()
    assert outcome(harness) == undisturbed[output]
    assert pauses


def test_an_attempt_whose_partial_car_is_gone_starts_over_and_says_so(
    source: Path, tmp_path: Path, undisturbed: dict[bool, tuple[object, ...]]
) -> None:
    harness = prepare(tmp_path, source)
    harness.run(only="scan")
    (pack,) = harness.tasks(State.QUEUED)

    def stop(kind: str, context: Context) -> None:
        if kind == "step" and context.report.checkpoints >= 2:
            raise StopRequested

    harness.attempt(pack.id, stop)
    for path in (tmp_path / "out").iterdir():
        path.unlink()
    harness.attempt(pack.id)
    assert "starts over" in harness.reports[pack.id].text("WARN")
    harness.run()
    assert outcome(harness)[1] == undisturbed[True][1]


def test_a_killed_pack_leaves_nothing_and_its_job_packs_again(
    source: Path, tmp_path: Path, undisturbed: dict[bool, tuple[object, ...]]
) -> None:
    harness = prepare(tmp_path, source)
    harness.run(only="scan")
    (pack,) = harness.tasks(State.QUEUED)

    def stop(kind: str, context: Context) -> None:
        if kind == "step" and context.report.checkpoints >= 2:
            raise StopRequested

    harness.attempt(pack.id, stop)
    assert list((tmp_path / "out").iterdir())
    harness.kill(pack.id)
    assert not list((tmp_path / "out").iterdir())
    job = harness.catalogue.job(pack.job_id or 0)
    assert job is not None
    assert job.state == "error"
    again = harness.add("pack", {"job": job.id})
    harness.attempt(again.id)
    (car,) = harness.catalogue.cars(1)
    assert (tmp_path / "out" / car.storage_path).exists()
    assert car.piece_cid == undisturbed[True][2][0][1]  # type: ignore[index]


def test_a_pack_whose_car_is_recorded_succeeds_at_once(source: Path, tmp_path: Path) -> None:
    harness = prepare(tmp_path, source)
    harness.run(only="scan")
    harness.run(only="pack")
    job = harness.catalogue.jobs(1, "pack")[0]
    shutil.rmtree(source / "nothing", ignore_errors=True)
    again = harness.add("pack", {"job": job.id})
    start = time.monotonic()
    assert harness.attempt(again.id).state is State.SUCCEEDED
    assert time.monotonic() - start < 0.5
    assert "there already" in harness.reports[again.id].text()
    assert len(harness.catalogue.cars(1)) == 1
