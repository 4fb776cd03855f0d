"""Sign of life (contracts: linkis, chapter 11.5; off by default): tasks whose client has gone are cancelled.

Tasks of the creators in a setting are cancelled when nobody has asked for their status, progress or log for some time. The
time runs from the acceptance, and anew from each start of the service; a paused task waits for somebody on purpose and is
spared.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence

from common.db import tasks as store
from common.db.sql import Tx
from common.task import Dropped, State, Task
from entrance.core.changes import Order

CHECK_SECONDS = 5.0


class SignsOfLife:
    """Who was asked for, and when last. ``seconds``: how long nobody may ask."""

    def __init__(self, creators: Collection[str], seconds: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._creators, self.seconds, self._clock = frozenset(creators), seconds, clock
        self._asked: dict[int, float] = {}

    @property
    def wanted(self) -> bool:
        """Whether any task needs them."""
        return bool(self._creators)

    def watch(self, task: Task) -> None:
        """An unfinished task is there: the time runs from now, if it needs signs of life."""
        if task.creator in self._creators and task.parent_id is None:
            self._asked.setdefault(task.id, self._clock())

    def seen(self, task_id: int) -> None:
        """Somebody asked for the task."""
        if task_id in self._asked:
            self._asked[task_id] = self._clock()

    def forget(self, task_id: int) -> None:
        """The task has ended."""
        self._asked.pop(task_id, None)

    def silent(self, tx: Tx) -> Sequence[Order]:
        """Return what happens to tasks that nobody has asked for."""
        since = self._clock() - self.seconds
        reason = f"cancelled because nobody has asked for its status for {self.seconds} s"
        return [
            Order(task_id=task_id, event=Dropped(reason=reason))
            for task_id, asked in list(self._asked.items())
            if asked <= since and not _spared(store.get(tx, task_id))
        ]


def _spared(task: Task) -> bool:
    return task.state is State.PAUSED or task.state.final
