"""Extract, attempt by attempt: it may be stopped anywhere, and goes on from what it has said."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import harness
import pytest
from harness import Context, Harness
from trees import contents, make_tree, parts_left

from common.errors import InvalidParams
from common.task import State
from executors import extracting
from executors.base import StopRequested
from executors.extract import Extract

TREE = {
    "a.bin": {"derivedBuffer": 3_500_000},
    "b/one.txt": {"text": "1"},
    "b/two.txt": {"text": "2"},
    "b/c/%02d": {"derivedBuffer": 70_000, "count": 12},
    "d.bin": {"derivedBuffer": 2_000_001},
    "empty/folder/": None,
    "z": {"text": ""},
}


@pytest.fixture
def packed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Harness]:
    """A preparation whose source is ``tmp_path/source``; extracts sync after every block."""
    monkeypatch.setitem(harness.EXECUTORS, "extract", Extract())
    monkeypatch.setattr(extracting, "BATCH_BYTES", 1)
    made = Harness(tmp_path / "service")
    (tmp_path / "output").mkdir()
    (tmp_path / "back").mkdir()
    made.prepare(make_tree(tmp_path / "source", TREE), tmp_path / "output", maxSize=3_000_000, follow=["pack", "daggen"])
    made.run()
    made.allow(tmp_path / "back")
    yield made
    made.close()


def start(service: Harness, tmp_path: Path, path: str = "") -> int:
    return service.add("extract", {"preparation": 1, "path": path, "to": str(tmp_path / "back")}).id


def stop_at(number: int) -> Any:
    """A hook that stops the attempt at its ``number``-th step."""
    seen = 0

    def hook(kind: str, context: Context) -> None:
        nonlocal seen
        seen += kind == "step"
        if seen >= number:
            raise StopRequested

    return hook


@pytest.mark.parametrize("every", [3, 5, 8, 13, 21])
def test_an_extract_that_is_stopped_again_and_again_gives_the_tree(every: int, packed: Harness, tmp_path: Path) -> None:
    task = start(packed, tmp_path)
    for _ in range(200):
        state = packed.attempt(task, stop_at(every + 1)).state
        for path, found in contents(tmp_path / "back").items():
            if ".part" not in path:
                assert contents(tmp_path / "source")[path] == found
        if state is State.SUCCEEDED:
            break
    assert state is State.SUCCEEDED
    assert contents(tmp_path / "back") == contents(tmp_path / "source")
    assert packed.results is not None


def test_a_large_file_goes_on_where_it_was(packed: Harness, tmp_path: Path) -> None:
    task = start(packed, tmp_path)
    packed.attempt(task, stop_at(4))
    assert parts_left(tmp_path / "back")
    assert packed.attempt(task).state is State.SUCCEEDED
    assert "a.bin: going on at byte" in packed.reports[task].text()
    assert contents(tmp_path / "back") == contents(tmp_path / "source")


def test_the_row_counts_what_came_out(packed: Harness, tmp_path: Path) -> None:
    (tmp_path / "back" / "z").touch()
    os.utime(tmp_path / "back" / "z", ns=(0, (tmp_path / "source" / "z").stat().st_mtime_ns))
    packed.attempt(start(packed, tmp_path))
    size = sum(p.stat().st_size for p in (tmp_path / "source").rglob("*") if p.is_file())
    assert packed.results == [[16, size, 1, 0]]


def test_links_in_the_target_are_not_followed(packed: Harness, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (tmp_path / "back" / "b").symlink_to(elsewhere)
    task = packed.attempt(start(packed, tmp_path))
    assert (task.state, task.reason) == (State.FAILED, "b: something that is no folder is in the way")
    assert not list(elsewhere.iterdir())


def test_a_folder_where_a_file_should_come_is_an_error(packed: Harness, tmp_path: Path) -> None:
    (tmp_path / "back" / "d.bin").mkdir()
    task = packed.attempt(start(packed, tmp_path))
    assert task.state is State.FAILED
    assert task.reason == f"{tmp_path / 'back'}/d.bin is a folder; a file should come there"


def test_files_that_are_not_packed_are_left_out_and_named(packed: Harness, tmp_path: Path) -> None:
    (tmp_path / "source" / "b" / "late.txt").write_text("late")
    (tmp_path / "source" / "z").write_text("newer")
    packed.prepare(tmp_path / "source", tmp_path / "output", maxSize=3_000_000, follow=[])
    packed.run()
    task = start(packed, tmp_path)
    packed.attempt(task)
    said = packed.reports[task].text("WARN")
    assert "b/late.txt: it is not packed yet" in said
    assert "z: its latest version is not packed yet; an older one counts" in said
    assert not (tmp_path / "back" / "b" / "late.txt").exists()
    assert (tmp_path / "back" / "z").read_bytes() == b""


def test_the_index_is_made_again_when_it_is_missing(packed: Harness, tmp_path: Path) -> None:
    for index in (tmp_path / "output").glob("*.idx"):
        index.unlink()
    assert packed.attempt(start(packed, tmp_path)).state is State.SUCCEEDED
    assert contents(tmp_path / "back") == contents(tmp_path / "source")


def test_the_target_must_be_allowed(packed: Harness, tmp_path: Path) -> None:
    (tmp_path / "forbidden").mkdir()
    with pytest.raises(InvalidParams, match="lies in no folder that is allowed here"):
        packed.add("extract", {"preparation": 1, "to": str(tmp_path / "forbidden")})
