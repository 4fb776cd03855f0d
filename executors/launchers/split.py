"""Two launchers as one: small executors apart from the large ones.

A fork costs what the forked process holds: every page that a task touches is copied, and a fork server that has imported
numpy and SQLAlchemy makes each of its tasks dearer by half. So executors that need nothing of that are forked from a small
fork server, all others from one that has everything imported.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence

from executors.launchers.base import Attempt, AttemptKey, Launcher, Sink


class SplitLauncher:
    """Runs attempts of the executors named ``small`` in one launcher, all others in another."""

    def __init__(self, small: Launcher, large: Launcher, names: Collection[str]) -> None:
        self._small, self._large, self._names = small, large, frozenset(names)
        self._both = (small, large)

    def open(self, sink: Sink) -> None:
        for launcher in self._both:
            launcher.open(sink)

    def reconcile(self) -> None:
        for launcher in self._both:
            launcher.reconcile()

    def start(self, attempt: Attempt) -> None:
        (self._small if attempt.executor in self._names else self._large).start(attempt)

    def unable(self, executor: str) -> str:
        return (self._small if executor in self._names else self._large).unable(executor)

    def ask_stop(self, key: AttemptKey) -> None:
        for launcher in self._both:
            launcher.ask_stop(key)

    def kill(self, keys: Sequence[AttemptKey], timeout_seconds: float = 2.0) -> Sequence[AttemptKey]:
        deadline = time.monotonic() + timeout_seconds
        left: list[AttemptKey] = []
        for launcher in self._both:  # a key that a launcher does not have costs it nothing
            left += launcher.kill(keys, max(0.0, deadline - time.monotonic()))
        return left

    def cores(self, key: AttemptKey, cores: int) -> None:
        for launcher in self._both:
            launcher.cores(key, cores)

    def merged(self, key: AttemptKey, number: int) -> None:
        for launcher in self._both:
            launcher.merged(key, number)

    def running(self) -> Sequence[AttemptKey]:
        return [key for launcher in self._both for key in launcher.running()]

    def close(self, timeout_seconds: float) -> None:
        deadline = time.monotonic() + timeout_seconds
        for launcher in self._both:
            for key in launcher.running():
                launcher.ask_stop(key)
        for launcher in self._both:
            launcher.close(max(0.0, deadline - time.monotonic()))
