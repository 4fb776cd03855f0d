"""The inline launcher, for unit tests only: runs attempts in threads of this process, over the same channel.

A thread cannot be killed: ``kill`` asks, and returns the attempts that did not end in time. Limits are not set, no samples
are taken, and an executor that ends its process ends this one.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

from common.errors import LaunchFailed
from executors import runner
from executors.channel import Channel, attempt_frame, attempt_of, encode
from executors.launchers.base import Attempt, AttemptKey, End, Ending, Sink
from executors.launchers.session import Session


@dataclass(frozen=True, kw_only=True)
class _Run:
    session: Session
    worker: threading.Thread
    reader: threading.Thread


class InlineLauncher:
    """See the module."""

    def __init__(self) -> None:
        self._sink: Sink
        self._runs: dict[AttemptKey, _Run] = {}
        self._changing = threading.Lock()
        self._closed = False

    def open(self, sink: Sink) -> None:
        self._sink = sink

    def reconcile(self) -> None:
        """Nothing of an earlier life can be left: threads die with their process."""

    def start(self, attempt: Attempt) -> None:
        key = attempt.key
        with self._changing:
            if self._closed:
                raise LaunchFailed("the launcher is closed")
            if any(other.task_id == key.task_id for other in self._runs):
                raise LaunchFailed(f"an earlier attempt of task {key.task_id} has not ended")
            ours, theirs = socket.socketpair()
            session = Session(attempt, self._sink, ours, on_refused=lambda: self.ask_stop(key))
            run = _Run(
                session=session,
                worker=threading.Thread(target=_work, args=(theirs,), name=f"attempt-{key}", daemon=True),
                reader=threading.Thread(target=self._attend, args=(session,), name=f"reader-{key}", daemon=True),
            )
            self._runs[key] = run
        session.send(attempt_frame(attempt))
        run.worker.start()
        run.reader.start()

    def unable(self, executor: str) -> str:
        return ""

    def ask_stop(self, key: AttemptKey) -> None:
        self._tell(key, encode({"t": "stop"}))

    def kill(self, keys: Sequence[AttemptKey], timeout_seconds: float = 2.0) -> Sequence[AttemptKey]:
        deadline = time.monotonic() + timeout_seconds
        for key in keys:
            self.ask_stop(key)
        return [key for key in keys if not self._gone(key, deadline)]

    def cores(self, key: AttemptKey, cores: int) -> None:
        self._tell(key, encode({"t": "cores", "cores": cores}))

    def merged(self, key: AttemptKey, number: int) -> None:
        self._tell(key, encode({"t": "merged", "number": number}))

    def running(self) -> Sequence[AttemptKey]:
        with self._changing:
            return [key for key, run in self._runs.items() if run.worker.is_alive()]

    def close(self, timeout_seconds: float) -> None:
        deadline = time.monotonic() + timeout_seconds
        with self._changing:
            self._closed = True
            runs = list(self._runs.values())
        self.kill([run.session.key for run in runs], timeout_seconds)
        for run in runs:
            run.reader.join(max(0.0, deadline - time.monotonic()))

    def _tell(self, key: AttemptKey, data: bytes) -> None:
        with self._changing:
            run = self._runs.get(key)
        if run is not None:
            run.session.send(data)

    def _gone(self, key: AttemptKey, deadline: float) -> bool:
        with self._changing:
            run = self._runs.get(key)
        if run is not None:
            run.worker.join(max(0.0, deadline - time.monotonic()))
        return run is None or not run.worker.is_alive()

    def _attend(self, session: Session) -> None:
        session.pump(lambda: True)
        session.close()
        end = session.fault or session.result or End(ending=Ending.DIED, reason="no result", may_pass=True)
        with self._changing:
            worker = self._runs[session.key].worker
        worker.join()
        with self._changing:
            del self._runs[session.key]
        self._sink.ended(session.key, end)


def _work(sock: socket.socket) -> None:
    channel = Channel(sock)
    try:
        frame = channel.receive(wait=True)
        if frame is not None:
            runner.run(attempt_of(frame), channel)
    finally:
        channel.close()
