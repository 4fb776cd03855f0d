"""Lists of jobs: every filter and every page against a plain loop over all jobs."""

from __future__ import annotations

import random
import re
from dataclasses import replace

import pytest

from common.db import retention, shown, transfers
from common.db import tasks as store
from common.db.shown import JobFilter, Place, ShownJob
from common.db.sql import Tx
from common.task import Event, Failed, Kill, Picked, Priority, State, Succeeded, Task

NOW = 1_700_000_000_000
HOUR = 3_600_000
SUBMISSION = {"code": "{}", "params": "{}", "settings": "{}", "source": "{}", "labels": "[]"}
COMPLETED, CANCELED = (State.SUCCEEDED,), (State.CANCELLED, State.FAILED, State.TIMED_OUT)
LIVES: tuple[tuple[Event, ...], ...] = (
    (),
    (Kill(by="ann"),),
    (Picked(), Succeeded(attempt=1)),
    (Picked(), Succeeded(attempt=1)),
    (Picked(), Failed(attempt=1, reason="no space left", may_pass=False)),
)


@pytest.fixture
def jobs(tx: Tx) -> list[ShownJob]:
    """Some hundred jobs of two users, which ended within three days, not in the order in which they came."""
    choose = random.Random(7)
    for n in range(240):
        user, executor = choose.choice(("ann", "bob")), choose.choice(("echo", "scan", "transfer"))
        priority, at = choose.choice((20, 100, 150, 400)), NOW + n * HOUR // 3
        times = dict.fromkeys(("created_at", "queued_at", "updated_at"), at)
        blank = {"id": 0, "uuid": "", "exec_id": "", "creator": "IDE", "run_type": "x", "door": "linkis"}
        names = {"user": user, "execute_user": "eve" if n % 40 == 39 else user, "executor": executor}
        new = Task(**blank, **names, **times, state=State.QUEUED, priority=priority)
        task = store.add(tx, new, exec_id=lambda i: f"exec-{i}", submission=SUBMISSION)
        if executor == "transfer":
            transfers.note(tx, task, {"from": {"storage": "a"}, "to": {"storage": f"b{n % 2}"}}, default_space="s")
            if n % 3 == 0:
                tx.connection.execute("UPDATE transfers SET way = 'in' WHERE task_id = ?", (task.id,))
        if n % 5 == 0:
            shown.set_shown(tx, task.id, name=choose.choice(("one", "Two", "PUT by ann")))
        if n % 7 == 0:
            shown.set_shown(tx, task.id, created_at=at - 5 * HOUR)
        for event in choose.choice(LIVES):
            store.apply(tx, task.id, event, at + choose.choice((1000, 1000, HOUR, 20 * HOUR)), ladder_ms=(0,))
    tx.connection.execute("COMMIT")
    return [job for job in (shown.job(tx, i) for i in range(1, 241)) if job is not None]


def _plain(job: ShownJob, which: JobFilter, struck: set[int]) -> bool:
    task, name = job.task, re.escape(which.name or "").replace("%", ".*")
    return (
        task.state in which.states
        and not which.nothing
        and which.owner in (None, task.user, task.execute_user)
        and which.user in (None, task.user)
        and which.bucket in (None, job.bucket)
        and which.kind in (None, job.kind)
        and which.level in (None, Priority.level(task.priority))
        and (which.name is None or re.fullmatch(name, job.name) is not None)
        and not (which.remembered and task.id in struck)
    )


def _any_filter(choose: random.Random, *, by_end: bool) -> JobFilter:
    everything = {
        "owner": choose.choice(("ann", "eve")),
        "user": choose.choice(("ann", "bob", "nobody")),
        "bucket": choose.choice(("b0", "b1", "-")),
        "name": choose.choice(("one", "PUT by ann", "PUT%", "% by bob", "o%", "nobody's", "%")),
        "kind": choose.choice(("PUT", "GET", "VERIFY")),
        "level": choose.choice(list(Priority)),
        "nothing": True,
    }
    some = {key: everything[key] for key in choose.sample(sorted(everything), choose.choice((0, 0, 1, 1, 2)))}
    states = choose.choice((COMPLETED, CANCELED)) if by_end else (State.QUEUED, State.RUNNING)
    return replace(JobFilter(states=states, remembered=by_end), **some)


def _compare(tx: Tx, jobs: list[ShownJob], struck: set[int], choose: random.Random) -> None:
    by_end = choose.random() < 0.8
    which = _any_filter(choose, by_end=by_end)

    def place(job: ShownJob) -> tuple[int, int]:
        at = shown.place_of(job, by_end=by_end)
        return at.at, at.task_id

    ordered = sorted((job for job in jobs if _plain(job, which, struck)), key=place, reverse=True)
    offset, limit, last = choose.randint(0, max(3, len(ordered))), choose.choice((1, 7, 30, 500)), choose.random() < 0.2
    after = choose.choice(jobs) if choose.random() < 0.3 and not last else None
    rest = ordered if after is None else [job for job in ordered if place(job) < place(after)]
    start = max(0, (len(ordered) - 1) // limit * limit) if last else 0 if after is not None else offset
    marker = None if after is None else Place(at=place(after)[0], task_id=after.task.id)
    found = shown.page(tx, which, by_end=by_end, after=marker, offset=start if not last else 3, limit=limit, last=last)
    assert found.jobs == rest[start : start + limit], which
    assert (found.total, found.left) == (len(ordered), max(0, len(rest) - start - limit)), which


def test_every_filter_and_page_shows_what_a_plain_loop_would(tx: Tx, jobs: list[ShownJob]) -> None:
    choose = random.Random(1)
    for _ in range(150):
        _compare(tx, jobs, set(), choose)


def test_lists_follow_what_is_struck_and_what_is_forgotten(tx: Tx, jobs: list[ShownJob]) -> None:
    choose = random.Random(2)
    first = JobFilter(states=COMPLETED, user="ann", remembered=True)
    shown.forget(tx, first)
    for again in (first, replace(first, remembered=False)):  # nobody is left; those that are struck already, again
        shown.forget(tx, again)
    struck = {job.task.id for job in jobs if _plain(job, first, set())}
    for _ in range(50):
        _compare(tx, jobs, struck, choose)
    while retention.forget_tasks(tx, NOW + 40 * HOUR):
        pass
    left = [job for job in jobs if job.task.ended_at is None or job.task.ended_at >= NOW + 40 * HOUR]
    assert len(left) < len(jobs)
    for _ in range(50):
        _compare(tx, left, struck, choose)
