"""Lists of tasks: every filter and every page against a plain loop, whichever way the database goes."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from common.db import lists, retention
from common.db import tasks as store
from common.db.lists import Seen, TaskFilter
from common.db.sql import Tx
from common.task import Event, Failed, Kill, Lost, Picked, RetryDue, State, Succeeded, Task

NOW = 1_700_000_000_000
SUBMISSION = {"code": "{}", "params": "{}", "settings": "{}", "source": "{}", "labels": "[]"}
NAMES = {"user": ("ann", "bob"), "creator": ("IDE", "CLI", "a_b%"), "executor": ("echo", "pack", "scan")}
LIVES: tuple[tuple[Event, ...], ...] = (
    (),
    (Kill(by="ann"),),
    (Picked(),),
    (Picked(), Succeeded(attempt=1)),
    (Picked(), Failed(attempt=1, reason="no Space left", may_pass=False)),
    (Picked(), Lost(attempt=1, reason="lost"), RetryDue()),
)


@pytest.fixture
def tasks(tx: Tx) -> list[Task]:
    """Some hundred tasks with every state and name, newest first; an eighth are children. Some 80 minutes and three parts of
    the ids, and the clock went back once."""
    choose = random.Random(5)
    made: list[int] = []
    every: list[int] = []
    for n in range(240):
        if n in (80, 160):
            tx.connection.execute("UPDATE sqlite_sequence SET seq = ? WHERE name = 'tasks'", ((n // 80) << 17,))
        parent = choose.choice(made) if made and n % 8 == 7 else None
        names = {key: choose.choice(values) for key, values in NAMES.items()}
        blank = {"id": 0, "uuid": "", "exec_id": "", "execute_user": "x", "run_type": "x", "door": "linkis"}
        times = dict.fromkeys(("created_at", "queued_at", "updated_at"), NOW + _minute(n) * 60_000)
        new = Task(**blank, **names, **times, state=State.QUEUED, parent_id=parent, child_key=f"{n}" if parent else None)
        task = store.add(tx, new, exec_id=lambda i: f"exec-{i}", submission=SUBMISSION)
        every.append(task.id)
        if parent is None:
            made.append(task.id)
        for event in choose.choice(LIVES):
            store.apply(tx, task.id, event, NOW + _minute(n) * 60_000 + 1000, ladder_ms=(0,))
    tx.connection.execute("COMMIT")
    return [store.get(tx, i) for i in reversed(every)]


def _minute(n: int) -> int:
    return n // 3 - 15 * (n > 200)


def _plain(task: Task, which: TaskFilter) -> bool:
    text = (which.text or "").lower()
    return (
        (which.ids is None or task.id in which.ids)
        and (which.user is None or task.user == which.user)
        and (which.creator is None or task.creator == which.creator)
        and (which.executor is None or task.executor == which.executor)
        and (which.created_from is None or task.created_at >= which.created_from)
        and (which.created_to is None or task.created_at < which.created_to)
        and (which.parent_id is None or task.parent_id == which.parent_id)
        and not (which.top_level and task.parent_id is not None)
        and (which.seen is None or any(task.state is s.state and s.ran in (None, task.ran) for s in which.seen))
        and (
            which.text is None
            or task.id == which.named
            or any(text in value.lower() for value in (task.user, task.creator, task.executor, task.reason or ""))
        )
    )


def _any_filter(choose: random.Random, tasks: list[Task]) -> TaskFilter:
    seen = [
        Seen(state=choose.choice(list(State)), ran=choose.choice((None, True, False))) for _ in range(choose.randint(0, 3))
    ]
    everything = {
        **{key: choose.choice(values) for key, values in NAMES.items()},
        "ids": [choose.choice(tasks).id for _ in range(30)] + [5000],
        "seen": seen,
        "created_from": NOW + choose.randint(-5, 80) * 60_000,
        "created_to": NOW + choose.randint(0, 90) * 60_000,
        "parent_id": choose.randint(1, 40),
        "top_level": True,
        "text": choose.choice(("an", "IDE", "space", "_b%", "7", "nothing of it", "o")),
    }
    which = TaskFilter(
        **{key: everything[key] for key in choose.sample(sorted(everything), choose.choice((0, 1, 1, 2, 2, 3)))}
    )
    return replace(which, named=choose.choice(tasks).id) if which.text and choose.random() < 0.5 else which


@pytest.mark.parametrize("few", [20_000, 30, 0])
def test_every_filter_selects_what_a_plain_loop_would(
    tx: Tx, tasks: list[Task], few: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lists, "_FEW", few)
    choose = random.Random(few)
    for _ in range(100):
        which = _any_filter(choose, tasks)
        wanted = [task for task in tasks if _plain(task, which)]
        oldest_first = choose.random() < 0.3
        offset, limit = choose.randint(0, max(5, len(wanted))), choose.choice((1, 7, 50, 500))
        ordered = wanted[::-1] if oldest_first else wanted
        found = lists.page(tx, which, offset, limit, oldest_first=oldest_first)
        assert found == (ordered[offset : offset + limit], len(wanted)), which
        assert lists.ids(tx, which) == [task.id for task in wanted], which


def test_counts_follow_every_change_and_what_is_forgotten(tx: Tx, tasks: list[Task]) -> None:
    def plain() -> dict[State, int]:
        found = [State(row[0]) for row in tx.connection.execute("SELECT state FROM tasks")]
        return {state: found.count(state) for state in State if state in found}

    assert lists.counts(tx) == plain()
    before = plain()
    while retention.forget_tasks(tx, NOW + 50 * 60_000):
        pass
    assert lists.counts(tx) == plain() != before
