"""The one writer: what is answered is committed, and what fails touches nothing else."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from factories import wait_until

from common.db.database import open_writable
from common.db.sql import Tx
from common.db.writer import Outcome, PlainThreads, Writer
from common.errors import BadInput, Closing, MayPass, NotStored
from executors.slices import write_slice


class Desk:
    """A writer on a small database, and a connection that sees only what is committed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        connection = open_writable(path)
        connection.execute("CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT NOT NULL)")
        connection.close()
        self.failures: list[BaseException] = []
        self.connections: list[sqlite3.Connection] = []
        self.writer = Writer(self.connect, PlainThreads(), self.failures.append)
        self.reader = sqlite3.connect(path, check_same_thread=False)

    def connect(self) -> sqlite3.Connection:
        self.connections.append(open_writable(self.path))
        return self.connections[-1]

    def notes(self) -> list[str]:
        return [row[0] for row in self.reader.execute("SELECT text FROM notes ORDER BY id")]

    def held(self) -> tuple[threading.Event, threading.Event]:
        """Keep the writer busy with one change: (set when it is, set to let it go on)."""
        busy, go_on = threading.Event(), threading.Event()

        def wait(tx: Tx) -> None:
            busy.set()
            go_on.wait(10)

        self.writer.post(wait)
        busy.wait(10)
        return busy, go_on

    def limit(self, pages: int) -> None:
        """Let the database grow by so many pages and no more, as a full disk would."""

        def change(tx: Tx) -> None:
            count = tx.connection.execute("PRAGMA page_count").fetchone()[0]
            tx.connection.execute(f"PRAGMA max_page_count = {count + pages}")

        self.writer.call(change)


def note(text: str | None) -> Callable[[Tx], int]:
    def change(tx: Tx) -> int:
        return tx.connection.execute("INSERT INTO notes (text) VALUES (?)", (text,)).lastrowid or 0

    return change


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(tmp_path / "notes.db")
    yield desk
    desk.writer.close()
    desk.reader.close()
    assert desk.failures == []


def test_a_change_is_committed_when_it_is_answered(desk: Desk) -> None:
    assert desk.writer.call(note("one")) == 1
    assert desk.notes() == ["one"]


def test_changes_that_wait_are_committed_together_and_in_order(desk: Desk) -> None:
    _, go_on = desk.held()
    told: list[str] = []
    for number in range(50):
        desk.writer.post(note(str(number)), lambda outcome, n=number: told.append(str(n)))  # type: ignore[misc]
    before = desk.writer.commits
    go_on.set()
    wait_until(lambda: len(told) == 50)
    assert desk.notes() == told == [str(n) for n in range(50)]
    assert desk.writer.commits == before + 2  # the one that was held, and all others


def test_patient_changes_share_the_commit_of_one_that_is_not(desk: Desk) -> None:
    before = desk.writer.commits
    told: list[object] = []
    for text in ("one", "two"):
        desk.writer.post(note(text), lambda outcome: told.append(outcome.value), patient=True)
    desk.writer.call(note("three"))
    assert told == [1, 2] and desk.notes() == ["one", "two", "three"]
    assert desk.writer.commits == before + 1


def test_a_patient_change_is_committed_without_any_other(desk: Desk) -> None:
    done = threading.Event()
    desk.writer.post(note("one"), lambda outcome: done.set(), patient=True)
    assert done.wait(10) and desk.notes() == ["one"]


def test_one_who_cannot_hear_keeps_nobody_from_hearing_and_ends_the_service(desk: Desk) -> None:
    _, go_on = desk.held()
    heard = threading.Event()

    def deaf(outcome: Outcome) -> None:
        raise ZeroDivisionError

    desk.writer.post(note("one"), deaf)
    desk.writer.post(note("two"), lambda outcome: heard.set())
    go_on.set()
    assert heard.wait(10)
    assert [type(error) for error in desk.failures] == [ZeroDivisionError]
    desk.failures.clear()


def test_nobody_is_told_before_the_commit(desk: Desk) -> None:
    seen: list[list[str]] = []
    done = threading.Event()

    def told(outcome: Outcome) -> None:
        seen.append(desk.notes())
        done.set()

    desk.writer.post(note("one"), told)
    assert done.wait(10) and seen == [["one"]]


@pytest.mark.parametrize("fault", ["an error of ours", "any error", "a row against the rules", "a statement that cannot be"])
def test_one_failing_change_does_not_touch_the_others(desk: Desk, fault: str) -> None:
    def bad(tx: Tx) -> None:
        note("half")(tx)
        if fault == "an error of ours":
            raise BadInput("no")
        if fault == "any error":
            raise ZeroDivisionError
        note(None)(tx) if fault == "a row against the rules" else tx.connection.execute("SELECT * FROM nothing")

    _, go_on = desk.held()
    outcomes: dict[str, Outcome] = {}
    for name, change in (("before", note("before")), ("bad", bad), ("after", note("after"))):
        desk.writer.post(change, lambda outcome, n=name: outcomes.update({n: outcome}))  # type: ignore[misc]
    go_on.set()
    wait_until(lambda: len(outcomes) == 3)
    assert desk.notes() == ["before", "after"]
    kinds = {
        "an error of ours": BadInput,
        "any error": ZeroDivisionError,
        "a row against the rules": sqlite3.IntegrityError,
        "a statement that cannot be": sqlite3.OperationalError,
    }
    assert type(outcomes["bad"].error) is kinds[fault]
    assert outcomes["before"].error is None and outcomes["after"].error is None


def test_a_full_disk_refuses_and_the_writer_goes_on_when_there_is_room_again(desk: Desk) -> None:
    desk.limit(2)
    kept = []
    with pytest.raises(NotStored):
        for number in range(100):
            desk.writer.call(note(f"{number}" * 1000))
            kept.append(f"{number}" * 1000)
    assert desk.notes() == kept
    with pytest.raises(NotStored):
        desk.writer.call(note("x" * 100_000))
    assert desk.writer.trouble == "database or disk is full"
    desk.writer.call(lambda tx: tx.connection.execute("SELECT text FROM notes").fetchone())
    assert desk.writer.trouble  # one that writes nothing proves nothing
    desk.limit(1000)
    desk.writer.call(note("again"))
    assert desk.notes() == [*kept, "again"]
    assert desk.writer.trouble == ""


def test_a_full_disk_fails_the_whole_batch_and_nothing_of_it_is_stored(desk: Desk) -> None:
    desk.limit(4)
    _, go_on = desk.held()
    outcomes: list[Outcome] = []
    for size in (10, 100_000, 10):
        desk.writer.post(note("x" * size), outcomes.append)
    go_on.set()
    wait_until(lambda: len(outcomes) == 3)
    assert [type(o.error) for o in outcomes] == [NotStored] * 3 and desk.notes() == []


def test_a_database_that_is_locked_too_long_is_told_as_not_stored(tmp_path: Path) -> None:
    desk = Desk(tmp_path / "locked.db")
    desk.writer.call(lambda tx: None)
    desk.connections[0].execute("PRAGMA busy_timeout = 50")
    other = open_writable(desk.path)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(NotStored, match="locked"):
        desk.writer.call(note("one"))
    other.execute("COMMIT")
    other.close()
    assert desk.writer.call(note("two")) == 1
    desk.writer.close()
    desk.reader.close()


# ---- slices --------------------------------------------------------------------------------------------------------


def copy(*names: str) -> Callable[[Tx], None]:
    def change(tx: Tx) -> None:
        for name in names:
            tx.connection.execute(f"INSERT INTO main.notes (text) SELECT text FROM {name}.rows")

    return change


def test_slices_are_visible_while_their_change_runs_and_free_afterwards(desk: Desk, tmp_path: Path) -> None:
    paths = [tmp_path / "a b#1.db", tmp_path / "ä?.db"]
    write_slice(paths[0], ["text"], [["one"], ["two"]])
    write_slice(paths[1], ["text"], [["three"]])
    desk.writer.call(copy("s0", "s1"), attach=paths)
    assert desk.notes() == ["one", "two", "three"]
    for path in paths:
        path.unlink()
    attached = desk.writer.call(lambda tx: tx.connection.execute("PRAGMA database_list").fetchall())
    assert [row[1] for row in attached] == ["main"]


def test_small_changes_go_before_the_next_slice(desk: Desk, tmp_path: Path) -> None:
    path = tmp_path / "slice.db"
    write_slice(path, ["text"], [["row"]])
    _, go_on = desk.held()
    told: list[str] = []
    for name in ("slice 1", "slice 2"):
        desk.writer.post(copy("s0"), lambda outcome, n=name: told.append(n), [path])  # type: ignore[misc]
    desk.writer.post(note("small"), lambda outcome: told.append("small"))
    go_on.set()
    wait_until(lambda: len(told) == 3)
    assert told == ["small", "slice 1", "slice 2"]


def _missing(path: Path) -> None:
    path.unlink()


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _no_database(path: Path) -> None:
    path.write_bytes(b"no database at all " * 500)


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:5000])


def _other_columns(path: Path) -> None:
    path.unlink()
    write_slice(path, ["other"], [["x"]])


def _null(path: Path) -> None:
    path.unlink()
    write_slice(path, ["text"], [["fine"], [None]])


@pytest.mark.parametrize("damage", [_missing, _empty, _no_database, _cut, _other_columns, _null])
def test_a_missing_or_broken_slice_is_an_error_that_may_pass_and_leaves_nothing(
    desk: Desk, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    good, bad = tmp_path / "good.db", tmp_path / "bad.db"
    write_slice(good, ["text"], [["good"]])
    write_slice(bad, ["text"], [["x" * 3000] for _ in range(10)])
    damage(bad)
    with pytest.raises(MayPass):
        desk.writer.call(copy("s0", "s1"), attach=[good, bad])
    assert desk.notes() == []
    desk.writer.call(copy("s0"), attach=[good])
    assert desk.notes() == ["good"]


def test_a_slice_that_does_not_fit_on_the_disk_is_not_stored(desk: Desk, tmp_path: Path) -> None:
    path = tmp_path / "slice.db"
    write_slice(path, ["text"], [["x" * 3000] for _ in range(50)])
    desk.limit(3)
    with pytest.raises(NotStored):
        desk.writer.call(copy("s0"), attach=[path])
    desk.limit(1000)
    desk.writer.call(copy("s0"), attach=[path])
    assert len(desk.notes()) == 50


# ---- the end -------------------------------------------------------------------------------------------------------


def test_closing_carries_out_what_is_queued_and_takes_nothing_more(desk: Desk, tmp_path: Path) -> None:
    path = tmp_path / "slice.db"
    write_slice(path, ["text"], [["slice"]])
    _, go_on = desk.held()
    outcomes: list[Outcome] = []
    for number in range(450):  # more than one batch
        desk.writer.post(note(str(number)), outcomes.append)
    desk.writer.post(copy("s0"), outcomes.append, [path])
    closer = threading.Thread(target=desk.writer.close)
    closer.start()
    go_on.set()
    closer.join(10)
    assert len(outcomes) == 451
    assert desk.notes() == [*map(str, range(450)), "slice"]
    with pytest.raises(Closing):
        desk.writer.call(note("late"))
    desk.writer.close()  # a second time is no error


def test_once_it_is_closed_the_files_of_the_database_may_be_replaced(tmp_path: Path) -> None:
    for number in range(20):
        path = tmp_path / f"{number}.db"
        writer = Writer(partial(open_writable, path), PlainThreads(), lambda error: None)
        writer.call(lambda tx: tx.connection.execute("CREATE TABLE notes (text)").rowcount)
        writer.close()
        assert [file.name for file in tmp_path.glob(f"{number}.db*")] == [
            path.name
        ]  # the last connection takes the log along


def test_a_database_that_cannot_be_opened_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(sqlite3.OperationalError):
        Writer(lambda: open_writable(tmp_path / "no" / "such.db"), PlainThreads(), lambda error: None)


def test_a_thread_that_breaks_is_told_to_who_must_end_the_service(tmp_path: Path) -> None:
    failures: list[BaseException] = []

    class Broken(sqlite3.Connection):
        def execute(self, sql: str, *values: Any) -> sqlite3.Cursor:
            raise RuntimeError("broken")

    def connect() -> sqlite3.Connection:
        return sqlite3.connect(tmp_path / "x.db", factory=Broken, check_same_thread=False)

    writer = Writer(connect, PlainThreads(), failures.append)
    writer.post(note("one"))
    wait_until(lambda: failures)
    assert str(failures[0]) == "broken"
    writer.close()
