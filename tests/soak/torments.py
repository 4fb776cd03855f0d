"""What goes wrong: processes of every kind die or stand still, the disk is full, lines are cut, the clock jumps.

What lasts a while (a stopped process, a full disk) is undone when its time is over; several last at once.
"""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from attempts import descendants
from factories import Service
from servers.proxy import Proxy

from soak.clock import MOST_SECONDS, JumpingClock
from soak.disk import SmallDisk
from soak.journal import Journal

START_TRIES = 20
_LONGEST_START_SECONDS = 60.0


@dataclass(frozen=True, kw_only=True)
class Means:
    """What there is to torment with; what cannot be had here is None."""

    disk: SmallDisk | None
    line: Proxy | None
    clock: JumpingClock | None


class Tormentor(threading.Thread):
    """One torment after the other, about ``pause_seconds`` apart, until ``end``; ``restore`` makes everything whole."""

    def __init__(
        self,
        service: Service,
        journal: Journal,
        means: Means,
        chance: random.Random,
        end: threading.Event,
        pause_seconds: float,
    ) -> None:
        super().__init__(name="tormentor", daemon=True)
        self._service, self._journal, self._means = service, journal, means
        self._chance, self._end, self._pause = chance, end, pause_seconds
        self._undo: list[tuple[float, str, Callable[[], None]]] = []
        self.slowest_start = 0.0
        self.starts = 0
        self._torments = self._possible()

    def _possible(self) -> Mapping[str, tuple[float, Callable[[], str]]]:
        """Name -> weight, and what does it; it returns what was done, or "" when there was nobody to do it to."""
        found: dict[str, tuple[float, Callable[[], str]]] = {
            "kill -9 of a task": (30, lambda: self._kill("task")),
            "kill -9 of a task's child": (8, lambda: self._kill("child")),
            "kill -9 of a fork server": (7, lambda: self._kill("forkserver")),
            "kill -9 of the service": (4, self._kill_service),
            "kill -9 of a start": (0.7, self._kill_start),
            "orderly restart": (0.7, self._restart),
            "standing task": (12, lambda: self._halt("task", 4.0)),
            "standing fork server": (5, lambda: self._halt("forkserver", 3.0)),
            "standing service": (4, lambda: self._halt("service", 3.0)),
        }
        if self._means.disk is not None:
            found["full disk"] = (4, self._fill)
        if self._means.clock is not None:
            found["jump of the clock"] = (7, self._jump)
        if self._means.line is not None:
            found["cut line"] = (5, self._cut)
            found["reset line"] = (5, self._reset)
            found["stalled line"] = (5, self._stall)
        return found

    def run(self) -> None:
        names = list(self._torments)
        weights = [self._torments[name][0] for name in names]
        try:
            while not self._end.wait(self._chance.expovariate(1 / self._pause)):
                self._undo_due(time.monotonic())
                name = self._chance.choices(names, weights)[0]
                if done := self._torments[name][1]():
                    self._journal.say(name, told=done)
        except Exception as error:
            self._journal.fault(f"the torments ended: {type(error).__name__}: {error}")

    def restore(self) -> None:
        """Undo everything and see that the service runs."""
        self._undo_due(float("inf"))
        try:
            pid = self._service.pid
        except (OSError, ValueError, KeyError):
            pid = 0
        if not pid or not self._service.running(pid):
            self._start()

    def _undo_due(self, now: float) -> None:
        due = [entry for entry in self._undo if entry[0] <= now]
        self._undo = [entry for entry in self._undo if entry[0] > now]
        for _, name, undo in due:
            undo()
            self._journal.say(f"end of {name}")

    def _for_a_while(self, most_seconds: float, name: str, undo: Callable[[], None]) -> str:
        seconds = self._chance.uniform(0.1, most_seconds)
        self._undo.append((time.monotonic() + seconds, name, undo))
        return f"for {seconds:.1f} s"

    # ---- processes

    def _victims(self, kind: str) -> list[int]:
        """The processes of one kind: the service, its fork servers, task processes, what these have started."""
        with suppress(OSError, KeyError, ValueError):
            match kind:
                case "service":
                    return [self._service.pid]
                case "forkserver":
                    return self._service.fork_servers()
                case "task":
                    return self._service.task_processes()
                case _:
                    return [p for task in self._service.task_processes() for p in descendants(task)]
        return []

    def _signal(self, kind: str, number: signal.Signals) -> int | None:
        """Send a signal to one of a kind; return a descriptor of the process, which no other can take the place of."""
        victims = self._victims(kind)
        if not victims:
            return None
        try:
            process = os.pidfd_open(self._chance.choice(victims))
        except OSError:
            return None
        try:
            signal.pidfd_send_signal(process, number)
        except OSError:
            os.close(process)
            return None
        return process

    def _kill(self, kind: str) -> str:
        process = self._signal(kind, signal.SIGKILL)
        if process is None:
            return ""
        os.close(process)
        return kind

    def _halt(self, kind: str, most_seconds: float) -> str:
        process = self._signal(kind, signal.SIGSTOP)
        if process is None:
            return ""

        def go_on() -> None:
            with suppress(OSError):
                signal.pidfd_send_signal(process, signal.SIGCONT)
            os.close(process)

        return self._for_a_while(most_seconds, f"standing {kind}", go_on)

    def _kill_service(self) -> str:
        self._service.kill()
        time.sleep(self._chance.choice([0, 0, 0, 0.5]))
        return self._start()

    def _restart(self) -> str:
        self._service.cli("stop")
        return self._start()

    def _kill_start(self) -> str:
        """Kill the service, and again while it starts."""
        self._service.kill()
        starter = threading.Thread(target=lambda: self._service.cli("start", "--port", str(self._service.port), check=False))
        starter.start()
        time.sleep(self._chance.uniform(0.3, 1.2))
        found = [p for p in self._service.processes() if b"entrance" in _command(p) and b"forkserver" not in _command(p)]
        for pid in found:
            if b"-m\0entrance\0" in _command(pid):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        starter.join()
        if (pids := self._victims("service")) and self._service.running(pids[0]):
            return "it was up already"
        return self._start()

    def _start(self) -> str:
        """Start the service; a full disk may keep it from that, so that is freed when it fails. Raises AssertionError."""
        for attempt in range(START_TRIES):
            begin = time.monotonic()
            done = self._service.cli("start", "--port", str(self._service.port), "--json", check=False)
            took = time.monotonic() - begin
            if done.returncode == 0:
                self.starts += 1
                if attempt == 0:
                    self.slowest_start = max(self.slowest_start, took)
                return f"up after {took:.2f} s"
            self._journal.say("start refused", told=done.stderr.strip()[-300:])
            self._undo_due(float("inf"))
            time.sleep(0.2)
        raise AssertionError(f"the service does not start: {done.stderr.strip()[-500:]}")

    # ---- the surroundings

    def _fill(self) -> str:
        disk = self._means.disk
        assert disk is not None
        taken = disk.fill()
        return f"{taken >> 20} MiB, " + self._for_a_while(3.0, "full disk", disk.free)

    def _jump(self) -> str:
        assert self._means.clock is not None
        shift = self._chance.randint(-MOST_SECONDS, MOST_SECONDS)
        self._means.clock.set(1000 * shift)
        return f"now off by {shift} s"

    def _cut(self) -> str:
        assert self._means.line is not None
        self._means.line.cut()
        return "all connections"

    def _reset(self) -> str:
        assert self._means.line is not None
        self._means.line.cut(reset=True)
        return "all connections"

    def _stall(self) -> str:
        line = self._means.line
        assert line is not None
        line.flows.clear()
        return self._for_a_while(4.0, "stalled line", line.flows.set)


def _command(pid: int) -> bytes:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""
