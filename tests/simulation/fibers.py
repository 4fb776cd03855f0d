"""Threads, waits and time that a seed decides: the code under test runs as it is, one fiber at a time.

``Kernel`` lends ``threading``, ``time`` and ``queue`` to the modules of the core. Whoever waits gives the turn back; who has
it next is drawn. A ``Life`` is everything that dies together when a service is killed.
"""

from __future__ import annotations

import heapq
import queue
import random
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from types import SimpleNamespace
from typing import Any

import greenlet


class Life:
    """One service process."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.dead = False
        self.fibers: dict[Fiber, None] = {}  # in the order in which they began


class Fiber:
    """A thread of a life."""

    def __init__(self, kernel: Kernel, life: Life, name: str, work: Callable[[], object]) -> None:
        self.kernel, self.life, self.name, self._work = kernel, life, name, work
        self.done = False
        self.ended = Event(kernel)
        self.turn = greenlet.greenlet(self._run, parent=kernel.hub)
        life.fibers[self] = None

    def _run(self, value: object) -> None:
        try:
            self._work()
        except greenlet.GreenletExit:
            pass
        except BaseException as error:  # a thread's uncaught error: nothing of that kind may happen
            self.kernel.errors.append((self.name, error))
        finally:
            self.done = True
            self.life.fibers.pop(self, None)
            if not self.life.dead:
                self.ended.set()


class _Wait:
    """Somebody waits; it is woken once."""

    __slots__ = ("fiber", "over")

    def __init__(self, fiber: Fiber) -> None:
        self.fiber, self.over = fiber, False


class Kernel:
    """Runs fibers; the time passes only when it is told to."""

    def __init__(self, seed: str) -> None:
        self.random = random.Random(seed)
        self.hub = greenlet.getcurrent()
        self.current: Fiber | None = None
        self.steady = 1000.0  # seconds
        self.ready: list[tuple[_Wait, object]] = []
        self.errors: list[tuple[str, BaseException]] = []
        self._sleepers: list[tuple[float, int, _Wait]] = []
        self._count = 0

    # ---- for the world

    def spawn(self, life: Life, name: str, work: Callable[[], object]) -> Fiber:
        fiber = Fiber(self, life, name, work)
        self.ready.append((_Wait(fiber), True))
        return fiber

    def run_one(self) -> bool:
        """Give one fiber that can go on its turn; False: none can."""
        while self.ready:
            index = int(self.random.random() * len(self.ready))
            self.ready[index], self.ready[-1] = self.ready[-1], self.ready[index]
            wait, value = self.ready.pop()
            if wait.fiber.life.dead or wait.fiber.done:
                continue
            self.current = wait.fiber
            wait.fiber.turn.switch(value)
            self.current = None
            return True
        return False

    def next_wake(self) -> float | None:
        """When somebody wakes by the clock next."""
        while self._sleepers and (self._sleepers[0][2].over or self._sleepers[0][2].fiber.life.dead):
            heapq.heappop(self._sleepers)
        return self._sleepers[0][0] if self._sleepers else None

    def pass_time(self, seconds: float) -> None:
        self.steady += seconds
        while self._sleepers and self._sleepers[0][0] <= self.steady:
            self.wake(heapq.heappop(self._sleepers)[2], False)

    def bury(self, life: Life) -> None:
        """End all fibers of a life where they stand (kill -9); called by the world only."""
        life.dead = True
        for fiber in list(life.fibers):
            if fiber.turn:
                fiber.turn.throw(greenlet.GreenletExit)
            fiber.done = True
        life.fibers.clear()

    # ---- for fibers

    def me(self) -> Fiber:
        assert self.current is not None, "only fibers wait"
        return self.current

    def check(self) -> None:
        if self.current is not None and self.current.life.dead:
            raise greenlet.GreenletExit

    def park(self, wait: _Wait, seconds: float | None) -> bool:
        """Wait until woken, or for so long; return whether it was woken."""
        if seconds is not None:
            self._count += 1
            heapq.heappush(self._sleepers, (self.steady + max(0.0, seconds), self._count, wait))
        self.check()
        value = self.hub.switch()
        self.check()
        return bool(value)

    def wake(self, wait: _Wait, value: object = True) -> None:
        if not wait.over:
            wait.over = True
            self.ready.append((wait, value))

    def sleep(self, seconds: float) -> None:
        self.park(_Wait(self.me()), seconds)

    def turn(self) -> None:
        """Let others have theirs."""
        wait = _Wait(self.me())
        self.wake(wait)
        self.park(wait, None)

    def wait(self) -> _Wait:
        return _Wait(self.me())

    # ---- what is lent

    def threading(self) -> Any:
        return SimpleNamespace(
            Event=lambda: Event(self),
            Thread=lambda **given: Thread(self, **given),
            Lock=lambda: nullcontext(),
        )

    def time(self) -> Any:
        return SimpleNamespace(monotonic=lambda: self.steady, sleep=self.sleep)

    def queue(self) -> Any:
        return SimpleNamespace(SimpleQueue=lambda: Queue(self), Empty=queue.Empty)

    def lock(self) -> AbstractContextManager[Any]:
        return nullcontext()  # held for microseconds only, never over a wait


class Event:
    """``threading.Event``."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._set = False
        self._waiting: list[_Wait] = []

    def is_set(self) -> bool:
        return self._set

    def set(self) -> None:
        self._set = True
        for wait in self._waiting:
            self._kernel.wake(wait)
        self._waiting.clear()

    def clear(self) -> None:
        self._set = False

    def wait(self, timeout: float | None = None) -> bool:
        if not self._set:
            wait = self._kernel.wait()
            self._waiting.append(wait)
            self._kernel.park(wait, timeout)
        return self._set


class Queue:
    """``queue.SimpleQueue``."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._items: deque[Any] = deque()
        self._waiting: deque[_Wait] = deque()

    def put(self, item: Any) -> None:
        self._kernel.check()
        self._items.append(item)
        while self._waiting:
            wait = self._waiting.popleft()
            if not wait.over:
                self._kernel.wake(wait)
                break

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        while not self._items:
            if not block:
                raise queue.Empty
            wait = self._kernel.wait()
            self._waiting.append(wait)
            if not self._kernel.park(wait, timeout) and not self._items:
                raise queue.Empty
        return self._items.popleft()

    def qsize(self) -> int:
        return len(self._items)

    def empty(self) -> bool:
        return not self._items


class Thread:
    """``threading.Thread``: belongs to the life of the fiber that makes it."""

    def __init__(
        self,
        kernel: Kernel,
        *,
        target: Callable[..., object],
        args: tuple[Any, ...] = (),
        name: str = "",
        daemon: bool = True,
    ) -> None:
        self._kernel, self._target, self._args, self._name = kernel, target, args, name
        self._fiber: Fiber | None = None

    def start(self) -> None:
        self._fiber = self._kernel.spawn(self._kernel.me().life, self._name, lambda: self._target(*self._args))

    def join(self, timeout: float | None = None) -> None:
        if self._fiber is not None and not self._fiber.done:
            self._fiber.ended.wait(timeout)

    def is_alive(self) -> bool:
        return self._fiber is not None and not self._fiber.done
