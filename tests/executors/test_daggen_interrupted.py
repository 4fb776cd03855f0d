"""A daggen that is paused or killed at many places: the same bytes and rows at the end, and no folder made twice."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
from collections import Counter
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from harness import Context, Harness

from common.task import State
from executors.base import StopRequested
from executors.exporting import work as generating
from executors.exporting.folders import Folders

FOLDERS, FILES = 60, 75
STEPS = 17
"""What an attempt may do before it is interrupted; there are some 150 steps in all."""


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A preparation that only lacks its DAG, of which the CAR has several slabs; with and without CARs."""
    home = tmp_path_factory.mktemp("packed")
    for n in range(FOLDERS):
        folder = home / f"source/{n % 4}/{n}"
        folder.mkdir(parents=True)
        for m in range(FILES):
            (folder / f"{m:04d}{'x' * 240}").touch()
    for name in ("exported", "inline"):
        (home / name / "out").mkdir(parents=True)
        harness = Harness(home / name / "service")
        harness.prepare(home / "source", home / name / "out" if name == "exported" else None, follow=["pack"])
        harness.run()
        harness.close()
    return home


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generating, "STEP_SECONDS", 0)
    monkeypatch.setattr(generating, "COMMIT_SECONDS", 0)
    monkeypatch.setattr(generating, "BATCH_ROWS", 5)


def started(packed: Path, tmp_path: Path, kind: str) -> tuple[Harness, int]:
    """A service of its own with the preparation, and a daggen that is queued. CARs go where they are looked for."""
    home = packed / kind
    shutil.rmtree(tmp_path / "service", ignore_errors=True)
    shutil.copytree(home / "service", tmp_path / "service")
    harness = Harness(tmp_path / "service")
    return harness, harness.add("daggen", {"preparation": 1, "source": 1}).id


def outcome(packed: Path, harness: Harness, task: int, kind: str) -> tuple[Any, ...]:
    """The CAR and its index, what is recorded of the folders; and that nothing is left over."""
    (car,) = harness.catalogue.cars_of_task(task)
    folder = packed / "exported/out" if kind == "exported" else harness.folder / "inline"
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]
    assert not list((harness.folder / "daggen").iterdir())
    made = [path for path in folder.iterdir() if path.name.startswith(f"{generating.cids.to_text(car.piece_cid)}.")]
    hashes = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in made}
    for path in made:
        path.unlink()
    nodes = harness.connection.execute("SELECT directory_id, cid, tsize FROM directory_nodes ORDER BY 1").fetchall()
    return hashes, car.root_cid, car.blocks, car.file_size, nodes


@pytest.fixture(scope="module")
def undisturbed(packed: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Any, ...]]:
    found = {}
    for kind in ("exported", "inline"):
        harness, task = started(packed, tmp_path_factory.mktemp("undisturbed"), kind)
        assert harness.attempt(task).state is State.SUCCEEDED
        found[kind] = outcome(packed, harness, task, kind)
    return found


@pytest.mark.parametrize("kind", ["exported", "inline"])
def test_pauses_all_along_change_nothing_and_make_no_folder_twice(
    packed: Path, tmp_path: Path, undisturbed: dict[str, tuple[Any, ...]], kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: Counter[int] = Counter()
    make = Folders._make

    def counted(folders: Folders, folder: int, *rows: Any) -> None:
        made[folder] += 1
        make(folders, folder, *rows)

    monkeypatch.setattr(Folders, "_make", counted)
    harness, task = started(packed, tmp_path, kind)
    pauses = 0
    while not harness.get(task).state.final and pauses < 50:
        steps = iter(range(STEPS * (1 + pauses // 8)))  # the CAR goes on at a slab border only: that takes some

        def stop(what: str, context: Context, steps: Iterator[int] = steps) -> None:
            if what == "step" and next(steps, None) is None:
                raise StopRequested

        pauses += not harness.attempt(task, stop).state.final
    assert outcome(packed, harness, task, kind) == undisturbed[kind]
    text = harness.reports[task].text()
    assert pauses > 5
    assert made.total() - len(made) <= 1  # a folder that was on its way
    assert f"of {len(made)} directories" in text
    assert "going on at byte" in text
    assert not harness.reports[task].text("WARN")


def test_kills_at_everything_that_is_said_change_nothing(
    packed: Path, tmp_path: Path, undisturbed: dict[str, tuple[Any, ...]]
) -> None:
    """Each attempt gets a little further, and dies by SIGKILL."""
    harness, task = started(packed, tmp_path, "exported")
    kills = 0
    while not harness.get(task).state.final and kills < 30:
        said = count()

        def die(what: str, context: Context, said: Iterator[int] = said, kills: int = kills) -> None:
            if next(said) == 3 + 9 * kills:
                os.kill(os.getpid(), signal.SIGKILL)

        harness.connection.execute("UPDATE tasks SET errors = 0")
        kills += harness.attempt_killed(task, hook=die)
    assert outcome(packed, harness, task, "exported") == undisturbed["exported"]
    assert kills > 10


def test_what_does_not_fit_any_more_is_begun_anew(
    packed: Path, tmp_path: Path, undisturbed: dict[str, tuple[Any, ...]]
) -> None:
    """Scratch files of another life of the same task number, cut files, none at all."""
    harness, task = started(packed, tmp_path, "exported")
    folder = harness.folder / "daggen"
    for spoil in (
        lambda: (folder / f"{task}.sqlite").write_bytes(b"no database"),
        lambda: (folder / f"{task}.blocks").write_bytes(b""),
        lambda: (folder / f"{task}.sqlite").unlink(),
        lambda: harness.connection.execute("UPDATE progress SET checkpoint = ? WHERE task_id = ?", (b"other", task)),
    ):
        steps = iter(range(60))

        def stop(what: str, context: Context, steps: Iterator[int] = steps) -> None:
            if what == "step" and next(steps, None) is None:
                raise StopRequested

        assert not harness.attempt(task, stop).state.final
        spoil()
    assert harness.attempt(task).state is State.SUCCEEDED
    assert harness.reports[task].text("WARN").count("starts over") == 4
    assert outcome(packed, harness, task, "exported") == undisturbed["exported"]


def test_a_pack_that_ends_meanwhile_is_left_for_the_next_daggen(tmp_path: Path) -> None:
    (tmp_path / "source/a").mkdir(parents=True)
    (tmp_path / "out").mkdir()
    (tmp_path / "source/a/1").write_bytes(b"one")
    harness = Harness(tmp_path / "service")
    harness.prepare(tmp_path / "source", tmp_path / "out", follow=["pack"])
    harness.run()
    task = harness.add("daggen", {"preparation": 1, "source": 1}).id
    steps = iter(range(3))

    def stop(what: str, context: Context) -> None:
        if what == "step" and next(steps, None) is None:
            raise StopRequested

    assert not harness.attempt(task, stop).state.final
    (tmp_path / "source/a/2").write_bytes(b"two")
    harness.add("scan", {"preparation": 1, "source": 1, "follow": ["pack"]})
    harness.run(only="scan")
    harness.run(only="pack")
    assert harness.attempt(task).state is State.SUCCEEDED
    (first,) = harness.catalogue.cars_of_task(task)
    harness.attempt(harness.add("daggen", {"preparation": 1, "source": 1}).id)
    second = [car for car in harness.catalogue.cars(1) if car.type == "dag"][-1]
    assert first.root_cid != second.root_cid
    assert not harness.reports[task].text("WARN")
