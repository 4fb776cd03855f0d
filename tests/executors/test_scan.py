"""scan: order, ranges, groups, versions, and everything in a folder that is no ordinary file."""

from __future__ import annotations

import os
import random
import socket
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from harness import Context, Harness, recorded
from powers import without_override

from common.content.estimate import range_cost
from common.storage.local import LocalStorage
from common.task import State
from executors import walking
from executors.base import StopRequested


def make(tmp_path: Path, *names: str, size: int = 10) -> tuple[Harness, Path]:
    source = tmp_path / "source"
    source.mkdir(exist_ok=True)
    for name in names:
        path = source / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(random.Random(name).randbytes(size))
    return Harness(tmp_path / "service"), source


def scan(harness: Harness, source: Path, output: Path | None = None, **params: Any) -> tuple[int, str]:
    """Scan and return the task's id and its warnings."""
    task = harness.prepare(source, output, **{"follow": [], **params})
    assert harness.attempt(task.id).state is State.SUCCEEDED, harness.get(task.id).reason
    return task.id, harness.reports[task.id].text("WARN")


def paths(harness: Harness) -> list[str]:
    return [file["path"] for file in recorded(harness)["files"]]


def groups(harness: Harness) -> list[list[int]]:
    """The ranges of each pack job."""
    rows = harness.connection.execute(
        "SELECT r.job_id, r.id FROM ranges r JOIN jobs j ON j.id = r.job_id ORDER BY r.job_id, r.id"
    )
    found: dict[int, list[int]] = {}
    for job, part in rows:
        found.setdefault(job, []).append(part)
    return list(found.values())


def test_a_folder_s_own_files_come_before_anything_deeper_by_bytes_of_their_names(tmp_path: Path) -> None:
    harness, source = make(tmp_path, "b/c/x", "b/a", "b.txt", "B", "ü", "a/z", "z", "b-", "\U0001f600", "\ufb01")
    scan(harness, source)
    assert paths(harness) == ["B", "b-", "b.txt", "z", "ü", "\ufb01", "\U0001f600", "a/z", "b/a", "b/c/x"]
    assert [d["path"] for d in recorded(harness)["directories"]] == ["", "a", "b", "b/c"]


def test_a_second_scan_registers_only_what_is_new_or_changed(tmp_path: Path) -> None:
    harness, source = make(tmp_path, "a", "d/b", "d/c")
    first, _ = scan(harness, source)
    second, _ = scan(harness, source)
    assert harness.catalogue.scanned(second, 0, 10) == ([], 0)
    (source / "d/b").write_bytes(b"changed")
    (source / "d/new").write_bytes(b"new")
    (source / "e").mkdir()
    (source / "a").unlink()
    third, _ = scan(harness, source)
    rows, total = harness.catalogue.scanned(third, 0, 10)
    assert [(row[0], row[1], row[4]) for row in rows] == [("d/b", 7, 1), ("d/new", 3, 1)]
    assert total == 2
    assert paths(harness) == ["a", "d/b", "d/c", "d/b", "d/new"]
    assert [d["path"] for d in recorded(harness)["directories"]] == ["", "d", "e"]
    assert harness.catalogue.scanned(first, 0, 10)[1] == 3
    assert len(harness.catalogue.preparations()) == 1


def test_the_result_rows_are_what_was_registered(tmp_path: Path) -> None:
    harness, source = make(tmp_path, "a", size=700_000)
    scan(harness, source, maxSize="1MB")
    stat = (source / "a").stat()
    assert [tuple(row) for row in harness.results] == [("a", 700_000, stat.st_mtime_ns, "", 3)]


def test_a_long_result_is_read_from_the_catalogue_by_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from common.db.catalogue import store
    from entrance.core import preparations

    monkeypatch.setattr(store, "PAGE_ROWS", 4)
    names = [f"{n:02}" for n in range(30)]
    harness, source = make(tmp_path, *names)
    scan(harness, source)
    task = harness.get(1)
    with harness.tx() as tx:
        assert harness.hooks.results(tx, task, 0, 10) is None
        monkeypatch.setattr(preparations, "RESULT_ROWS", 20)
        for offset, limit in ((0, 10), (5, 13), (25, 100), (30, 5)):
            page = harness.hooks.results(tx, task, offset, limit)
            assert page is not None
            assert [row[0] for row in page[0]] == names[offset : offset + limit]
            assert page[1] == 30
        tx.connection.execute("UPDATE files SET id = id + 1000 WHERE id > 10")  # another source took ids meanwhile
        tx.connection.execute("UPDATE ranges SET file_id = file_id + 1000 WHERE file_id > 10")
        tx.connection.execute("UPDATE scans SET files = 10")
        tx.connection.execute("INSERT INTO scans VALUES (1, 10, 1, 1011, 20)")
        page = harness.hooks.results(tx, task, 7, 9)
        assert page is not None
        assert [row[0] for row in page[0]] == names[7:16]


@pytest.mark.parametrize("seed", range(5))
def test_ranges_keep_their_order_and_fill_their_groups(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    harness, source = make(tmp_path)
    for n in range(200):
        (source / f"{n:03}").write_bytes(bytes(chance.choice([0, 1, 500, 3000, 20_000])))
    scan(harness, source, maxSize=30_000, minPieceSize=128)
    lengths = {r["id"]: r["length"] for r in recorded(harness)["fileRanges"]}
    found = groups(harness)
    assert [part for group in found for part in group] == sorted(lengths)
    for group, following in pairwise(found):
        estimate = 59 + sum(range_cost(lengths[part]) for part in group)
        assert estimate <= 30_000 < estimate + range_cost(lengths[following[0]])


def test_small_batches_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"{a}/{b}/{c}" for a in "pqr" for b in "xyz" for c in range(5)]
    harness, source = make(tmp_path, *names, size=5000)
    scan(harness, source, maxSize=12_000, minPieceSize=128)
    monkeypatch.setattr(walking, "BATCH_ROWS", 1)
    monkeypatch.setattr(walking, "QUEUE_FOLDERS", 2)
    other = Harness(tmp_path / "other")
    scan(other, source, maxSize=12_000, minPieceSize=128)
    assert recorded(other) == recorded(harness)
    assert groups(other) == groups(harness)


def test_a_file_of_very_many_ranges_is_spread_over_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(walking, "BATCH_ROWS", 50)
    harness, source = make(tmp_path, "a", "b", size=1000)
    task = harness.prepare(source, maxSize=20, minPieceSize=1, follow=[])
    stops = 0
    while harness.get(task.id).state is not State.SUCCEEDED:
        begun = harness.reports[task.id].checkpoints if task.id in harness.reports else 0

        def stop(kind: str, context: Context, begun: int = begun) -> None:
            if kind == "step" and context.report.checkpoints >= begun + 1:
                raise StopRequested

        harness.attempt(task.id, stop)
        stops += 1
    assert stops > 3
    found = recorded(harness)["fileRanges"]
    assert [(r["offset"], r["length"]) for r in found] == [(n, 8) for n in range(0, 1000, 8)] * 2


def test_ranges_of_a_scan_that_was_killed_are_grouped_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(walking, "BATCH_ROWS", 7)
    names = [f"{n:02}" for n in range(40)]
    harness, source = make(tmp_path, *names, size=3000)
    task = harness.prepare(source, maxSize=15_000, minPieceSize=128, follow=[])

    def stop(kind: str, context: Context) -> None:
        if kind == "step" and context.report.checkpoints >= 3:
            raise StopRequested

    harness.attempt(task.id, stop)
    harness.kill(task.id)
    assert 0 < len(paths(harness)) < 40
    scan(harness, source, maxSize=15_000, minPieceSize=128)
    other = Harness(tmp_path / "other")
    scan(other, source, maxSize=15_000, minPieceSize=128)
    assert paths(harness) == paths(other)
    assert [len(group) for group in groups(harness)] == [len(group) for group in groups(other)]
    loose = harness.connection.execute(
        "SELECT count(*) FROM ranges WHERE job_id IS NULL OR job_id NOT IN (SELECT id FROM jobs)"
    )
    assert loose.fetchone() == (0,)


def test_a_file_that_a_killed_scan_had_begun_gets_the_rest_of_its_ranges(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(walking, "BATCH_ROWS", 20)
    harness, source = make(tmp_path, "a", "b", size=1000)
    sizes = {"maxSize": 200, "minPieceSize": 128}
    task = harness.prepare(source, **sizes, follow=["pack"])
    other = Harness(tmp_path / "other")
    other.prepare(source, **sizes, follow=["pack"])
    other.run()

    def stop(kind: str, context: Context) -> None:
        if kind == "step" and context.report.checkpoints >= 3:
            raise StopRequested

    harness.attempt(task.id, stop)
    harness.run(only="pack")
    harness.kill(task.id)
    assert [file["cid"] for file in recorded(harness)["files"]] == [""]  # of what is known of it, all is packed but the end
    harness.prepare(source, **sizes, follow=["pack"])
    harness.run()
    assert _places(harness) == _places(other)
    assert [file["cid"] for file in recorded(harness)["files"]] == [file["cid"] for file in recorded(other)["files"]]


def _places(harness: Harness) -> list[tuple[int, int, str]]:
    return [(r["offset"], r["length"], r["cid"]) for r in recorded(harness)["fileRanges"]]


def test_packs_are_queued_as_their_groups_close(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(walking, "BATCH_ROWS", 10)
    harness, source = make(tmp_path, *[f"{n:02}" for n in range(30)], size=3000)
    task = harness.prepare(source, maxSize=10_000, minPieceSize=128)
    seen: list[int] = []

    def watch(kind: str, context: Context) -> None:
        seen.append(len(harness.tasks()) - 1)

    harness.attempt(task.id, watch)
    packs = [t for t in harness.tasks() if t.executor == "pack"]
    assert len(packs) == len(groups(harness)) > 5
    assert any(0 < count < len(packs) for count in seen)
    assert all(t.parent_id == task.id for t in packs)
    assert harness.get(task.id).waits


# ---- what is no ordinary file ---------------------------------------------------------------------------------------


def test_links_pipes_sockets_are_left_out_with_one_line_each(tmp_path: Path) -> None:
    harness, source = make(tmp_path, "file", "d/e")
    (source / "link").symlink_to("file")
    (source / "loop").symlink_to(".")
    (source / "away").symlink_to("/etc")
    os.mkfifo(source / "pipe")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(source / "d/socket"))
        _, warnings = scan(harness, source)
    assert paths(harness) == ["file", "d/e"]
    assert sorted(warnings.splitlines()) == [
        "away: left out: it is a symbolic link",
        "d/socket: left out: it is a socket",
        "link: left out: it is a symbolic link",
        "loop: left out: it is a symbolic link",
        "pipe: left out: it is a named pipe",
    ]


def test_names_that_are_not_utf8_are_recorded_as_shown_and_told(tmp_path: Path) -> None:
    harness, source = make(tmp_path, "plain")
    raw = os.fsencode(source)
    with open(raw + b"/b\xffd", "wb") as stream:
        stream.write(b"one")
    os.mkdir(raw + b"/f\xe9lder")
    with open(raw + b"/f\xe9lder/x\xfe", "wb") as stream:
        stream.write(b"two")
    task = harness.prepare(source, follow=["pack", "daggen"])
    harness.run()
    assert {t.state for t in harness.tasks()} == {State.SUCCEEDED}, harness.states()
    assert paths(harness) == ["b\ufffdd", "plain", "f\ufffdlder/x\ufffd"]
    assert harness.reports[task.id].text("WARN").count("the name is not UTF-8") == 3
    harness.add("scan", {"preparation": 1, "source": 1})
    harness.run()
    assert len(paths(harness)) == 3


def test_two_names_that_look_the_same_once_they_are_utf8_are_told(tmp_path: Path) -> None:
    harness, source = make(tmp_path)
    for name in (b"a\xff", b"a\xfe", "a\ufffd".encode()):
        with open(os.fsencode(source) + b"/" + name, "wb") as stream:
            stream.write(name)
    _, warnings = scan(harness, source)
    assert len(paths(harness)) == 1
    assert warnings.count("looks the same") == 2


def test_unreadable_folders_are_left_out_and_the_scan_completes(tmp_path: Path) -> None:
    harness, source = make(tmp_path, "a", "closed/b", "open/c")
    (source / "closed").chmod(0)
    with without_override():
        _, warnings = scan(harness, source)
    (source / "closed").chmod(0o755)
    assert paths(harness) == ["a", "open/c"]
    assert warnings == "closed: the folder is left out: closed: Permission denied"
    scan(harness, source)
    assert paths(harness) == ["a", "open/c", "closed/b"]


def test_a_folder_that_vanishes_while_the_scan_goes_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    harness, source = make(tmp_path, "a", "gone/b")
    listing = LocalStorage.children

    def children(storage: LocalStorage, path: str, *rest: Any) -> Any:
        if path == "gone":
            (source / "gone/b").unlink()
            (source / "gone").rmdir()
        return listing(storage, path, *rest)

    monkeypatch.setattr(LocalStorage, "children", children)
    _, warnings = scan(harness, source)
    assert warnings == "gone: the folder is left out: gone is not there"


def test_an_output_folder_inside_the_source_is_left_out(tmp_path: Path) -> None:
    harness, source = make(tmp_path, "a", "d/cars/foreign.car")
    _, warnings = scan(harness, source, source / "d/cars")
    assert paths(harness) == ["a"]
    assert warnings == "d/cars: left out: it is an output folder of the preparation"


def test_a_source_that_is_gone_is_an_error_with_one_sentence(tmp_path: Path) -> None:
    harness, source = make(tmp_path)
    task = harness.prepare(source, follow=[])
    source.rmdir()
    assert harness.attempt(task.id).state is State.FAILED
    assert harness.get(task.id).reason == "the folder is not there"


def test_an_empty_source_says_so(tmp_path: Path) -> None:
    harness, source = make(tmp_path)
    _, warnings = scan(harness, source)
    assert warnings == f"{source}: there are no files in it, so there is nothing to pack"
    assert groups(harness) == []


def test_a_checkpoint_of_an_earlier_version_is_understood() -> None:
    place = walking.load_place(b'{"position": 2, "end": 5, "first_file": 1, "last_file": 9, "new_files": 9}')
    assert place == walking.Place(position=2, end=5, new_files=9)


def test_a_million_entries_are_sorted_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from common.storage import local

    monkeypatch.setattr(local, "SORT_NAMES", 64)
    names = [f"{random.Random(n).randrange(10**9)}-{n}" for n in range(1000)]
    harness, source = make(tmp_path, *names, "sub/x", size=1)
    scan(harness, source)
    assert paths(harness) == [*sorted(names), "sub/x"]
