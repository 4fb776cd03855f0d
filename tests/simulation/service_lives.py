"""A data folder under one service after another: the service's own code on fibers, how it comes up, and how it dies."""

from __future__ import annotations

import random
import sqlite3
from collections import Counter, deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from greenlet import GreenletExit
from simulation.fibers import Fiber, Kernel, Life
from simulation.lent import empty_database
from simulation.machines import Disk, Machine, SimLauncher
from simulation.rules import Broken, hold

from common.config import load
from common.errors import Closing, NotStored
from entrance.core.folder import Folder
from entrance.core.hooks import NoHooks
from entrance.core.lifecycle import Core


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

    def __init__(self, lives: ServiceLives) -> None:
        self._lives = lives
        self.threads = self
        self._calls = lives.kernel.queue().SimpleQueue()
        lives.kernel.spawn(lives.life, "loop", self._loop)

    def _loop(self) -> None:
        while True:
            self._calls.get()()

    def start(self, target: Callable[[], None]) -> None:
        self._lives.kernel.spawn(self._lives.life, "writer", target)

    def queue(self) -> Any:
        return self._lives.kernel.queue().SimpleQueue()

    def call_soon(self, callback: Callable[[], None]) -> None:
        if not self._lives.life.dead:
            self._calls.put(callback)

    def lock(self) -> Any:
        return self._lives.kernel.lock()

    def offload(self, function: Callable[..., Any], /, *arguments: Any) -> Any:
        self._lives.kernel.turn()
        if self._lives.machine.full and getattr(function, "__name__", "") == "_write":
            raise OSError(28, "No space left on device")
        done = function(*arguments)
        self._lives.kernel.turn()
        return done

    def hub_lag(self) -> float:
        return 0.0


class ServiceLives:
    """One data folder, with a disk, processes and clocks that a seed decides."""

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

    def note(self, what: str) -> None:
        line = f"{self.step_number:>7} t={self.kernel.steady:>10.3f} {what}"
        self.trail.append(line)
        if self.told is not None:
            self.told(line)

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
                launcher=SimLauncher(self.kernel, self.machine),
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

    def unfinished(self) -> int:
        return int(self.disk.execute("SELECT count(*) FROM tasks WHERE ended_at IS NULL").fetchone()[0])
