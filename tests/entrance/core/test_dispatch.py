"""When tasks run on a whole core: retries, time limits, what they wait for, and slots."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from factories import wait_until

from common.db.tasks import JobBusy
from common.errors import MayPass, StorageNotFound
from common.task import State
from entrance.core.events import ALL
from entrance.core.hooks import NoHooks
from entrance.core.model import Caller, Filter
from executors.launchers.base import AttemptKey, Ending

ANN = Caller(name="ann")


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
    assert [a.ending for a in life.tasks.look.attempts(ANN, task.id)] == ["failed", "failed", "died"]
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
    assert life.tasks.steer.kill(ANN, one.id).state is State.CANCELLED
    life.tasks.steer.resume(ANN, two.id)
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
    assert life.tasks.look.page(ANN, Filter(ids=[task.id])).tasks[0].reason == waiting.reason
    assert [(c.id, c.reason) for c in life.tasks.look.children(ANN, other.id).tasks] == [(child, waiting.reason)]
    assert life.tasks.look.queue().held == life.launcher.out_of_order
    assert life.tasks.steer.pause(ANN, task.id).state is State.PAUSED
    assert life.tasks.steer.resume(ANN, task.id).state is State.QUEUED

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
    life.tasks.steer.pause(ANN, task.id)
    life.until(task, State.PAUSED)
    life.advance(3_600_000)
    life.tasks.steer.resume(ANN, task.id)
    life.started(task, 2)
    life.times_out_after(task, 10_000)


def test_a_task_that_waits_too_long_ends_as_timed_out(lives: Callable[..., Any]) -> None:
    life = lives(**{"scheduler.running_per_group": 1})
    life.started(life.submit())
    task, paused = life.submit(queuing_timeout_s=60), life.submit(queuing_timeout_s=60)
    life.advance(50_000)
    life.tasks.steer.pause(ANN, paused.id)
    life.tasks.steer.resume(ANN, paused.id)
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
    assert life.tasks.steer.pause(ANN, task.id).state is State.PAUSED
    assert life.tasks.steer.resume(ANN, task.id).state is State.CREATED
    life.tasks.steer.make_ready(task.id)
    life.started(task)
    assert life.history(task) == ["created", "paused", "created", "queued", "running"]


def killed_but_alive(life: Any, job_id: int) -> AttemptKey:
    """A task of a job that was killed and whose processes are still there."""
    old = life.submit(job_id=job_id)
    key = life.started(old)
    life.launcher._stop = lambda keys: None
    life.tasks.steer.kill(ANN, old.id)
    return key


def test_a_jobs_new_task_waits_for_the_processes_of_the_old_one(life: Any) -> None:
    key = killed_but_alive(life, 7)
    new, other = life.submit(job_id=7), life.submit(job_id=8)
    life.launcher.end(life.started(other))
    assert life.state(new) is State.QUEUED and new.id not in life.core.scheduler.waiting
    life.tasks.steer.set_priority(ANN, new.id, 400)
    life.launcher.end(key, Ending.STOPPED)
    again = life.started(new)
    assert life.core.scheduler.running[new.id].priority == 400
    life.launcher.end(again)


def test_a_deferred_task_that_was_killed_meanwhile_does_not_start(life: Any) -> None:
    key = killed_but_alive(life, 7)
    new = life.submit(job_id=7)
    life.tasks.steer.kill(ANN, new.id)
    last = life.submit(job_id=7)
    life.launcher.end(key, Ending.STOPPED)
    life.launcher.end(life.started(last))
    assert life.state(new) is State.CANCELLED
    assert not any(k.task_id == new.id for k in life.launcher.attempts)


def test_a_deferred_task_that_was_paused_and_resumed_starts_once(life: Any) -> None:
    key = killed_but_alive(life, 7)
    new = life.submit(job_id=7)
    life.tasks.steer.pause(ANN, new.id)
    life.tasks.steer.resume(ANN, new.id)
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


# ---- slots ---------------------------------------------------------------------------------------------------------


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
