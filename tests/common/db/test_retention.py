"""Forgetting what was kept long enough."""

from __future__ import annotations

from typing import Any

from common.db import reports, retention
from common.db import tasks as store
from common.db.catalogue import Catalogue
from common.db.sql import Tx
from common.task import State, Task

NOW = 1_700_000_000_000


def ended(tx: Tx, at: int | None, **more: Any) -> int:
    """A task that ended then (None: has not), with log and result."""
    new = Task(
        id=0,
        uuid="",
        exec_id="",
        user="ann",
        execute_user="ann",
        creator="IDE",
        executor="echo",
        run_type="echo",
        door="linkis",
        state=State.QUEUED if at is None else State.SUCCEEDED,
        created_at=0,
        ended_at=at,
        **more,
    )
    submission = dict.fromkeys(("code", "params", "settings", "source", "labels"), "{}")
    task = store.add(tx, new, exec_id=str, submission=submission)
    reports.add_log(tx, task.id, 0, 1, b"log")
    reports.add_result(tx, task.id, 1, b"result")
    return task.id


def left(tx: Tx) -> list[int]:
    return [row[0] for row in tx.connection.execute("SELECT id FROM tasks ORDER BY id")]


def test_only_what_ended_long_enough_ago_is_forgotten(tx: Tx) -> None:
    old, young, unfinished = ended(tx, NOW - 1), ended(tx, NOW), ended(tx, None)
    assert retention.forget_results(tx, NOW) == [old]
    assert reports.result(tx, old) is None and reports.log_row(tx, old) is not None
    assert retention.forget_logs(tx, NOW) == [old]
    assert reports.log_row(tx, old) is None and reports.log_row(tx, young) is not None
    assert retention.forget_tasks(tx, NOW) == [old]
    assert left(tx) == [young, unfinished]
    assert retention.forget_tasks(tx, NOW) == retention.forget_logs(tx, NOW) == retention.forget_results(tx, NOW) == []


def test_children_go_before_their_parents(tx: Tx) -> None:
    parent = ended(tx, NOW - 9)
    child = ended(tx, NOW - 5, parent_id=parent, child_key="a")
    assert retention.forget_tasks(tx, NOW) == [child]
    assert retention.forget_tasks(tx, NOW) == [parent]


def test_a_parent_stays_while_a_child_is_kept(tx: Tx) -> None:
    parent = ended(tx, NOW - 9)
    ended(tx, NOW + 5, parent_id=parent, child_key="a")
    assert retention.forget_tasks(tx, NOW) == []


def test_the_last_task_of_a_job_stays_as_long_as_the_job(tx: Tx) -> None:
    job = Catalogue(tx).add_job(1, "pack", 0)
    first, last, other = ended(tx, NOW - 9, job_id=job), ended(tx, NOW - 8, job_id=job), ended(tx, NOW - 7, job_id=job + 1)
    assert retention.forget_tasks(tx, NOW) == [first, other], "there is no other job"
    assert retention.forget_tasks(tx, NOW) == []
    found = Catalogue(tx).job(job)
    assert found is not None and found.state == "complete"
    tx.connection.execute("DELETE FROM jobs")
    assert retention.forget_tasks(tx, NOW) == [last]


def test_much_is_forgotten_in_portions_oldest_first(tx: Tx) -> None:
    ids = [ended(tx, n) for n in range(1, 1203)]
    assert retention.forget_tasks(tx, NOW) == ids[:500]
    assert len(retention.forget_tasks(tx, NOW)) == 500
    assert len(retention.forget_tasks(tx, NOW)) == 202
    assert left(tx) == []


def test_ids_of_forgotten_tasks_are_not_used_again(tx: Tx) -> None:
    last = ended(tx, NOW - 1)
    retention.forget_tasks(tx, NOW)
    assert ended(tx, NOW - 1) == last + 1


def test_a_key_of_a_forgotten_task_makes_a_new_one(tx: Tx) -> None:
    new = Task(
        id=0,
        uuid="",
        exec_id="",
        user="ann",
        execute_user="ann",
        creator="IDE",
        executor="echo",
        run_type="echo",
        door="linkis",
        state=State.SUCCEEDED,
        created_at=NOW,
        ended_at=NOW,
    )
    submission = dict.fromkeys(("code", "params", "settings", "source", "labels"), "{}")
    first = store.add(tx, new, exec_id=str, submission=submission, idempotency_key="k")
    assert retention.forget_tasks(tx, NOW + 1) == [first.id]
    assert store.add(tx, new, exec_id=str, submission=submission, idempotency_key="k").id != first.id
    assert tx.connection.execute("SELECT count(*) FROM idempotency").fetchone() == (1,)


def test_keys_of_forgotten_times_go_too(tx: Tx) -> None:
    ended(tx, NOW - 1)
    tx.connection.execute("INSERT INTO idempotency VALUES ('ann', 'old', 1, ?), ('ann', 'new', 1, ?)", (NOW - 1, NOW))
    retention.forget_tasks(tx, NOW)
    assert tx.connection.execute("SELECT key FROM idempotency").fetchall() == [("new",)]
