"""Task logs: every line once and in order, for every reader, through flushes, ends, crashes and restarts."""

from __future__ import annotations

import os
import random
import threading
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from common.task import Line, State, Task
from entrance.core import logs as module
from entrance.core.logs import INDEX_EVERY, SMALL_BYTES, Logs, Seal, head, render

NOW = 1_700_000_000_000
TASK = Task(
    id=12_345,
    uuid="u",
    exec_id="exec_id018014linkis-cg-entrancelocalhost:9001IDE_ann_echo_12345",
    user="ann",
    execute_user="ann",
    creator="IDE",
    executor="echo",
    run_type="echo",
    door="linkis",
    state=State.RUNNING,
    attempt=1,
    created_at=NOW,
    queued_at=NOW,
)
HEAD_LINES = 3


def now_and_here(function: Any, *arguments: Any) -> Any:
    return function(*arguments)


def made(folder: Path) -> Logs:
    return Logs(folder, "localhost:9001", threading.Lock())


def said(number: int, level: str = "INFO") -> bytes:
    return render(NOW, [Line(level=level, text=f"line {number}")])


def read_all(logs: Logs, row: Any = None, size: int = 1000, task: Task = TASK) -> list[str]:
    """Follow a log from its beginning with pages of ``size`` lines."""
    lines: list[str] = []
    while True:
        page = logs.read(task, row, len(lines), size, 5 << 20)
        assert page.first == len(lines) and page.next_line == page.first + len(page.lines)
        assert len(page.levels) == len(page.lines) <= size
        if not page.lines:
            return lines
        lines += page.lines


def stored(seal: Seal) -> tuple[int, int, bytes]:
    return seal.offset, seal.lines, seal.body


def texts(block: bytes) -> list[str]:
    return block.decode().splitlines()


# ---- form ----------------------------------------------------------------------------------------------------------


def test_a_log_begins_with_lines_that_follow_from_the_row_and_needs_no_file(tmp_path: Path) -> None:
    logs = made(tmp_path)
    lines = read_all(logs)
    assert [x[24:] for x in lines] == [
        "INFO task 12345 log",
        f"INFO Your job is accepted,  jobID is {TASK.exec_id} and taskID is 12345 in localhost:9001. "
        "Please wait it to be scheduled",
        "INFO Your job is Scheduled. Please wait it to run.",
    ]
    assert lines[0][4] == "-" and lines[0][19] == "."
    assert list(tmp_path.rglob("*.log")) == []
    assert len(read_all(logs, task=replace(TASK, queued_at=None))) == 2


def test_longer_texts_become_continuation_lines_and_control_characters_are_replaced() -> None:
    block = render(NOW, [Line(level="WARN", text="one\ttab\x1b[31m\r\ntwo\x00")])
    first, second = texts(block)
    assert first.endswith(" WARN one\ttab?[31m?") and second == "two?"


def test_a_line_is_cut_at_64_kib() -> None:
    (line,) = texts(render(NOW, [Line(level="INFO", text="x" * 100_000)]))
    assert len(line.split(" INFO ")[1]) == 64 * 1024


def test_a_continuation_line_has_the_level_of_the_line_before_it_on_every_page(tmp_path: Path) -> None:
    logs = made(tmp_path)
    logs.append_lines(TASK, NOW, [Line(level="ERROR", text="\n".join(["broken", *map(str, range(600))]))])
    logs.append_lines(TASK, NOW, [Line(level="INFO", text="on")])
    logs.flush(now_and_here)
    for start in (HEAD_LINES, HEAD_LINES + 1, 100, 255, 256, 257, 512, 600):
        page = logs.read(TASK, None, start, 3, 5 << 20)
        assert list(page.levels) == ["ERROR"] * 3, start
    assert list(logs.read(TASK, None, HEAD_LINES + 601, 3, 5 << 20).levels) == ["INFO"]
    seal = logs.seal(TASK, NOW, [])
    assert list(logs.read(TASK, stored(seal), 300, 2, 5 << 20).levels) == ["ERROR"] * 2


def test_a_log_that_begins_with_a_headless_line_is_info(tmp_path: Path) -> None:
    assert list(module._page_of(b"no head\n", 0, 5, 100).levels) == ["INFO"]


# ---- reading -------------------------------------------------------------------------------------------------------


def test_readers_see_only_what_is_in_the_file(tmp_path: Path) -> None:
    logs = made(tmp_path)
    logs.append(TASK, said(1))
    assert len(read_all(logs)) == HEAD_LINES
    logs.flush(now_and_here)
    assert len(read_all(logs)) == HEAD_LINES + 1
    logs.append(TASK, said(2))
    assert len(read_all(logs)) == HEAD_LINES + 1


def test_an_answer_holds_no_more_than_its_bytes_but_at_least_a_line(tmp_path: Path) -> None:
    logs = made(tmp_path)
    logs.append(TASK, said(1) * 10)
    logs.flush(now_and_here)
    size = len(said(1))
    assert len(logs.read(TASK, None, HEAD_LINES, 100, 3 * size).lines) == 3
    assert len(logs.read(TASK, None, HEAD_LINES, 100, 1).lines) == 1


@pytest.mark.parametrize("first", [HEAD_LINES + 10, 1_000_000_000, 10**18])
def test_beyond_the_end_is_an_empty_page_that_stays_where_it_is(tmp_path: Path, first: int) -> None:
    logs = made(tmp_path)
    logs.append(TASK, said(1) * 10)
    logs.flush(now_and_here)
    page = logs.read(TASK, None, first, 10, 5 << 20)
    assert (page.lines, page.next_line) == ([], first)


def test_no_lines_wanted_are_no_lines(tmp_path: Path) -> None:
    page = made(tmp_path).read(TASK, None, 0, 0, 5 << 20)
    assert (page.lines, page.next_line) == ([], 0)


def test_a_page_costs_the_same_at_the_start_and_at_the_end_of_a_million_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    logs = made(tmp_path)
    count = 1_000_000
    numbered = [b"2023-11-14 22:13:20.000 INFO line %07d\n" % n for n in range(count)]
    for start in range(0, count, 100_000):
        logs.append(TASK, b"".join(numbered[start : start + 100_000]))
        logs.flush(now_and_here)
    read = 0
    pread = os.pread

    def counted(fd: int, n: int, offset: int) -> bytes:
        nonlocal read
        data = pread(fd, n, offset)
        read += len(data)
        return data

    monkeypatch.setattr(module.os, "pread", counted)
    costs = []
    for first in (0, 1_000, 500_003, 999_900):
        read = 0
        page = logs.read(TASK, None, first + HEAD_LINES, 100, 5 << 20)
        assert page.lines == [x.decode().rstrip("\n") for x in numbered[first : first + 100]]
        costs.append(read)
    assert max(costs) <= 256 * 1024 + 8, costs
    reopened = made(tmp_path)
    reopened.append(TASK, said(-1))  # mending a whole log reads its tail only
    read = 0
    assert reopened.read(TASK, None, count + HEAD_LINES - 1, 5, 5 << 20).lines == [f"{numbered[-1].decode().rstrip()}"]
    assert read <= 256 * 1024 + 8


def test_every_reader_gets_every_line_once_and_in_order_while_the_log_is_written(tmp_path: Path) -> None:
    logs = made(tmp_path)
    count, sizes = 10_000, (1, 7, 256, 5000)
    done = threading.Event()
    got: dict[int, list[str]] = {size: [] for size in sizes}
    row: list[tuple[int, int, bytes]] = []

    def follow(size: int) -> None:
        while True:
            last = done.is_set()
            page = logs.read(TASK, row[0] if row else None, len(got[size]), size, 5 << 20)
            got[size] += page.lines
            if last and not page.lines:
                return

    readers = [threading.Thread(target=follow, args=(size,)) for size in sizes[1:]]
    for reader in readers:
        reader.start()
    for start in range(0, count, 50):
        logs.append(TASK, b"".join(said(n) for n in range(start, start + 50)))
        if start % 1000 == 0:
            logs.flush(now_and_here)
    seal = logs.seal(TASK, NOW, [Line(level="INFO", text="the end")])
    row.append(stored(seal))
    logs.close(TASK.id, seal, now_and_here)
    done.set()
    for reader in readers:
        reader.join()
    whole = read_all(logs, row[0])
    assert [x.rsplit(" ", 1)[1] for x in whole[HEAD_LINES:-1]] == [str(n) for n in range(count)]
    assert len(whole) == seal.lines == count + HEAD_LINES + 1
    for size in sizes[1:]:
        assert got[size] == whole, size


# ---- the end -------------------------------------------------------------------------------------------------------


def test_a_small_ended_log_is_one_row_and_no_file(tmp_path: Path) -> None:
    logs = made(tmp_path)
    logs.append(TASK, said(1))
    logs.flush(now_and_here)
    logs.append(TASK, said(2))
    seal = logs.seal(TASK, NOW, [Line(level="INFO", text="the end")])
    assert seal.offset == 0 and seal.lines == HEAD_LINES + 3
    before = read_all(logs, stored(seal))
    logs.close(TASK.id, seal, now_and_here)
    assert read_all(logs, stored(seal)) == before and before[-1].endswith("the end")
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []


def test_a_large_ended_log_stays_a_file_and_its_last_lines_are_committed_first(tmp_path: Path) -> None:
    logs = made(tmp_path)
    logs.append(TASK, b"".join(map(said, range(5000))))
    logs.flush(now_and_here)
    logs.append(TASK, said(5000))
    seal = logs.seal(TASK, NOW, [Line(level="INFO", text="the end")])
    assert seal.offset > SMALL_BYTES and seal.lines == HEAD_LINES + 5002
    assert logs.close(TASK.id, seal, now_and_here)
    lines = read_all(logs, (seal.offset, seal.lines, b""))
    assert len(lines) == seal.lines and lines[-1].endswith("the end") and lines[-2].endswith("line 5000")


@pytest.mark.parametrize("left", [None, 0, 70_000])
def test_the_last_lines_are_kept_when_a_power_loss_took_what_lay_before_them(tmp_path: Path, left: int | None) -> None:
    logs = made(tmp_path)
    logs.append(TASK, b"".join(map(said, range(5000))))
    logs.flush(now_and_here)
    seal = logs.seal(TASK, NOW, [Line(level="INFO", text="the end")])
    (file,) = tmp_path.rglob("*.log")
    if left is None:
        file.unlink()
    else:
        os.truncate(file, left)
    again = made(tmp_path)
    again.settle(TASK.id, seal)
    lines = read_all(again, (seal.offset, seal.lines, b""))
    assert lines[-1].endswith("the end") and "\0" not in "".join(lines)
    assert (len(lines) > 1) == bool(left)


def test_a_reader_that_sees_the_end_sees_the_last_lines_though_the_disk_did_not_take_them(tmp_path: Path) -> None:
    logs = made(tmp_path)
    logs.append(TASK, b"".join(map(said, range(5000))))
    logs.flush(now_and_here)
    logs.append(TASK, said(5000))
    seal = logs.seal(TASK, NOW, [Line(level="ERROR", text="the end\nin words")])

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with suppress(OSError):
        logs.close(TASK.id, seal, full)
    for size in (1, 100, 10_000):
        lines = read_all(logs, stored(seal), size)
        assert len(lines) == seal.lines and lines[-1] == "in words" and lines[-3].endswith("line 5000")
    assert list(logs.read(TASK, stored(seal), seal.lines - 1, 1, 5 << 20).levels) == ["ERROR"]


def test_what_is_said_while_a_log_is_sealed_counts_when_the_end_is_not_stored(tmp_path: Path) -> None:
    logs = made(tmp_path)
    logs.append(TASK, said(1))
    logs.seal(TASK, NOW, [])
    logs.append(TASK, said(2))
    logs.flush(now_and_here)
    assert len(read_all(logs)) == HEAD_LINES
    logs.unseal(TASK.id)
    assert logs.dirty()
    logs.append(TASK, said(3))
    logs.flush(now_and_here)
    assert [x[-6:] for x in read_all(logs)[HEAD_LINES:]] == ["line 1", "line 2", "line 3"]


def test_lines_are_written_only_when_they_are_though_others_look_at_the_file_first(tmp_path: Path) -> None:
    before = made(tmp_path)
    for number in range(1, 50):
        before.append(TASK, said(number))
    before.flush(now_and_here)
    logs = made(tmp_path)
    logs.append(TASK, said(50))

    def once_more(function: Any, *arguments: Any) -> Any:
        if function is module.mend:  # the file is known from here on; the lines are not in it yet
            waiting.start()
        elif function is module._write:
            assert not waiting.join(0.05) and waiting.is_alive(), "said to be written before it is"
        return function(*arguments)

    waiting = threading.Thread(target=logs.written, args=(TASK.id, now_and_here))
    logs.flush(once_more)
    waiting.join(5)
    assert not waiting.is_alive() and read_all(logs)[-1].endswith("line 50")


def test_who_waits_for_lines_waits_for_the_word_on_a_sealed_log(tmp_path: Path) -> None:
    logs = made(tmp_path)
    logs.append(TASK, said(1))
    logs.seal(TASK, NOW, [])
    waiting = threading.Thread(target=logs.written, args=(TASK.id, now_and_here))
    waiting.start()
    waiting.join(0.05)
    assert waiting.is_alive()
    logs.unseal(TASK.id)
    waiting.join(5)
    assert not waiting.is_alive() and read_all(logs)[-1].endswith("line 1")


def test_lines_that_come_during_a_flush_are_written_by_the_next_one(tmp_path: Path) -> None:
    logs = made(tmp_path)
    logs.append(TASK, said(1))

    def meanwhile(function: Any, *arguments: Any) -> Any:
        logs.append(TASK, said(2))
        logs.flush(now_and_here)  # somebody else flushes at the same time
        return function(*arguments)

    logs.flush(meanwhile)
    assert logs.dirty()
    logs.flush(now_and_here)
    assert [x[-6:] for x in read_all(logs)[HEAD_LINES:]] == ["line 1", "line 2"]


def test_a_failed_write_is_tried_again_and_doubles_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    logs = made(tmp_path)
    logs.append(TASK, said(1))
    logs.flush(now_and_here)
    pwrite = os.pwrite

    def half(fd: int, data: bytes, offset: int) -> int:
        pwrite(fd, bytes(data)[: len(data) // 2], offset)
        raise OSError(28, "No space left on device")

    logs.append(TASK, said(2))
    with monkeypatch.context() as patch:
        patch.setattr(module.os, "pwrite", half)
        with pytest.raises(OSError, match="No space"):
            logs.flush(now_and_here)
    assert len(read_all(logs)) == HEAD_LINES + 1
    logs.append(TASK, said(3))
    logs.flush(now_and_here)
    assert [x[-6:] for x in read_all(logs)[HEAD_LINES:]] == ["line 1", "line 2", "line 3"]


def test_a_log_of_an_earlier_life_is_taken_up_on_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = made(tmp_path)
    before.append(TASK, b"".join(said(n) for n in range(1, 601)))
    before.flush(now_and_here)
    (path,) = tmp_path.rglob("*.log")
    path.with_suffix(".idx").unlink()
    with path.open("ab") as file:
        file.write(b"a torn li")
    logs = made(tmp_path)

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(module.os, "pwrite", full)
        patch.setattr(Path, "write_bytes", full)
        logs.append(TASK, said(601))
        with pytest.raises(OSError, match="No space"):
            logs.flush(now_and_here)
        assert logs.trouble == "No space left on device"
        assert len(read_all(logs)) == HEAD_LINES + 600
        assert logs.seal(TASK, 0, ()).lines == HEAD_LINES + 601
        logs.unseal(TASK.id)
    logs.flush(now_and_here)
    assert logs.trouble == ""
    assert [x.rpartition(" ")[2] for x in read_all(logs)[HEAD_LINES:]] == [str(n) for n in range(1, 602)]
    assert path.with_suffix(".idx").stat().st_size == 8 * 3


@pytest.mark.parametrize("damage", ["garbage", "shifted", "gone"])
def test_a_broken_index_costs_no_lines(tmp_path: Path, damage: str) -> None:
    logs = made(tmp_path)
    for number in range(5000):
        logs.append(TASK, said(number))
    logs.flush(now_and_here)
    before = read_all(logs, size=700)
    (index,) = tmp_path.rglob("*.idx")
    whole = index.read_bytes()
    index.write_bytes(random.Random(1).randbytes(len(whole)) if damage == "garbage" else whole[3:])
    if damage == "gone":
        index.unlink()
    assert len(before) == 5003 and read_all(made(tmp_path), size=700) == before


def test_a_full_disk_leaves_no_empty_file_behind_and_takes_no_first_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    logs = made(tmp_path)
    for life in (logs, made(tmp_path)):  # the second finds the empty file of the first
        life.append(TASK, said(1))
        with monkeypatch.context() as patch:
            patch.setattr(module.os, "pwrite", full)
            with pytest.raises(OSError, match="No space"):
                life.flush(now_and_here)
        assert len(read_all(life)) == HEAD_LINES
        seal = life.seal(TASK, 0, ())
        assert (seal.offset, seal.lines) == (0, HEAD_LINES + 1)
        life.unseal(TASK.id)
    logs.close(TASK.id, logs.seal(TASK, 0, ()), now_and_here)
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []


def test_a_log_that_retention_removed_leaves_nothing(tmp_path: Path) -> None:
    logs = made(tmp_path)
    logs.append(TASK, said(1))
    logs.flush(now_and_here)
    assert logs.files() == [TASK.id]
    logs.remove(TASK.id)
    assert logs.files() == [] and [p for p in tmp_path.rglob("*") if p.is_file()] == []


# ---- any order of writing, ending and crashing ---------------------------------------------------------------------

CUT = st.sampled_from(["nothing", "torn line", "no index", "short index", "torn index"])


class Life(RuleBasedStateMachine):
    """Random appends, flushes, reads, crashes and ends against a plain list of lines."""

    def __init__(self) -> None:
        super().__init__()
        from tempfile import TemporaryDirectory

        self.folder = TemporaryDirectory()
        self.path = Path(self.folder.name)
        self.logs = made(self.path)
        self.number = 0
        self.waiting: list[str] = []  # appended, not flushed
        self.file: list[str] = texts(head(TASK, "localhost:9001"))  # what readers must see
        self.row: tuple[int, int, bytes] | None = None
        self.ended = False
        self.follower: list[str] = []

    def teardown(self) -> None:
        self.folder.cleanup()

    def _block(self, lines: int, more: int, size: int) -> bytes:
        out = []
        for _ in range(lines):
            self.number += 1
            text = "\n".join([f"{self.number}" + "x" * size, *[f"more {self.number} {i}" for i in range(more)]])
            out.append(Line(level=("INFO", "WARN", "ERROR")[self.number % 3], text=text))
        return render(NOW, out)

    @precondition(lambda self: not self.ended)
    @rule(lines=st.integers(1, 300), more=st.integers(0, 2), size=st.sampled_from([0, 5, 300]))
    def append(self, lines: int, more: int, size: int) -> None:
        block = self._block(lines, more, size)
        self.logs.append(TASK, block)
        self.waiting += texts(block)

    @precondition(lambda self: not self.ended)
    @rule()
    def flush(self) -> None:
        self.logs.flush(now_and_here)
        self.file += self.waiting
        self.waiting = []

    @rule(size=st.sampled_from([1, 3, 100, 10_000]), pages=st.integers(1, 5))
    def follow(self, size: int, pages: int) -> None:
        for _ in range(pages):
            page = self.logs.read(TASK, self.row, len(self.follower), size, 5 << 20)
            self.follower += page.lines

    @precondition(lambda self: not self.ended)
    @rule(cut=CUT)
    def crash(self, cut: str) -> None:
        """kill -9: what was not flushed is gone; the file may end in the middle of a line, the index anywhere."""
        self.waiting = []
        self.logs = made(self.path)
        self._damage(cut)

    def _damage(self, cut: str) -> None:
        path = self.logs._path(TASK.id)
        index = path.with_suffix(".idx")
        if path.exists() and cut == "torn line":
            with path.open("ab") as file:
                file.write(b"2023-11-14 22:13:20.000 INFO tor")
        elif index.exists() and cut == "no index":
            index.unlink()
        elif index.exists() and cut == "short index":
            os.truncate(index, index.stat().st_size // 16 * 8)
        elif index.exists() and cut == "torn index":
            os.truncate(index, max(0, index.stat().st_size - 3))

    @precondition(lambda self: not self.ended)
    @rule(fate=st.sampled_from(["closed", "crash before close", "crash before strike", "commit failed"]), cut=CUT)
    def end(self, fate: str, cut: str) -> None:
        seal = self.logs.seal(TASK, NOW, [Line(level="INFO", text="the end")])
        if fate == "commit failed":
            self.logs.unseal(TASK.id)
            return
        self.ended, self.row = True, stored(seal)
        self.file += [*self.waiting, *texts(render(NOW, [Line(level="INFO", text="the end")]))]
        self.waiting = []
        if fate != "crash before close":
            self.logs.close(TASK.id, seal, now_and_here)
        if fate == "closed":
            self.row = (seal.offset, seal.lines, seal.body if seal.offset == 0 else b"")
            return
        self.logs = made(self.path)  # a new life: as the janitor does
        if fate == "crash before close":
            self._damage(cut)
        if seal.offset > 0:
            self.logs.settle(TASK.id, seal)
            self.row = (seal.offset, seal.lines, b"")

    @invariant()
    def readers_see_what_is_there(self) -> None:
        for size in (64, 10_000):
            assert read_all(self.logs, self.row, size) == self.file
        assert self.follower == self.file[: len(self.follower)]
        if self.row is not None:
            assert self.row[1] == len(self.file)

    @invariant()
    def any_page_is_right(self) -> None:
        for first in (0, INDEX_EVERY - 1, INDEX_EVERY, INDEX_EVERY + 1, len(self.file) - 2):
            if first >= 0:
                page = self.logs.read(TASK, self.row, first, 3, 5 << 20)
                assert page.lines == self.file[first : first + 3]


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=80, stateful_step_count=25, deadline=None)
