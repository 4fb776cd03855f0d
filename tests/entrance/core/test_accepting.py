"""Tasks are taken in on a whole core: what is accepted is stored and runs, what is not leaves nothing behind."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from factories import wait_until

from common.errors import Draining, InvalidParams, QueueFull, UnknownExecutor
from common.task import State
from entrance.core.model import Caller, Filter
from executors.launchers.base import Ending

ANN, BOB, ROOT = Caller(name="ann"), Caller(name="bob"), Caller(name="root", admin=True)


def test_a_task_goes_from_submission_to_its_end(life: Any) -> None:
    task = life.submit(params={"lines": 3}, code='{"lines": 3}')
    assert task.state is State.QUEUED and task.id == 1 and task.exec_id.endswith("IDE_ann_echo_1")
    key = life.started(task)
    assert life.launcher.attempts[key].params["lines"] == 3
    running = life.get(task)
    assert (running.state, running.attempt) == (State.RUNNING, 1) and running.started_at is not None
    life.launcher.sink.log(key, b"2023-11-14 22:13:20.000 INFO line 1\n")
    life.step(key, 1, 4)
    assert life.tasks.look.progress(ANN, task.id).fraction == 0.25
    life.launcher.end(key, rows=[["done"]])
    assert life.state(task) is State.SUCCEEDED
    assert life.tasks.look.progress(ANN, task.exec_id).fraction == 1.0
    page = life.tasks.look.result(ANN, task.uuid)
    assert ([c.name for c in page.columns], page.rows, page.total) == (["message"], [["done"]], 1)
    assert life.history(task) == ["created", "queued", "running", "succeeded"]
    assert [x.split(" ", 1)[1][:22] for x in life.texts(task)] == [
        "task 1 log",
        "Your job is accepted, ",
        "Your job is Scheduled.",
        "Your job is Running no",
        "line 1",
        "Congratulations. Your ",
    ]
    assert life.core.scheduler.used == 0 and life.core.intake.live == {}


def test_a_success_without_rows_has_one_row_ok(life: Any) -> None:
    task = life.submit()
    life.launcher.end(life.started(task))
    assert life.tasks.look.result(ANN, task.id).rows == [["ok"]]


def test_a_failed_task_says_why_everywhere(life: Any) -> None:
    task = life.submit()
    life.launcher.end(life.started(task), Ending.FAILED, reason="no such file")
    ended = life.get(task)
    assert (ended.state, ended.reason) == (State.FAILED, "no such file")
    assert life.tasks.look.result(ANN, task.id).total == 0
    assert life.texts(task)[-1] == "ERROR Sorry, your job executed failed with reason: no such file"
    (attempt,) = life.tasks.look.attempts(ANN, task.id)
    assert (attempt.ending, attempt.reason) == ("failed", "no such file")


def test_what_cannot_be_run_is_refused_before_anything_is_stored(life: Any) -> None:
    with pytest.raises(UnknownExecutor):
        life.submit("nothing")
    with pytest.raises(InvalidParams) as caught:
        life.submit(params={"seconds": -1, "colour": "red"})
    assert {f.path for f in caught.value.faults} == {"seconds", "colour"}
    assert life.tasks.look.page(ROOT, Filter(all_users=True)).total == 0


def test_the_same_key_submitted_by_many_at_once_is_one_task(life: Any) -> None:
    got: list[int] = []
    threads = [threading.Thread(target=lambda: got.append(life.submit(idempotency_key="k").id)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 8 and len(set(got)) == 1
    assert life.tasks.look.page(ANN, Filter()).total == 1
    assert life.submit(caller=BOB, idempotency_key="k").id not in got


def test_a_full_waiting_room_refuses_and_takes_again_when_there_is_room(lives: Callable[..., Any]) -> None:
    life = lives(**{"scheduler.waiting_per_group": 2, "scheduler.running_per_group": 1})
    running = life.submit()
    life.started(running)
    waiting = [life.submit(), life.submit()]
    with pytest.raises(QueueFull):
        life.submit()
    assert life.submit(caller=BOB).id
    life.tasks.steer.kill(ANN, waiting[0].id)
    assert life.submit().state is State.QUEUED


def test_a_user_with_many_creators_has_one_waiting_room_for_all(lives: Callable[..., Any]) -> None:
    life = lives(**{"scheduler.waiting_per_user": 3, "scheduler.running_per_executor": 1})
    life.started(life.submit())
    for number in range(3):
        life.submit(creator=f"C{number}")
    with pytest.raises(QueueFull):
        life.submit(creator="another")
    assert life.submit(caller=BOB).id


def test_a_repeat_gets_the_first_answer_also_while_nothing_new_is_taken(lives: Callable[..., Any]) -> None:
    life = lives(**{"scheduler.waiting_per_group": 1, "scheduler.running_per_group": 1})
    life.started(life.submit())
    got: list[int] = []
    first = [lambda: got.append(life.submit(idempotency_key="k").id) for _ in range(8)]
    threads = [threading.Thread(target=one) for one in first]  # the first takes the last room while it is being stored
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 8 and len(set(got)) == 1
    with pytest.raises(QueueFull):
        life.submit(idempotency_key="another")
    life.tasks.accept.set_online(False)
    assert life.submit(idempotency_key="k").id == got[0]
    with pytest.raises(Draining):
        life.submit(idempotency_key="another")


def test_a_task_whose_client_has_gone_is_cancelled_where_that_is_wished(lives: Callable[..., Any]) -> None:
    life = lives(**{"tasks.sign_of_life_creators": ["LINKISCLI"], "tasks.sign_of_life_seconds": 1})
    gone, asked, paused = (life.submit(creator="LINKISCLI") for _ in range(3))
    other = life.submit(creator="LINKISCLIASYNC")
    child = life.child(life.started(gone), "a")
    life.tasks.steer.pause(ANN, paused.id)
    key = life.started(child)
    deadline = time.monotonic() + 3

    def dropped() -> bool:
        life.tasks.look.get(ANN, asked.id)
        return key in life.launcher.killed and time.monotonic() > deadline - 1

    wait_until(dropped, 6)
    ended = life.get(gone)
    assert (ended.state, ended.reason) == (State.CANCELLED, "cancelled because nobody has asked for its status for 1 s")
    assert "ERROR cancelled because nobody has asked for its status for 1 s" in life.texts(gone)
    assert life.get(child).reason == f"cancelled because its parent, task {gone.id}, was cancelled"
    assert [life.state(x) for x in (asked, paused, other)] == [State.RUNNING, State.PAUSED, State.RUNNING]


def test_a_service_that_is_offline_takes_nothing_and_goes_on_with_what_it_has(life: Any) -> None:
    running = life.submit()
    key = life.started(running)
    life.tasks.accept.set_online(False)
    with pytest.raises(Draining):
        life.submit()
    life.launcher.end(key)
    life.tasks.accept.set_online(True)
    life.started(life.submit())


def test_nothing_starts_and_no_core_burns_while_the_service_is_offline(lives: Callable[..., Any]) -> None:
    life = lives(**{"scheduler.ageing_seconds": 1, "scheduler.running_per_group": 1})
    life.started(life.submit())
    waiting = life.submit()
    life.tasks.accept.set_online(False)
    life.advance(10_000)  # a rise is long due
    rounds = 0
    fire = life.core.dispatcher._fire

    def counted() -> None:
        nonlocal rounds
        rounds += 1
        fire()

    life.core.dispatcher._fire = counted
    threading.Event().wait(0.2)
    assert rounds < 5 and life.state(waiting) is State.QUEUED
