"""Tasks in the database: conditional changes, the fence, parents and children, keys and ids."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from common.db import outside, reports
from common.db import tables as t
from common.db import tasks as store
from common.db.ids import take_ids
from common.db.sql import Tx
from common.errors import Refused, TaskEnded, TaskNotFound
from common.task import (
    Event,
    Failed,
    Kill,
    Lost,
    Pause,
    Picked,
    Ready,
    Resume,
    RetryDue,
    State,
    Stopped,
    Succeeded,
    Task,
)

NOW = 1_700_000_000_000
DAY_MS = 86_400_000
LADDER = (5_000, 30_000)
SUBMISSION = {"code": '{"n": 1}', "params": '{"n":1}', "settings": "{}", "source": '{"ip": "::1"}', "labels": '[["a","b"]]'}


def add(tx: Tx, key: str = "", busy: store.Busy = store.Busy.REFUSE, **more: Any) -> Task:
    new = Task(
        id=0,
        exec_id="",
        **{
            "uuid": "",
            "user": "ann",
            "execute_user": "ann",
            "creator": "IDE",
            "executor": "echo",
            "run_type": "echo",
            "door": "linkis",
            "state": State.QUEUED,
            "created_at": NOW,
            "queued_at": NOW,
            "updated_at": NOW,
            **more,
        },
    )
    return store.add(
        tx, new, exec_id=lambda n: f"exec-{n}", submission=SUBMISSION, idempotency_key=key, who="ann", busy=busy
    )


def child(tx: Tx, parent: Task, key: str, **more: Any) -> Task:
    return add(tx, parent_id=parent.id, child_key=key, **more)


def apply(tx: Tx, task: Task, event: Event, now: int = NOW) -> list[store.Applied]:
    return store.apply(tx, task.id, event, now, ladder_ms=LADDER)


def run(tx: Tx, task: Task) -> Task:
    return apply(tx, task, Picked())[0].task


def words(tx: Tx, task: Task) -> list[str]:
    return [row[1] for row in store.history(tx, task.id)]


# ---- adding --------------------------------------------------------------------------------------------------------


def test_a_task_comes_back_as_it_was_stored(tx: Tx) -> None:
    made = add(tx, priority=250, cores=0.25, max_retries=1, running_timeout_s=9, job_id=4, execute_user="bob")
    assert store.get(tx, made.id) == made == store.by_uuid(tx, made.uuid)
    assert made.exec_id == f"exec-{made.id}" and len(made.uuid) == 36
    record = store.submission(tx, made.id)
    assert record["source"] == {"ip": "::1"} and record["labels"] == [("a", "b")]
    assert store.asked(tx, made.id)[0] == {"n": 1}
    assert words(tx, made) == ["created", "queued"]


def test_an_unknown_task_is_told_so(tx: Tx) -> None:
    unknown = replace(add(tx), id=99)
    for look in (lambda: store.get(tx, 99), lambda: store.by_uuid(tx, "no"), lambda: apply(tx, unknown, Ready())):
        with pytest.raises(TaskNotFound):
            look()


def test_ids_are_never_used_again(tx: Tx) -> None:
    last = add(tx).id
    tx.connection.execute("DELETE FROM tasks")
    assert add(tx).id == last + 1


def test_the_same_key_of_the_same_user_is_the_first_task_for_a_day(tx: Tx) -> None:
    first = add(tx, key="k")
    assert add(tx, key="k", created_at=NOW + DAY_MS - 1).id == first.id
    assert add(tx, key="k", user="bob").id != first.id
    assert add(tx, key="other").id != first.id
    later = add(tx, key="k", created_at=NOW + DAY_MS)
    assert later.id != first.id
    assert add(tx, key="k", created_at=NOW + DAY_MS + 1).id == later.id


def test_the_same_key_of_the_same_parent_is_the_same_child(tx: Tx) -> None:
    parent, other = add(tx), add(tx)
    first = child(tx, parent, "a")
    assert child(tx, parent, "a") == first
    assert child(tx, other, "a").id != first.id
    assert store.child_by_key(tx, parent.id, "a") == first and store.child_by_key(tx, parent.id, "b") is None
    assert [x.id for x in store.children(tx, parent.id)] == [first.id]


def test_ids_of_other_tables_are_handed_out_once(tx: Tx) -> None:
    assert take_ids(tx, "files", 10) == 1
    assert take_ids(tx, "files", 1) == 11
    assert take_ids(tx, "ranges", 5) == 1
    assert take_ids(tx, "files", 3) == 12


# ---- changing ------------------------------------------------------------------------------------------------------


def test_each_change_is_one_line_of_history_and_attempts_have_rows(tx: Tx) -> None:
    task = add(tx)
    run(tx, task)
    reports.set_progress(tx, [progress(task, done=40, checkpoint=b"half")])
    apply(tx, task, Failed(attempt=1, reason="no answer", may_pass=True), NOW + 1)
    apply(tx, task, RetryDue(), NOW + 2)
    apply(tx, task, Picked(), NOW + 3)
    apply(tx, task, Pause(by="bob"), NOW + 4)
    apply(tx, task, Stopped(attempt=2), NOW + 5)
    apply(tx, task, Resume(by="bob"), NOW + 6)
    apply(tx, task, Picked(), NOW + 7)
    store.attempt_cost(tx, task.id, 3, 1 << 20, 1.5)
    apply(tx, task, Succeeded(attempt=3), NOW + 8)
    assert words(tx, task) == [
        *("created", "queued", "running", "waiting_retry", "queued", "running", "running", "paused", "queued", "running"),
        "succeeded",
    ]
    assert [row[2:] for row in store.history(tx, task.id)][3] == ("no answer", None)
    assert store.history(tx, task.id)[6][2:] == ("pause requested", "bob")
    first, second, third = store.attempts(tx, task.id)
    assert (first["ending"], first["reason"], first["done_at_start"], first["done_at_end"]) == ("failed", "no answer", 0, 40)
    assert (second["ending"], second["started_at"], second["ended_at"], second["done_at_start"]) == (
        "stopped",
        NOW + 3,
        NOW + 5,
        40,
    )
    assert (third["ending"], third["max_rss_bytes"], third["cpu_seconds"]) == ("succeeded", 1 << 20, 1.5)


def test_a_refused_event_changes_nothing(tx: Tx) -> None:
    task = run(tx, add(tx))
    before = (store.get(tx, task.id), store.history(tx, task.id), store.attempts(tx, task.id))
    for event in (Ready(), Picked(), Succeeded(attempt=2), Failed(attempt=0, reason="", may_pass=True)):
        with pytest.raises(Refused):
            apply(tx, task, event)
    assert apply(tx, task, Resume(by="ann")) == []
    assert (store.get(tx, task.id), store.history(tx, task.id), store.attempts(tx, task.id)) == before


def test_two_ends_at_once_one_wins_and_the_other_is_refused(tx: Tx) -> None:
    task = run(tx, add(tx))
    apply(tx, task, Kill(by="ann"))
    with pytest.raises(TaskEnded):
        apply(tx, task, Succeeded(attempt=1))
    assert apply(tx, task, Kill(by="bob")) == []
    with pytest.raises(TaskEnded):
        apply(tx, task, Pause(by="ann"))
    assert store.get(tx, task.id).reason == "killed by ann"
    assert words(tx, task)[-1] == "cancelled" and words(tx, task).count("cancelled") == 1


def test_a_row_that_changed_since_it_was_read_is_not_overwritten(tx: Tx, monkeypatch: pytest.MonkeyPatch) -> None:
    task = run(tx, add(tx))
    real = store.decide

    def slow(before: Task, event: Event, now: int, **more: Any) -> Any:
        decision = real(before, event, now, **more)
        tx.connection.execute("UPDATE tasks SET state = 'cancelled'")
        return decision

    monkeypatch.setattr(store, "decide", slow)
    with pytest.raises(Refused):
        apply(tx, task, Succeeded(attempt=1))
    assert store.get(tx, task.id).state is State.CANCELLED


def test_only_the_current_attempt_passes_the_fence(tx: Tx) -> None:
    task = run(tx, add(tx))
    assert store.fence(tx, task.id, 1).id == task.id
    for number in (0, 2):
        with pytest.raises(Refused):
            store.fence(tx, task.id, number)
    apply(tx, task, Lost(attempt=1, reason="lost"))
    with pytest.raises(Refused):
        store.fence(tx, task.id, 1)


def test_a_new_attempt_goes_on_from_the_checkpoint_and_counts_its_slices_anew(tx: Tx) -> None:
    task = run(tx, add(tx))
    reports.set_progress(tx, [progress(task, done=5, merged=3, checkpoint=b"here")])
    apply(tx, task, Lost(attempt=1, reason="lost"))
    apply(tx, task, RetryDue())
    run(tx, task)
    stored = reports.stored_progress(tx, task.id)
    assert stored is not None and (stored.checkpoint, stored.merged, stored.values["done"]) == (b"here", 0, 5)


def progress(task: Task, **more: Any) -> dict[str, Any]:
    row: dict[str, Any] = {c.name: 0 for c in t.progress.c}
    return {**row, "task_id": task.id, "stages": "[]", "checkpoint": None, **more}


# ---- parents and children ------------------------------------------------------------------------------------------


def test_a_parent_ends_with_its_last_child_in_the_same_change(tx: Tx) -> None:
    parent = run(tx, add(tx))
    one, two = run(tx, child(tx, parent, "a")), run(tx, child(tx, parent, "b"))
    (applied,) = apply(tx, parent, Succeeded(attempt=1))
    assert applied.task.waits and not applied.ended
    assert [x.task.id for x in apply(tx, one, Succeeded(attempt=1))] == [one.id]
    both = apply(tx, two, Failed(attempt=1, reason="no such file", may_pass=False))
    assert [(x.task.id, x.task.state) for x in both] == [(two.id, State.FAILED), (parent.id, State.FAILED)]
    assert store.get(tx, parent.id).reason == f"1 of 2 children failed: task {two.id}: no such file"


def test_the_first_failure_is_named(tx: Tx) -> None:
    parent = run(tx, add(tx))
    ones = [run(tx, child(tx, parent, str(n))) for n in range(3)]
    apply(tx, parent, Succeeded(attempt=1))
    apply(tx, ones[2], Failed(attempt=1, reason="first", may_pass=False), NOW + 1)
    apply(tx, ones[0], Kill(by="bob"), NOW + 2)
    apply(tx, ones[1], Succeeded(attempt=1), NOW + 3)
    assert store.get(tx, parent.id).reason == f"2 of 3 children failed: task {ones[2].id}: first"


def test_the_end_goes_up_through_all_who_wait(tx: Tx) -> None:
    top = run(tx, add(tx))
    middle = run(tx, child(tx, top, "m"))
    leaf = run(tx, child(tx, middle, "l"))
    apply(tx, top, Succeeded(attempt=1))
    apply(tx, middle, Succeeded(attempt=1))
    assert [x.task.id for x in apply(tx, leaf, Succeeded(attempt=1))] == [leaf.id, middle.id, top.id]
    assert store.get(tx, top.id).state is State.SUCCEEDED


def test_a_paused_parent_whose_children_have_ended_ends_when_it_goes_on(tx: Tx) -> None:
    parent = run(tx, add(tx))
    one = run(tx, child(tx, parent, "a"))
    apply(tx, parent, Succeeded(attempt=1))
    apply(tx, parent, Pause(by="ann"))
    apply(tx, one, Succeeded(attempt=1))
    assert store.get(tx, parent.id).state is State.PAUSED
    states = [x.task.state for x in apply(tx, parent, Resume(by="ann"))]
    assert states == [State.RUNNING, State.SUCCEEDED]


def test_descendants_are_listed_parents_first(tx: Tx) -> None:
    top = add(tx)
    a, b = child(tx, top, "a"), child(tx, top, "b")
    below = child(tx, a, "x")
    assert [x.id for x in store.descendants(tx, top.id)] == [a.id, b.id, below.id]


# ---- lists ---------------------------------------------------------------------------------------------------------


def test_the_unfinished_are_those_that_have_not_ended(tx: Tx) -> None:
    one, two = add(tx), add(tx)
    apply(tx, two, Kill(by="ann"))
    assert [x.id for x in store.unfinished(tx)] == [one.id]


def test_the_last_task_of_a_job_counts_and_one_at_most_is_unfinished(tx: Tx) -> None:
    assert store.last_of_job(tx, 5) is None
    first = add(tx, job_id=5)
    with pytest.raises(store.JobBusy, match=f"task {first.id} is at work on job 5"):
        add(tx, job_id=5)
    add(tx, job_id=6)
    apply(tx, first, Kill(by="ann"))
    last = add(tx, job_id=5)
    assert store.last_of_job(tx, 5) == last


def test_who_may_share_the_task_of_a_job_gets_it(tx: Tx) -> None:
    first = add(tx, job_id=5)
    assert add(tx, job_id=5, busy=store.Busy.JOIN) == add(tx, job_id=5, busy=store.Busy.ONCE) == first
    apply(tx, first, Kill(by="ann"))
    assert add(tx, job_id=5, busy=store.Busy.ONCE).id == first.id
    assert add(tx, job_id=5, busy=store.Busy.JOIN).id != first.id


def test_the_priority_of_an_open_task_can_be_changed(tx: Tx) -> None:
    task = add(tx)
    assert store.set_priority(tx, task.id, 400, NOW + 1)
    assert store.get(tx, task.id).priority == 400
    apply(tx, task, Kill(by="ann"))
    assert not store.set_priority(tx, task.id, 50, NOW + 2)
    assert store.get(tx, task.id).priority == 400


# ---- what lies beside ----------------------------------------------------------------------------------------------


def test_what_a_task_owns_is_known_until_it_is_struck(tx: Tx) -> None:
    task = run(tx, add(tx))
    outside.own(tx, task.id, 1, "path", ["/o/a", "/o/b"])
    outside.own(tx, task.id, 2, "path", ["/o/b"])
    assert sorted(outside.owned(tx, task.id)) == [("path", "/o/a"), ("path", "/o/b")]
    assert outside.owned_by_ended(tx) == []
    apply(tx, task, Kill(by="ann"))
    outside.disown(tx, task.id, "path", "/o/a")
    assert outside.owned_by_ended(tx) == [(task.id, "path", "/o/b")]
    assert outside.owned_by_ended(tx, uploads=True) == []


def test_what_ended_tasks_own_is_read_page_by_page(tx: Tx) -> None:
    task = run(tx, add(tx))
    outside.own(tx, task.id, 1, "path", [f"/o/{n:04d}" for n in range(1500)])
    outside.own(tx, task.id, 1, "prefix", ["/o/0000"])
    outside.own(tx, task.id, 1, "upload", ["u"])
    apply(tx, task, Kill(by="ann"))
    first = outside.owned_by_ended(tx)
    second = outside.owned_by_ended(tx, after=first[-1])
    assert len(first) == 1000 and len({*first, *second}) == 1501 and not outside.owned_by_ended(tx, after=second[-1])
    assert outside.owned_by_ended(tx, uploads=True) == [(task.id, "upload", "u")]


def test_pairs_are_kept_in_order_until_they_are_struck(tx: Tx) -> None:
    task = add(tx)
    ids = outside.add_pairs(tx, task.id, 1, [("/t/a", "/f/a"), ("/t/b", "/f/b")])
    assert outside.pairs(tx) == [(ids[0], task.id, 1, "/t/a", "/f/a"), (ids[1], task.id, 1, "/t/b", "/f/b")]
    outside.strike_pairs(tx, ids[:1])
    assert [row[0] for row in outside.pairs(tx)] == ids[1:]


def test_logs_results_and_samples_lie_beside_the_task_and_go_with_it(tx: Tx) -> None:
    task = add(tx)
    reports.add_log(tx, task.id, 70_000, 900, b"tail")
    reports.add_result(tx, task.id, 2, b"rows")
    reports.set_samples(tx, [{"task_id": task.id, "body": b"one"}])
    reports.set_samples(tx, [{"task_id": task.id, "body": b"two"}])
    assert reports.log_row(tx, task.id) == (70_000, 900, b"tail")
    assert reports.unsettled_logs(tx) == [(task.id, 70_000, 900, b"tail")]
    reports.strike_log_body(tx, task.id)
    assert reports.log_row(tx, task.id) == (70_000, 900, b"") and reports.unsettled_logs(tx) == []
    assert (reports.result(tx, task.id), reports.samples(tx, task.id)) == ((2, b"rows"), b"two")
    tx.connection.execute("DELETE FROM tasks WHERE id = ?", (task.id,))
    assert reports.log_row(tx, task.id) is reports.result(tx, task.id) is reports.samples(tx, task.id) is None
    assert store.history(tx, task.id) == [] and store.asked(tx, task.id) == ({}, [])


def test_a_small_logs_row_keeps_its_body(tx: Tx) -> None:
    task = add(tx)
    reports.add_log(tx, task.id, 0, 4, b"all")
    reports.strike_log_body(tx, task.id)
    assert reports.log_row(tx, task.id) == (0, 4, b"all")
