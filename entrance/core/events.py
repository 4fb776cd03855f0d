"""A bus inside the service: who watches tasks hears which have changed.

A watcher that does not keep up loses no task: it is told that it missed some and reads the list anew. It is told the same
when something changed that concerns many tasks at once.
"""

from __future__ import annotations

import queue
from dataclasses import dataclass, field

ALL = -1  # in place of a task's id: any of them may have changed


@dataclass(eq=False)
class Subscription:
    """Receives ids of changed tasks; ``get`` returns None after ``timeout_seconds`` without any, -1 = look at all anew."""

    most: int = 10_000
    _queue: queue.SimpleQueue[int] = field(default_factory=queue.SimpleQueue)
    _missed: bool = False

    def put(self, task_id: int) -> None:
        if self._queue.qsize() < self.most:
            self._queue.put(task_id)
        else:
            self._missed = True

    def get(self, timeout_seconds: float) -> int | None:
        if self._missed and self._queue.empty():
            self._missed = False
            return ALL
        try:
            return self._queue.get(timeout=timeout_seconds)
        except queue.Empty:
            return None


class Bus:
    """Publishes ids of changed tasks to all subscriptions."""

    def __init__(self) -> None:
        self._subscriptions: set[Subscription] = set()

    def subscribe(self) -> Subscription:
        subscription = Subscription()
        self._subscriptions.add(subscription)
        return subscription

    def unsubscribe(self, subscription: Subscription) -> None:
        self._subscriptions.discard(subscription)

    def publish(self, task_id: int) -> None:
        for subscription in tuple(self._subscriptions):
            subscription.put(task_id)
