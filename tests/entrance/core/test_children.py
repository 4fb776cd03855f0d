"""Parents and children: who waits for whom, and what reaches whom."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import pytest
from factories import wait_until

from common.errors import Refused
from common.task import State
from entrance.core.hooks import NoHooks
from entrance.core.model import Caller
from executors.base import Progress, Stage
from executors.launchers.base import Ending

ANN = Caller(name="ann")


@pytest.fixture
def family(life: Any) -> Any:
    """A parent whose own work is done and two children: (life, parent, [child, child])."""
    parent = life.submit()
    key = life.started(parent)
    children = [life.child(key, "a"), life.child(key, "b")]
    for child in children:
        life.started(child)
    life.launcher.end(key)
    return life, parent, children


def test_a_parent_ends_with_its_last_child(family: Any) -> None:
    life, parent, (a, b) = family
    assert life.get(parent).waits and life.state(parent) is State.RUNNING
    assert life.core.scheduler.running.keys() == {a, b}
    life.launcher.end(life.started(a))
    assert life.state(parent) is State.RUNNING
    life.launcher.end(life.started(b))
    assert life.state(parent) is State.SUCCEEDED
    assert life.history(parent)[-1] == "succeeded"
    assert life.texts(parent)[-1] == "INFO Congratulations. Your job completed with status Success."


def test_a_parent_fails_with_the_first_failed_child_in_its_words(family: Any) -> None:
    life, parent, (a, b) = family
    life.launcher.end(life.started(a), Ending.FAILED, reason="no such file")
    life.launcher.end(life.started(b))
    ended = life.get(parent)
    assert ended.state is State.FAILED
    assert ended.reason == f"1 of 2 children failed: task {a}: no such file"


def test_a_parent_whose_children_have_ended_ends_with_its_own_work(life: Any) -> None:
    parent = life.submit()
    key = life.started(parent)
    life.launcher.end(life.started(life.child(key, "a")))
    life.launcher.end(key)
    assert life.state(parent) is State.SUCCEEDED


@pytest.mark.parametrize("end", ["failed", "timed out"])
def test_a_parent_that_ends_by_itself_takes_its_children_along(lives: Any, end: str) -> None:
    life = lives()
    parent = life.submit(running_timeout_s=60)
    key = life.started(parent)
    running, below = life.child(key, "a"), life.child(life.started(life.child(key, "b")), "c")
    queued = life.child(key, "d", executor="echo")
    life.tasks.steer.pause(ANN, queued)
    keys = [life.started(running), life.started(below)]
    if end == "failed":
        life.launcher.end(key, Ending.FAILED, reason="no such file")
    else:
        life.advance(60_000)
        life.until(parent, State.TIMED_OUT)
    for child in (running, queued):
        assert life.get(child).state is State.CANCELLED
        assert life.get(child).reason == f"cancelled because its parent, task {parent.id}, {end}"
    middle = life.get(below).parent_id
    assert life.get(below).reason == f"cancelled because its parent, task {middle}, was cancelled"
    wait_until(lambda: not life.launcher.alive, what="no process of any of them is left")
    assert set(keys) <= set(life.launcher.killed)
    assert life.texts(life.get(below))[-1].startswith("INFO Sorry. Your job completed with a status Cancelled.")
    life.advance(700_000)
    life.until(life.submit(), State.RUNNING)


def test_an_error_that_may_pass_leaves_the_children_to_the_next_attempt(life: Any) -> None:
    parent = life.submit()
    key = life.started(parent)
    child = life.child(key, "a")
    life.started(child)
    life.launcher.end(key, Ending.FAILED, reason="no answer", may_pass=True)
    life.until(parent, State.WAITING_RETRY)
    assert life.state(child) is State.RUNNING


def test_children_are_listed_oldest_first_page_by_page(family: Any) -> None:
    life, parent, (a, b) = family
    pages = [life.tasks.look.children(ANN, parent.id, offset, 1) for offset in (0, 1, 2)]
    assert [[task.id for task in page.tasks] for page in pages] == [[a], [b], []]
    assert [page.total for page in pages] == [2, 2, 2]


def test_the_same_key_is_the_same_child(life: Any) -> None:
    key = life.started(life.submit())
    assert life.child(key, "a") == life.child(key, "a") != life.child(key, "b")


def test_children_inherit_user_creator_priority_and_retries(life: Any) -> None:
    parent = life.submit(priority=200, creator="CLI", max_retries=1)
    child = life.get(life.child(life.started(parent), "a"))
    assert (child.user, child.creator, child.priority, child.max_retries) == ("ann", "CLI", 200, 1)
    assert child.parent_id == parent.id and child.child_key == "a"


def test_a_kill_of_a_parent_that_waits_cancels_it_and_its_children(family: Any) -> None:
    life, parent, children = family
    assert life.tasks.steer.kill(_ann(life), parent.id).state is State.CANCELLED
    assert [life.state(x) for x in (parent, *children)] == [State.CANCELLED] * 3
    assert {k.task_id for k in life.launcher.killed} == set(children)


def test_a_bulk_kill_of_parent_and_children_cancels_all(family: Any) -> None:
    life, parent, children = family
    items = life.tasks.steer.kill_many(_ann(life), [*children, parent.id])
    assert [item.error for item in items] == [None] * 3
    assert [life.state(x) for x in (parent, *children)] == [State.CANCELLED] * 3


def test_a_killed_child_is_a_failed_one_for_its_parent(family: Any) -> None:
    life, parent, (a, b) = family
    life.tasks.steer.kill(_ann(life), a)
    life.launcher.end(life.started(b))
    assert life.get(parent).reason == f"1 of 2 children failed: task {a}: killed by ann"


def test_pause_and_resume_of_a_parent_reach_its_children(family: Any) -> None:
    life, parent, children = family
    life.tasks.steer.pause(_ann(life), parent.id)
    for child in children:
        life.until(child, State.PAUSED)
    assert life.state(parent) is State.PAUSED
    assert life.tasks.steer.resume(_ann(life), parent.id).state is State.RUNNING
    for child in children:
        life.launcher.end(life.started(child, 2))
    assert life.state(parent) is State.SUCCEEDED


def test_a_resume_of_a_parent_starts_no_child_that_is_not_ready(lives: Any) -> None:
    class Waiting(NoHooks):
        now = False

        def waits(self, executor: str, params: Mapping[str, Any]) -> bool:
            return self.now

    hooks = Waiting()
    life = lives(hooks=hooks)
    parent = life.submit()
    key = life.started(parent)
    hooks.now = True
    child = life.child(key, "a")
    life.tasks.steer.resume(_ann(life), parent.id)
    assert life.state(child) is State.CREATED
    life.tasks.steer.pause(_ann(life), parent.id)
    life.tasks.steer.resume(_ann(life), parent.id)
    assert life.state(child) is State.CREATED
    life.tasks.steer.resume(_ann(life), child)
    life.started(child)


def test_a_paused_parent_whose_children_were_all_killed_ends_when_it_is_resumed(family: Any) -> None:
    life, parent, children = family
    life.tasks.steer.pause(_ann(life), parent.id)
    for child in children:
        life.tasks.steer.kill(_ann(life), child)
    assert life.state(parent) is State.PAUSED
    life.tasks.steer.resume(_ann(life), parent.id)
    assert life.state(parent) is State.FAILED


def test_the_priority_of_a_parent_reaches_its_children(family: Any) -> None:
    life, parent, children = family
    life.tasks.steer.set_priority(_ann(life), parent.id, 400)
    assert [life.get(x).priority for x in (parent, *children)] == [400] * 3


def test_a_child_asked_for_while_its_parent_is_asked_to_pause_is_paused(life: Any) -> None:
    life.launcher.stubborn = True
    parent = life.submit()
    key = life.started(parent)
    life.tasks.steer.pause(_ann(life), parent.id)
    assert life.state(life.child(key, "a")) is State.PAUSED


def test_a_fenced_attempt_gets_no_children(life: Any) -> None:
    parent = life.submit()
    key = life.started(parent)
    life.tasks.steer.kill(_ann(life), parent.id)
    with pytest.raises(Refused):
        life.child(key, "a")


def test_no_child_escapes_the_kill_of_its_parent(life: Any) -> None:
    """Children are asked for while the kill is under way; those that were accepted are killed with it."""
    for _ in range(10):
        parent = life.submit(executor="sleep")
        key = life.started(parent)
        accepted: list[int] = []

        def ask(key: Any = key, accepted: list[int] = accepted) -> None:
            for name in range(1000):
                try:
                    accepted.append(life.child(key, str(name)))
                except Refused:
                    return

        thread = threading.Thread(target=ask)
        thread.start()
        while len(accepted) < 3:
            pass
        life.tasks.steer.kill(_ann(life), parent.id)
        thread.join()
        assert [x for x in accepted if life.state(x) is not State.CANCELLED] == []


def test_children_do_not_count_against_the_waiting_room(lives: Any) -> None:
    life = lives(**{"scheduler.waiting_per_group": 2, "scheduler.running_per_group": 1})
    key = life.started(life.submit())
    for name in range(5):
        life.child(key, str(name))
    assert life.submit().state is State.QUEUED


def _ann(life: Any) -> Any:
    from entrance.core.model import Caller

    return Caller(name="ann")


def test_the_progress_of_a_parent_sums_up_its_children_in_whatever_state(life: Any) -> None:
    parent = life.submit()
    key = life.started(parent)
    done, half, waiting = (life.child(key, name) for name in ("done", "half", "waiting"))
    life.tasks.steer.pause(ANN, waiting)
    sink = life.launcher.sink
    sink.step(life.started(done), Progress(done=1, total=4, bytes_done=70, bytes_total=70), None)
    life.launcher.end(life.started(done))
    sink.step(
        life.started(half),
        Progress(done=1, total=2, bytes_done=5, bytes_total=10, stages=(Stage(name="pack", target="x", done=1, total=2),)),
        None,
    )
    sink.step(key, Progress(done=2, total=4, bytes_done=100, bytes_total=200), None)
    told = life.tasks.look.progress(ANN, parent.id)
    assert told.fraction == pytest.approx((0.5 + 1 + 0.5 + 0) / 4)
    assert (told.progress.bytes_done, told.progress.bytes_total) == (175, 280)
    assert [stage.name for stage in told.progress.stages] == ["pack"]
    life.tasks.steer.pause(ANN, half)
    life.until(half, State.PAUSED)
    again = life.tasks.look.progress(ANN, parent.id)
    assert again.fraction == told.fraction and again.progress.bytes_done == 175
