"""A service that ended in any way goes on where it stood: no task is lost, none runs twice, no line twice."""

from __future__ import annotations

import random
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from factories import wait_until

from common.db.ids import take_ids
from common.errors import Closing, EntranceError, StartRefused
from common.task import State
from entrance.core.folder import Folder
from entrance.core.hooks import NoHooks
from entrance.core.logs import Logs
from entrance.core.model import Caller
from executors.launchers.base import End, Ending

ANN = Caller(name="ann")


@pytest.mark.parametrize("how", ["stop", "crash"])
def test_running_tasks_run_again_from_their_checkpoint(lives: Callable[..., Any], how: str) -> None:
    life = lives()
    task = life.submit(max_retries=0)
    key = life.started(task)
    life.step(key, 4, 9, b"four")
    life.core.intake.flush()
    life.core.writer.call(lambda tx: None)
    getattr(life, how)()
    life = lives()
    again = life.started(task, 2)
    assert life.launcher.attempts[again].checkpoint == b"four"
    life.launcher.end(again)
    ended = life.get(task)
    assert (ended.state, ended.errors, ended.attempt) == (State.SUCCEEDED, 0, 2)
    assert [a.ending for a in life.tasks.look.attempts(ANN, task.id)] == [
        {"stop": "stopped", "crash": "lost"}[how],
        "succeeded",
    ]
    assert any("was stopped" in x or "was restarted" in x for x in life.texts(task))


@pytest.mark.parametrize("how", ["stop", "crash"])
def test_queued_tasks_are_still_queued_in_their_order(lives: Callable[..., Any], how: str) -> None:
    limits = {"scheduler.running_per_group": 1}
    life = lives(**limits)
    tasks = [life.submit(priority=100 + n % 2) for n in range(6)]
    life.started(tasks[0])
    getattr(life, how)()
    life = lives(**limits)
    order = []
    for _ in tasks:
        (key,) = wait_until(lambda: list(life.launcher.alive))
        order.append(key.task_id)
        life.launcher.end(key)
    assert order == [2, 4, 6, 1, 3, 5]


def test_every_state_is_taken_up_as_it_was(lives: Callable[..., Any]) -> None:
    life = lives()
    created, paused, retrying, asked = life.submit(wait_for_ready=True), *[life.submit() for _ in range(3)]
    ended = life.submit()
    life.launcher.end(life.started(ended), Ending.FAILED, reason="so")
    life.tasks.steer.pause(ANN, paused.id)
    life.until(paused, State.PAUSED)
    life.launcher.end(life.started(retrying), Ending.FAILED, reason="no answer", may_pass=True)
    life.launcher.stubborn = True
    life.started(asked)
    life.tasks.steer.pause(ANN, asked.id)
    log = life.log(ended)
    life.crash()
    life = lives()
    assert life.state(created) is State.CREATED
    assert life.state(paused) is State.PAUSED
    assert life.state(asked) is State.PAUSED  # the pause was asked for, and the attempt is gone
    assert life.state(retrying) is State.WAITING_RETRY
    assert life.state(ended) is State.FAILED and life.log(ended) == log
    life.advance(5_000)
    life.started(retrying, 2)


def test_a_parent_that_waits_is_left_alone_and_ends_with_its_children(lives: Callable[..., Any]) -> None:
    life = lives()
    parent = life.submit()
    key = life.started(parent)
    child = life.child(key, "a")
    life.started(child)
    life.launcher.end(key)
    life.crash()
    life = lives()
    assert life.get(parent).waits and life.get(parent).attempt == 1
    life.launcher.end(life.started(child, 2))
    assert life.state(parent) is State.SUCCEEDED
    assert not any(k.task_id == parent.id for k in life.launcher.attempts)


def test_a_time_limit_does_not_count_the_time_in_which_no_service_ran(lives: Callable[..., Any]) -> None:
    life = lives()
    task = life.submit(running_timeout_s=60)
    key = life.started(task)
    life.advance(50_000)
    life.step(key, 1, 2)
    life.core.intake.flush()
    wait_until(lambda: life.tasks.look.progress(ANN, task.id).progress.done == 1)
    life.core.writer.call(lambda tx: None)
    life.crash()
    life.clock.advance(7_200_000)
    life = lives()
    life.started(task, 2)
    life.times_out_after(task, 10_000)
    assert [a.ended_at - a.started_at for a in life.tasks.look.attempts(ANN, task.id)] == [50_000, 10_000]


def test_time_limits_count_over_attempts_and_restarts(lives: Callable[..., Any]) -> None:
    life = lives()
    task = life.submit(running_timeout_s=60)
    life.started(task)
    life.advance(50_000)
    life.stop()
    life = lives()
    life.started(task, 2)
    life.advance(9_999)
    assert life.state(task) is State.RUNNING
    life.advance(1)
    life.until(task, State.TIMED_OUT)


def test_the_log_goes_on_where_it_stood_and_no_line_comes_twice(lives: Callable[..., Any]) -> None:
    life = lives()
    task = life.submit()
    follower: list[str] = []
    said = 0
    for number in range(1, 5):
        key = life.started(task, number)
        for _ in range(700):
            said += 1
            life.launcher.sink.log(key, b"2023-11-14 22:13:20.000 INFO line %d\n" % said)
        life.core.logs.flush(lambda f, *a: f(*a))
        follower += life.log(task, len(follower))
        life.crash() if number % 2 else life.stop()
        life = lives()
    key = life.started(task, 5)
    life.launcher.sink.log(key, b"2023-11-14 22:13:20.000 INFO last\n")
    life.launcher.end(key)
    while more := life.log(task, len(follower), 100):
        follower += more
    assert follower == life.log(task)
    numbers = [int(x.rsplit(" ", 1)[1]) for x in follower if " INFO line " in x]
    assert numbers == list(range(1, said + 1))
    assert follower[-1].endswith("completed with status Success.")


def test_a_large_log_whose_last_lines_a_crash_kept_from_the_file_is_completed(
    lives: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    life = lives()
    task = life.submit()
    key = life.started(task)
    life.launcher.sink.log(key, b"2023-11-14 22:13:20.000 INFO " + b"x" * 1000 + b"\n" + b"more\n" * 20_000)
    life.core.logs.flush(lambda f, *a: f(*a))
    monkeypatch.setattr(life.core.dispatcher, "_settle_log", lambda *_: None)  # the crash comes before it
    life.launcher.end(key)
    before = life.log(task, 0, 100_000)
    assert before[-1].endswith("status Success.")
    life.crash()
    life = lives()
    assert life.log(task, 0, 100_000) == before
    path = life.core.logs._path(task.id)
    assert path.read_text().splitlines() == before


def test_the_file_of_a_small_ended_log_that_a_crash_left_behind_is_removed(
    lives: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    life = lives()
    task = life.submit()
    key = life.started(task)
    life.launcher.sink.log(key, b"2023-11-14 22:13:20.000 INFO one\n")
    life.core.logs.flush(lambda f, *a: f(*a))
    monkeypatch.setattr(life.core.dispatcher, "_settle_log", lambda *_: None)
    life.launcher.end(key)
    before = life.log(task)
    life.crash()
    life = lives()
    assert life.log(task) == before
    wait_until(lambda: life.core.logs.files() == [])


def test_a_second_service_on_the_same_folder_is_refused(life: Any) -> None:
    with pytest.raises(StartRefused, match="another service is running"):
        Folder(life.path)


def test_work_folders_of_an_earlier_life_are_emptied(lives: Callable[..., Any]) -> None:
    life = lives()
    key = life.started(life.submit())
    scratch = Path(life.launcher.attempts[key].workdir) / "scratch"
    scratch.parent.mkdir(parents=True)
    scratch.write_text("x")
    life.crash()
    lives()
    assert not scratch.exists()


def test_a_service_that_stops_steers_nothing_more(lives: Callable[..., Any]) -> None:
    life = lives()
    task = life.submit(wait_for_ready=True)
    life.stop()
    with pytest.raises(Closing):
        life.tasks.steer.kill(ANN, task.id)
    with pytest.raises(EntranceError):
        life.submit()


def test_an_end_that_comes_after_the_service_has_closed_is_left_to_the_next_start(lives: Callable[..., Any]) -> None:
    life = lives()
    task = life.submit()
    key = life.started(task)
    sink = life.launcher.sink
    life.crash()
    sink.ended(key, End(ending=Ending.SUCCEEDED))
    life = lives()
    assert life.state(task) is not State.SUCCEEDED
    life.launcher.end(life.started(task, 2))
    assert life.state(task) is State.SUCCEEDED


def test_tasks_survive_many_crashes_and_each_ends_once(lives: Callable[..., Any]) -> None:
    """Random ends, kills, pauses and crashes: after them all tasks can still be brought to an end."""
    chance = random.Random(5)
    life = lives()
    tasks = [life.submit(max_retries=1) for _ in range(30)]
    for _ in range(4):
        wait_until(
            lambda life=life: life.launcher.alive or not life.tasks.look.counts().get(State.QUEUED), what="something runs"
        )
        for _ in range(8):
            for key in chance.sample(sorted(life.launcher.alive), min(3, len(life.launcher.alive))):
                ending = chance.choice([Ending.SUCCEEDED, Ending.FAILED, Ending.LOST, Ending.DIED])
                life.launcher.end(key, ending, reason="so", may_pass=chance.random() < 0.5)
            task = chance.choice(tasks)
            with suppress(EntranceError):
                chance.choice([life.tasks.steer.pause, life.tasks.steer.resume, life.tasks.steer.kill])(ANN, task.id)
            life.advance(chance.randrange(10_000))
        life.crash()
        life = lives()
    deadline = 200
    while any(not life.state(t).final for t in tasks) and deadline:
        deadline -= 1
        life.tasks.steer.act(ANN, "resume", [t.id for t in tasks if not life.state(t).final])
        for key in list(life.launcher.alive):
            life.launcher.end(key)
        life.advance(60_000)
    finals = {"succeeded", "failed", "cancelled", "timed_out"}
    for task in tasks:
        history = life.history(task)
        assert history[-1] in finals and sum(x in finals for x in history) == 1, (task.id, history)
        assert sum("INFO task" in x for x in life.texts(task)) == 1
    assert life.core.scheduler.used == 0 and life.core.scheduler.waiting == {}


class _Broken(NoHooks):
    """Hooks with a bug."""

    def storages(self, tx: Any, executor: str, params: Any, user: Any = None) -> Any:
        raise KeyError("storage")


def test_a_task_that_cannot_be_prepared_fails_and_the_service_lives_on(lives: Callable[..., Any]) -> None:
    life = lives(hooks=_Broken())
    task = life.submit()
    assert life.until(task, State.FAILED).reason == "the attempt could not be prepared: KeyError"
    assert life.until(life.submit(), State.FAILED)


def test_a_task_that_never_becomes_ready_times_out_across_a_restart(lives: Callable[..., Any]) -> None:
    life = lives()
    task = life.submit(wait_for_ready=True, queuing_timeout_s=10)
    life.advance(6_000)
    life.crash()
    life = lives()
    assert life.state(task) is State.CREATED
    life.advance(5_000)
    assert life.until(task, State.TIMED_OUT).reason == "timed out after 10 s"


def test_the_end_of_a_log_that_cannot_be_written_does_not_hold_the_start_up(
    lives: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    life = lives()
    task = life.submit()
    key = life.started(task)
    life.launcher.sink.log(key, b"2026-01-31 12:00:00.000 INFO x\n" * 5000)
    life.core.logs.flush(lambda f, *a: f(*a))
    monkeypatch.setattr(Logs, "close", lambda *_: False)  # as a crash between the commit and the file
    life.launcher.end(key)
    life.crash()
    monkeypatch.undo()

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Logs, "settle", full)
        life = lives()
        assert life.texts(task)[-1].endswith("completed with status Success.")
    life.crash()
    assert lives().texts(task)[-1].endswith("completed with status Success.")


def test_a_database_from_a_backup_gives_no_id_twice(lives: Callable[..., Any], tmp_path: Path) -> None:
    life = lives()
    first = life.submit()
    life.launcher.end(life.started(first))
    backup = tmp_path / "backup.db"
    source, copy = sqlite3.connect(life.path / "entrance.db"), sqlite3.connect(backup)
    source.backup(copy)
    source.close()
    copy.close()
    later = [life.submit().id for _ in range(3)]
    taken = life.core.writer.call(lambda tx: take_ids(tx, "files", 50)) + 49
    noted = life.path / "ids.json"
    wait_until(lambda: noted.exists() and f'"files": {taken + 1}' in noted.read_text())
    life.stop()
    for name in ("entrance.db-wal", "entrance.db-shm"):
        (life.path / name).unlink(missing_ok=True)
    shutil.copy(backup, life.path / "entrance.db")
    again = lives()
    assert again.state(first) is State.SUCCEEDED
    assert again.submit().id > max(later)
    assert again.core.writer.call(lambda tx: take_ids(tx, "files", 1)) > taken
