"""Steering tasks: everything that can be done to one, or to many at once, after it was accepted.

A verb with a caller checks who asks (``access``). All return after the commit that they promise. Children go with their
parents.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import date

from common.clock import Clock
from common.db import tasks as store
from common.db.sql import Tx
from common.db.writer import Writer
from common.errors import BadInput, Closing, Conflict, EntranceError, TaskEnded
from common.records import but
from common.task import Event, Kill, Pause, Ready, Resume, Task
from entrance.core.accepting import AcceptService
from entrance.core.changes import Changes, Done, Order
from entrance.core.dispatch import Dispatcher
from entrance.core.ids import Ref
from entrance.core.looking import LookService
from entrance.core.model import ActionItem, Caller, Filter, Submission
from entrance.core.variables import substituted

ACTIONS = ("kill", "pause", "resume", "priority", "rerun")
_AT_ONCE = 500  # tasks in one transaction of a bulk action


class SteerService:
    """See the module."""

    def __init__(
        self,
        *,
        accept: AcceptService,
        look: LookService,
        writer: Writer,
        changes: Changes,
        dispatcher: Dispatcher,
        clock: Clock,
    ) -> None:
        self._accept, self._look = accept, look
        self._writer, self._changes, self._dispatcher, self._clock = writer, changes, dispatcher, clock

    def kill(self, caller: Caller, ref: Ref) -> Task:
        """End a task for ever, and all below it; answers when its processes are gone, after 2 s at the latest."""
        return self._steer(self._look.get(caller, ref, "kill"), Kill(by=caller.name))

    def pause(self, caller: Caller, ref: Ref) -> Task:
        """Stop a task and all below it, keeping the work done."""
        return self._steer(self._look.get(caller, ref, "pause"), Pause(by=caller.name))

    def resume(self, caller: Caller, ref: Ref) -> Task:
        """Let a task and all below it go on from where they stopped."""
        return self._steer(self._look.get(caller, ref, "resume"), Resume(by=caller.name))

    def make_ready(self, task_id: int) -> None:
        """What a ``created`` task waited for is there."""
        self._changes.carry_out([Order(task_id=task_id, event=Ready())])

    def kill_many(self, caller: Caller, refs: Sequence[Ref]) -> Sequence[ActionItem]:
        """Kill each; one item per ref in their order, one's failure does not touch the others."""
        return self._many(caller, "kill", refs, None)

    def set_priority(self, caller: Caller, ref: Ref, priority: int) -> Task:
        """Change the priority of a task and of all below it; the queue is reordered before the next pick."""
        task = self._look.get(caller, ref, "change")
        (item,) = self._many(caller, "priority", [task.id], priority)
        if item.error is not None:
            raise item.error
        return self._look.get(caller, task.id)

    def rerun(self, caller: Caller, ref: Ref) -> Task:
        """Submit an ended task's work again, as a new task: names and dates are resolved anew."""
        task = self._look.get(caller, ref, "rerun")
        if not task.state.final:
            raise Conflict("the task has not ended yet")
        record = self._look.submission(caller, task.id)
        try:
            given = json.loads(record.code)
        except ValueError:
            given = None
        variables = record.settings.get("variable")
        return self._accept.submit(
            caller,
            Submission(
                executor=task.executor,
                params=substituted(given, variables if isinstance(variables, dict) else {}, today=date.today())
                if isinstance(given, dict)
                else record.params,
                creator=task.creator,
                door=task.door,
                run_type=task.run_type,
                priority=task.priority,
                code=record.code,
                settings=record.settings,
                source=record.source,
                labels=record.labels,
                running_timeout_s=task.running_timeout_s,
                queuing_timeout_s=task.queuing_timeout_s,
                max_retries=task.max_retries,
                retry_delay_ms=task.retry_delay_ms,
            ),
        )

    def act(
        self,
        caller: Caller,
        action: str,
        which: Filter | Sequence[Ref],
        *,
        priority: int | None = None,
        expect: int | None = None,
        dry_run: bool = False,
    ) -> tuple[int, Sequence[ActionItem]]:
        """Do ``kill``, ``pause``, ``resume``, ``priority`` or ``rerun`` to many; (count, one item each).

        Raises Conflict when ``expect`` is not the number of tasks that the filter selects now.
        """
        if action not in ACTIONS:
            raise BadInput(f"action must be one of {', '.join(ACTIONS)}")
        if action == "priority" and priority is None:
            raise BadInput("the action priority needs a priority")
        refs: Sequence[Ref] = self._look.ids(caller, which) if isinstance(which, Filter) else which
        if expect is not None and expect != len(refs):
            raise Conflict(f"the filter selects {len(refs)} tasks now, not {expect}")
        if dry_run:
            return len(refs), ()
        return len(refs), self._many(caller, action, refs, priority)

    # ---- inside

    def _steer(self, task: Task, event: Event) -> Task:
        if self._accept.closing:
            raise Closing
        done = self._changes.steer([task.id], event)
        self._dispatcher.enforce(list(done.values()))
        mine = done[task.id]
        if mine.error is not None:
            raise mine.error
        return mine.task or task

    def _many(self, caller: Caller, action: str, refs: Sequence[Ref], priority: int | None) -> list[ActionItem]:
        items: dict[Ref, ActionItem] = {}
        verb = "change" if action == "priority" else action  # as a refusal says it
        for start in range(0, len(refs), _AT_ONCE):
            chunk = [r for r in dict.fromkeys(refs[start : start + _AT_ONCE]) if r not in items]
            found: list[tuple[Ref, Task]] = []
            for ref in chunk:
                try:
                    found.append((ref, self._look.get(caller, ref, verb)))
                except EntranceError as error:
                    items[ref] = ActionItem(ref=str(ref), task=None, error=error)
            if action == "rerun":
                items |= {ref: self._rerun_item(caller, ref) for ref, _ in found}
            elif action == "priority":
                items |= self._prioritise(found, priority or 0)
            else:
                events: dict[str, Event] = {
                    "kill": Kill(by=caller.name),
                    "pause": Pause(by=caller.name),
                    "resume": Resume(by=caller.name),
                }
                items |= self._apply_to(found, events[action])
        return [items[ref] for ref in refs]

    def _rerun_item(self, caller: Caller, ref: Ref) -> ActionItem:
        try:
            return ActionItem(ref=str(ref), task=self.rerun(caller, ref), error=None)
        except EntranceError as error:
            return ActionItem(ref=str(ref), task=None, error=error)

    def _apply_to(self, found: Sequence[tuple[Ref, Task]], event: Event) -> dict[Ref, ActionItem]:
        done = self._changes.steer([task.id for _, task in found], event)
        self._dispatcher.enforce(list(done.values()))
        return {ref: _item(ref, task, done[task.id]) for ref, task in found}

    def _prioritise(self, found: Sequence[tuple[Ref, Task]], priority: int) -> dict[Ref, ActionItem]:
        now = self._clock.now()

        def change(tx: Tx) -> list[bool]:
            changed[:] = [task.id for _, task in found]
            for _, task in found:
                changed.extend(
                    child.id for child in store.descendants(tx, task.id) if store.set_priority(tx, child.id, priority, now)
                )
            return [store.set_priority(tx, task.id, priority, now) for _, task in found]

        changed: list[int] = []
        open_ones = self._writer.call(change)
        for task_id in changed:
            self._dispatcher.reprioritised(task_id, priority)
        return {
            ref: ActionItem(
                ref=str(ref),
                task=but(task, priority=priority) if still_open else task,
                error=None if still_open else TaskEnded(task.state),
            )
            for (ref, task), still_open in zip(found, open_ones, strict=True)
        }


def _item(ref: Ref, task: Task, done: Done) -> ActionItem:
    return ActionItem(ref=str(ref), task=done.task or task, error=done.error)
