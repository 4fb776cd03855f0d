"""What attempts say: events of the launcher become log lines, progress, rows, samples and, at the end, a state.

One ``Live`` record per current attempt holds the last report in memory; reports and samples are stored together once a
second, rows at once with the checkpoint that follows them. An attempt that does not count any more is refused.
"""

from __future__ import annotations

import json
import os
import sqlite3
import time
import zlib
from collections.abc import Callable, Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

from common.clock import Clock
from common.db import outside, reports, tables
from common.db import tasks as store
from common.db.ids import take_ids
from common.db.sql import Tx
from common.db.tasks import Applied
from common.db.writer import Writer
from common.errors import BadInput, Closing, EntranceError, NotStored, Refused
from common.task import Event, Failed, Lost, Stopped, Succeeded, Task
from entrance.core.changes import Changes, Done, Order
from entrance.core.hooks import Hooks
from entrance.core.logs import Logs
from entrance.core.metrics import Ring
from executors.base import Progress, Stage
from executors.launchers.base import AttemptKey, End, Ending, Launcher, Sample, Slice

STATE_BYTES = 64 * 1024
RESULT_ROWS = 10_000
MOST_ATTACHED = 8  # slices in one transaction
MOST_LOG_BYTES = 16 << 20  # of one log that may wait for the disk
LOG_SECONDS = 5.0  # and how long a task waits for that
_OURS = {"meta", "counters", "users", "tokens", "sessions", "keys", "roots", "tasks", "submissions", "progress", "attempts"}
_OURS |= {"history", "logs", "results", "samples", "owned", "publishing", "idempotency"}


@dataclass(eq=False)
class Live:
    """One current attempt."""

    task: Task
    key: AttemptKey
    workdir: Path
    ring: Ring = field(default_factory=Ring)
    progress: Progress = field(default_factory=Progress)
    merged: int = 0
    state: bytes | None = None  # the last checkpoint whose rows are stored
    reported: bool = False  # since the last store
    sampled: bool = False
    fenced: bool = False  # nothing of it counts any more
    asked: bool = False  # it was asked to stop
    asks: bool = False  # it asked for children
    owns: bool = False  # it declared what it makes outside its work folder
    cores: int = 0  # told to it last
    limits: tuple[tuple[str, str], ...] = ()  # the labels that ask for them
    slices: list[Slice] = field(default_factory=list)  # given, not yet stored
    rate: float | None = None  # bytes (or steps) a second, smoothed
    rate_from: tuple[float, int] | None = None
    peak: float = 0.0  # the largest fraction shown


class Ends(Protocol):
    """Who is told when an attempt's processes are gone."""

    def gone(self, key: AttemptKey) -> None: ...

    def ability_changed(self) -> None:
        """What the launcher can run is not what it was; must not wait."""
        ...

    def stored(self, live: Live) -> None:
        """The end of an attempt is stored."""
        ...

    def enforce(self, done: Sequence[Done]) -> None:
        """End the processes of attempts that do not count any more because of these changes."""
        ...


def progress_row(task_id: int, live: Live, now: int) -> dict[str, Any]:
    """All columns of ``progress`` for the last report."""
    p = live.progress
    return {
        "task_id": task_id,
        "done": p.done,
        "total": p.total,
        "bytes_done": p.bytes_done,
        "bytes_total": p.bytes_total,
        "files_done": p.files_done,
        "files_total": p.files_total,
        "stages": json.dumps([asdict(s) for s in p.stages]),
        "checkpoint": live.state,
        "merged": live.merged,
        "updated_at": now,
    }


def progress_of(values: Mapping[str, Any]) -> Progress:
    """The stored report as a value."""
    plain = {k: v for k, v in values.items() if k != "stages"}
    return Progress(**plain, stages=tuple(Stage(**s) for s in values["stages"]))


class Intake:
    """The launcher's sink."""

    def __init__(
        self,
        *,
        writer: Writer,
        changes: Changes,
        logs: Logs,
        hooks: Hooks,
        clock: Clock,
        offload: Callable[..., Any],
        submit_child: Callable[[Live, str, str, Mapping[str, Any], int | None], int],
    ) -> None:
        self._writer, self._changes, self._logs, self._hooks, self._clock = writer, changes, logs, hooks, clock
        self._offload, self._submit_child = offload, submit_child
        self.live: dict[int, Live] = {}
        self.launcher: Launcher | None = None
        self.ends: Ends | None = None
        self.lines = 0  # log lines taken in since start

    # ---- the sink

    def log(self, key: AttemptKey, block: bytes) -> None:
        """Raises NotStored when the disk does not take the log: what is said must not fill the memory instead."""
        live = self._live(key)
        deadline = time.monotonic() + LOG_SECONDS
        while self._logs.waiting(key.task_id) > MOST_LOG_BYTES and not live.fenced:
            if time.monotonic() > deadline:
                raise NotStored("the log of the task cannot be written")
            time.sleep(0.01)
        self.lines += block.count(b"\n")
        self._logs.append(live.task, block)

    def step(self, key: AttemptKey, progress: Progress, state: bytes | None) -> None:
        live = self._live(key)
        if state is not None and len(state) > STATE_BYTES:
            raise BadInput(f"a checkpoint may hold {STATE_BYTES} bytes, this one has {len(state)}")
        live.progress = progress
        live.reported = True
        self._measure(live)
        if live.slices:
            self._merge(live, live.state if state is None else state)
        elif state is not None:
            live.state = state

    def rows(self, key: AttemptKey, part: Slice) -> None:
        live = self._live(key)
        expected = live.merged + len(live.slices) + 1
        if part.number < expected:
            return
        table = tables.metadata.tables.get(part.table)
        if table is None or part.table in _OURS:
            raise BadInput(f"rows for {part.table} are not taken from tasks")
        unknown = [c for c in part.columns if c not in table.c]
        if unknown or part.number != expected:
            raise BadInput(f"slice {part.number} of {part.table} does not fit: {unknown or expected}")
        live.slices.append(part)

    def resources(self, key: AttemptKey, sample: Sample) -> None:
        live = self.live.get(key.task_id)
        if live is not None and live.key == key:
            live.ring.add(sample, live.progress.bytes_done or live.progress.done)
            live.sampled = True

    def own(self, key: AttemptKey, kind: str, names: Sequence[str]) -> None:
        self._live(key).owns = True

        def change(tx: Tx) -> None:
            store.fence(tx, key.task_id, key.number)
            outside.own(tx, key.task_id, key.number, kind, names)

        self._writer.call(change)

    def ids(self, key: AttemptKey, table: str, n: int) -> int:
        self._live(key)
        if n < 1 or table in _OURS or table not in tables.metadata.tables:
            raise BadInput(f"no ids of {table} for tasks")
        return self._writer.call(lambda tx: take_ids(tx, table, n))

    def child(self, key: AttemptKey, name: str, executor: str, params: Mapping[str, Any], job: int | None) -> int:
        live = self._live(key)
        live.asks = True
        return self._submit_child(live, name, executor, params, job)

    def publish(self, key: AttemptKey, pairs: Sequence[tuple[str, str]]) -> None:
        live = self._live(key)
        self._must_be_said(live)
        self._make_room(live)
        slices = list(live.slices)

        def change(tx: Tx) -> list[int]:
            task = store.fence(tx, key.task_id, key.number)
            self._copy(tx, slices)
            reports.set_progress(tx, [progress_row(key.task_id, live, self._clock.now())])
            ids = outside.add_pairs(tx, key.task_id, key.number, pairs)
            self._hooks.published(tx, task)
            return ids

        live.merged += len(slices)
        try:
            ids = self._writer.call(change, [s.path for s in slices])
        except BaseException:
            live.merged -= len(slices)
            raise
        self._merged(live, slices)
        failures = carry_out_pairs(self._offload, [(i, a, b) for i, (a, b) in zip(ids, pairs, strict=True)])
        strike(self._writer, self._hooks, live.task, [(i, a, b) for i, (a, b) in zip(ids, pairs, strict=True)], failures)
        if failures:
            raise NotStored(f"a file could not get its final name: {next(iter(failures.values()))}")

    def ability_changed(self) -> None:
        if self.ends is not None:
            self.ends.ability_changed()

    def ended(self, key: AttemptKey, end: End) -> None:
        """The attempt is over: store its end. Waits until it is stored, however long the disk is full."""
        live = self.live.get(key.task_id)
        if self.ends is not None:
            self.ends.gone(key)
        if live is None or live.key != key:
            return
        while True:
            merged = live.merged
            try:
                if end.ending is Ending.SUCCEEDED and not live.fenced:
                    self._make_room(live)
                else:
                    live.slices = []
                merged = live.merged
                live.merged += len(live.slices)
                done = self._end(live, end, live.slices)
                break
            except NotStored:
                live.merged = merged
                time.sleep(1.0)
            except Closing:
                return  # the next start takes the task up
            except Refused:
                live.merged = merged
                live.slices = []  # fenced meanwhile: its rows do not count
            except (EntranceError, sqlite3.Error, OSError) as error:
                if end.ending is Ending.FAILED:
                    raise  # not the rows: the service cannot go on like this
                live.merged = merged
                end = End(ending=Ending.FAILED, reason=f"the rows could not be stored: {error}", may_pass=True)
        if self.live.get(key.task_id) is live:
            del self.live[key.task_id]
        if self.ends is not None:
            self.ends.stored(live)
            if any(d.more for d in done):
                self.ends.enforce(done)

    # ---- stored now and then

    def flush(self) -> None:
        """Store the last reports and samples of all attempts; called once a second.

        Not while the database takes nothing: no line of theirs gets ahead of its checkpoint meanwhile (``behind``).
        """
        if self._writer.trouble:
            return
        now = self._clock.now()
        progress, samples = [], []
        for task_id, live in list(self.live.items()):
            if live.fenced:
                continue
            if live.reported and not live.slices:
                live.reported = False
                progress.append((live, progress_row(task_id, live, now)))
            if live.sampled:
                live.sampled = False
                samples.append({"task_id": task_id, "body": live.ring.pack()})
        if not progress and not samples:
            return
        progress = [(live, row) for live, row in progress if self._said(live.key.task_id)]

        def change(tx: Tx) -> None:
            current = []
            for live, row in progress:
                if live.slices or live.merged != row["merged"]:
                    live.reported = True  # rows came meanwhile, and a newer checkpoint with them
                    continue
                with suppress(EntranceError):
                    store.fence(tx, live.key.task_id, live.key.number)
                    current.append(row)
            reports.set_progress(tx, current)
            reports.set_samples(tx, samples)

        self._writer.post(change)

    def behind(self) -> Set[int]:
        """The tasks whose last lines stay out of their files just now: the checkpoints after them cannot be stored, and if
        the service ended, another attempt would say them again."""
        if not self._writer.trouble:
            return frozenset()
        return {task_id for task_id, live in list(self.live.items()) if live.state is not None}

    # ---- inside

    def _live(self, key: AttemptKey) -> Live:
        live = self.live.get(key.task_id)
        if live is None or live.key != key or live.fenced:
            raise Refused(f"attempt {key} does not count any more")
        return live

    def _measure(self, live: Live) -> None:
        now, done = time.monotonic(), live.progress.bytes_done or live.progress.done
        if live.rate_from is None:
            live.rate_from = (now, done)
            return
        then, before = live.rate_from
        if now - then >= 0.5:
            rate = max(0.0, (done - before) / (now - then))
            live.rate = rate if live.rate is None else 0.7 * live.rate + 0.3 * rate
            live.rate_from = (now, done)

    def _said(self, task_id: int) -> bool:
        """Bring the lines that an attempt said before its last step into the log's file: no checkpoint without them."""
        try:
            self._logs.written(task_id, self._offload)
        except OSError:
            return False
        return True

    def _must_be_said(self, live: Live) -> None:
        """Raises NotStored, also while the database takes nothing: a checkpoint follows its lines at once (``behind``)."""
        if live.state is not None and self._writer.trouble:
            raise NotStored(f"the service cannot store this now: {self._writer.trouble}")
        if not self._said(live.key.task_id):
            raise NotStored("the task's log cannot be written")

    def _merge(self, live: Live, state: bytes | None) -> None:
        """Store the slices given so far together with the checkpoint that follows them, which counts from then on."""
        self._must_be_said(live)
        self._make_room(live)
        self._store_slices(live, list(live.slices), state)
        live.reported = False

    def _make_room(self, live: Live) -> None:
        """Store the first of many slices ahead of the rest, with the checkpoint before them: SQLite attaches ten files at
        most. A later attempt that begins before them gives the same rows again, and they replace these."""
        while len(live.slices) > MOST_ATTACHED:
            self._store_slices(live, live.slices[:MOST_ATTACHED], live.state)

    def _store_slices(self, live: Live, slices: list[Slice], state: bytes | None) -> None:
        live.merged += len(slices)

        def change(tx: Tx) -> None:
            store.fence(tx, live.key.task_id, live.key.number)
            self._copy(tx, slices)
            row = progress_row(live.key.task_id, live, self._clock.now())
            reports.set_progress(tx, [{**row, "checkpoint": state}])

        try:
            self._writer.call(change, [s.path for s in slices])
        except BaseException:
            live.merged -= len(slices)
            raise
        live.state = state
        self._merged(live, slices)

    def _merged(self, live: Live, slices: Sequence[Slice]) -> None:
        if not slices:
            return
        live.slices = live.slices[len(slices) :]
        for part in slices:
            part.path.unlink(missing_ok=True)
        if self.launcher is not None:
            self.launcher.merged(live.key, live.merged)

    def _copy(self, tx: Tx, slices: Sequence[Slice]) -> None:
        for i, part in enumerate(slices):
            table = tables.metadata.tables[part.table]
            names = ", ".join(f'"{table.c[c].name}"' for c in part.columns)
            tx.connection.execute(
                f'INSERT OR REPLACE INTO main."{table.name}" ({names}) SELECT {names} FROM s{i}.rows'  # noqa: S608
            )

    def _end(self, live: Live, end: End, slices: Sequence[Slice]) -> Sequence[Done]:
        task_id, now = live.key.task_id, self._clock.now()
        if end.ending is not Ending.SUCCEEDED or live.asks or live.key.number > 1:
            self._must_be_said(live)  # the last success carries its lines in its own commit; a parent's may have to wait
        rows = None
        if end.ending is Ending.SUCCEEDED:
            table = [["ok"]] if end.rows is None else [list(r) for r in end.rows[:RESULT_ROWS]]
            rows = (len(table), zlib.compress(json.dumps(table, separators=(",", ":")).encode(), 1))

        def numbers(tx: Tx) -> None:
            current = store.get(tx, task_id)
            if current.active and current.attempt == live.key.number:
                self._copy(tx, slices)
                if live.reported or slices or end.ending is Ending.SUCCEEDED:
                    reports.set_progress(tx, [progress_row(task_id, live, now)])
                if live.sampled:
                    reports.set_samples(tx, [{"task_id": task_id, "body": live.ring.pack()}])
            store.attempt_cost(tx, task_id, live.key.number, end.max_rss_bytes, end.cpu_seconds)

        def result(tx: Tx, applied: Applied) -> None:
            if rows is not None:
                reports.add_result(tx, task_id, *rows)

        order = Order(task_id=task_id, event=_event(live.key.number, end), ending=end.ending.value, with_it=result)
        return self._changes.carry_out([order], first=numbers, attach=[s.path for s in slices], patient=True)


def _event(attempt: int, end: End) -> Event:
    match end.ending:
        case Ending.SUCCEEDED:
            return Succeeded(attempt=attempt)
        case Ending.STOPPED:
            return Stopped(attempt=attempt)
        case Ending.LOST:
            return Lost(attempt=attempt, reason=end.reason or "The attempt was lost")
        case Ending.DIED:
            return Failed(attempt=attempt, reason=end.reason, may_pass=True)
        case Ending.FAILED:
            return Failed(attempt=attempt, reason=end.reason, may_pass=end.may_pass)


def carry_out_pairs(offload: Callable[..., Any], pairs: Sequence[tuple[int, str, str]]) -> dict[int, str]:
    """Give files their final names and sync their folders; return the pairs that failed, with the reason."""

    def rename() -> dict[int, str]:
        failed: dict[int, str] = {}
        folders = set()
        for pair, temporary, final in pairs:
            try:
                with suppress(FileNotFoundError):
                    Path(temporary).replace(final)
                if not Path(final).exists():
                    raise FileNotFoundError(2, "the file has vanished")
                folders.add(Path(final).parent)
            except OSError as error:
                failed[pair] = f"{Path(final).name}: {error.strerror}"
        for folder in folders:
            fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)
        return failed

    failed: dict[int, str] = offload(rename)
    return failed


def strike(
    writer: Writer, hooks: Hooks, task: Task, pairs: Sequence[tuple[int, str, str]], failed: Mapping[int, str]
) -> None:
    """The renames are carried out: forget them, and undo the rows of those that could not be."""

    def change(tx: Tx) -> None:
        for pair, temporary, final in pairs:
            if pair in failed:
                hooks.unpublished(tx, task, final)
            outside.disown(tx, task.id, "path", temporary)
        outside.strike_pairs(tx, [p for p, _, _ in pairs])

    writer.call(change)
