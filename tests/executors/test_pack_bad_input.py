"""Packs of sources that are not as they should be: one clear sentence, nothing under a final name, the next try works."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from harness import USER, Context, Harness
from powers import without_override

from common.content import cid as cids
from common.storage.base import Reader
from common.storage.local import LocalStorage
from common.task import State, Task
from entrance.core.making import attach_output, create_storage
from executors.packing import layout


@pytest.fixture
def scanned(tmp_path: Path) -> tuple[Harness, Path, Path]:
    """A source of three files, scanned; its one pack is queued."""
    return scan(tmp_path)


def scan(tmp_path: Path, **params: Any) -> tuple[Harness, Path, Path]:
    source, output = tmp_path / "source", tmp_path / "out"
    for folder in (source / "d", output):
        folder.mkdir(parents=True, exist_ok=True)
    (source / "a").write_bytes(b"first" * 1000)
    (source / "d/b").write_bytes(b"second" * 400_000)
    (source / "d/c").write_bytes(b"third")
    harness = Harness(tmp_path / "service")
    harness.prepare(source, output, **{"maxSize": "8MB", **params})
    harness.run(only="scan")
    return harness, source, output


def pack(harness: Harness) -> Task:
    (waiting,) = harness.tasks(State.QUEUED, State.WAITING_RETRY)
    return harness.attempt(waiting.id)


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


def rescan_and_pack(harness: Harness) -> None:
    """What an operator does then: scan again, and pack."""
    harness.add("scan", {"preparation": 1, "source": 1})
    harness.run()


def change(path: Path) -> None:
    path.write_bytes(b"x" * path.stat().st_size)
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))


def grow(path: Path) -> None:
    with path.open("ab") as stream:
        stream.write(b"more")


def shrink(path: Path) -> None:
    os.truncate(path, 3)


@pytest.mark.parametrize(("damage", "what"), [(change, "modification time"), (grow, "size"), (shrink, "size")])
def test_a_file_that_changed_since_the_scan_fails_its_pack_by_name(
    scanned: tuple[Harness, Path, Path], damage: Callable[[Path], None], what: str
) -> None:
    harness, source, output = scanned
    damage(source / "d/b")
    task = pack(harness)
    assert task.state is State.FAILED
    assert task.reason is not None
    assert task.reason.startswith("fileRange has been modified: d/b, its " + what)
    assert task.reason.endswith(": file has been modified")
    assert files(output) == []
    assert list(output.iterdir()) == []
    rescan_and_pack(harness)
    assert len(harness.catalogue.cars(1)) == 1
    old, new = harness.catalogue.jobs(1, "pack")
    assert (old.state, new.state) == ("error", "complete")


def test_a_file_that_shrinks_while_it_is_read_fails_its_pack(
    scanned: tuple[Harness, Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    harness, source, output = scanned
    monkeypatch.setattr(layout, "BATCH_BYTES", 1_100_000)
    reader = LocalStorage.reader
    opened = 0

    def shrinking(storage: LocalStorage, path: str) -> Reader:
        nonlocal opened
        if path == "d/b":
            opened += 1
            if opened == 2:
                os.truncate(source / "d/b", 1_200_000)
        return reader(storage, path)

    monkeypatch.setattr(LocalStorage, "reader", shrinking)
    task = pack(harness)
    assert task.state is State.FAILED
    assert "d/b, its size was 2400000 and is 1200000 bytes" in (task.reason or "")
    assert list(output.iterdir()) == []


def test_a_file_that_vanished_fails_its_pack_by_name_and_works_when_it_is_back(
    scanned: tuple[Harness, Path, Path],
) -> None:
    harness, source, output = scanned
    (source / "d/b").rename(source.parent / "kept")
    task = pack(harness)
    assert (task.state, task.reason) == (State.FAILED, "d/b is not there")
    assert list(output.iterdir()) == []
    (source.parent / "kept").rename(source / "d/b")
    harness.add("pack", {"preparation": 1, "source": 1})
    harness.run()
    assert len(files(output)) == 2


def test_an_unreadable_file_fails_its_pack_by_name_and_works_when_it_can_be_read(
    scanned: tuple[Harness, Path, Path],
) -> None:
    harness, source, output = scanned
    (source / "d/b").chmod(0)
    with without_override():
        task = pack(harness)
    assert (task.state, task.reason) == (State.FAILED, "d/b: Permission denied")
    assert list(output.iterdir()) == []
    (source / "d/b").chmod(0o644)
    harness.add("pack", {"job": task.job_id})
    harness.run()
    assert len(files(output)) == 2


def test_a_file_that_became_a_link_to_the_outside_is_not_followed(scanned: tuple[Harness, Path, Path]) -> None:
    harness, source, output = scanned
    before = (source / "a").stat()
    outside = source.parent / "outside"
    outside.write_bytes((source / "a").read_bytes())
    os.utime(outside, ns=(0, before.st_mtime_ns))
    (source / "a").unlink()
    (source / "a").symlink_to(outside)
    task = pack(harness)
    assert task.state is State.FAILED
    assert "a is or lies behind a symbolic link" in (task.reason or "")
    assert list(output.iterdir()) == []


def test_files_that_cannot_be_opened_are_left_out_where_the_source_says_so(tmp_path: Path) -> None:
    harness, source, _output = scan(tmp_path)
    harness.connection.execute("UPDATE storages SET client_config = '{\"skipInaccessibleFile\": true}' WHERE id = 1")
    (source / "d/b").chmod(0)
    with without_override():
        task = pack(harness)
    assert task.state is State.SUCCEEDED
    assert harness.reports[task.id].text("WARN") == "d/b: Permission denied: left out of the CAR"
    (car,) = harness.catalogue.cars(1)
    assert (car.files, car.blocks) == (2, 2)
    harness.add("daggen", {"preparation": 1, "source": 1})
    harness.run()
    names = {f.name: harness.catalogue.file_cid(f.id) for d in (1, 2) for f in harness.catalogue.versions(d)}
    assert names["b"] is None
    assert names["c"] == cids.of_raw(b"third")


def test_a_pack_of_nothing_but_files_that_cannot_be_opened_has_no_content(tmp_path: Path) -> None:
    harness, source, output = scan(tmp_path)
    harness.connection.execute("UPDATE storages SET client_config = '{\"skipInaccessibleFile\": true}' WHERE id = 1")
    for name in ("a", "d/b", "d/c"):
        (source / name).unlink()
    task = pack(harness)
    assert (task.state, task.reason) == (State.FAILED, "no content to pack")
    assert list(output.iterdir()) == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MiB."""
    folder = tmp_path / "out"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", folder], capture_output=True)
    if mounted.returncode:
        pytest.skip("file systems cannot be mounted here")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_full_output_is_one_sentence_and_may_pass(tmp_path: Path, small_disk: Path) -> None:
    harness, _source, output = scan(tmp_path)
    task = pack(harness)
    assert task.state is State.WAITING_RETRY
    assert (task.reason or "").startswith(f"{output}: no room for a CAR of ")
    assert files(output) == []
    assert sum(path.stat().st_blocks for path in output.iterdir()) == 0
    subprocess.run(["mount", "-o", "remount,size=20m", output], check=True)
    harness.run()
    assert len(files(output)) == 2


def test_an_output_that_is_gone_is_an_error_with_its_path(scanned: tuple[Harness, Path, Path]) -> None:
    harness, _source, output = scanned
    output.rmdir()
    task = pack(harness)
    assert (task.state, task.reason) == (State.FAILED, f"{output}: there is no such folder")


def test_an_output_that_cannot_be_written_is_an_error_with_its_path(scanned: tuple[Harness, Path, Path]) -> None:
    harness, _source, output = scanned
    output.chmod(0o555)
    with without_override():
        task = pack(harness)
    output.chmod(0o755)
    assert (task.state, task.reason) == (State.FAILED, f"{output}: files cannot be made there: Permission denied")


def test_foreign_files_in_the_output_stay_and_one_of_our_name_is_replaced_with_a_warning(tmp_path: Path) -> None:
    harness, _source, output = scan(tmp_path)
    task = pack(harness)
    (car,) = harness.catalogue.cars(1)
    body = (output / car.storage_path).read_bytes()
    again = tmp_path / "again"
    (again / "out").mkdir(parents=True)
    (again / "out" / car.storage_path).write_bytes(b"foreign")
    (again / "out" / "other.car").write_bytes(b"foreign")
    (again / "out" / f".{task.id}-7.car.part.mine").write_bytes(b"foreign")
    other, _, folder = scan(again)
    task = pack(other)
    assert task.state is State.SUCCEEDED
    assert "a file of this name is there already; it is replaced" in other.reports[task.id].text("WARN")
    assert (folder / car.storage_path).read_bytes() == body
    assert (folder / "other.car").read_bytes() == b"foreign"
    assert (folder / f".{task.id}-7.car.part.mine").read_bytes() == b"foreign"


def test_a_piece_that_is_larger_than_wanted_is_made_and_told(tmp_path: Path) -> None:
    harness = Harness(tmp_path / "service")
    for folder in ("source", "out"):
        (tmp_path / folder).mkdir()
    (tmp_path / "source/a").write_bytes(b"first" * 10)
    harness.prepare(tmp_path / "source", tmp_path / "out", maxSize=50, pieceSize=64, minPieceSize=1)
    harness.run(only="scan")
    (first, *_) = harness.tasks(State.QUEUED)
    task = harness.attempt(first.id)
    assert task.state is State.SUCCEEDED
    assert "the piece has 128 bytes, more than the 64 of the preparation" in harness.reports[task.id].text("WARN")


def test_sources_are_deleted_after_export_when_that_is_wanted(tmp_path: Path) -> None:
    harness, source, _output = scan(tmp_path)
    harness.connection.execute("UPDATE preparations SET delete_after_export = 1")

    def touch(kind: str, context: Context) -> None:
        if kind == "published":
            (source / "a").write_bytes(b"changed meanwhile")

    (waiting,) = harness.tasks(State.QUEUED)
    assert harness.attempt(waiting.id, touch).state is State.SUCCEEDED
    assert [str(path.relative_to(source)) for path in sorted(source.rglob("*"))] == ["a", "d"]


def test_a_source_that_is_not_mounted_is_no_reason_to_leave_files_out(tmp_path: Path) -> None:
    harness, source, output = scan(tmp_path)
    source.rename(tmp_path / "away")
    source.mkdir()
    assert pack(harness).state is State.FAILED
    harness.add("pack", {"preparation": 1, "source": 1})
    harness.run()
    assert harness.tasks()[-1].reason == "a is not there"
    source.rmdir()
    (tmp_path / "away").rename(source)
    harness.add("pack", {"preparation": 1, "source": 1})
    harness.run()
    assert len(files(output)) == 2


def test_a_job_without_ranges_has_no_content(tmp_path: Path) -> None:
    harness, _source, output = scan(tmp_path)
    harness.connection.execute("UPDATE ranges SET job_id = NULL")
    task = pack(harness)
    assert (task.state, task.reason) == (State.FAILED, "no content to pack")
    harness.add("scan", {"preparation": 1, "source": 1})
    harness.run()
    assert len(files(output)) == 2


def test_with_several_outputs_a_car_goes_to_one_that_has_room(tmp_path: Path, small_disk: Path) -> None:
    harness, _, small = scan(tmp_path)
    (tmp_path / "roomy").mkdir()
    harness.allow(tmp_path / "roomy")
    with harness.tx() as tx:
        create_storage(tx, user=USER, name="roomy", type="local", path=str(tmp_path / "roomy"), now=0)
        attach_output(tx, preparation=1, storage="roomy", user=USER, admin=False)
    (small / "filler").write_bytes(bytes((2 << 20) - 8192))
    task = pack(harness)
    assert task.state is State.SUCCEEDED
    (car,) = harness.catalogue.cars(1)
    assert (tmp_path / "roomy" / car.storage_path).exists()
    assert f"{small}: " in harness.reports[task.id].text("WARN")
    assert "the storage is left out" in harness.reports[task.id].text("WARN")
