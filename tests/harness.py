"""Runs executors in the test's own process, over a real database, with the semantics of the service.

Tasks are stored, moved and ended by the service's own functions (``common.db.tasks``, ``entrance.core.preparations``); rows
count with the checkpoint that follows them, a publication is one commit and then renames. What is missing is the processes:
``attempt`` runs in the caller, ``attempt_killed`` in a forked child that is killed with SIGKILL when the test says.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import time
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine

from common.clock import SystemClock
from common.content import cid as cids
from common.db import outside, reports, tables
from common.db import tasks as store
from common.db.accounts import Accounts
from common.db.catalogue import Catalogue, open_readonly
from common.db.database import open_writable
from common.db.ids import take_ids
from common.db.sql import Tx
from common.errors import EntranceError, ExecutorError, MayPass
from common.storage import open_storage
from common.task import Failed, Kill, Picked, Ready, State, Stopped, Succeeded, Task
from entrance.core.preparations import Preparations
from executors.base import Executor, StopRequested
from executors.daggen import Daggen
from executors.pack import Pack
from executors.params import load_params
from executors.scan import Scan
from executors.verify import Verify

USER = "alice"
EXECUTORS: dict[str, Executor] = {e.name: e for e in (Scan(), Pack(), Daggen(), Verify())}
Hook = Callable[[str, "Context"], None]
"""Called before everything an executor says or asks, with its kind; may raise ``StopRequested``."""


@dataclass
class Report:
    """What an executor has said so far."""

    lines: list[tuple[str, str]] = field(default_factory=list)
    steps: int = 0
    checkpoints: int = 0
    last: tuple[int, int] = (0, 0)

    def text(self, level: str = "") -> str:
        return "\n".join(text for of, text in self.lines if level in ("", of))


class Context:
    """See ``executors.base.TaskContext``."""

    def __init__(self, harness: Harness, task: Task, params: dict[str, Any], report: Report, hook: Hook | None) -> None:
        self.params, self.task_id, self.attempt = params, task.id, task.attempt
        self.cores = harness.cores
        self.report = report
        self.commands: Mapping[str, Sequence[str]] = {}
        self._harness, self._hook = harness, hook
        self._rows: list[tuple[str, tuple[str, ...], list[Sequence[Any]]]] = []
        with harness.tx() as tx:
            progress = reports.stored_progress(tx, task.id)
            self.checkpoint = progress.checkpoint if progress else None
            self._settings = harness.hooks.storages(tx, task.executor, params)
        self.workdir = harness.folder / "work" / f"{task.id}-{task.attempt}"
        self.workdir.mkdir(parents=True, exist_ok=True)
        self.catalogue = open_readonly(harness.database)

    def _say(self, kind: str) -> None:
        if self._hook is not None:
            self._hook(kind, self)

    def log(self, text: str, level: str = "INFO") -> None:
        self.report.lines.append((level, text))

    def step(self, done: int, total: int, state: bytes | None = None, **numbers: Any) -> None:
        assert 0 <= done <= max(total, done)
        assert state is None or len(state) <= 64 << 10
        self._say("step")
        self.report.steps += 1
        self.report.last = (done, total)
        if state is not None:
            self.report.checkpoints += 1
            with self._harness.tx() as tx:
                store.fence(tx, self.task_id, self.attempt)
                self._merge(tx)
                values = {
                    "task_id": self.task_id,
                    "done": done,
                    "total": total,
                    "bytes_done": numbers.get("bytes_done", 0),
                    "bytes_total": numbers.get("bytes_total", 0),
                    "files_done": numbers.get("files_done", 0),
                    "files_total": numbers.get("files_total", 0),
                    "stages": "[]",
                    "checkpoint": state,
                    "merged": 0,
                    "updated_at": self._harness.clock.now(),
                }
                reports.set_progress(tx, [values])
        else:
            assert not self._rows, "a step without a checkpoint does not count rows"

    def rows(self, table: str, batch: Sequence[Sequence[Any]], columns: Sequence[str] | None = None) -> None:
        self._say("rows")
        names = tuple(columns) if columns is not None else tuple(tables.metadata.tables[table].columns.keys())
        if batch:
            assert all(len(row) == len(names) for row in batch)
            self._rows.append((table, names, list(batch)))
        assert sum(len(rows) for _, _, rows in self._rows) < 10_000, "more rows than one checkpoint can carry"

    def ids(self, table: str, n: int) -> int:
        self._say("ids")
        assert n > 0
        with self._harness.tx() as tx:
            return take_ids(tx, table, n)

    def own(self, names: Sequence[str], kind: str = "path") -> None:
        self._say("own")
        with self._harness.tx() as tx:
            store.fence(tx, self.task_id, self.attempt)
            outside.own(tx, self.task_id, self.attempt, kind, names)

    def publish(
        self,
        pairs: Sequence[tuple[str, str]],
        rows: Sequence[tuple[str, Sequence[str], Sequence[Sequence[Any]]]] = (),
    ) -> None:
        self._say("publish")
        for table, columns, batch in rows:
            self.rows(table, batch, columns)
        with self._harness.tx() as tx:
            task = store.fence(tx, self.task_id, self.attempt)
            self._merge(tx)
            ids = outside.add_pairs(tx, self.task_id, self.attempt, pairs)
            self._harness.hooks.published(tx, task)
        self._say("published")
        self._harness.carry_out(zip(ids, pairs, strict=True), self.task_id)

    def child(self, key: str, executor: str, params: Mapping[str, Any], *, job: int | None = None) -> int:
        self._say("child")
        return self._harness.add(executor, params, parent=self.task_id, key=key, job=job).id

    def storage(self, name: str) -> Any:
        if name not in self._settings:
            raise ExecutorError(f"the task does not name the storage {name}")
        return open_storage(name, self._settings[name])

    def _merge(self, tx: Tx) -> None:
        for table, names, rows in self._rows:
            columns = ", ".join(f'"{name}"' for name in names)
            marks = ", ".join("?" * len(names))
            tx.connection.executemany(f'INSERT OR REPLACE INTO "{table}" ({columns}) VALUES ({marks})', rows)
        self._rows = []

    def give_rest(self, tx: Tx) -> None:
        self._merge(tx)


class _Transaction:
    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def __enter__(self) -> Tx:
        self._connection.execute("BEGIN IMMEDIATE")
        return Tx(self._connection)

    def __exit__(self, kind: Any, *_: object) -> None:
        self._connection.execute("ROLLBACK" if kind else "COMMIT")


class Harness:
    """A service without processes, in a folder of its own."""

    def __init__(self, folder: Path, *, cores: int = 2) -> None:
        self.folder, self.cores = folder, cores
        folder.mkdir(parents=True, exist_ok=True)
        self.database = folder / "entrance.db"
        self.clock = SystemClock()
        self.hooks = Preparations(self.clock)
        self.reports: dict[int, Report] = {}
        engine = create_engine(f"sqlite:///{self.database}")
        tables.metadata.create_all(engine)
        engine.dispose()
        self.connection = open_writable(self.database)

    def reopen(self) -> None:
        """Take a connection of one's own, in a forked child."""
        self.connection = open_writable(self.database)

    def close(self) -> None:
        self.connection.close()

    def tx(self) -> _Transaction:
        return _Transaction(self.connection)

    @property
    def catalogue(self) -> Catalogue:
        return Catalogue(Tx(self.connection), self.folder)

    def allow(self, *folders: Path) -> None:
        with self.tx() as tx:
            for folder in folders:
                Accounts(tx).allow(str(folder), now=0)

    # ---- tasks

    def add(
        self,
        executor: str,
        params: Mapping[str, Any],
        *,
        parent: int | None = None,
        key: str | None = None,
        job: int | None = None,
    ) -> Task:
        """Store a task as the service does."""
        loaded = load_params(EXECUTORS[executor], dict(params))
        now = self.clock.now()
        with self.tx() as tx:
            if parent is not None and key is not None and (known := store.child_by_key(tx, parent, key)) is not None:
                return known
            resolved = self.hooks.submitting(tx, USER, False, executor, loaded)
            waits = self.hooks.waits(executor, resolved)
            task = store.add(
                tx,
                Task(
                    id=0,
                    uuid="",
                    exec_id="",
                    user=USER,
                    execute_user=USER,
                    creator="TEST",
                    executor=executor,
                    run_type=executor,
                    door="test",
                    state=State.CREATED if waits else State.QUEUED,
                    queued_at=None if waits else now,
                    parent_id=parent,
                    child_key=key,
                    job_id=job if job is not None else self.hooks.job_of(executor, resolved),
                    created_at=now,
                    updated_at=now,
                ),
                exec_id=str,
                submission={
                    "code": "",
                    "params": json.dumps(dict(resolved)),
                    "settings": "{}",
                    "source": "{}",
                    "labels": "[]",
                },
                busy=store.Busy.REFUSE if parent is None else store.Busy.JOIN,
            )
            for wish in self.hooks.added(tx, task, resolved):
                self._apply(tx, wish.task_id, wish.event)
        return self.get(task.id)

    def get(self, task_id: int) -> Task:
        return store.get(Tx(self.connection), task_id)

    def tasks(self, *states: State) -> list[Task]:
        rows = self.connection.execute("SELECT id FROM tasks ORDER BY id").fetchall()
        found = [self.get(row[0]) for row in rows]
        return [task for task in found if not states or task.state in states]

    def _apply(self, tx: Tx, task_id: int, event: Any) -> None:
        for applied in store.apply(tx, task_id, event, self.clock.now(), ladder_ms=(0,)):
            if applied.ended:
                for wish in self.hooks.ended(tx, applied.task):
                    try:
                        self._apply(tx, wish.task_id, wish.event)
                    except EntranceError:
                        continue

    def apply(self, task_id: int, event: Any) -> None:
        with self.tx() as tx:
            self._apply(tx, task_id, event)

    def attempt(self, task_id: int, hook: Hook | None = None) -> Task:
        """Run one attempt of a task to its end."""
        task = self.get(task_id)
        if task.state is State.WAITING_RETRY or (task.state is State.CREATED and task.queued_at is not None):
            with self.tx() as tx:
                tx.connection.execute("UPDATE tasks SET state = 'queued' WHERE id = ?", (task_id,))
        self.apply(task_id, Picked())
        task = self.get(task_id)
        executor = EXECUTORS[task.executor]
        params, _ = store.asked(Tx(self.connection), task_id)
        report = self.reports.setdefault(task_id, Report())
        context = Context(self, task, load_params(executor, params), report, hook)
        try:
            result = executor.run(context)
            event: Any = Succeeded(attempt=task.attempt)
            self.results = result
        except StopRequested:
            event = Stopped(attempt=task.attempt)
        except EntranceError as error:
            event = Failed(attempt=task.attempt, reason=str(error), may_pass=isinstance(error, MayPass))
            report.lines.append(("ERROR", str(error)))
        with self.tx() as tx:
            if isinstance(event, Succeeded):
                context.give_rest(tx)
            self._apply(tx, task_id, event)
        shutil.rmtree(context.workdir, ignore_errors=True)
        self.sweep()
        return self.get(task_id)

    def attempt_killed(self, task_id: int, after_seconds: float = 60.0, hook: Hook | None = None) -> bool:
        """Run one attempt in a process of its own and kill it; True if it was killed, False if it ended before.

        A hook may be the one that kills it, from inside. What an attempt that raises says is on standard error.
        """
        self.connection.close()
        child = os.fork()
        if child == 0:
            status = 1
            try:
                self.reopen()
                self.attempt(task_id, hook)
                status = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(status)
        end = time.monotonic() + after_seconds
        while (found := os.waitpid(child, os.WNOHANG))[0] == 0:
            if time.monotonic() >= end:
                os.kill(child, signal.SIGKILL)
                found = os.waitpid(child, 0)
                break
            time.sleep(0.001)
        killed = os.WIFSIGNALED(found[1])
        assert killed or os.WEXITSTATUS(found[1]) == 0, "the attempt ended with an error of the harness"
        self.reopen()
        if killed:
            self.recover()
            task = self.get(task_id)
            shutil.rmtree(self.folder / "work" / f"{task.id}-{task.attempt}", ignore_errors=True)
            if task.active:
                self.apply(task_id, Failed(attempt=task.attempt, reason="its process died", may_pass=True))
            self.sweep()
        return killed

    def recover(self) -> None:
        """What the service does at its start: carry out committed renames."""
        by_task: dict[int, list[tuple[int, tuple[str, str]]]] = {}
        for pair, task_id, _, temporary, final in outside.pairs(Tx(self.connection)):
            by_task.setdefault(task_id, []).append((pair, (temporary, final)))
        for task_id, pairs in by_task.items():
            self.carry_out(pairs, task_id)

    def carry_out(self, pairs: Iterable[tuple[int, tuple[str, str]]], task_id: int) -> None:
        done = []
        for pair, (temporary, final) in pairs:
            if os.path.exists(temporary):
                os.replace(temporary, final)
            assert os.path.exists(final)
            done.append((pair, temporary))
        with self.tx() as tx:
            for _, temporary in done:
                outside.disown(tx, task_id, "path", temporary)
            outside.strike_pairs(tx, [pair for pair, _ in done])

    def sweep(self) -> None:
        """What the janitor does: remove what ended tasks own."""
        tx = Tx(self.connection)
        for task_id, kind, name in outside.owned_by_ended(tx) + outside.owned_by_ended(tx, uploads=True):
            if kind == "path" and os.path.exists(name):
                os.unlink(name)
            with self.tx() as tx:
                outside.disown(tx, task_id, kind, name)

    def kill(self, task_id: int) -> None:
        self.apply(task_id, Kill(by=USER))
        self.sweep()

    def ready(self, task_id: int) -> None:
        self.apply(task_id, Ready())

    def run(self, order: random.Random | None = None, *, only: str = "") -> None:
        """Run what is queued, and what that queues, to the end; in order of ids, or in a random one."""
        while True:
            waiting = [task for task in self.tasks(State.QUEUED, State.WAITING_RETRY) if only in ("", task.executor)]
            if not waiting:
                return
            self.attempt((order.choice(waiting) if order else waiting[0]).id)

    def prepare(self, source: Path, output: Path | None = None, **params: Any) -> Task:
        """Allow the folders and submit a scan in its short form."""
        self.allow(source, *([output] if output else []))
        wanted: dict[str, Any] = {"path": str(source), **params}
        if output is not None:
            wanted["output"] = str(output)
        return self.add("scan", wanted)

    def states(self) -> dict[int, tuple[str, State, str | None]]:
        return {task.id: (task.executor, task.state, task.reason) for task in self.tasks()}


def recorded(harness: Harness) -> dict[str, Any]:
    """What the catalogue knows, in the form of the vectors."""
    query = harness.connection.execute
    catalogue: Catalogue = harness.catalogue
    text = cids.to_text
    files = query(
        "SELECT f.id, CASE d.path WHEN '' THEN f.name ELSE d.path || '/' || f.name END, f.size FROM files f"
        " JOIN directories d ON d.id = f.directory_id ORDER BY f.id"
    ).fetchall()
    ranges = query(
        "SELECT r.id, r.file_id, r.offset, r.length, c.cid FROM ranges r LEFT JOIN range_cids c ON c.range_id = r.id"
        " ORDER BY r.id"
    ).fetchall()
    directories = query("SELECT id, path, parent_id FROM directories ORDER BY id").fetchall()
    nodes = {d: catalogue.directory_node(d) for d, _, _ in directories}
    return {
        "files": [{"id": i, "path": p, "size": s, "cid": text(catalogue.file_cid(i) or b"")} for i, p, s in files],
        "fileRanges": [{"id": i, "fileId": f, "offset": o, "length": n, "cid": text(c or b"")} for i, f, o, n, c in ranges],
        "directories": [
            {"id": i, "path": p, "parentId": a, "cid": text(nodes[i][0]) if nodes[i] else ""} for i, p, a in directories
        ],
    }
