"""Accepting tasks: each is checked, stored with what its executor needs, and queued.

Says also whether anything is taken at all: new tasks while ``online``, other changes until ``closing``.
"""

from __future__ import annotations

import json
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from common.clock import Clock
from common.db import tasks as store
from common.db.sql import Tx
from common.db.writer import Outcome, Writer
from common.errors import Draining, EntranceError, QueueFull
from common.records import but
from common.task import State, Task
from entrance.core.changes import Changes, Order
from entrance.core.dispatch import Dispatcher
from entrance.core.hooks import Hooks
from entrance.core.ids import build_exec_id
from entrance.core.intake import Live
from entrance.core.model import Caller, Submission
from executors import registry


class AcceptService:
    """See the module."""

    def __init__(
        self,
        *,
        writer: Writer,
        changes: Changes,
        dispatcher: Dispatcher,
        hooks: Hooks,
        clock: Clock,
        instance: str,
        waiting_per_group: int,
        waiting_per_user: int,
        max_retries: int,
    ) -> None:
        self._writer, self._changes, self._dispatcher = writer, changes, dispatcher
        self._hooks, self._clock, self._instance = hooks, clock, instance
        self._waiting_per_group, self._waiting_per_user = waiting_per_group, waiting_per_user
        self._max_retries = max_retries
        self._accepting: Counter[tuple[str, str]] = Counter()  # submissions that are being stored, by user and group
        self.online = True
        self.closing = False

    def submit(self, caller: Caller, submission: Submission) -> Task:
        """Accept a task and return it, stored and queued; of a key that was used before, the task that it was used for.

        Raises UnknownExecutor, InvalidParams (all faults at once), QueueFull, Draining, NotStored; nothing is stored then.
        """
        if not self.online:
            return self._first_answer(caller, submission, Draining())
        executor = registry.get(submission.executor)
        params = registry.load_params(executor, dict(submission.params))
        now = self._clock.now()
        new = Task(
            id=0,
            uuid=str(uuid.uuid4()),
            exec_id="",
            user=caller.name,
            execute_user=submission.execute_user or caller.name,
            creator=submission.creator,
            executor=submission.executor,
            run_type=submission.run_type or submission.executor,
            door=submission.door,
            priority=submission.priority,
            cores=float(executor.cores),
            state=State.CREATED if submission.wait_for_ready else State.QUEUED,
            max_retries=self._max_retries if submission.max_retries is None else submission.max_retries,
            retry_delay_ms=submission.retry_delay_ms,
            running_timeout_s=submission.running_timeout_s,
            queuing_timeout_s=submission.queuing_timeout_s,
            job_id=submission.job_id,
            created_at=now,
            queued_at=None if submission.wait_for_ready else now,
            updated_at=now,
        )
        if not submission.exempt and not self._room(new):
            return self._first_answer(caller, submission, QueueFull())
        place = new.user, new.group
        self._accepting[place] += 1
        try:
            return self._add(new, params, submission, caller.admin)
        finally:
            self._accepting[place] -= 1
            if not self._accepting[place]:
                del self._accepting[place]

    def _room(self, new: Task) -> bool:
        """Whether one more may wait: in its group, and of its user, who could name a new creator for each task."""
        scheduler = self._dispatcher.scheduler
        coming = sum(n for (user, _), n in self._accepting.items() if user == new.user)
        return (
            scheduler.waiting_in(new.group) + self._accepting[new.user, new.group] < self._waiting_per_group
            and scheduler.waiting_of(new.user) + coming < self._waiting_per_user
        )

    def _first_answer(self, caller: Caller, submission: Submission, refusal: EntranceError) -> Task:
        """A repeat gets the first answer also while nothing new is taken, and when the first is still being stored."""
        key = submission.idempotency_key
        first = self._writer.call(lambda tx: store.by_key(tx, caller.name, key, self._clock.now())) if key else None
        if first is None:
            raise refusal
        return first

    def submit_child(self, asking: Live, key: str, executor: str, params: Mapping[str, Any], job_id: int | None) -> int:
        """Accept a task that an attempt asks for; the same key of the same parent gives the same task.

        What a scan of Singularity's API starts has no parent there: the scan is complete when its listing is, and each job
        gets one task from it.
        """
        parent = asking.task
        kind = registry.get(executor)
        loaded = registry.load_params(kind, dict(params))
        now = self._clock.now()
        detached = parent.door == "singularity"
        child = Task(
            id=0,
            uuid=str(uuid.uuid4()),
            exec_id="",
            user=parent.user,
            execute_user=parent.execute_user,
            creator=parent.creator,
            executor=executor,
            run_type=executor,
            door=parent.door,
            cores=float(kind.cores),
            max_retries=parent.max_retries,
            retry_delay_ms=parent.retry_delay_ms,
            parent_id=None if detached else parent.id,
            child_key=None if detached else key,
            job_id=job_id,
            created_at=now,
            queued_at=now,
            updated_at=now,
        )
        wanted = Submission(
            executor=executor,
            params=params,
            creator=parent.creator,
            door=parent.door,
            code=json.dumps(dict(params)),
            labels=asking.limits,
        )

        def as_its_parent(tx: Tx) -> Task:
            current = store.fence(tx, parent.id, parent.attempt)
            state = State.PAUSED if current.pause_requested and not detached else State.QUEUED
            return but(child, priority=current.priority, state=state)

        busy = store.Busy.ONCE if detached else store.Busy.JOIN
        return self._add(child, loaded, wanted, admin=True, made=as_its_parent, busy=busy).id

    def _add(
        self,
        new: Task,
        params: Mapping[str, Any],
        submission: Submission,
        admin: bool,
        made: Callable[[Tx], Task] | None = None,
        busy: store.Busy = store.Busy.REFUSE,
    ) -> Task:
        """Store a task, in the state that ``made`` gives it within the transaction."""
        event = threading.Event()
        box: list[Outcome] = []

        def change(tx: Tx) -> tuple[Task, list[Order]]:
            wanted = new if made is None else made(tx)
            resolved = self._hooks.submitting(tx, new.user, admin, new.executor, params)
            job_id = self._hooks.job_of(new.executor, resolved) if new.job_id is None else new.job_id
            if self._hooks.waits(new.executor, resolved):
                state = State.CREATED if wanted.state is State.QUEUED else wanted.state
                wanted = but(wanted, state=state, queued_at=None)
            task = store.add(
                tx,
                but(wanted, job_id=job_id),
                exec_id=lambda n: build_exec_id(new.creator, new.user, new.executor, n, self._instance),
                submission={
                    "code": submission.code,
                    "params": json.dumps(dict(resolved), separators=(",", ":")),
                    "settings": json.dumps(dict(submission.settings)),
                    "source": json.dumps(dict(submission.source)),
                    "labels": json.dumps([list(x) for x in submission.labels]),
                },
                idempotency_key=submission.idempotency_key,
                who=new.user,
                busy=busy,
            )
            if task.uuid != new.uuid:
                return task, []
            wishes = self._hooks.added(tx, task, resolved)
            return task, [Order(task_id=w.task_id, event=w.event) for w in wishes]

        def told(outcome: Outcome) -> None:
            if outcome.error is None and outcome.value[0].uuid == new.uuid:
                self._dispatcher.accepted(outcome.value[0])
            box.append(outcome)
            event.set()

        self._writer.post(change, told)
        event.wait()
        task, orders = box[0].get()
        if orders:
            self._changes.carry_out(orders)
        accepted: Task = task
        return accepted

    def set_online(self, online: bool) -> None:
        """Offline: new tasks are refused (Draining), running ones end, queued ones stay."""
        self.online = online
        self._dispatcher.hold(not online)
