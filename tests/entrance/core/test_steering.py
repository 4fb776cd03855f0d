"""Steering tasks on a whole core: what is answered is true, and what is true is seen."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from factories import wait_until

from common.errors import BadInput, Conflict, Refused, TaskEnded
from common.task import State
from entrance.core.model import Caller, Filter
from executors.launchers.base import Ending

ANN, BOB = Caller(name="ann"), Caller(name="bob")


# ---- kill ----------------------------------------------------------------------------------------------------------


def test_a_kill_of_a_queued_task_is_final_at_once(lives: Callable[..., Any]) -> None:
    life = lives(**{"scheduler.running_per_group": 1})
    life.started(life.submit())
    task = life.submit()
    assert life.tasks.steer.kill(ANN, task.id).state is State.CANCELLED
    assert life.core.scheduler.waiting == {}
    assert life.texts(task)[-2:] == ["ERROR Job is killed by user!", f"INFO Job {task.id} was kill by user successfully"]
    assert life.tasks.steer.kill(ANN, task.id).state is State.CANCELLED


def test_nothing_of_a_killed_attempt_counts_any_more(life: Any) -> None:
    task = life.submit()
    key = life.started(task)
    life.tasks.steer.kill(ANN, task.id)
    assert life.launcher.killed == [key]
    before = life.log(task)
    sink = life.launcher.sink
    calls: list[Callable[[], object]] = [
        lambda: sink.log(key, b"2023-11-14 22:13:20.000 INFO late\n"),
        lambda: life.step(key, 1, 1, b"late"),
        lambda: sink.own(key, "path", ["/o/late"]),
        lambda: sink.ids(key, "files", 1),
        lambda: sink.publish(key, []),
        lambda: life.child(key, "late"),
    ]
    for call in calls:
        with pytest.raises(Refused):
            call()
    life.launcher.end(key, rows=[["late"]])
    assert life.state(task) is State.CANCELLED
    assert life.tasks.look.result(ANN, task.id).total == 0 and life.log(task) == before
    assert life.history(task).count("cancelled") == 1
    wait_until(lambda: life.core.scheduler.used == 0)


def test_kill_against_success_one_wins_and_the_log_has_one_last_line(life: Any) -> None:
    for _ in range(15):
        task = life.submit()
        key = life.started(task)
        ends = threading.Thread(target=life.launcher.end, args=(key,))
        ends.start()
        try:
            life.tasks.steer.kill(ANN, task.id)
            won = State.CANCELLED
        except TaskEnded:
            won = State.SUCCEEDED
        ends.join()
        assert life.state(task) is won
        texts = life.texts(task)
        assert sum("Congratulations" in x or "Job is killed" in x for x in texts) == 1
        assert len([x for x in life.history(task) if x in ("cancelled", "succeeded")]) == 1


def test_two_kills_at_once_are_both_true(life: Any) -> None:
    task = life.submit()
    life.started(task)
    states: list[State] = []
    threads = [threading.Thread(target=lambda: states.append(life.tasks.steer.kill(ANN, task.id).state)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert states == [State.CANCELLED] * 4 and life.history(task).count("cancelled") == 1


def test_a_second_kill_answers_no_sooner_than_the_first(life: Any) -> None:
    key = life.started(life.submit())
    life.launcher.deaf = threading.Event()  # its processes take their time
    answers: list[str] = []
    threads = [
        threading.Thread(target=lambda: answers.append(life.tasks.steer.kill(ANN, key.task_id).state)) for _ in range(2)
    ]
    threads[0].start()
    wait_until(lambda: life.state(key.task_id) is State.CANCELLED)
    threads[1].start()
    wait_until(lambda: len(life.launcher.killed) == 2, what="both kills wait for the processes")
    assert answers == []
    life.launcher.deaf.set()
    for thread in threads:
        thread.join(5)
    assert answers == [State.CANCELLED] * 2


def test_a_kill_of_an_ended_task_is_refused(life: Any) -> None:
    task = life.submit()
    life.launcher.end(life.started(task))
    for verb in (life.tasks.steer.kill, life.tasks.steer.pause, life.tasks.steer.resume):
        with pytest.raises(TaskEnded):
            verb(ANN, task.id)
    assert life.state(task) is State.SUCCEEDED


# ---- pause and resume ----------------------------------------------------------------------------------------------


def test_a_paused_task_goes_on_from_its_checkpoint(life: Any) -> None:
    task = life.submit()
    key = life.started(task)
    life.step(key, 3, 10, b"three")
    life.tasks.steer.pause(ANN, task.id)
    life.until(task, State.PAUSED)
    assert life.launcher.asked == [key] and life.core.scheduler.used == 0
    assert life.tasks.look.progress(ANN, task.id).fraction == 0.3
    life.tasks.steer.resume(ANN, task.id)
    again = life.started(task, 2)
    assert life.launcher.attempts[again].checkpoint == b"three"
    life.launcher.end(again)
    assert life.state(task) is State.SUCCEEDED
    assert life.texts(task)[-4:] == [
        "INFO Your job is resumed by ann.",
        "INFO Your job is Scheduled. Please wait it to run.",
        "INFO Your job is Running now. Please wait it to complete.",
        "INFO Congratulations. Your job completed with status Success.",
    ]


def test_a_pause_that_is_taken_back_before_the_attempt_has_stopped_goes_on_by_itself(life: Any) -> None:
    life.launcher.stubborn = True
    task = life.submit()
    key = life.started(task)
    assert life.tasks.steer.pause(ANN, task.id).pause_requested
    assert not life.tasks.steer.resume(ANN, task.id).pause_requested
    life.launcher.end(key, Ending.STOPPED)
    life.launcher.end(life.started(task, 2))
    assert life.state(task) is State.SUCCEEDED


def test_a_paused_queued_task_is_not_picked(lives: Callable[..., Any]) -> None:
    life = lives(**{"scheduler.running_per_group": 1})
    key = life.started(life.submit())
    paused, next_one = life.submit(), life.submit()
    life.tasks.steer.pause(ANN, paused.id)
    life.launcher.end(key)
    life.started(next_one)
    assert life.state(paused) is State.PAUSED
    life.tasks.steer.resume(ANN, paused.id)
    life.launcher.end(life.started(next_one))
    life.started(paused)


def test_a_task_paused_and_resumed_between_pick_and_start_runs_once(life: Any) -> None:
    """All three changes in one commit, as two clients can bring about."""
    task = life.submit(wait_for_ready=True)
    writer = life.core.writer
    go_on = threading.Event()
    real, post = life.core.changes.carry_out, writer.post
    seen: list[str] = []
    posted: list[threading.Thread] = []

    def noted(*change: Any, **more: Any) -> None:
        post(*change, **more)
        posted.append(threading.current_thread())

    def slow(orders: Any, **more: Any) -> Any:
        if not callable(orders) and any(type(o.event).__name__ == "Picked" for o in orders) and not seen:
            seen.append("picked")
            busy = threading.Event()
            writer.post(lambda tx: (busy.set(), go_on.wait(10)))
            busy.wait(10)
            steering = [
                threading.Thread(target=verb, args=(ANN, task.id))
                for verb in (life.tasks.steer.pause, life.tasks.steer.resume)
            ]
            for thread in steering:
                thread.start()
                wait_until(lambda t=thread: t in posted)
            threading.Timer(0.1, go_on.set).start()
        return real(orders, **more)

    writer.post, life.core.changes.carry_out = noted, slow
    life.tasks.steer.make_ready(task.id)
    key = life.started(task)
    assert seen == ["picked"]
    assert life.core.scheduler.waiting == {} and life.core.scheduler.running.keys() == {task.id}
    life.launcher.end(key)
    assert life.state(task) is State.SUCCEEDED and life.core.scheduler.used == 0


# ---- priority and many at once -------------------------------------------------------------------------------------


def test_a_changed_priority_reorders_the_queue(lives: Callable[..., Any]) -> None:
    life = lives(**{"scheduler.running_per_group": 1})
    key = life.started(life.submit())
    first, second = life.submit(), life.submit()
    assert life.tasks.steer.set_priority(ANN, second.id, 400).priority == 400
    life.launcher.end(key)
    life.started(second)
    assert life.state(first) is State.QUEUED
    life.tasks.steer.kill(ANN, first.id)
    with pytest.raises(TaskEnded):
        life.tasks.steer.set_priority(ANN, first.id, 1)


def test_a_bulk_action_has_one_item_for_each_task_and_no_fault_touches_another(life: Any) -> None:
    mine, done, theirs = life.submit(), life.submit(), life.submit(caller=BOB)
    life.launcher.end(life.started(done))
    items = life.tasks.steer.kill_many(ANN, [mine.id, done.exec_id, theirs.id, "999", str(mine.id)])
    assert [type(i.error).__name__ for i in items] == ["NoneType", "TaskEnded", "NotYours", "TaskNotFound", "NoneType"]
    assert life.state(mine) is State.CANCELLED and life.state(theirs) is not State.CANCELLED
    _, [refused] = life.tasks.steer.act(ANN, "priority", [theirs.id], priority=100)
    assert "no permission to change this job" in str(refused.error)


def test_an_action_on_a_filter_is_refused_when_the_count_is_not_what_was_shown(lives: Callable[..., Any]) -> None:
    life = lives(**{"scheduler.running_per_group": 1})
    tasks = [life.submit() for _ in range(4)]
    waiting = Filter(states=[State.QUEUED])
    life.started(tasks[0])
    assert life.tasks.steer.act(ANN, "pause", waiting, dry_run=True) == (3, ())
    with pytest.raises(Conflict):
        life.tasks.steer.act(ANN, "pause", waiting, expect=4)
    count, items = life.tasks.steer.act(ANN, "pause", waiting, expect=3)
    assert count == 3 and [i.error for i in items] == [None] * 3
    assert [life.state(t) for t in tasks[1:]] == [State.PAUSED] * 3
    with pytest.raises(BadInput):
        life.tasks.steer.act(ANN, "dance", waiting)
    with pytest.raises(BadInput):
        life.tasks.steer.act(ANN, "priority", waiting)
    assert life.tasks.steer.act(BOB, "kill", Filter()) == (0, [])


def test_a_bulk_action_reaches_more_tasks_than_one_transaction_takes(lives: Callable[..., Any]) -> None:
    life = lives(**{"scheduler.waiting_per_group": 10_000, "scheduler.running_per_group": 1})
    life.tasks.accept.set_online(True)
    tasks = [life.submit() for _ in range(1100)]
    count, items = life.tasks.steer.act(ANN, "kill", Filter())
    assert count == len(items) == len(tasks)
    assert life.tasks.look.counts() == {State.CANCELLED: len(tasks)}


def test_an_ended_task_can_be_submitted_again_as_a_new_one(life: Any) -> None:
    task = life.submit(params={"lines": 2}, code='{"lines": 2}', priority=200)
    with pytest.raises(Conflict):
        life.tasks.steer.rerun(ANN, task.id)
    life.launcher.end(life.started(task))
    again = life.tasks.steer.rerun(ANN, task.id)
    assert again.id != task.id and again.priority == 200
    assert life.launcher.attempts[life.started(again)].params["lines"] == 2
    assert life.state(task) is State.SUCCEEDED
