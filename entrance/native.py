"""What lies under the event loop: native threads, native locks, the hub's thread pool, the hub's lag.

The only module beside ``__main__`` and ``web.server`` that knows gevent. Rules: docs/adr/0002-one-native-writer.md.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, TypeVar

import gevent
from gevent import monkey

from entrance.core.lag import TICK_SECONDS, HubLag

T = TypeVar("T")

_start_thread = monkey.get_original("_thread", "start_new_thread")
_allocate_lock = monkey.get_original("_thread", "allocate_lock")
_Queue = monkey.get_original("queue", "SimpleQueue")


class HubThreads:
    """Native threads beside the hub, as the writer wants them."""

    def __init__(self) -> None:
        self._hub = gevent.get_hub()

    def start(self, target: Callable[[], None]) -> None:
        _start_thread(target, ())

    def queue(self) -> Any:
        return _Queue()

    def call_soon(self, callback: Callable[[], None]) -> None:
        self._hub.loop.run_callback_threadsafe(callback)


class HubRuntime:
    """The runtime of a service in one process: greenlets, one writer thread, a thread pool for what blocks."""

    def __init__(self, threads: int) -> None:
        self.threads = HubThreads()
        self._pool = gevent.get_hub().threadpool
        self._pool.maxsize = threads
        self._lag = HubLag()
        gevent.spawn(self._watch)

    def lock(self) -> AbstractContextManager[Any]:
        lock: AbstractContextManager[Any] = _allocate_lock()
        return lock

    def offload(self, function: Callable[..., T], /, *arguments: Any) -> T:
        """Run what computes or blocks in a native thread and wait for it without holding up anybody else."""
        value: T
        value, error = self._pool.apply(_outcome, (function, arguments))
        if error is not None:
            raise error
        return value

    def hub_lag(self) -> HubLag:
        """How late the loop came, since the start."""
        return self._lag

    def _watch(self) -> None:
        while True:
            due = time.monotonic() + TICK_SECONDS
            gevent.sleep(TICK_SECONDS)
            self._lag.woke(due, time.monotonic())


def _outcome(function: Callable[..., Any], arguments: tuple[Any, ...]) -> tuple[Any, BaseException | None]:
    """Return what a function returned, or raised: the pool would print errors that are somebody's answer."""
    try:
        return function(*arguments), None
    except BaseException as error:
        return None, error
