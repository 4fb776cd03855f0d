"""The whole service simulated: its own code, from ``Core`` down to the SQL, on fibers, with a disk, processes and clocks
that a seed decides.

``world`` holds the pure core against the contracts by the million; here the shell around it runs too: the writer, the
dispatcher's threads, the intake, the logs, the janitor, start and stop. Between any two of their waits the service may die,
the disk be full, the clock be set, a process end. A second is over in no time, and the same seed is the same history.
"""

from __future__ import annotations

import logging
import random
import re
import shutil
import sqlite3
import tempfile
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

from greenlet import GreenletExit
from simulation.fibers import Fiber, Kernel, Life
from simulation.machines import Disk, Machine, OneReader, Process, SimLauncher
from simulation.rules import FINAL, Broken, hold

from common.config import load
from common.db import tasks as store
from common.db import writer
from common.db.migrate import upgrade
from common.db.sql import Tx
from common.errors import Closing, EntranceError, NotStored, StartRefused
from common.task import State
from entrance.core import changes, dispatch, intake, lifecycle, logs, service
from entrance.core.hooks import NoHooks
from entrance.core.lifecycle import Core, Folder
from entrance.core.model import Caller, Submission
from executors.launchers.base import End, Ending

EVENTS_PER_WHOLE = 4_000
_USERS = ("ann", "bob", "cy")
_SETTLE_SECONDS = 3_000.0


class WholeFailed(AssertionError):
    """An invariant broke; the message says how to see it again."""


@contextmanager
def lent(kernel: Kernel, disk: Disk) -> Iterator[None]:
    """The core's modules with the kernel's threads and time, and the one connection for a database."""
    kept: list[tuple[Any, str, Any]] = []

    def put(module: Any, name: str, value: Any) -> None:
        if hasattr(module, name):
            kept.append((module, name, getattr(module, name)))
            setattr(module, name, value)

    for module in (changes, dispatch, intake, lifecycle, logs, service, writer):
        put(module, "threading", kernel.threading())
        put(module, "time", kernel.time())
        put(module, "queue", kernel.queue())
    put(lifecycle, "upgrade", lambda path: None)
    put(lifecycle, "Readers", lambda path: OneReader(disk))
    put(lifecycle, "open_writable", lambda path: disk)
    try:
        yield
    finally:
        for module, name, value in reversed(kept):
            setattr(module, name, value)


class _Clock:
    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self.offset = 1_700_000_000_000

    def now(self) -> int:
        return self.offset + int(self._kernel.steady * 1000)

    def monotonic(self) -> int:
        return int(self._kernel.steady * 1000)


class _Runtime:
    """What the surroundings lend the core, on fibers."""

    def __init__(self, whole: Whole) -> None:
        self._whole = whole
        self.threads = self
        self._calls = whole.kernel.queue().SimpleQueue()
        whole.kernel.spawn(whole.life, "loop", self._loop)

    def _loop(self) -> None:
        while True:
            self._calls.get()()

    def start(self, target: Callable[[], None]) -> None:
        self._whole.kernel.spawn(self._whole.life, "writer", target)

    def queue(self) -> Any:
        return self._whole.kernel.queue().SimpleQueue()

    def call_soon(self, callback: Callable[[], None]) -> None:
        if not self._whole.life.dead:
            self._calls.put(callback)

    def lock(self) -> Any:
        return self._whole.kernel.lock()

    def offload(self, function: Callable[..., Any], /, *arguments: Any) -> Any:
        self._whole.kernel.turn()
        if self._whole.machine.full and getattr(function, "__name__", "") == "_write":
            raise OSError(28, "No space left on device")
        done = function(*arguments)
        self._whole.kernel.turn()
        return done

    def hub_lag(self) -> float:
        return 0.0


@cache
def empty_database() -> sqlite3.Connection:
    """A database in memory with the present schema and nothing in it."""
    with tempfile.TemporaryDirectory() as folder:
        upgrade(Path(folder) / "entrance.db")
        made = sqlite3.connect(":memory:", isolation_level=None)
        source = sqlite3.connect(Path(folder) / "entrance.db")
        source.backup(made)
        source.close()
    return made


class Whole:
    """One data folder's life, under one service after another."""

    def __init__(self, seed: str, folder: Path) -> None:
        self.seed = seed
        self.random = random.Random(seed)
        self.kernel = Kernel(f"turns of {seed}")
        self.folder = folder
        self.step_number = 0
        self.trail: deque[str] = deque(maxlen=60)
        self.told: Callable[[str], None] | None = None
        self.seen: Counter[str] = Counter()
        self.disk = sqlite3.connect("file::memory:", uri=True, factory=Disk, isolation_level=None, check_same_thread=False)
        empty_database().backup(self.disk)
        self.disk.execute("PRAGMA foreign_keys=ON")
        self.disk.fate = self.fate
        self.machine = Machine(self.kernel, folder)
        self.machine.checkpoints = self.check_checkpoint
        self.clock = _Clock(self.kernel)
        self.calm = False
        self.lives = 0
        self.life = Life(0)
        self.core: Core | None = None
        self.lock: Folder | None = None
        self.up = False
        self.stopping = False
        self.failures: list[BaseException] = []
        self.accepted: dict[int, str] = {}  # task -> its idempotency key, acknowledged
        self.final: dict[int, str] = {}  # task -> the final state that somebody was told
        self.said: dict[int, dict[int, int]] = {}  # task -> attempt -> lines that a checkpoint speaks of
        self.complete: dict[int, tuple[int, int]] = {}  # task -> (attempt that succeeded, its lines)
        self.began: dict[tuple[int, int], float] = {}  # steady time of each attempt's process
        self.requests: dict[Fiber, tuple[str, float]] = {}
        self.dies_at: str | None = None
        choose = self.random.choice
        self.settings = {
            "scheduler.slots": choose((1, 2, 4)),
            "scheduler.running_per_group": choose((1, 2, 10)),
            "scheduler.waiting_per_group": choose((3, 1000)),
            "scheduler.ageing_seconds": choose((0, 30, 600)),
            "retention.tasks_days": 0,
            "retention.logs_days": 0,
            "retention.results_days": 0,
        }

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

    def note(self, what: str) -> None:
        line = f"{self.step_number:>7} t={self.kernel.steady:>10.3f} {what}"
        self.trail.append(line)
        if self.told is not None:
            self.told(line)

    def step(self) -> None:
        self.step_number += 1
        drawn = self.random.random()
        if drawn < 0.72 and self.kernel.ready:
            self.turn()
        elif drawn < 0.80 or not self.act():
            self.pass_time()

    def turn(self) -> None:
        """Let one fiber of the service go on to its next wait."""
        self.kernel.run_one()
        if self.kernel.errors:
            name, error = self.kernel.errors[0]
            if isinstance(error, Closing):  # at an orderly stop; the launcher logs it
                self.kernel.errors.clear()
                return
            if isinstance(error, Broken):
                raise error
            raise Broken(f"the thread {name} of the service ended with {error!r}") from error
        hold(not self.failures, f"the service gave up: {self.failures[:1]!r}")
        if self.life.dead:
            self.note(f"the service died {self.dies_at}")
            self.seen["crash"] += 1
            self.bury()
            self.come_up()
        elif self.stopping and self.core is None:
            self.stopping = False
            self.bury()
            self.come_up()

    def pass_time(self) -> None:
        wake = self.kernel.next_wake()
        seconds = self.random.random() * self.random.choice((0.05, 1.0, 5.0))
        if wake is not None and self.random.random() < 0.7:
            seconds = max(0.0, wake - self.kernel.steady)
        self.kernel.pass_time(seconds)

    # ---- lives

    def come_up(self) -> None:
        self.lives += 1
        life = self.life = Life(self.lives)
        self.note(f"service {self.lives} comes up")
        self.up = False
        self.kernel.spawn(life, "main", lambda: self._main(life))

    def _main(self, life: Life) -> None:
        lock = self.lock = Folder(self.folder)
        try:
            core = Core(
                load(environ={}, overrides=self.settings),
                lock,
                runtime=_Runtime(self),
                make_launcher=lambda *_: SimLauncher(self.kernel, self.machine),
                hooks=NoHooks(),
                failed=self.give_up,
                clock=self.clock,
            )
            core.start()
        except NotStored:  # somebody makes room, and another start follows
            self.note("the disk is full: no start")
            self.machine.full = False
            self.dies_at = "for want of room"
            life.dead = True
            return
        self.core, self.up = core, True

    def give_up(self, error: BaseException) -> None:
        if not isinstance(error, GreenletExit):
            self.failures.append(error)

    def bury(self) -> None:
        """kill -9, or the end of an orderly stop: what is not on the disk is gone; processes live on."""
        self.kernel.bury(self.life)
        self.disk.crashed()
        if self.lock is not None:
            with suppress(OSError):
                self.lock.release()
        self.core, self.lock, self.up = None, None, False
        self.requests.clear()

    def fate(self, where: str) -> bool:
        """What becomes of a commit."""
        if self.calm or self.kernel.current is None:
            return True
        drawn = self.random.random()
        if drawn < 0.002:
            self.life.dead, self.dies_at = True, where
            raise GreenletExit
        if where == "before a commit" and (self.machine.full or drawn < 0.012):
            self.seen["NotStored"] += 1
            return False
        return True

    # ---- what may happen

    def act(self) -> bool:
        """One thing from outside; False: nothing was to be done."""
        weights: tuple[tuple[float, Callable[[], object]], ...] = (
            (24.0, self.live_on),
            (6.0, self.submit),
            (3.0, self.steer),
            (2.0, self.look),
            (0.4, self.steer_many),
            (0.12, self.kill_service),
            (0.06, self.stop_service),
            (0.10, self.second_service),
            (0.15, self.jump),
            (0.06, self.fill_disk),
            (0.4, self.free_disk),
            (0.10, self.lose_fork_server),
            (0.6, self.new_fork_server),
            (0.02, self.mark_offline),
            (0.8, self.mark_online),
            (0.3, self.sweep),
        )
        action = self.random.choices([a for _, a in weights], [w for w, _ in weights])[0]
        return action() is not False

    def request(self, name: str, work: Callable[[Core], object]) -> bool:
        """A client asks; errors that a client may be told are answers."""
        core = self.core
        if core is None or not self.up or len(self.requests) > 12:
            return False
        box: list[Fiber] = []

        def ask() -> None:
            try:
                work(core)
                self.seen[name] += 1
            except EntranceError as error:
                self.seen[f"{name}: {type(error).__name__}"] += 1
            self.requests.pop(box[0], None)

        self.note(name)
        box.append(self.kernel.spawn(self.life, name, ask))
        self.requests[box[0]] = (name, self.kernel.steady)
        return True

    def some_task(self) -> int:
        last = max(self.accepted, default=0)
        return max(1, last - int(self.random.random() * min(last, 25)))

    def submit(self) -> bool:
        choose, chance = self.random.choice, self.random.random
        if self.unfinished() > 40:
            return False
        key = f"k{choose(range(2000))}" if chance() < 0.3 else ""
        user = choose(_USERS)
        wanted = Submission(
            executor=choose(("echo", "sleep")),
            params={},
            creator=choose(("IDE", "CLI")),
            door="linkis",
            priority=choose((0, 50, 100, 100, 200, 400)),
            running_timeout_s=choose((None, None, None, 20)),
            queuing_timeout_s=choose((None, None, None, 60)),
            max_retries=choose((0, 1, 3)),
            retry_delay_ms=choose((None, 0, 1000)),
            job_id=choose((None, None, 1, 2, 3)),
            idempotency_key=key,
            wait_for_ready=chance() < 0.1,
        )

        def work(core: Core) -> None:
            task = core.service.submit(Caller(name=user), wanted)
            if key:
                before = [i for i, known in self.accepted.items() if known == f"{user} {key}"]
                hold(before in ([], [task.id]), f"the key {key} of {user} gave the tasks {before} and {task.id}")
            self.accepted.setdefault(task.id, f"{user} {key}")

        return self.request("submit", work)

    def steer(self) -> bool:
        task, verb = (
            self.some_task(),
            self.random.choice(("kill", "pause", "pause", "resume", "resume", "ready", "priority")),
        )
        root = Caller(name="root", admin=True)

        def work(core: Core) -> None:
            if verb == "ready":
                core.service.make_ready(task)
            elif verb == "priority":
                core.service.set_priority(root, task, self.random.choice((0, 100, 400)))
            elif verb == "kill":
                since = self.kernel.steady
                self.tell(core.service.kill(root, task))
                alive = [p.key for p in self.machine.processes if p.key.task_id == task]
                hold(not alive or self.kernel.steady >= since + 2, f"the kill of {task} is answered, and {alive} live")
                hold(core.service.get(root, task).state.final, f"task {task} lives after its kill was answered")
            else:
                getattr(core.service, verb)(root, task)

        return self.request(verb, work)

    def steer_many(self) -> bool:
        tasks = sorted({self.some_task() for _ in range(8)})
        verb = self.random.choice(("kill", "pause", "resume", "resume"))

        def work(core: Core) -> None:
            count, items = core.service.act(Caller(name="root", admin=True), verb, tasks)
            hold(count == len(items) == len(tasks), f"{len(tasks)} tasks, {len(items)} results")

        return self.request(f"{verb} many", work)

    def look(self) -> bool:
        task = self.some_task()
        root = Caller(name="root", admin=True)

        def work(core: Core) -> None:
            self.tell(core.service.get(root, task))
            core.service.progress(root, task)
            core.service.log(root, task, 0, 100)

        return self.request("look", work)

    def tell(self, task: Any) -> None:
        """Somebody was told this state: a final one stays."""
        told = self.final.get(task.id)
        hold(told in (None, task.state.value), f"task {task.id} was {told} and is {task.state.value}")
        if task.state.final:
            self.final[task.id] = task.state.value

    def live_on(self) -> bool:
        """One process does something."""
        if not self.machine.processes:
            return False
        process = self.random.choice(self.machine.processes)
        chance = self.random.random
        if not process.alive or process.box.qsize() > 6:
            return False
        if process.dying:
            process.end(End(ending=Ending.STOPPED))
        elif chance() < 0.01:
            process.end(End(ending=Ending.DIED, reason="killed by signal 9", may_pass=True))
        elif process.waits:
            return False
        elif process.asked or process.fault is not None:
            if chance() < 0.5:
                process.end(End(ending=Ending.STOPPED))
        elif chance() < 0.4:
            process.say(1 + int(chance() * 3))
        elif process.done < process.units:
            with suppress(OSError):
                process.work(1 + int(chance() * 2), step=chance() < 0.6 or process.slices > 5, twice=chance() < 0.1)
        elif chance() < 0.15 and process.key.task_id % 5 == 0:
            process.ask("child", f"c{int(chance() * 3)}")
        elif not process.published and process.key.task_id % 3 == 0:
            self.publish(process)
        elif chance() < 0.1:
            process.end(End(ending=Ending.FAILED, reason="no answer", may_pass=chance() < 0.7))
        elif chance() < 0.5:
            process.say(1)
            self.complete[process.key.task_id] = (process.key.number, process.lines)
            process.end(End(ending=Ending.SUCCEEDED))
        else:
            process.step()
        return True

    def publish(self, process: Process) -> None:
        key = process.key
        temporary, final = self.folder / "out" / f".{key}.part", self.folder / "out" / f"{key.task_id}.out"
        if not process.owns:
            process.ask("own", [str(temporary)])
        else:
            temporary.write_text(str(key))
            process.ask("publish", [(str(temporary), str(final))])

    def kill_service(self) -> None:
        self.life.dead, self.dies_at = True, "by kill -9"
        self.note("kill -9")
        self.bury()
        self.seen["kill -9"] += 1
        if self.random.random() < 0.5:  # orphans work on for a while, and nobody hears them
            for _ in range(5):
                self.live_on()
        self.come_up()

    def stop_service(self) -> bool:
        core = self.core
        if core is None or not self.up or self.stopping:
            return False
        self.stopping = True
        self.note("orderly stop")

        def stop() -> None:
            core.stop()
            self.core = None

        self.kernel.spawn(self.life, "stop", stop)
        return True

    def second_service(self) -> bool:
        if self.lock is None:
            return False
        try:
            Folder(self.folder).release()
        except StartRefused:
            self.seen["second service"] += 1
            return True
        raise Broken("two services on one data folder")

    def jump(self) -> None:
        self.clock.offset += self.random.choice((3_600_000, 5_000, -5_000, -3_600_000))
        self.note("the clock is set")

    def fill_disk(self) -> None:
        self.machine.full = True
        self.note("the disk is full")

    def free_disk(self) -> bool:
        full, self.machine.full = self.machine.full, False
        return full

    def lose_fork_server(self) -> None:
        """It takes its processes with it."""
        self.machine.fork_server = False
        self.note("the fork server ends")
        for process in list(self.machine.processes):
            process.end(End(ending=Ending.LOST, reason="The fork server ended"))

    def new_fork_server(self) -> bool:
        was, self.machine.fork_server = self.machine.fork_server, True
        return not was

    def mark_offline(self) -> bool:
        return self.request("offline", lambda core: core.service.set_online(False))

    def mark_online(self) -> bool:
        return self.request("online", lambda core: core.service.set_online(True))

    def sweep(self) -> bool:
        return self.request("sweep", lambda core: core.janitor.sweep(core._running))

    # ---- what must hold

    def unfinished(self) -> int:
        return int(self.disk.execute("SELECT count(*) FROM tasks WHERE ended_at IS NULL").fetchone()[0])

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
        core.service.set_online(True)
        with core.readers.read() as tx:
            tasks = store.unfinished(tx)
        for task in tasks:
            with suppress(EntranceError):
                if task.state is State.CREATED:
                    core.service.make_ready(task.id)
                elif task.state is State.PAUSED or task.pause_requested:
                    core.service.resume(root, task.id)

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
        page = core.logs.read(task, store.log_row(Tx(self.disk), task_id), 0, 1_000_000, 1 << 30)
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
