"""The verbs on tasks, on a whole core: what is answered is true, and what is true is seen."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from factories import wait_until

from common.db.tasks import JobBusy
from common.errors import (
    BadInput,
    Conflict,
    Draining,
    Forbidden,
    InvalidParams,
    MayPass,
    QueueFull,
    Refused,
    StorageNotFound,
    TaskEnded,
    TaskNotFound,
    UnknownExecutor,
)
from common.task import State
from entrance.core.events import ALL
from entrance.core.hooks import NoHooks
from entrance.core.model import Caller, Filter
from executors.launchers.base import AttemptKey, Ending

ANN, BOB, ROOT = Caller(name="ann"), Caller(name="bob"), Caller(name="root", admin=True)


# ---- submit to end -------------------------------------------------------------------------------------------------


def test_a_task_goes_from_submission_to_its_end(life: Any) -> None:
    task = life.submit(params={"lines": 3}, code='{"lines": 3}')
    assert task.state is State.QUEUED and task.id == 1 and task.exec_id.endswith("IDE_ann_echo_1")
    key = life.started(task)
    assert life.launcher.attempts[key].params["lines"] == 3
    running = life.get(task)
    assert (running.state, running.attempt) == (State.RUNNING, 1) and running.started_at is not None
    life.launcher.sink.log(key, b"2023-11-14 22:13:20.000 INFO line 1\n")
    life.step(key, 1, 4)
    assert life.service.progress(ANN, task.id).fraction == 0.25
    life.launcher.end(key, rows=[["done"]])
    assert life.state(task) is State.SUCCEEDED
    assert life.service.progress(ANN, task.exec_id).fraction == 1.0
    page = life.service.result(ANN, task.uuid)
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
    assert life.service.result(ANN, task.id).rows == [["ok"]]


def test_a_failed_task_says_why_everywhere(life: Any) -> None:
    task = life.submit()
    life.launcher.end(life.started(task), Ending.FAILED, reason="no such file")
    ended = life.get(task)
    assert (ended.state, ended.reason) == (State.FAILED, "no such file")
    assert life.service.result(ANN, task.id).total == 0
    assert life.texts(task)[-1] == "ERROR Sorry, your job executed failed with reason: no such file"
    (attempt,) = life.service.attempts(ANN, task.id)
    assert (attempt.ending, attempt.reason) == ("failed", "no such file")


def test_what_cannot_be_run_is_refused_before_anything_is_stored(life: Any) -> None:
    with pytest.raises(UnknownExecutor):
        life.submit("nothing")
    with pytest.raises(InvalidParams) as caught:
        life.submit(params={"seconds": -1, "colour": "red"})
    assert {f.path for f in caught.value.faults} == {"seconds", "colour"}
    assert life.service.page(ROOT, Filter(all_users=True)).total == 0


def test_the_same_key_submitted_by_many_at_once_is_one_task(life: Any) -> None:
    got: list[int] = []
    threads = [threading.Thread(target=lambda: got.append(life.submit(idempotency_key="k").id)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 8 and len(set(got)) == 1
    assert life.service.page(ANN, Filter()).total == 1
    assert life.submit(caller=BOB, idempotency_key="k").id not in got


def test_a_full_waiting_room_refuses_and_takes_again_when_there_is_room(lives: Callable[..., Any]) -> None:
    life = lives(**{"scheduler.waiting_per_group": 2, "scheduler.running_per_group": 1})
    running = life.submit()
    life.started(running)
    waiting = [life.submit(), life.submit()]
    with pytest.raises(QueueFull):
        life.submit()
    assert life.submit(caller=BOB).id
    life.service.kill(ANN, waiting[0].id)
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
    life.service.set_online(False)
    assert life.submit(idempotency_key="k").id == got[0]
    with pytest.raises(Draining):
        life.submit(idempotency_key="another")


def test_a_task_whose_client_has_gone_is_cancelled_where_that_is_wished(lives: Callable[..., Any]) -> None:
    life = lives(**{"tasks.sign_of_life_creators": ["LINKISCLI"], "tasks.sign_of_life_seconds": 1})
    gone, asked, paused = (life.submit(creator="LINKISCLI") for _ in range(3))
    other = life.submit(creator="LINKISCLIASYNC")
    child = life.child(life.started(gone), "a")
    life.service.pause(ANN, paused.id)
    key = life.started(child)
    deadline = time.monotonic() + 3

    def dropped() -> bool:
        life.service.get(ANN, asked.id)
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
    life.service.set_online(False)
    with pytest.raises(Draining):
        life.submit()
    life.launcher.end(key)
    life.service.set_online(True)
    life.started(life.submit())


def test_nothing_starts_and_no_core_burns_while_the_service_is_offline(lives: Callable[..., Any]) -> None:
    life = lives(**{"scheduler.ageing_seconds": 1, "scheduler.running_per_group": 1})
    life.started(life.submit())
    waiting = life.submit()
    life.service.set_online(False)
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


# ---- kill ----------------------------------------------------------------------------------------------------------


def test_a_kill_of_a_queued_task_is_final_at_once(lives: Callable[..., Any]) -> None:
    life = lives(**{"scheduler.running_per_group": 1})
    life.started(life.submit())
    task = life.submit()
    assert life.service.kill(ANN, task.id).state is State.CANCELLED
    assert life.core.scheduler.waiting == {}
    assert life.texts(task)[-2:] == ["ERROR Job is killed by user!", f"INFO Job {task.id} was kill by user successfully"]
    assert life.service.kill(ANN, task.id).state is State.CANCELLED


def test_nothing_of_a_killed_attempt_counts_any_more(life: Any) -> None:
    task = life.submit()
    key = life.started(task)
    life.service.kill(ANN, task.id)
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
    assert life.service.result(ANN, task.id).total == 0 and life.log(task) == before
    assert life.history(task).count("cancelled") == 1
    wait_until(lambda: life.core.scheduler.used == 0)


def test_kill_against_success_one_wins_and_the_log_has_one_last_line(life: Any) -> None:
    for _ in range(15):
        task = life.submit()
        key = life.started(task)
        ends = threading.Thread(target=life.launcher.end, args=(key,))
        ends.start()
        try:
            life.service.kill(ANN, task.id)
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
    threads = [threading.Thread(target=lambda: states.append(life.service.kill(ANN, task.id).state)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert states == [State.CANCELLED] * 4 and life.history(task).count("cancelled") == 1


def test_a_second_kill_answers_no_sooner_than_the_first(life: Any) -> None:
    key = life.started(life.submit())
    life.launcher.deaf = threading.Event()  # its processes take their time
    answers: list[str] = []
    threads = [threading.Thread(target=lambda: answers.append(life.service.kill(ANN, key.task_id).state)) for _ in range(2)]
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
    for verb in (life.service.kill, life.service.pause, life.service.resume):
        with pytest.raises(TaskEnded):
            verb(ANN, task.id)
    assert life.state(task) is State.SUCCEEDED


# ---- pause and resume ----------------------------------------------------------------------------------------------


def test_a_paused_task_goes_on_from_its_checkpoint(life: Any) -> None:
    task = life.submit()
    key = life.started(task)
    life.step(key, 3, 10, b"three")
    life.service.pause(ANN, task.id)
    life.until(task, State.PAUSED)
    assert life.launcher.asked == [key] and life.core.scheduler.used == 0
    assert life.service.progress(ANN, task.id).fraction == 0.3
    life.service.resume(ANN, task.id)
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
    assert life.service.pause(ANN, task.id).pause_requested
    assert not life.service.resume(ANN, task.id).pause_requested
    life.launcher.end(key, Ending.STOPPED)
    life.launcher.end(life.started(task, 2))
    assert life.state(task) is State.SUCCEEDED


def test_a_paused_queued_task_is_not_picked(lives: Callable[..., Any]) -> None:
    life = lives(**{"scheduler.running_per_group": 1})
    key = life.started(life.submit())
    paused, next_one = life.submit(), life.submit()
    life.service.pause(ANN, paused.id)
    life.launcher.end(key)
    life.started(next_one)
    assert life.state(paused) is State.PAUSED
    life.service.resume(ANN, paused.id)
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
                threading.Thread(target=verb, args=(ANN, task.id)) for verb in (life.service.pause, life.service.resume)
            ]
            for thread in steering:
                thread.start()
                wait_until(lambda t=thread: t in posted)
            threading.Timer(0.1, go_on.set).start()
        return real(orders, **more)

    writer.post, life.core.changes.carry_out = noted, slow
    life.service.make_ready(task.id)
    key = life.started(task)
    assert seen == ["picked"]
    assert life.core.scheduler.waiting == {} and life.core.scheduler.running.keys() == {task.id}
    life.launcher.end(key)
    assert life.state(task) is State.SUCCEEDED and life.core.scheduler.used == 0


# ---- retries -------------------------------------------------------------------------------------------------------


def test_errors_that_may_pass_are_tried_again_on_the_ladder_and_then_fail(lives: Callable[..., Any]) -> None:
    life = lives(**{"retry.ladder_seconds": (5, 30), "retry.max_retries": 2})
    task = life.submit()
    for number, pause_ms in ((1, 5_000), (2, 30_000)):
        life.launcher.end(life.started(task, number), Ending.FAILED, reason="no answer", may_pass=True)
        waiting = life.until(task, State.WAITING_RETRY)
        assert waiting.retry_at == life.clock.now() + pause_ms and waiting.errors == number
        life.advance(pause_ms - 1)
        assert life.state(task) is State.WAITING_RETRY
        life.advance(1)
        life.started(task, number + 1)
    life.launcher.end(life.started(task, 3), Ending.DIED, reason="the process was killed by signal 9 (SIGKILL)")
    assert life.get(task).reason == "the process was killed by signal 9 (SIGKILL)"
    assert [a.ending for a in life.service.attempts(ANN, task.id)] == ["failed", "failed", "died"]
    assert any("attempt 2 of 2, next try in 30 s. Reason: no answer" in x for x in life.texts(task))


def test_a_retry_waits_no_longer_because_the_clock_goes_back(lives: Callable[..., Any]) -> None:
    life = lives(**{"retry.ladder_seconds": (30,)})
    task = life.submit()
    life.launcher.end(life.started(task, 1), Ending.FAILED, reason="no answer", may_pass=True)
    life.until(task, State.WAITING_RETRY)
    life.clock.jump(-3_600_000)
    life.advance(30_000)
    life.launcher.end(life.started(task, 2), Ending.FAILED, reason="no answer", may_pass=True)
    life.until(task, State.WAITING_RETRY)
    life.crash()
    life.clock.jump(-3_600_000)
    again = lives(**{"retry.ladder_seconds": (30,)})
    assert again.state(task) is State.WAITING_RETRY
    again.advance(30_000)
    again.started(task, 3)


def test_a_lost_attempt_is_tried_again_at_once_and_costs_nothing(life: Any) -> None:
    task = life.submit(max_retries=0)
    for number in (1, 2, 3):
        life.launcher.end(life.started(task, number), Ending.LOST, reason="The attempt was lost with its fork server")
    life.launcher.end(life.started(task, 4))
    assert life.get(task).errors == 0 and life.state(task) is State.SUCCEEDED


def test_a_kill_and_a_resume_end_the_wait_for_a_retry(life: Any) -> None:
    one, two = life.submit(), life.submit()
    for task in (one, two):
        life.launcher.end(life.started(task), Ending.FAILED, reason="no answer", may_pass=True)
    assert life.service.kill(ANN, one.id).state is State.CANCELLED
    life.service.resume(ANN, two.id)
    life.started(two, 2)
    life.advance(600_000)
    assert life.state(one) is State.CANCELLED


def test_a_launcher_that_cannot_start_costs_no_retry(life: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("entrance.core.dispatch._RELAUNCH_SECONDS", 0.01)
    life.launcher.broken = "no fork server"
    task = life.submit(max_retries=0)
    wait_until(lambda: life.get(task).attempt > 1)
    life.launcher.broken = ""
    life.launcher.end(life.started(task))
    assert life.state(task) is State.SUCCEEDED and life.get(task).errors == 0


def test_tasks_wait_without_attempts_for_a_launcher_that_is_out_of_order(life: Any) -> None:
    life.launcher.out_of_order = {"sleep": "the fork server is broken"}
    watcher = life.core.events.subscribe()
    life.launcher.sink.ability_changed()
    assert watcher.get(1.0) == ALL
    task, other = life.submit("sleep"), life.submit("echo")
    child = life.child(life.started(other), "one", executor="sleep")
    waiting = life.get(task)
    assert (waiting.state, waiting.attempt, waiting.reason) == (State.QUEUED, 0, "waits: the fork server is broken")
    assert life.service.page(ANN, Filter(ids=[task.id])).tasks[0].reason == waiting.reason
    assert [(c.id, c.reason) for c in life.service.children(ANN, other.id).tasks] == [(child, waiting.reason)]
    assert life.service.queue().held == life.launcher.out_of_order
    assert life.service.pause(ANN, task.id).state is State.PAUSED
    assert life.service.resume(ANN, task.id).state is State.QUEUED

    life.launcher.out_of_order = {}
    life.launcher.sink.ability_changed()
    assert life.started(task).number == 1
    assert life.get(task).reason is None


# ---- time limits ---------------------------------------------------------------------------------------------------


def test_a_task_that_runs_too_long_ends_as_timed_out(life: Any) -> None:
    task = life.submit(running_timeout_s=60)
    key = life.started(task)
    life.advance(59_999)
    threading.Event().wait(0.05)
    assert life.state(task) is State.RUNNING
    life.advance(1)
    assert life.until(task, State.TIMED_OUT).reason == "timed out after 60 s"
    wait_until(lambda: life.launcher.killed == [key])
    assert life.texts(task)[-2:] == [
        "ERROR timed out after 60 s",
        "INFO Sorry. Your job completed with a status Timeout. You can view logs for the reason.",
    ]


def test_the_clock_of_a_limit_stands_still_while_the_task_is_paused(life: Any) -> None:
    task = life.submit(running_timeout_s=60)
    life.started(task)
    life.advance(50_000)
    life.service.pause(ANN, task.id)
    life.until(task, State.PAUSED)
    life.advance(3_600_000)
    life.service.resume(ANN, task.id)
    life.started(task, 2)
    life.times_out_after(task, 10_000)


def test_a_task_that_waits_too_long_ends_as_timed_out(lives: Callable[..., Any]) -> None:
    life = lives(**{"scheduler.running_per_group": 1})
    life.started(life.submit())
    task, paused = life.submit(queuing_timeout_s=60), life.submit(queuing_timeout_s=60)
    life.advance(50_000)
    life.service.pause(ANN, paused.id)
    life.service.resume(ANN, paused.id)
    life.advance(10_000)
    assert life.until(task, State.TIMED_OUT).reason == "timed out after 60 s"
    assert life.state(paused) is State.QUEUED
    life.advance(50_000)
    life.until(paused, State.TIMED_OUT)


def test_no_limit_passes_early_or_late_because_the_clock_jumps(lives: Callable[..., Any]) -> None:
    life = lives(**{"scheduler.running_per_group": 1, "retry.ladder_seconds": (60,)})
    runs, retried = life.submit(running_timeout_s=60), life.submit(creator="CLI")
    waits = life.submit(queuing_timeout_s=60)
    life.started(runs)
    life.launcher.end(life.started(retried), Ending.FAILED, reason="no answer", may_pass=True)
    for jump in (7_200_000, -3_600_000):
        life.clock.jump(jump)
        life.advance(29_000)
        threading.Event().wait(0.05)
        assert [life.state(x) for x in (runs, retried, waits)] == [State.RUNNING, State.WAITING_RETRY, State.QUEUED]
    life.advance(2_000)
    for limited in (runs, waits):
        assert life.until(limited, State.TIMED_OUT).reason == "timed out after 60 s"
    life.started(retried, 2)


def test_a_limit_on_waiting_does_not_touch_a_task_that_has_run(life: Any) -> None:
    task = life.submit(queuing_timeout_s=60)
    life.started(task)
    life.advance(61_000)
    threading.Event().wait(0.05)
    assert life.state(task) is State.RUNNING


# ---- created, and jobs ---------------------------------------------------------------------------------------------


def test_a_task_that_waits_to_be_ready_is_not_queued_until_it_is(life: Any) -> None:
    task = life.submit(wait_for_ready=True)
    assert task.state is State.CREATED
    assert life.service.pause(ANN, task.id).state is State.PAUSED
    assert life.service.resume(ANN, task.id).state is State.CREATED
    life.service.make_ready(task.id)
    life.started(task)
    assert life.history(task) == ["created", "paused", "created", "queued", "running"]


def killed_but_alive(life: Any, job_id: int) -> AttemptKey:
    """A task of a job that was killed and whose processes are still there."""
    old = life.submit(job_id=job_id)
    key = life.started(old)
    life.launcher._stop = lambda keys: None
    life.service.kill(ANN, old.id)
    return key


def test_a_jobs_new_task_waits_for_the_processes_of_the_old_one(life: Any) -> None:
    key = killed_but_alive(life, 7)
    new, other = life.submit(job_id=7), life.submit(job_id=8)
    life.launcher.end(life.started(other))
    assert life.state(new) is State.QUEUED and new.id not in life.core.scheduler.waiting
    life.service.set_priority(ANN, new.id, 400)
    life.launcher.end(key, Ending.STOPPED)
    again = life.started(new)
    assert life.core.scheduler.running[new.id].priority == 400
    life.launcher.end(again)


def test_a_deferred_task_that_was_killed_meanwhile_does_not_start(life: Any) -> None:
    key = killed_but_alive(life, 7)
    new = life.submit(job_id=7)
    life.service.kill(ANN, new.id)
    last = life.submit(job_id=7)
    life.launcher.end(key, Ending.STOPPED)
    life.launcher.end(life.started(last))
    assert life.state(new) is State.CANCELLED
    assert not any(k.task_id == new.id for k in life.launcher.attempts)


def test_a_deferred_task_that_was_paused_and_resumed_starts_once(life: Any) -> None:
    key = killed_but_alive(life, 7)
    new = life.submit(job_id=7)
    life.service.pause(ANN, new.id)
    life.service.resume(ANN, new.id)
    life.launcher.end(key, Ending.STOPPED)
    life.launcher.end(life.started(new))
    assert life.state(new) is State.SUCCEEDED and life.core.scheduler.waiting == {}
    assert life.core.scheduler.used == 0


def test_a_job_has_one_unfinished_task_at_most(life: Any) -> None:
    old = life.submit(job_id=7)
    with pytest.raises(JobBusy, match=f"task {old.id} is at work on job 7"):
        life.submit(job_id=7)
    life.launcher.end(life.started(old))
    assert life.submit(job_id=7).id


class _Hooks(NoHooks):
    def __init__(self, error: Exception) -> None:
        self.error = error

    def storages(self, tx: Any, executor: str, params: Any, user: Any = None) -> Any:
        if executor == "sleep":
            raise self.error
        return {}


def test_a_storage_that_is_gone_fails_the_task_and_nothing_else(lives: Callable[..., Any]) -> None:
    life = lives(hooks=_Hooks(StorageNotFound("there is no storage tape")))
    task, other = life.submit("sleep"), life.submit()
    assert life.until(task, State.FAILED).reason == "there is no storage tape"
    life.started(other)


def test_a_storage_that_may_come_back_is_tried_again(lives: Callable[..., Any]) -> None:
    life = lives(hooks=_Hooks(MayPass("the key file cannot be read")))
    assert life.until(life.submit("sleep"), State.WAITING_RETRY).errors == 1


def test_an_unexpected_error_in_the_dispatcher_is_told_to_who_must_end_the_service(
    life: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def pick(now: int) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(life.core.scheduler, "pick", pick)
    life.submit("sleep")
    wait_until(lambda: life.failures)
    assert str(life.failures.pop()) == "a bug"


# ---- priority, bulk, lists -----------------------------------------------------------------------------------------


def test_a_changed_priority_reorders_the_queue(lives: Callable[..., Any]) -> None:
    life = lives(**{"scheduler.running_per_group": 1})
    key = life.started(life.submit())
    first, second = life.submit(), life.submit()
    assert life.service.set_priority(ANN, second.id, 400).priority == 400
    life.launcher.end(key)
    life.started(second)
    assert life.state(first) is State.QUEUED
    life.service.kill(ANN, first.id)
    with pytest.raises(TaskEnded):
        life.service.set_priority(ANN, first.id, 1)


def test_slots_are_cores_and_are_never_exceeded(life: Any) -> None:
    tasks = [life.submit("sleep", creator=f"C{n % 8}") for n in range(60)]  # a quarter of a core each, eight slots
    wait_until(lambda: len(life.launcher.alive) == 32)
    while life.launcher.attempts.keys() - life.launcher.alive.keys() or life.launcher.alive:
        for key in list(life.launcher.alive):
            life.launcher.end(key)
        if not life.core.scheduler.waiting and not life.core.scheduler.running:
            break
    wait_until(lambda: all(life.state(t) is State.SUCCEEDED for t in tasks))
    assert life.launcher.most_alive == 32


def test_what_reads_many_rows_does_not_hold_up_others(life: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    here, seen = threading.get_ident(), []

    def elsewhere(function: Callable[..., Any], *arguments: Any) -> Any:
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(lambda: (seen.append(threading.get_ident()), function(*arguments))[1]).result()

    task = life.submit()
    monkeypatch.setattr(life.service, "_offload", elsewhere)
    assert life.service.page(ANN, Filter(text="IDE")).total == 1
    assert life.service.act(ANN, "kill", Filter(), dry_run=True) == (1, ())
    assert sum(life.service.counts().values()) == 1 and life.state(task)
    assert len(seen) == 3 and here not in seen


def test_a_bulk_action_has_one_item_for_each_task_and_no_fault_touches_another(life: Any) -> None:
    mine, done, theirs = life.submit(), life.submit(), life.submit(caller=BOB)
    life.launcher.end(life.started(done))
    items = life.service.kill_many(ANN, [mine.id, done.exec_id, theirs.id, "999", str(mine.id)])
    assert [type(i.error).__name__ for i in items] == ["NoneType", "TaskEnded", "NotYours", "TaskNotFound", "NoneType"]
    assert life.state(mine) is State.CANCELLED and life.state(theirs) is not State.CANCELLED


def test_an_action_on_a_filter_is_refused_when_the_count_is_not_what_was_shown(lives: Callable[..., Any]) -> None:
    life = lives(**{"scheduler.running_per_group": 1})
    tasks = [life.submit() for _ in range(4)]
    waiting = Filter(states=[State.QUEUED])
    life.started(tasks[0])
    assert life.service.act(ANN, "pause", waiting, dry_run=True) == (3, ())
    with pytest.raises(Conflict):
        life.service.act(ANN, "pause", waiting, expect=4)
    count, items = life.service.act(ANN, "pause", waiting, expect=3)
    assert count == 3 and [i.error for i in items] == [None] * 3
    assert [life.state(t) for t in tasks[1:]] == [State.PAUSED] * 3
    with pytest.raises(BadInput):
        life.service.act(ANN, "dance", waiting)
    with pytest.raises(BadInput):
        life.service.act(ANN, "priority", waiting)
    assert life.service.act(BOB, "kill", Filter()) == (0, [])


def test_a_bulk_action_reaches_more_tasks_than_one_transaction_takes(lives: Callable[..., Any]) -> None:
    life = lives(**{"scheduler.waiting_per_group": 10_000, "scheduler.running_per_group": 1})
    life.service.set_online(True)
    tasks = [life.submit() for _ in range(1100)]
    count, items = life.service.act(ANN, "kill", Filter())
    assert count == len(items) == len(tasks)
    assert life.service.counts() == {State.CANCELLED: len(tasks)}


def test_an_ended_task_can_be_submitted_again_as_a_new_one(life: Any) -> None:
    task = life.submit(params={"lines": 2}, code='{"lines": 2}', priority=200)
    with pytest.raises(Conflict):
        life.service.rerun(ANN, task.id)
    life.launcher.end(life.started(task))
    again = life.service.rerun(ANN, task.id)
    assert again.id != task.id and again.priority == 200
    assert life.launcher.attempts[life.started(again)].params["lines"] == 2
    assert life.state(task) is State.SUCCEEDED


def test_everybody_sees_their_own_and_administrators_all(life: Any) -> None:
    mine, theirs = life.submit(), life.submit(caller=BOB, execute_user="ann")
    hers = life.submit(caller=BOB)
    assert [t.id for t in life.service.page(ANN, Filter(all_users=True)).tasks] == [mine.id]
    assert life.service.page(ROOT, Filter(all_users=True)).total == 3
    assert life.service.page(ROOT, Filter(all_users=True, user="bob")).total == 2
    assert life.service.get(ANN, theirs.id).id == theirs.id
    for ref in (hers.id, hers.exec_id, hers.uuid, hers.uuid.upper()):
        with pytest.raises(Forbidden, match="belongs to bob"):
            life.service.log(ANN, ref, 0, 10)
    for ref in (0, -1, "x", "99", "exec_id", hers.exec_id + "9", "00000000-0000-0000-0000-000000000000"):
        with pytest.raises(TaskNotFound):
            life.service.get(ROOT, ref)


def test_filters_combine(life: Any) -> None:
    one = life.submit(creator="IDE")
    two = life.submit("sleep", creator="CLI")
    parent_key = life.started(one)
    child = life.child(parent_key, "a")

    def ids(**more: Any) -> list[int]:
        return [t.id for t in life.service.page(ANN, Filter(**more)).tasks]

    assert ids() == [child, two.id, one.id]
    assert ids(top_level=True) == [two.id, one.id]
    assert ids(parent_id=one.id) == [child]
    assert ids(creator="CLI", executor="sleep") == [two.id] and ids(creator="CLI", executor="echo") == []
    assert ids(states=[]) == [] and ids(ids=[one.id, 77]) == [one.id]
    assert ids(created_from=one.created_at, created_to=one.created_at) == []
    assert ids(text="CLI") == [two.id]


def test_progress_never_falls_within_an_attempt_and_is_one_only_for_a_success(life: Any) -> None:
    task = life.submit()
    key = life.started(task)
    life.step(key, 9, 10)
    assert life.service.progress(ANN, task.id).fraction == 0.9
    life.step(key, 5, 10)
    assert life.service.progress(ANN, task.id).fraction == 0.9
    life.step(key, 10, 10)
    assert life.service.progress(ANN, task.id).fraction < 1
    life.launcher.end(key, Ending.FAILED, reason="at the end")
    assert life.service.progress(ANN, task.id).fraction < 1


def test_who_watches_hears_of_every_change(life: Any) -> None:
    watcher = life.core.events.subscribe()
    task = life.submit()
    life.launcher.end(life.started(task))
    heard = []
    while (changed := watcher.get(0.2)) is not None:
        heard.append(changed)
    assert heard.count(task.id) >= 3
    life.core.events.unsubscribe(watcher)
