"""Many ended tasks in a data folder, made through the stores' own functions, as a service would have stored them.

Each task is added, picked and ended with the events of ``common.task``, its log is sealed by ``entrance.core.logs``: what
lists, counts and the start of a service find is what real tasks leave, but for the months in which they would have come.
A fifth of them is made so, by two processes, some 0.4 ms each; the others are those rows again with ids, UUIDs, execution
ids and times of their own.
"""

from __future__ import annotations

import json
import random
import shutil
import threading
import uuid
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from common.db import reports, shown, transfers
from common.db import tasks as store
from common.db.database import open_writable
from common.db.migrate import upgrade
from common.db.peek import FILE_NAME
from common.db.sql import Tx
from common.db.tables import metadata
from common.task import Event, Failed, Kill, Line, Picked, State, Succeeded, Task, TimedOut
from entrance.core.ids import build_exec_id
from entrance.core.logs import Logs

DAY_MS = 86_400_000
DAYS = 80  # less than tasks are kept
USERS = ("admin", "alice", "bob", "carol")
CREATORS = tuple(f"CLIENT{i}" for i in range(20))
EXECUTORS = ("echo", "sleep", "scan", "pack", "transfer", "verify")
SPACE = "6794a734-54e7-11ed-b7c4-76337673fb0d"
REASONS = ("the source file changed while it was read", "the store did not answer", "no space left on the device")
CHILDREN = 9  # of one task in a hundred
_AT_ONCE = 5000
_TIMES = 5
_RESULT = (1, zlib.compress(b'[["ok"]]', 1))
_TABLES = ["tasks", "submissions", "history", "attempts", "progress", "results", "logs", "transfers", "shown_jobs"]
_LINES = (Line(level="INFO", text="line 1 of 2"), Line(level="INFO", text="line 2 of 2"))


def fill(data: Path, number: int, seed: int, *, now: int, instance: str) -> None:
    """Add ``number`` (a multiple of ten) ended tasks of the last 80 days to a data folder that no service holds."""
    half, span = number // _TIMES // 2, DAYS * DAY_MS // _TIMES
    begin = now - DAYS * DAY_MS
    later = data.parent / f"{data.name}-later"
    later.mkdir()
    upgrade(later / FILE_NAME)
    with _connection(data) as tx:
        (used,) = tx.connection.execute("SELECT coalesce(max(id), 0) FROM tasks").fetchone()
    with _connection(later) as tx:
        tx.connection.execute("INSERT INTO sqlite_sequence VALUES ('tasks', ?)", (used + half,))
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        other = pool.submit(_fill, later, half, seed + 1, begin + span // 2, begin + span, instance)
        _fill(data, half, seed, begin, begin + span // 2, instance)
        other.result()
    with _connection(data) as tx:
        tx.connection.execute("ATTACH ? AS later", (str(later / FILE_NAME),))
        _copy(tx, "later", used, 2 * half, 0, 0)
        tx.connection.execute("DETACH later")
        for turn in range(1, _TIMES):
            _copy(tx, "main", used, 2 * half, turn * 2 * half, turn * span)
        tx.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    shutil.rmtree(later)


def _copy(tx: Tx, source: str, used: int, first: int, ids: int, ms: int) -> None:
    """Add the ``first`` tasks of ``source`` behind number ``used`` once more, moved by ``ids`` numbers and by ``ms``."""
    tx.connection.execute("BEGIN IMMEDIATE")
    for name in _TABLES:
        columns = [c.name for c in metadata.tables[name].c if (name, c.name) != ("history", "id")]
        key = "id" if name == "tasks" else "task_id"
        moved = [_moved(name, column) if ids else f'"{column}"' for column in columns]
        tx.connection.execute(
            f"""INSERT INTO main.{name} ({", ".join(f'"{c}"' for c in columns)}) SELECT {", ".join(moved)}
            FROM {source}.{name} WHERE {key} > :used AND {key} <= :used + :first ORDER BY {key}""",
            {"used": used, "ids": ids, "ms": ms, "first": first},
        )
    tx.connection.execute("COMMIT")


def _moved(table: str, column: str) -> str:
    """What a column of a copied row holds."""
    if column in ("task_id", "parent_id") or (table, column) == ("tasks", "id"):
        return f"{column} + :ids"
    if column == "at" or column.endswith("_at"):
        return f"{column} + :ms"
    if column == "uuid":  # the first eight digits are the number
        return "printf('%08x', id + :ids) || substr(uuid, 9)"
    if column == "exec_id":
        return "substr(exec_id, 1, length(exec_id) - length(id)) || (id + :ids)"
    return f'"{column}"'


def _fill(data: Path, number: int, seed: int, since: int, until: int, instance: str) -> None:
    random_ = random.Random(seed)
    logs = Logs(data / "logs", instance, threading.Lock())
    parent: Task | None = None
    with _connection(data) as tx:
        for i in range(number):
            if i % _AT_ONCE == 0:
                tx.connection.execute("BEGIN IMMEDIATE")
            at = since + i * (until - since) // number
            place = i % 100
            task = _add(tx, random_, at, parent if 10 < place <= 10 + CHILDREN else None, i, instance)
            if place == 10:
                parent = task
            _end(tx, logs, random_, task, at)
            if i % _AT_ONCE == _AT_ONCE - 1 or i == number - 1:
                tx.connection.execute("COMMIT")


@contextmanager
def _connection(data: Path) -> Iterator[Tx]:
    connection = open_writable(data / FILE_NAME)
    try:
        connection.execute("PRAGMA synchronous=OFF")  # nobody is promised anything yet
        connection.execute("PRAGMA cache_size=-524288")
        connection.execute("PRAGMA wal_autocheckpoint=20000")
        yield Tx(connection)
    finally:
        connection.close()


def _add(tx: Tx, random_: random.Random, at: int, parent: Task | None, i: int, instance: str) -> Task:
    user = parent.user if parent else USERS[min(int(random_.expovariate(1.0)), len(USERS) - 1)]
    creator = parent.creator if parent else random_.choice(CREATORS)
    executor = random_.choice(EXECUTORS)
    new = Task(
        id=0,
        uuid=str(uuid.UUID(int=random_.getrandbits(128))),
        exec_id="",
        user=user,
        execute_user=user,
        creator=creator,
        executor=executor,
        run_type=executor,
        door="linkis",
        priority=random_.choice((100, 100, 100, 50, 200, 400)),
        cores=0.25,
        state=State.QUEUED,
        max_retries=0,
        parent_id=parent.id if parent else None,
        child_key=f"child-{i}" if parent else None,
        created_at=at,
        queued_at=at,
        updated_at=at,
    )
    code = json.dumps({"lines": 2, "number": i})
    sent = {"code": code, "params": code, "settings": "{}", "source": "{}", "labels": f'[["engineType","{executor}"]]'}
    task = store.add(
        tx, new, exec_id=lambda n: build_exec_id(creator, user, executor, n, instance), submission=sent, who=user
    )
    if executor == "transfer":
        params = {"from": {"storage": "a"}, "to": {"storage": "b"}, "repoId": str(i % 50), "repoName": f"Data {i % 50}"}
        transfers.note(tx, task, params, default_space=SPACE)
    if i % 97 == 0:
        shown.set_shown(tx, task.id, name=f"job {i}")
    return task


def _end(tx: Tx, logs: Logs, random_: random.Random, task: Task, at: int) -> None:
    """Let a task run and end in one of the four ways."""
    started, ended = at + random_.randint(1, 2000), at + random_.randint(2001, 60_000)
    how = random_.random()
    event: Event = Succeeded(attempt=1)
    if how > 0.99:
        event = TimedOut(seconds=1, attempt=1)
    elif how > 0.96:
        event = Kill(by=task.user)
    elif how > 0.9:
        event = Failed(attempt=1, reason=f"{random_.choice(REASONS)} ({task.id % 1000})", may_pass=False)
    for change in store.apply(tx, task.id, Picked(), started, ladder_ms=()):
        logs.append_lines(change.before, started, (*change.decision.lines, *_LINES))
    store.attempt_cost(tx, task.id, 1, 30 << 20, 0.01)
    done = isinstance(event, Succeeded)
    reports.set_progress(tx, [_PROGRESS | {"task_id": task.id, "done": 2 if done else 1, "updated_at": ended}])
    if done:
        reports.add_result(tx, task.id, *_RESULT)
    for change in store.apply(tx, task.id, event, ended, ladder_ms=()):
        seal = logs.seal(change.before, ended, change.decision.lines)
        reports.add_log(tx, change.task.id, seal.offset, seal.lines, seal.body)
        logs.close(change.task.id, seal, _here)


_PROGRESS = {
    "total": 2,
    "bytes_done": 0,
    "bytes_total": 0,
    "files_done": 0,
    "files_total": 0,
    "stages": "[]",
    "checkpoint": None,
    "merged": 0,
}


def _here(function: Callable[..., Any], *arguments: Any) -> Any:
    return function(*arguments)
