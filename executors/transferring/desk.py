"""What threads that copy ask of the service, gathered by the main thread: one commit for all who wait, and one place that
speaks to the context."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from common.errors import ExecutorError
from executors.base import TaskContext
from executors.transferring.book import Outcome
from executors.transferring.walk import Item


class Stopped(Exception):
    """The attempt ends: leave everything as it is."""


@dataclass(frozen=True)
class _Own:
    kind: str
    names: Sequence[str]
    answer: Future[None] = field(default_factory=Future)


@dataclass(frozen=True)
class _Publish:
    temporary: str
    final: str
    answer: Future[None] = field(default_factory=Future)


class Desk:
    """See the module. ``own`` and ``publish`` are for the threads, ``serve`` for the main one."""

    def __init__(self, stop: threading.Event) -> None:
        self.stop = stop
        self._inbox: queue.SimpleQueue[_Own | _Publish | Outcome | BaseException] = queue.SimpleQueue()

    # ---- threads

    def own(self, names: Sequence[str], kind: str) -> None:
        """Declare what is about to be created; returns after the commit. Raises Stopped."""
        self._ask(_Own(kind, names))

    def publish(self, temporary: str, final: str) -> None:
        """Give a synced file its final name. Raises Stopped, ExecutorError."""
        self._ask(_Publish(temporary, final))

    def tell(self, outcome: Outcome | BaseException) -> None:
        """A file is done with, or the thread has failed."""
        self._inbox.put(outcome)

    def _ask(self, request: _Own | _Publish) -> None:
        self.check()
        self._inbox.put(request)
        while True:
            try:
                return request.answer.result(timeout=0.2)
            except TimeoutError:
                self.check()

    def check(self) -> None:
        """Raises Stopped when the attempt ends."""
        if self.stop.is_set():
            raise Stopped

    # ---- the main thread

    def serve(self, ctx: TaskContext, timeout_seconds: float) -> list[Outcome]:
        """Wait for requests, answer all that have come, and return the files that are done with."""
        found = []
        try:
            found.append(self._inbox.get(timeout=timeout_seconds))
            while True:
                found.append(self._inbox.get_nowait())
        except queue.Empty:
            pass
        for error in found:
            if isinstance(error, BaseException):
                raise error
        owns = [x for x in found if isinstance(x, _Own)]
        for kind in dict.fromkeys(own.kind for own in owns):
            group = [own for own in owns if own.kind == kind]
            _own(ctx, kind, group)
        publishes = [x for x in found if isinstance(x, _Publish)]
        if publishes:
            _publish(ctx, publishes)
        return [x for x in found if isinstance(x, Outcome)]


def _publish(ctx: TaskContext, publishes: Sequence[_Publish]) -> None:
    try:
        ctx.publish([(p.temporary, p.final) for p in publishes])
    except ExecutorError:
        if len(publishes) > 1:  # which one was it?
            for one in publishes:
                _publish(ctx, [one])
        else:
            publishes[0].answer.set_exception(ExecutorError("it could not get its final name"))
    else:
        for p in publishes:
            p.answer.set_result(None)


def _own(ctx: TaskContext, kind: str, group: Sequence[_Own]) -> None:
    try:
        ctx.own([name for own in group for name in own.names], kind)
    except ExecutorError as error:
        for own in group:
            own.answer.set_exception(error)
    else:
        for own in group:
            own.answer.set_result(None)


class Pool:
    """Threads that copy, one file each at a time."""

    def __init__(self, desk: Desk, threads: int, copy: Callable[[Item], Outcome]) -> None:
        self._desk, self._copy = desk, copy
        self._work: queue.SimpleQueue[Item | None] = queue.SimpleQueue()
        self.size = threads
        self._threads = [threading.Thread(target=self._run, name=f"copy-{n}", daemon=True) for n in range(threads)]
        for thread in self._threads:
            thread.start()

    def add(self, item: Item) -> None:
        self._work.put(item)

    def close(self, timeout_seconds: float) -> None:
        """Let the threads end; those that wait for a store are left to the end of the process."""
        for _ in self._threads:
            self._work.put(None)
        for thread in self._threads:
            thread.join(timeout_seconds / len(self._threads))

    def _run(self) -> None:
        while (item := self._work.get()) is not None and not self._desk.stop.is_set():
            try:
                self._desk.tell(self._copy(item))
            except Stopped:
                return
            except BaseException as error:
                self._desk.tell(error)
                return
