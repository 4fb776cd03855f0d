"""Cleaning up: what ended tasks own and did not publish, renames that a crash cut short, old tasks.

Nothing that has a final name in a row is ever deleted: what a task owns are temporary names, struck off when published.
"""

from __future__ import annotations

import glob
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from common.clock import Clock
from common.db import outside, reports, retention
from common.db import tasks as store
from common.db.database import Readers
from common.db.sql import Tx
from common.db.writer import Writer
from common.errors import EntranceError, NotStored, TaskNotFound
from common.logging import get_log
from entrance.core.hooks import Hooks
from entrance.core.intake import carry_out_pairs, strike
from entrance.core.logs import Logs, Seal
from entrance.core.uploads import abort_uploads
from executors.launchers.base import AttemptKey

_DAY_MS = 86_400_000
_LOG = get_log("entrance.core")


class Janitor:
    """Runs at start (``recover``) and now and then (``sweep``)."""

    def __init__(
        self,
        *,
        readers: Readers,
        writer: Writer,
        logs: Logs,
        hooks: Hooks,
        clock: Clock,
        work: Path,
        days: tuple[int, int, int],
        offload: Callable[..., Any],
    ) -> None:
        self._readers, self._writer, self._logs, self._hooks = readers, writer, logs, hooks
        self._clock, self._work, self._days, self._offload = clock, work, days, offload
        self._forgotten: dict[Callable[..., Any], int] = {}  # up to which end, by what is forgotten
        self._left: set[int] = set()  # renames that the last sweep found
        self._tried = (0, "", "")  # the last upload that was tried: each sweep takes the next ones

    def recover(self) -> None:
        """After a crash: carry out committed renames, complete logs of ended tasks, empty the work folders."""
        with self._readers.read() as tx:
            pairs = outside.pairs(tx)
            unsettled = reports.unsettled_logs(tx)
        for pair, task_id, _, temporary, final in pairs:
            failed = carry_out_pairs(self._offload, [(pair, temporary, final)])
            self._strike(task_id, (pair, temporary, final), failed)
        for task_id, offset, lines, body in unsettled:
            try:
                self._logs.settle(task_id, Seal(offset=offset, lines=lines, body=body))
            except OSError as error:  # the row still holds the lines, for readers and for the next start
                _LOG.warning("the end of a log cannot be written", task=task_id, reason=str(error))
                continue
            self._writer.call(partial(reports.strike_log_body, task_id=task_id))
        shutil.rmtree(self._work, ignore_errors=True)
        self._work.mkdir(parents=True, exist_ok=True)

    def sweep(self, running: Callable[[], set[AttemptKey]]) -> None:
        """Carry out renames that were given up, remove what ended tasks left and what is older than it is kept."""
        self._carry_out_left(running)
        self._remove_files(running)
        self._remove_old()
        self._abort_uploads(running)  # last: stores may let us wait

    def _carry_out_left(self, running: Callable[[], set[AttemptKey]]) -> None:
        """Renames whose attempt is gone and that were there at the last sweep already: a full disk came between the commit
        and their striking. What fails again stays for the next sweep."""
        with self._readers.read() as tx:
            pairs = outside.pairs(tx)
        alive = running() if pairs else set()
        left = [x for x in pairs if AttemptKey(task_id=x[1], number=x[2]) not in alive]
        for pair, task_id, _, temporary, final in left:
            if pair in self._left and not carry_out_pairs(self._offload, [(pair, temporary, final)]):
                with suppress(NotStored):
                    self._strike(task_id, (pair, temporary, final), {})
        self._left = {pair for pair, *_ in left}

    def _strike(self, task_id: int, pair: tuple[int, str, str], failed: Mapping[int, str]) -> None:
        try:
            with self._readers.read() as tx:
                task = store.get(tx, task_id)
        except TaskNotFound:  # forgotten meanwhile, its rows stay
            self._writer.call(lambda tx: outside.strike_pairs(tx, [pair[0]]))
        else:
            strike(self._writer, self._hooks, task, [pair], failed)

    def remove_stale_logs(self) -> None:
        """Files of ended logs whose whole text is in the database (a crash came between commit and removal)."""
        for task_id in self._logs.files():
            try:
                with self._readers.read() as tx:
                    row = reports.log_row(tx, task_id)
                    store.get(tx, task_id)
            except TaskNotFound:
                self._logs.remove(task_id)
                continue
            if row is not None and row[0] == 0:
                self._logs.remove(task_id)

    def release(self, task_id: int) -> None:
        """Remove what a task made and did not publish, if it has ended. Its processes must be gone."""
        with self._readers.read() as tx:
            if not store.get(tx, task_id).state.final:
                return
            owned = outside.owned(tx, task_id)
            coming = _coming(tx)
        self._remove([(task_id, kind, name) for kind, name in owned], coming)

    def _remove_files(self, running: Callable[[], set[AttemptKey]]) -> None:
        after = (0, "", "")
        while True:
            with self._readers.read() as tx:
                owned = outside.owned_by_ended(tx, uploads=False, after=after)
                coming = _coming(tx)
            if not owned:
                return
            alive = {key.task_id for key in running()}
            self._remove([item for item in owned if item[0] not in alive], coming)
            after = owned[-1]

    def _abort_uploads(self, running: Callable[[], set[AttemptKey]]) -> None:
        """The next 1,000, from the start again behind the last: those that cannot be aborted keep no others waiting."""
        with self._readers.read() as tx:
            owned = outside.owned_by_ended(tx, uploads=True, after=self._tried)
        self._tried = owned[-1] if owned else (0, "", "")
        alive = {key.task_id for key in running()}
        uploads = [(task_id, name) for task_id, _, name in owned if task_id not in alive]
        for task_id, name in abort_uploads(self._readers, self._hooks, self._work.parent, uploads):
            self._writer.call(partial(outside.disown, task_id=task_id, kind="upload", name=name))

    def _remove(self, owned: Sequence[tuple[int, str, str]], coming: set[str]) -> None:
        """Remove files (uploads: see ``_abort_uploads``) for good: after a power loss a forgotten one would come back."""
        gone: dict[Path, list[tuple[int, str, str]]] = {}
        for task_id, kind, name in owned:
            if kind == "upload" or name in coming or (kind == "prefix" and any(x.startswith(name) for x in coming)):
                continue
            with suppress(OSError):
                self._offload(_remove_path if kind == "path" else _remove_prefix, name)
                gone.setdefault(Path(name).parent, []).append((task_id, kind, name))
        for folder, items in gone.items():
            with suppress(OSError, EntranceError):
                self._offload(_sync, folder)
                self._writer.call(partial(_disown, items))

    def _remove_old(self) -> None:
        now = self._clock.now()
        tasks_days, logs_days, results_days = self._days
        if results_days:
            self._forget(retention.forget_results, now - results_days * _DAY_MS)
        if logs_days:
            for task_id in self._forget(retention.forget_logs, now - logs_days * _DAY_MS):
                self._logs.remove(task_id)
        if tasks_days:
            while ids := self._writer.call(lambda tx: retention.forget_tasks(tx, now - tasks_days * _DAY_MS)):
                for task_id in ids:
                    self._logs.remove(task_id)

    def _forget(self, forget: Callable[[Tx, int, int], list[int]], before: int) -> Sequence[int]:
        """Forget what belongs to tasks that ended before a moment; what an earlier sweep dealt with is not read again.

        But for a day of it: an end may have been stored since by a clock that was behind.
        """
        since = self._forgotten.get(forget, 0)
        done: list[int] = []
        while ids := self._writer.call(lambda tx: forget(tx, before, since)):
            done += ids
        self._forgotten[forget] = before - _DAY_MS
        return done


def _coming(tx: Tx) -> set[str]:
    """Files whose final names are committed and which do not have them yet."""
    return {temporary for _, _, _, temporary, _ in outside.pairs(tx)}


def _disown(items: Sequence[tuple[int, str, str]], tx: Tx) -> None:
    for item in items:
        outside.disown(tx, *item)


def _remove_path(name: str) -> None:
    Path(name).unlink(missing_ok=True)


def _sync(folder: Path) -> None:
    with suppress(FileNotFoundError):
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def _remove_prefix(name: str) -> None:
    """Everything whose path begins with ``name`` (a folder with all in it, or files of one beginning)."""
    path = Path(name)
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
        return
    for found in path.parent.glob(f"{glob.escape(path.name)}*"):
        found.unlink(missing_ok=True)
