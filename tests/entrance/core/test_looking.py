"""Looking at tasks on a whole core: everybody sees what is theirs, and sees it as it is."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from common.errors import Forbidden, TaskNotFound
from entrance.core.model import Caller, Filter
from executors.launchers.base import Ending

ANN, BOB, ROOT = Caller(name="ann"), Caller(name="bob"), Caller(name="root", admin=True)


def test_what_reads_many_rows_does_not_hold_up_others(life: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    here, seen = threading.get_ident(), []

    def elsewhere(function: Callable[..., Any], *arguments: Any) -> Any:
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(lambda: (seen.append(threading.get_ident()), function(*arguments))[1]).result()

    task = life.submit()
    monkeypatch.setattr(life.tasks.look, "_offload", elsewhere)
    assert life.tasks.look.page(ANN, Filter(text="IDE")).total == 1
    assert life.tasks.steer.act(ANN, "kill", Filter(), dry_run=True) == (1, ())
    assert sum(life.tasks.look.counts().values()) == 1 and life.state(task)
    assert len(seen) == 3 and here not in seen


def test_everybody_sees_their_own_and_administrators_all(life: Any) -> None:
    mine, theirs = life.submit(), life.submit(caller=BOB, execute_user="ann")
    hers = life.submit(caller=BOB)
    assert [t.id for t in life.tasks.look.page(ANN, Filter(all_users=True)).tasks] == [mine.id]
    assert life.tasks.look.page(ROOT, Filter(all_users=True)).total == 3
    assert life.tasks.look.page(ROOT, Filter(all_users=True, user="bob")).total == 2
    assert life.tasks.look.get(ANN, theirs.id).id == theirs.id
    for ref in (hers.id, hers.exec_id, hers.uuid, hers.uuid.upper()):
        with pytest.raises(Forbidden, match="belongs to bob"):
            life.tasks.look.log(ANN, ref, 0, 10)
    for ref in (0, -1, "x", "99", "exec_id", hers.exec_id + "9", "00000000-0000-0000-0000-000000000000"):
        with pytest.raises(TaskNotFound):
            life.tasks.look.get(ROOT, ref)


def test_filters_combine(life: Any) -> None:
    one = life.submit(creator="IDE")
    two = life.submit("sleep", creator="CLI")
    parent_key = life.started(one)
    child = life.child(parent_key, "a")

    def ids(**more: Any) -> list[int]:
        return [t.id for t in life.tasks.look.page(ANN, Filter(**more)).tasks]

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
    assert life.tasks.look.progress(ANN, task.id).fraction == 0.9
    life.step(key, 5, 10)
    assert life.tasks.look.progress(ANN, task.id).fraction == 0.9
    life.step(key, 10, 10)
    assert life.tasks.look.progress(ANN, task.id).fraction < 1
    life.launcher.end(key, Ending.FAILED, reason="at the end")
    assert life.tasks.look.progress(ANN, task.id).fraction < 1


def test_who_watches_hears_of_every_change(life: Any) -> None:
    watcher = life.core.events.subscribe()
    task = life.submit()
    life.launcher.end(life.started(task))
    heard = []
    while (changed := watcher.get(0.2)) is not None:
        heard.append(changed)
    assert heard.count(task.id) >= 3
    life.core.events.unsubscribe(watcher)
