"""The one road on which a task changes its state: decide, store, then let the rest of the service know.

Orders are carried out together in one change of the writer. What must agree with a final state (the last log lines, results,
last numbers, the catalogue's hooks) is stored in that same transaction. ``effects`` hear of each change in the order of the
commits; they must not wait.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.clock import Clock
from common.db import reports
from common.db import tasks as store
from common.db.sql import Tx
from common.db.tasks import Applied
from common.db.writer import Outcome, Writer
from common.errors import EntranceError
from common.task import Event, Resume, State, Task
from entrance.core.hooks import Hooks
from entrance.core.logs import Logs, Seal


@dataclass(frozen=True, kw_only=True)
class Order:
    """An event for a task. ``with_it`` runs in the same transaction, if it is accepted."""

    task_id: int
    event: Event
    ending: str | None = None
    with_it: Callable[[Tx, Applied], Any] | None = None


@dataclass(frozen=True, kw_only=True)
class Done:
    """How one order went: the task as it is now and its own change (None = nothing to change), or why it was refused.

    ``more`` are changes of other tasks that came with it (children of one that failed, the parent of a last child).
    """

    task: Task | None = None
    applied: Applied | None = None
    more: Sequence[Applied] = ()
    extra: Any = None
    error: EntranceError | None = None


Effects = Callable[[Applied, Seal | None], None]


class Changes:
    """Carries out orders."""

    def __init__(
        self, *, writer: Writer, logs: Logs, clock: Clock, ladder_ms: tuple[int, ...], hooks: Hooks, effects: Effects
    ) -> None:
        self._writer, self._logs, self._clock, self._ladder_ms = writer, logs, clock, ladder_ms
        self._hooks, self._effects = hooks, effects

    def steer(self, task_ids: Iterable[int], event: Event) -> dict[int, Done]:
        """Carry out one event for tasks and all below them, in one transaction; return how it went for each.

        Parents come first: a parent that waits must not end because its children do. (A parent has the lower id.) What waits
        to be ready below a task that is resumed goes on waiting; only by its own name it is started before that.
        """
        planned: list[Order] = []

        def plan(tx: Tx) -> Sequence[Order]:
            everyone = set(task_ids)
            below = [task for task_id in tuple(everyone) for task in store.descendants(tx, task_id)]
            if isinstance(event, Resume):
                below = [task for task in below if task.state is not State.CREATED]
            everyone |= {task.id for task in below}
            planned[:] = [Order(task_id=task_id, event=event) for task_id in sorted(everyone)]
            return planned

        done = self.carry_out(plan)
        return {order.task_id: how for order, how in zip(planned, done, strict=True)}

    def carry_out(
        self,
        orders: Sequence[Order] | Callable[[Tx], Sequence[Order]],
        *,
        first: Callable[[Tx], None] | None = None,
        attach: Sequence[Path] = (),
        patient: bool = False,
    ) -> list[Done]:
        """Carry out all orders in one transaction, ``first`` before them; return how each went, after the commit.

        ``orders`` may be made in that transaction. A refused order does not touch the others. Raises NotStored, and what
        ``first`` raises; nothing is stored then.
        """
        event = threading.Event()
        box: list[Outcome] = []
        sealed: list[int] = []

        def change(tx: Tx) -> tuple[list[Done], list[tuple[Applied, Seal | None]]]:
            if first is not None:
                first(tx)
            everything: list[tuple[Applied, Seal | None]] = []
            plan = orders(tx) if callable(orders) else orders
            return [self._one(tx, order, everything, sealed) for order in plan], everything

        def told(outcome: Outcome) -> None:
            if outcome.error is None:
                for applied, seal in outcome.value[1]:
                    self._effects(applied, seal)
            else:
                for task_id in sealed:
                    self._logs.unseal(task_id)
            box.append(outcome)
            event.set()

        self._writer.post(change, told, attach, patient=patient)
        event.wait()
        done: list[Done] = box[0].get()[0]
        return done

    def _one(self, tx: Tx, order: Order, everything: list[tuple[Applied, Seal | None]], sealed: list[int]) -> Done:
        now = self._clock.now()
        try:
            applied = store.apply(tx, order.task_id, order.event, now, ladder_ms=self._ladder_ms, ending=order.ending)
        except EntranceError as error:
            return Done(error=error)
        if not applied:
            return Done(task=store.get(tx, order.task_id))
        extra = order.with_it(tx, applied[0]) if order.with_it else None
        self.settle(tx, applied, now, everything, sealed)
        return Done(task=applied[0].task, applied=applied[0], more=applied[1:], extra=extra)

    def settle(
        self,
        tx: Tx,
        applied: Sequence[Applied],
        now: int,
        everything: list[tuple[Applied, Seal | None]],
        sealed: list[int],
    ) -> None:
        """Store what belongs to the changes, and carry out what the hooks wish because of them."""
        for change in applied:
            seal = None
            if change.ended:
                seal = self._logs.seal(change.before, now, change.decision.lines)
                sealed.append(change.task.id)
                reports.add_log(tx, change.task.id, seal.offset, seal.lines, seal.body)
            everything.append((change, seal))
            if change.ended:
                for wish in self._hooks.ended(tx, change.task):
                    try:
                        more = store.apply(tx, wish.task_id, wish.event, now, ladder_ms=self._ladder_ms)
                    except EntranceError:
                        continue  # the other task went its own way meanwhile
                    self.settle(tx, more, now, everything, sealed)
