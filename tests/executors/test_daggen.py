"""daggen: what is exported when, whatever the packs did."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import pytest
from harness import Context, Harness

from common.content import cid as cids
from common.content import walk
from common.content.car import CarReader
from common.db.catalogue import Car
from common.task import Pause, Resume, State
from executors.base import StopRequested
from executors.exporting import work as generating


def service(tmp_path: Path, files: dict[str, bytes], **params: Any) -> Harness:
    write(tmp_path, files)
    (tmp_path / "out").mkdir()
    harness = Harness(tmp_path / "service")
    harness.prepare(tmp_path / "source", tmp_path / "out", **{"maxSize": "3MB", **params})
    harness.run()
    return harness


def write(tmp_path: Path, files: dict[str, bytes]) -> None:
    for name, data in files.items():
        path = tmp_path / "source" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def daggen(harness: Harness) -> Car | None:
    task = harness.add("daggen", {"preparation": 1, "source": 1})
    assert harness.attempt(task.id).state is State.SUCCEEDED, harness.get(task.id).reason
    cars = harness.catalogue.cars_of_task(task.id)
    return cars[0] if cars else None


def rescan(harness: Harness) -> None:
    harness.add("scan", {"preparation": 1, "source": 1})
    harness.run()


def blocks(tmp_path: Path, harness: Harness) -> dict[bytes, bytes]:
    found = {}
    for car in harness.catalogue.cars(1):
        with (tmp_path / "out" / car.storage_path).open("rb") as stream:
            found.update({section.cid: section.data for section in CarReader(stream)})
    return found


def tree(found: dict[bytes, bytes], root: bytes, path: str = "") -> dict[str, bytes]:
    """All files below a directory, read through the DAG."""
    files = {}
    for entry in walk.entries(root, found.__getitem__):
        name = f"{path}{entry.name.decode()}"
        if walk.is_directory(entry.cid, found.__getitem__):
            files.update(tree(found, entry.cid, f"{name}/"))
        else:
            size = 1 << 40
            parts = walk.segments(entry.cid, found.__getitem__, 0, size)
            files[name] = b"".join(found[s.cid][s.start : s.stop] if s.inline is None else s.inline for s in parts)
    return files


def sections(tmp_path: Path, car: Car) -> int:
    with (tmp_path / "out" / car.storage_path).open("rb") as stream:
        return len(list(CarReader(stream)))


FILES = {"a/1": b"one", "a/b/2": b"two", "c/3": b"three", "4": b"four" * 1_000_000}


def test_the_directories_lead_to_every_file(tmp_path: Path) -> None:
    harness = service(tmp_path, FILES)
    car = daggen(harness)
    assert car is not None
    assert tree(blocks(tmp_path, harness), car.root_cid) == FILES


def test_a_second_daggen_with_nothing_new_exports_nothing(tmp_path: Path) -> None:
    harness = service(tmp_path, FILES)
    assert daggen(harness) is not None
    assert daggen(harness) is None
    assert "nothing to export" in harness.reports[harness.tasks()[-1].id].text()


def test_a_later_daggen_holds_only_directories_that_were_touched_since(tmp_path: Path) -> None:
    harness = service(tmp_path, FILES)
    first = daggen(harness)
    changed = {"a/b/5": b"five", "new/6": b"six", "c/3": b"THREE!"}
    write(tmp_path, {"a/b/5": b"five", "new/6": b"six"})
    rescan(harness)
    second = daggen(harness)
    assert first is not None
    assert second is not None
    assert sections(tmp_path, second) == 5  # root, a, a/b, new, and the node over the ranges of the file in the root
    assert tree(blocks(tmp_path, harness), second.root_cid) == {**FILES, "a/b/5": b"five", "new/6": b"six"}
    write(tmp_path, {"c/3": b"THREE!"})
    rescan(harness)
    third = daggen(harness)
    assert third is not None
    assert tree(blocks(tmp_path, harness), third.root_cid) == {**FILES, **changed}


def test_a_daggen_that_was_killed_half_way_takes_nothing_from_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generating, "BATCH_ROWS", 1)
    harness = service(tmp_path, FILES)
    assert daggen(harness) is not None
    folders = [row[0] for row in harness.connection.execute("SELECT id FROM directories ORDER BY id")]
    before = [harness.catalogue.directory_node(folder) for folder in folders]
    write(tmp_path, {"a/b/5": b"five"})
    rescan(harness)

    def stop(kind: str, context: Context) -> None:
        if kind == "publish":
            raise StopRequested

    killed = harness.add("daggen", {"preparation": 1, "source": 1})
    harness.attempt(killed.id, stop)
    assert harness.connection.execute("SELECT count(*) FROM directory_nodes").fetchone()[0] > len(folders)
    harness.kill(killed.id)
    assert None not in before
    assert [harness.catalogue.directory_node(folder) for folder in folders] == before
    assert [child.cid for child in harness.catalogue.children(folders[0])] == [node[0] for node in before[1:3] if node]
    last = daggen(harness)
    assert last is not None
    assert tree(blocks(tmp_path, harness), last.root_cid) == {**FILES, "a/b/5": b"five"}
    assert harness.catalogue.directory_node(folders[0]) == (last.root_cid, ANY)


def test_the_latest_packed_version_counts_and_deleted_files_stay(tmp_path: Path) -> None:
    harness = service(tmp_path, {"x": b"old", "gone": b"gone"})
    write(tmp_path, {"x": b"newer"})
    (tmp_path / "source/gone").unlink()
    rescan(harness)
    car = daggen(harness)
    assert car is not None
    assert tree(blocks(tmp_path, harness), car.root_cid) == {"x": b"newer", "gone": b"gone"}


def test_a_folder_takes_the_place_of_a_file_of_its_name(tmp_path: Path) -> None:
    harness = service(tmp_path, {"x": b"file"})
    (tmp_path / "source/x").unlink()
    write(tmp_path, {"x/inside": b"folder"})
    rescan(harness)
    car = daggen(harness)
    assert car is not None
    assert tree(blocks(tmp_path, harness), car.root_cid) == {"x/inside": b"folder"}


def test_before_anything_is_packed_the_dag_is_not_ready(tmp_path: Path) -> None:
    harness = service(tmp_path, {"a": b"a"}, follow=[])
    task = harness.add("daggen", {"preparation": 1, "source": 1})
    assert harness.attempt(task.id).reason == "dag is not ready to be generated"


def test_files_that_are_packed_in_part_are_not_linked_yet(tmp_path: Path) -> None:
    harness = service(tmp_path, {"a": b"a", "big": bytes(3_500_000)}, follow=[])
    harness.add("pack", {"preparation": 1, "source": 1})
    harness.run(only="scan")
    (parent,) = harness.tasks(State.QUEUED)
    harness.attempt(parent.id)
    first, *others = harness.tasks(State.QUEUED)
    harness.attempt(first.id)
    car = daggen(harness)
    assert car is not None
    assert [entry.name for entry in walk.entries(car.root_cid, blocks(tmp_path, harness).__getitem__)] == [b"a"]
    for other in others:
        harness.attempt(other.id)
    car = daggen(harness)
    assert car is not None
    assert tree(blocks(tmp_path, harness), car.root_cid) == {"a": b"a", "big": bytes(3_500_000)}


@pytest.mark.parametrize("profile", ["singularity", "unixfs-v1-2025"])
def test_ten_random_orders_of_packs_give_the_same_dag(tmp_path: Path, profile: str) -> None:
    chance = random.Random(3)
    files = {f"{n % 3}/{n}": chance.randbytes(chance.choice([10, 200_000, 900_000])) for n in range(20)}
    roots = set()
    for seed in range(10):
        folder = tmp_path / str(seed)
        folder.mkdir()
        (folder / "out").mkdir()
        if seed == 0:
            write(folder, files)
        harness = Harness(folder / "service")
        params = {"maxSize": 500_000, "minPieceSize": 128, "follow": ["pack", "daggen"], "profile": profile}
        harness.prepare(tmp_path / "0/source", folder / "out", **params)
        harness.run(random.Random(seed))
        cars = harness.catalogue.cars(1)
        (dag,) = [car for car in cars if car.type == "dag"]
        roots.add((dag.piece_cid, dag.root_cid, frozenset((car.piece_cid, car.files) for car in cars)))
    assert len(roots) == 1


# ---- waiting --------------------------------------------------------------------------------------------------------


def waiting_service(tmp_path: Path) -> Harness:
    write(tmp_path, {str(n): bytes([n]) * 900_000 for n in range(4)})
    (tmp_path / "out").mkdir()
    harness = Harness(tmp_path / "service")
    harness.prepare(tmp_path / "source", tmp_path / "out", maxSize=1_000_000, follow=["pack", "daggen"])
    harness.run(only="scan")
    return harness


def test_a_daggen_that_waits_is_ready_with_the_last_pack(tmp_path: Path) -> None:
    harness = waiting_service(tmp_path)
    scan, *packs, last = harness.tasks()
    assert last.executor == "daggen"
    assert last.state is State.CREATED
    for pack in packs[::-1]:
        assert harness.get(last.id).state is State.CREATED
        harness.attempt(pack.id)
    assert harness.get(last.id).state is State.QUEUED
    harness.run()
    assert harness.get(last.id).state is State.SUCCEEDED
    assert harness.get(scan.id).state is State.SUCCEEDED


def test_a_daggen_that_waits_fails_with_a_pack_that_fails(tmp_path: Path) -> None:
    harness = waiting_service(tmp_path)
    scan, first, *_, last = harness.tasks()
    (tmp_path / "source/0").unlink()
    harness.attempt(first.id)
    ended = harness.get(last.id)
    assert ended.state is State.FAILED
    assert ended.reason == f"pack job {first.job_id} is not complete: task {first.id} is failed (0 is not there)"
    harness.run()
    assert harness.get(scan.id).state is State.FAILED


def test_a_paused_daggen_that_waits_goes_on_when_it_is_resumed(tmp_path: Path) -> None:
    harness = waiting_service(tmp_path)
    last = harness.tasks()[-1]
    harness.apply(last.id, Pause(by="alice"))
    harness.run(only="pack")
    assert harness.get(last.id).state is State.PAUSED
    harness.apply(last.id, Resume(by="alice"))
    harness.run()
    assert harness.get(last.id).state in (State.SUCCEEDED, State.CREATED)


def test_a_daggen_asked_for_when_all_is_packed_is_ready_at_once(tmp_path: Path) -> None:
    harness = service(tmp_path, FILES)
    task = harness.add("daggen", {"preparation": 1, "source": 1, "wait": True})
    assert task.state is State.QUEUED


def test_empty_folders_are_linked_in_the_profile_that_has_them(tmp_path: Path) -> None:
    (tmp_path / "source/empty/deep").mkdir(parents=True)
    harness = service(tmp_path, {"a": b"a"}, profile="unixfs-v1-2025")
    car = daggen(harness)
    assert car is not None
    found = blocks(tmp_path, harness)
    names = {entry.name: entry for entry in walk.entries(car.root_cid, found.__getitem__)}
    assert set(names) == {b"a", b"empty"}
    (deep,) = walk.entries(names[b"empty"].cid, found.__getitem__)
    assert deep.cid == cids.of_dag_pb(b"\x0a\x02\x08\x01")
    assert daggen(harness) is None
