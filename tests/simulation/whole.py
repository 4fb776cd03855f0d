"""The whole service simulated: its own code, from ``Core`` down to the SQL, on fibers, with a disk, processes and clocks
that a seed decides.

``world`` holds the pure core against the contracts by the million; here the shell around it runs too: the writer, the
dispatcher's threads, the intake, the logs, the janitor, start and stop. Between any two of their waits the service may die,
the disk be full, the clock be set, a process end. A second is over in no time, and the same seed is the same history.
"""

from __future__ import annotations

import logging
import re
import shutil
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from simulation.lent import lent
from simulation.machines import Process
from simulation.rules import FINAL, Broken, hold
from simulation.service_acts import ServiceActs

from common.db import reports
from common.db import tasks as store
from common.db.sql import Tx
from common.errors import EntranceError
from common.task import State
from entrance.core.lifecycle import Core
from entrance.core.model import Caller
from executors.launchers.base import End, Ending

EVENTS_PER_WHOLE = 4_000
_SETTLE_SECONDS = 3_000.0


class WholeFailed(AssertionError):
    """An invariant broke; the message says how to see it again."""


class Whole(ServiceActs):
    """One data folder's life, held against what must be true of it."""

    def __init__(self, seed: str, folder: Path) -> None:
        super().__init__(seed, folder)
        self.machine.checkpoints = self.check_checkpoint

    # ---- running

    def run(self, events: int) -> Whole:
        """Let so many things happen, then end everything. Raises WholeFailed."""
        with lent(self.kernel, self.disk):
            try:
                self.come_up()
                while self.step_number < events:
                    self.step()
                self.settle()
                self.check_end()
            except (Broken, LookupError, TypeError, ValueError, AttributeError, EntranceError, sqlite3.Error) as error:
                raise WholeFailed(self.report(error)) from error
            finally:
                self.bury()
                sqlite3.Connection.close(self.disk)
        return self

    def report(self, error: BaseException) -> str:
        lines = [f"{type(error).__name__}: {error}", f"whole {self.seed}, event {self.step_number}, {self.settings}"]
        lines += [f"the last {len(self.trail)} events:", *self.trail]
        lines.append(
            f"again: PYTHONPATH=.:tests python -m simulation --whole --seed {self.seed} "
            f"--trace {max(0, self.step_number - 200)}..{self.step_number}"
        )
        return "\n".join(lines)

    # ---- what must hold

    def check_checkpoint(self, process: Process) -> None:
        """An attempt begins from a checkpoint: what it speaks of is stored."""
        task = process.key.task_id
        rows = {u for (u,) in self.disk.execute("SELECT offset FROM ranges WHERE attachment_id = ?", (task,))}
        missing = set(range(1, process.done + 1)) - rows
        hold(not missing, f"the checkpoint of {process.key} runs ahead of the rows {sorted(missing)}")
        for attempt, lines in process.before.items():
            known = self.said.setdefault(task, {})
            known[int(attempt)] = max(lines, known.get(int(attempt), 0))

    def settle(self) -> None:
        """Nothing breaks any more; everything ends."""
        self.note("settle")
        self.calm, self.machine.full, self.machine.fork_server = True, False, True
        until = self.kernel.steady + _SETTLE_SECONDS
        turns = 0
        while self.kernel.steady < until:
            turns += 1
            self.step_number += 1
            hold(turns < 400_000, "the service is busy for ever")
            if self.kernel.ready and self.random.random() < 0.9:
                self.turn()
                continue
            for process in list(self.machine.processes):
                if process.alive and not process.waits and process.done >= process.units:
                    self.complete[process.key.task_id] = (process.key.number, process.lines)
                    process.end(End(ending=Ending.STOPPED if process.dying or process.asked else Ending.SUCCEEDED))
                elif process.alive and not process.waits:
                    process.work(9, step=True, twice=False)
                elif process.dying:
                    process.end(End(ending=Ending.STOPPED))
            if self.up and not self.requests and turns % 50 == 0:
                if not self.unfinished() and not self.machine.processes and not self.stopping:
                    break
                self.request("resume all", self._resume_all)
            self.kernel.pass_time(self.random.random())
        self.note("settled")

    def _resume_all(self, core: Core) -> None:
        root = Caller(name="root", admin=True)
        core.tasks.accept.set_online(True)
        with core.readers.read() as tx:
            tasks = store.unfinished(tx)
        for task in tasks:
            with suppress(EntranceError):
                if task.state is State.CREATED:
                    core.tasks.steer.make_ready(task.id)
                elif task.state is State.PAUSED or task.pause_requested:
                    core.tasks.steer.resume(root, task.id)

    def check_end(self) -> None:
        core = self.core
        hold(core is not None and self.up, "the service does not come up")
        assert core is not None
        tx = Tx(self.disk)
        left = [(task.id, task.state.value) for task in store.unfinished(tx)]
        hold(not left, f"stuck for ever: {left[:5]} of {len(left)}")
        late = [name for name, _ in self.requests.values()]
        hold(not late, f"never answered: {late}")
        self._quiet(30.0)
        scheduler = core.scheduler
        hold(
            not scheduler.running and not scheduler.waiting,
            f"the scheduler holds {[*scheduler.running, *scheduler.waiting]}",
        )
        hold(scheduler.used == 0 and not scheduler.groups(), f"slots are still counted: {scheduler.used}")
        hold(not core.intake.live, f"records of attempts are left: {list(core.intake.live)}")
        hold(not self.machine.processes, "processes are left")
        for task_id in self.accepted:
            self.check_task(tx, core, task_id)
        self.request("last sweep", lambda it: it.janitor.sweep(it._running))
        self._quiet(70.0)
        parts = sorted(path.name for path in (self.folder / "out").glob(".*"))
        hold(not parts, f"temporary files are left: {parts[:5]}")

    def _quiet(self, seconds: float) -> None:
        until = self.kernel.steady + seconds
        while self.kernel.steady < until or self.kernel.ready:
            if self.kernel.ready:
                self.turn()
            else:
                self.kernel.pass_time(0.5)

    def check_task(self, tx: Tx, core: Core, task_id: int) -> None:
        task = store.get(tx, task_id)
        states = [str(row[1]) for row in store.history(tx, task_id)]
        hold([s for s in states if s in FINAL] == [task.state.value], f"task {task_id} went through {states}")
        hold(states[-1] in FINAL, f"task {task_id} went on after its end: {states}")
        hold(self.final.get(task_id, task.state.value) == task.state.value, f"task {task_id} was told otherwise")
        units = {u for (u,) in self.disk.execute("SELECT offset FROM ranges WHERE attachment_id = ?", (task_id,))}
        if task.state is State.SUCCEEDED:
            hold(units == set(range(1, task_id % 7 + 1)), f"task {task_id} succeeded with the rows {sorted(units)}")
        self.check_log(core, task_id, task.state is State.SUCCEEDED)

    def check_log(self, core: Core, task_id: int, succeeded: bool) -> None:
        """Lines of each attempt: from the first on, in order, none twice, none missing that a checkpoint speaks of."""
        task = store.get(Tx(self.disk), task_id)
        page = core.logs.read(task, reports.log_row(Tx(self.disk), task_id), 0, 1_000_000, 1 << 30)
        found: dict[int, int] = {}
        latest = 0
        for line in page.lines:
            match = re.search(r" a(\d+) l(\d+)$", line)
            if match is None:
                continue
            attempt, number = int(match[1]), int(match[2])
            hold(attempt >= latest, f"log of task {task_id}: attempt {attempt} speaks after {latest}")
            hold(number == found.get(attempt, 0) + 1, f"log of task {task_id}: a{attempt} l{number} after {found}")
            found[attempt], latest = number, attempt
        for attempt, lines in self.said.get(task_id, {}).items():
            hold(
                found.get(attempt, 0) >= lines, f"log of task {task_id}: {found}, a checkpoint of {attempt} spoke of {lines}"
            )
        if succeeded and task_id in self.complete:
            attempt, lines = self.complete[task_id]
            if attempt == task.attempt:
                hold(found.get(attempt, 0) == lines, f"log of task {task_id}: {found} of {lines} lines of a success")


def run_whole(seed: str, events: int = EVENTS_PER_WHOLE, told: Callable[[str], None] | None = None) -> Counter[str]:
    """Run one world of the whole service; return what happened in it. Raises WholeFailed."""
    memory = Path("/dev/shm")  # files that nobody keeps
    folder = Path(tempfile.mkdtemp(prefix="simulation-", dir=memory if memory.is_dir() else None))
    quiet = logging.root.manager.disable
    logging.disable(logging.CRITICAL)  # what is broken here is meant to be
    try:
        (folder / "out").mkdir()
        whole = Whole(seed, folder)
        whole.told = told
        return whole.run(events).seen
    finally:
        logging.disable(quiet)
        shutil.rmtree(folder, ignore_errors=True)


def wholes(seed: int | str, events: int) -> list[tuple[str, int]]:
    """The worlds that ``events`` events are made of: (seed, events) of each."""
    return [
        (f"{seed}.{number}", min(EVENTS_PER_WHOLE, events - number * EVENTS_PER_WHOLE))
        for number in range((events + EVENTS_PER_WHOLE - 1) // EVENTS_PER_WHOLE)
    ]
