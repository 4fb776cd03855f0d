"""Rows, checkpoints and files of attempts: together or not at all, whatever happens in between."""

from __future__ import annotations

import os
import random
import sqlite3
import string
import threading
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
from factories import wait_until

from common.clock import ManualClock
from common.db import outside, reports
from common.errors import BadInput, MayPass, NotStored, Refused
from common.task import State
from entrance.core import intake
from entrance.core.hooks import NoHooks
from entrance.core.intake import carry_out_pairs
from entrance.core.model import Caller
from executors.launchers.base import AttemptKey, Ending, Slice
from executors.slices import write_slice

ANN = Caller(name="ann")
TABLE, COLUMNS = "outputs", ("id", "preparation_id", "storage_id")  # a small table of the catalogue


def give(life: Any, key: AttemptKey, number: int, rows: list[tuple[int, int, int]]) -> Path:
    """Hand over a slice of rows as an attempt does."""
    folder = Path(life.launcher.attempts[key].workdir)
    folder.mkdir(parents=True, exist_ok=True)
    path: Path = folder / f"slice-{number}.db"
    write_slice(path, COLUMNS, rows)
    life.launcher.sink.rows(key, Slice(number=number, table=TABLE, columns=COLUMNS, path=path, count=len(rows)))
    return path


def rows(life: Any) -> list[tuple[Any, ...]]:
    """What the catalogue holds, seen from outside the service."""
    with closing(sqlite3.connect(life.path / "entrance.db")) as connection:
        return connection.execute("SELECT id, preparation_id, storage_id FROM outputs ORDER BY id").fetchall()


def checkpoint(life: Any, task: Any) -> tuple[bytes | None, int] | None:
    with life.core.readers.read() as tx:
        stored = reports.stored_progress(tx, task.id)
    return None if stored is None else (stored.checkpoint, stored.merged)


def pairs(life: Any) -> list[Any]:
    with life.core.readers.read() as tx:
        return outside.pairs(tx)


def owned(life: Any, task: Any) -> list[str]:
    with life.core.readers.read() as tx:
        return [name for _, name in outside.owned(tx, task.id)]


# ---- rows and checkpoints ------------------------------------------------------------------------------------------


def test_rows_are_stored_with_the_checkpoint_that_follows_them(life: Any) -> None:
    task = life.submit()
    key = life.started(task)
    paths = [give(life, key, 1, [(1, 1, 10)]), give(life, key, 2, [(2, 1, 20)])]
    life.core.intake.flush()
    assert rows(life) == []
    life.step(key, 2, 9, b"two")
    assert rows(life) == [(1, 1, 10), (2, 1, 20)]
    assert checkpoint(life, task) == (b"two", 2)
    assert (key, "merged", 2) in life.launcher.told
    assert [p.exists() for p in paths] == [False, False]


def test_a_checkpoint_never_runs_ahead_of_its_rows(life: Any) -> None:
    """Rows that came after the last checkpoint are as if they had never been, and the next attempt gives them again."""
    task = life.submit()
    key = life.started(task)
    give(life, key, 1, [(1, 1, 10)])
    life.step(key, 1, 9, b"one")
    give(life, key, 2, [(2, 1, 20)])
    life.launcher.end(key, Ending.DIED, reason="signal 9")
    assert rows(life) == [(1, 1, 10)] and checkpoint(life, task) == (b"one", 1)
    life.advance(5_000)
    again = life.started(task, 2)
    assert life.launcher.attempts[again].checkpoint == b"one"
    give(life, again, 1, [(2, 1, 20)])
    life.step(again, 2, 9, b"two")
    assert rows(life) == [(1, 1, 10), (2, 1, 20)] and checkpoint(life, task) == (b"two", 1)


def test_rows_after_the_last_step_count_with_a_success(life: Any) -> None:
    task = life.submit()
    key = life.started(task)
    give(life, key, 1, [(1, 1, 10)])
    life.launcher.end(key)
    assert rows(life) == [(1, 1, 10)] and life.state(task) is State.SUCCEEDED


@pytest.mark.parametrize("ending", [Ending.FAILED, Ending.STOPPED, Ending.LOST, Ending.DIED])
def test_rows_after_the_last_step_do_not_count_with_any_other_end(life: Any, ending: Ending) -> None:
    key = life.started(life.submit())
    give(life, key, 1, [(1, 1, 10)])
    life.launcher.end(key, ending, reason="so")
    assert rows(life) == []


def test_a_slice_that_was_stored_already_is_skipped(life: Any) -> None:
    key = life.started(life.submit())
    give(life, key, 1, [(1, 1, 10)])
    life.step(key, 1, 9, b"one")
    give(life, key, 1, [(1, 1, 99)])
    life.step(key, 2, 9, b"two")
    assert rows(life) == [(1, 1, 10)]


def test_a_slice_out_of_turn_or_for_a_table_that_is_not_the_tasks_is_refused(life: Any, tmp_path: Path) -> None:
    key = life.started(life.submit())
    with pytest.raises(BadInput):
        give(life, key, 2, [(1, 1, 10)])
    for table, columns in (("tasks", ("id",)), ("users", ("name",)), ("nothing", ("id",)), (TABLE, ("colour",))):
        with pytest.raises(BadInput):
            life.launcher.sink.rows(key, Slice(number=1, table=table, columns=columns, path=tmp_path / "s", count=1))
    for table in ("tasks", "nothing"):
        with pytest.raises(BadInput):
            life.launcher.sink.ids(key, table, 1)


def test_rows_of_a_fenced_attempt_are_never_stored(life: Any) -> None:
    task = life.submit()
    key = life.started(task)
    give(life, key, 1, [(1, 1, 10)])
    life.tasks.steer.kill(ANN, task.id)
    with pytest.raises(Refused):
        life.step(key, 1, 9, b"one")
    life.launcher.end(key)
    assert rows(life) == [] and checkpoint(life, task) is None


@pytest.mark.parametrize("damage", ["missing", "empty", "cut", "null", "no such column"])
def test_a_broken_slice_ends_the_attempt_as_an_error_that_may_pass(life: Any, damage: str) -> None:
    task = life.submit()
    key = life.started(task)
    path = give(life, key, 1, [(n, n, n) for n in range(2000)])
    if damage == "missing":
        path.unlink()
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[:9000])
    elif damage == "null":
        path.unlink()
        write_slice(path, COLUMNS, [(1, 1, 10), (2, None, 3)])
    else:
        path.unlink()
        write_slice(path, ("other",), [(1,)])
    with pytest.raises(MayPass):
        life.step(key, 1, 9, b"one")
    assert rows(life) == [] and checkpoint(life, task) is None
    life.launcher.end(key)  # also when it goes on to its end
    waiting = life.get(task)
    assert (waiting.state, waiting.errors) == (State.WAITING_RETRY, 1) and rows(life) == []
    assert waiting.reason is not None and "the rows could not be stored" in waiting.reason


@pytest.mark.parametrize("slices", [1, 9], ids=["few slices", "more than one transaction takes"])
def test_a_checkpoint_whose_rows_could_not_be_stored_does_not_count(life: Any, slices: int) -> None:
    """The attempt ends as an error that may pass, and the next one gives these rows again."""
    task = life.submit()
    key = life.started(task)
    life.step(key, 1, 9, b"one")
    paths = [give(life, key, n, [(n, n, n)]) for n in range(1, slices + 1)]
    paths[-1].unlink()
    with pytest.raises(MayPass):
        life.step(key, 2, 9, b"two")
    life.core.intake.flush()
    life.launcher.end(key, Ending.FAILED, reason="the rows cannot be read", may_pass=True)
    assert life.state(task) is State.WAITING_RETRY
    found = checkpoint(life, task)
    assert found is not None and found[0] == b"one"
    life.advance(5_000)
    assert life.launcher.attempts[life.started(task, 2)].checkpoint == b"one"


def test_a_report_that_waited_for_the_log_takes_no_newer_checkpoint_back(life: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    task = life.submit()
    key = life.started(task)
    life.step(key, 1, 9, b"one")
    written = life.core.logs.written

    def slowly(*args: Any) -> None:
        """Meanwhile the attempt goes on."""
        monkeypatch.setattr(life.core.logs, "written", written)
        give(life, key, 1, [(1, 1, 10)])
        life.step(key, 2, 9, b"two")
        written(*args)

    monkeypatch.setattr(life.core.logs, "written", slowly)
    life.core.intake.flush()
    life.launcher.end(key, Ending.DIED, reason="signal 9")
    assert rows(life) == [(1, 1, 10)] and checkpoint(life, task) == (b"two", 1)


def test_a_full_disk_holds_the_end_of_an_attempt_back_until_there_is_room(life: Any) -> None:
    def limit(pages: int) -> bool:
        with suppress(NotStored):  # its transaction may be that of a change that does not fit
            life.core.writer.call(lambda tx: tx.connection.execute(f"PRAGMA max_page_count = {pages}").fetchone())
            return True
        return False

    task = life.submit()
    key = life.started(task)
    used = life.core.writer.call(lambda tx: tx.connection.execute("PRAGMA page_count").fetchone()[0])
    limit(used)
    big = [["".join(random.Random(1).choices(string.printable, k=200_000))]]
    ended = threading.Thread(target=life.launcher.end, args=(key,), kwargs={"rows": big})
    ended.start()
    with pytest.raises(NotStored):
        for _ in range(100):
            life.submit(code="x" * 10_000)
    assert life.state(task) is State.RUNNING
    wait_until(lambda: limit(1 << 30), what="there is room")
    ended.join(10)
    assert life.state(task) is State.SUCCEEDED and life.tasks.look.result(ANN, task.id).rows == big
    assert life.texts(task)[-1] == "INFO Congratulations. Your job completed with status Success."


def test_no_line_goes_ahead_of_rows_that_the_database_does_not_take(life: Any) -> None:
    task = life.submit()
    key = life.started(task)
    give(life, key, 1, [(1, 1, 10)])
    life.step(key, 1, 9, b"one")
    life.core.writer.call(lambda tx: tx.connection.execute("PRAGMA busy_timeout = 0").fetchall())
    with closing(sqlite3.connect(life.path / "entrance.db", isolation_level=None)) as somebody:
        somebody.execute("BEGIN IMMEDIATE")
        with pytest.raises(NotStored):
            life.submit()
        life.launcher.sink.log(key, b"2026-01-31 12:00:00.000 INFO two\n")
        give(life, key, 2, [(2, 1, 20)])
        with pytest.raises(NotStored):
            life.step(key, 2, 9, b"two")
        with pytest.raises(NotStored):
            life.launcher.sink.publish(key, [])
        assert life.core.logs.waiting(task.id) > 0 and rows(life) == [(1, 1, 10)]
    wait_until(lambda: not life.core.writer.trouble)
    life.step(key, 2, 9, b"two")
    assert life.core.logs.waiting(task.id) == 0 and rows(life) == [(1, 1, 10), (2, 1, 20)]


def test_a_log_that_the_disk_does_not_take_ends_the_attempt_before_it_fills_the_memory(
    life: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = life.submit()
    key = life.started(task)
    block = b"2026-01-31 12:00:00.000 INFO x\n" * 30_000

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(intake, "LOG_SECONDS", 0.05)
        patch.setattr(life.core.logs, "flush", full)
        with pytest.raises(NotStored, match="the log of the task cannot be written"):
            for _ in range(100):
                life.launcher.sink.log(key, block)
        assert life.core.logs.waiting(task.id) < 2 * intake.MOST_LOG_BYTES
    for _ in range(30):
        life.launcher.sink.log(key, block)  # waits for the disk, and goes on
    wait_until(lambda: life.core.logs.waiting(task.id) == 0)


def test_ids_are_handed_out_once_over_all_attempts(life: Any) -> None:
    one, two = life.started(life.submit()), life.started(life.submit())
    firsts = [life.launcher.sink.ids(k, "files", 10) for k in (one, two, one)]
    assert firsts == [1, 11, 21]
    with pytest.raises(BadInput):
        life.launcher.sink.ids(one, "files", 0)


def test_a_checkpoint_has_a_limit(life: Any) -> None:
    task = life.submit()
    key = life.started(task)
    life.step(key, 1, 2, b"x" * 65_536)
    with pytest.raises(BadInput):
        life.step(key, 1, 2, b"x" * 65_537)


# ---- files ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def out(tmp_path: Path) -> Path:
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


class Pack:
    """An attempt that makes a file, as pack does: own, write, publish with a row."""

    def __init__(self, life: Any, out: Path, task: Any = None, number: int | None = None) -> None:
        self.life, self.task = life, task or life.submit()
        self.key = life.started(self.task, number)
        self.temporary = out / f".{self.key}.car.part"
        self.final = out / "piece.car"
        life.launcher.sink.own(self.key, "path", [str(self.temporary)])
        self.temporary.write_bytes(b"car of " + str(self.key).encode())
        give(life, self.key, 1, [(7, 1, self.key.number)])

    def publish(self) -> None:
        self.life.launcher.sink.publish(self.key, [(str(self.temporary), str(self.final))])


def test_a_published_file_has_its_final_name_and_its_row(life: Any, out: Path) -> None:
    pack = Pack(life, out)
    pack.publish()
    assert pack.final.read_bytes() == b"car of 1-1" and not pack.temporary.exists()
    assert rows(life) == [(7, 1, 1)] and pairs(life) == [] and owned(life, pack.task) == []
    life.launcher.end(pack.key)
    assert pack.final.exists()


def test_a_kill_before_the_commit_finds_nothing_published_and_leaves_nothing(life: Any, out: Path) -> None:
    pack = Pack(life, out)
    life.tasks.steer.kill(ANN, pack.task.id)
    with pytest.raises(Refused):
        pack.publish()
    wait_until(lambda: life.core.intake.live == {})
    life.core.janitor.sweep(lambda: set())
    assert list(out.iterdir()) == [] and rows(life) == [] and owned(life, pack.task) == []


def test_a_kill_after_the_commit_finds_a_whole_recorded_file(life: Any, out: Path) -> None:
    pack = Pack(life, out)
    pack.publish()
    life.tasks.steer.kill(ANN, pack.task.id)
    life.core.janitor.sweep(lambda: set())
    assert pack.final.exists() and rows(life) == [(7, 1, 1)]


def test_what_earlier_attempts_left_goes_with_the_success_of_one_that_makes_nothing(life: Any, out: Path) -> None:
    pack = Pack(life, out)
    pack.publish()
    journal = out / f".{pack.key}.car.blocks.part"
    life.launcher.sink.own(pack.key, "path", [str(journal)])
    journal.touch()
    life.launcher.end(pack.key, Ending.DIED, reason="signal 9")
    life.advance(5_000)
    life.launcher.end(life.started(pack.task, 2))
    wait_until(lambda: list(out.iterdir()) == [pack.final])
    wait_until(lambda: owned(life, pack.task) == [])


def test_a_kill_while_no_attempt_runs_leaves_nothing(life: Any, out: Path) -> None:
    pack = Pack(life, out)
    life.tasks.steer.pause(ANN, pack.task.id)
    life.until(pack.task, State.PAUSED)
    assert pack.temporary.exists()
    life.tasks.steer.kill(ANN, pack.task.id)
    wait_until(lambda: list(out.iterdir()) == [])
    wait_until(lambda: owned(life, pack.task) == [])


def test_a_file_on_its_way_to_its_final_name_is_no_leftover(life: Any, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kill and a sweep come between the commit and the rename."""
    pack = Pack(life, out)

    def rename(offload: Any, pairs: Any) -> dict[int, str]:
        life.tasks.steer.kill(ANN, pack.task.id)
        life.core.janitor.sweep(lambda: set())
        life.core.janitor.release(pack.task.id)
        return carry_out_pairs(offload, pairs)

    monkeypatch.setattr("entrance.core.intake.carry_out_pairs", rename)
    pack.publish()
    assert pack.final.exists() and rows(life) == [(7, 1, 1)]
    assert life.state(pack.task) is State.CANCELLED and owned(life, pack.task) == []


def test_rows_are_read_before_the_work_folder_goes(life: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    task = life.submit()
    key = life.started(task)
    path = give(life, key, 1, [(1, 1, 10)])
    call = life.core.changes.carry_out

    def slow(*arguments: Any, **more: Any) -> Any:
        for _ in range(3):  # the chores have every chance
            done = threading.Event()
            life.core.dispatcher._chores.put(done.set)
            done.wait(5)
        assert path.exists()
        return call(*arguments, **more)

    monkeypatch.setattr(life.core.changes, "carry_out", slow)
    life.launcher.end(key)
    assert rows(life) == [(1, 1, 10)]
    wait_until(lambda: not path.parent.exists())


def test_what_a_dead_attempt_owned_stays_while_its_processes_may_live(life: Any, out: Path) -> None:
    pack = Pack(life, out)
    life.launcher._stop = lambda keys: None  # the kill does not reach them
    life.tasks.steer.kill(ANN, pack.task.id)
    life.core.janitor.sweep(life.core._running)
    assert pack.temporary.exists()
    life.launcher.end(pack.key, Ending.STOPPED)
    life.core.janitor.sweep(life.core._running)
    assert not pack.temporary.exists()


def test_a_file_that_cannot_get_its_name_takes_its_rows_along(lives: Callable[..., Any], out: Path) -> None:
    undone: list[str] = []

    class Hooks(NoHooks):
        def unpublished(self, tx: Any, task: Any, final: str) -> None:
            undone.append(final)
            tx.connection.execute("DELETE FROM outputs")

    life = lives(hooks=Hooks())
    pack = Pack(life, out)
    pack.temporary.unlink()
    with pytest.raises(NotStored, match=r"piece\.car"):
        pack.publish()
    assert undone == [str(pack.final)] and rows(life) == [] and pairs(life) == []
    assert "the file has vanished" in _error(pack.publish)


def _error(call: Callable[[], None]) -> str:
    with pytest.raises(NotStored) as caught:
        call()
    return str(caught.value)


def test_leftovers_of_ended_tasks_go_and_nothing_else(life: Any, out: Path) -> None:
    task = life.submit()
    key = life.started(task)
    folder, file = out / "parts[1]", out / "x*.part"
    folder.mkdir()
    (folder / "a").write_text("a")
    file.write_text("x")
    for name in ("xy.part", "x1.part-2", "parts1", "x.car"):
        (out / name).write_text("somebody else's")
    outside = out / "kept"
    outside.mkdir()
    (outside / "b").write_text("b")
    (out / "link").symlink_to(outside)
    sink = life.launcher.sink
    sink.own(key, "path", [str(out / "never made")])
    sink.own(key, "prefix", [str(folder), str(file), str(out / "link")])
    life.core.janitor.sweep(lambda: set())
    assert file.exists()
    life.launcher.end(key, Ending.FAILED, reason="so")
    life.core.janitor.sweep(lambda: set())
    assert sorted(p.name for p in out.iterdir()) == ["kept", "parts1", "x.car", "x1.part-2", "xy.part"]
    assert (outside / "b").exists() and owned(life, task) == []


def test_the_work_folder_of_an_attempt_goes_with_it(life: Any) -> None:
    key = life.started(life.submit())
    folder = Path(life.launcher.attempts[key].workdir)
    folder.mkdir(parents=True)
    (folder / "scratch").write_text("x")
    life.launcher.end(key)
    wait_until(lambda: not folder.exists())


# ---- crashes between commit and rename -----------------------------------------------------------------------------


def crash_before_rename(life: Any, pack: Pack, monkeypatch: pytest.MonkeyPatch) -> None:
    """The commit of the pairs is done, the renames are not: the service dies."""

    class Died(BaseException):
        pass

    def dies(*_: Any) -> Any:
        raise Died

    with monkeypatch.context() as patch:
        patch.setattr("entrance.core.intake.carry_out_pairs", dies)
        with pytest.raises(Died):
            pack.publish()
    assert len(pairs(life)) == 1 and pack.temporary.exists() and not pack.final.exists()
    life.crash()


def test_a_rename_that_a_crash_cut_short_is_carried_out_at_the_next_start(
    lives: Callable[..., Any], out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    life = lives()
    pack = Pack(life, out)
    crash_before_rename(life, pack, monkeypatch)
    life = lives()
    assert pack.final.exists() and not pack.temporary.exists()
    assert pairs(life) == [] and owned(life, pack.task) == [] and rows(life) == [(7, 1, 1)]
    life.launcher.end(life.started(pack.task, 2))
    life.core.janitor.sweep(lambda: set())
    assert life.state(pack.task) is State.SUCCEEDED and pack.final.exists()


def test_a_rename_that_was_done_and_not_struck_is_no_fault(
    lives: Callable[..., Any], out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    life = lives()
    pack = Pack(life, out)
    crash_before_rename(life, pack, monkeypatch)
    os.replace(pack.temporary, pack.final)
    life = lives()
    assert pack.final.exists() and pairs(life) == [] and rows(life) == [(7, 1, 1)]


def test_a_rename_whose_striking_met_a_full_disk_is_struck_by_a_sweep_once_the_attempt_is_gone(
    life: Any, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise NotStored("the disk is full")

    pack = Pack(life, out)
    with monkeypatch.context() as patch:
        patch.setattr("entrance.core.intake.strike", full)
        with pytest.raises(NotStored, match="the disk is full"):
            pack.publish()
    assert pack.final.exists() and len(pairs(life)) == 1
    life.core.janitor.sweep(lambda: {pack.key})
    life.core.janitor.sweep(lambda: {pack.key})
    assert len(pairs(life)) == 1  # it may be on its way
    life.launcher.end(pack.key, Ending.DIED, reason="signal 9")
    with monkeypatch.context() as patch:
        patch.setattr("entrance.core.janitor.strike", full)
        for _ in range(2):
            life.core.janitor.sweep(lambda: set())
    assert len(pairs(life)) == 1  # still full
    life.core.janitor.sweep(lambda: set())
    assert pairs(life) == [] and owned(life, pack.task) == []
    assert pack.final.exists() and rows(life) == [(7, 1, 1)]


def test_when_neither_file_is_there_the_rows_go_and_the_task_runs_again(
    lives: Callable[..., Any], out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Hooks(NoHooks):
        def unpublished(self, tx: Any, task: Any, final: str) -> None:
            tx.connection.execute("DELETE FROM outputs")

    life = lives(hooks=Hooks())
    pack = Pack(life, out)
    crash_before_rename(life, pack, monkeypatch)
    pack.temporary.unlink()
    life = lives(hooks=Hooks())
    assert rows(life) == [] and pairs(life) == []
    again = Pack(life, out, pack.task, 2)
    again.publish()
    life.launcher.end(again.key)
    assert again.final.read_bytes() == b"car of 1-2" and rows(life) == [(7, 1, 2)]


def test_the_leftovers_of_a_crashed_attempt_stay_for_the_next_one_and_go_with_the_task(
    lives: Callable[..., Any], out: Path
) -> None:
    life = lives()
    pack = Pack(life, out)
    life.crash()
    life = lives()
    life.core.janitor.sweep(lambda: set())
    assert pack.temporary.exists()  # the next attempt goes on with it
    life.tasks.steer.kill(ANN, pack.task.id)
    life.core.janitor.sweep(lambda: set())
    assert not pack.temporary.exists()


def test_retention_forgets_tasks_with_their_logs(lives: Callable[..., Any]) -> None:
    life = lives(**{"retention.tasks_days": 2, "retention.logs_days": 1, "retention.results_days": 1})
    task = life.submit()
    life.launcher.end(life.started(task))
    clock: ManualClock = life.clock
    clock.advance(86_400_000 + 1)
    life.core.janitor.sweep(lambda: set())
    assert life.tasks.look.result(ANN, task.id).total == 0
    with pytest.raises(Exception, match="removed by retention"):
        life.log(task)
    clock.advance(86_400_000)
    life.core.janitor.sweep(lambda: set())
    with pytest.raises(Exception, match="no such task"):
        life.get(task)
