"""The shell around the scheduler: what the changes mean for the queue, and the carrying out of its decisions.

``effects`` runs in the order of the commits and never waits; the loop (one thread) starts what the scheduler picks, and
carries out what is due: retries, time limits, ageing. It wakes on events and sleeps otherwise.
"""

from __future__ import annotations

import heapq
import queue
import shutil
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from common.clock import Clock
from common.db import reports
from common.db import tasks as store
from common.db.sql import Tx
from common.db.tasks import Applied
from common.db.writer import Outcome, Writer
from common.errors import Closing, EntranceError, LaunchFailed, MayPass, NotStored
from common.logging import get_log
from common.task import Decision, Event, Picked, RetryDue, State, Task, TimedOut
from entrance.core import limits
from entrance.core.changes import Changes, Done, Order
from entrance.core.events import ALL, Bus
from entrance.core.hooks import Hooks
from entrance.core.intake import Intake, Live, progress_of
from entrance.core.logs import Logs, Seal
from entrance.core.metrics import Ring, unpack
from entrance.core.scheduler import Scheduler, Waiting
from entrance.core.signs import SignsOfLife
from executors import registry
from executors.launchers.base import Attempt, AttemptKey, End, Ending, Launcher, Limits

_MOST_CORES = 4
_RELAUNCH_SECONDS = 0.2
_LOG = get_log("entrance.core")


@dataclass(frozen=True, kw_only=True)
class AttemptSettings:
    """What every attempt is given."""

    folder: Path  # work folders
    database_url: str
    limits: Limits
    commands: Mapping[str, tuple[str, ...]]
    running_timeout_s: int
    queuing_timeout_s: int


class Dispatcher:
    """Owns the scheduler and the timers."""

    def __init__(
        self,
        *,
        scheduler: Scheduler,
        lock: AbstractContextManager[Any],
        writer: Writer,
        logs: Logs,
        clock: Clock,
        bus: Bus,
        hooks: Hooks,
        launcher: Launcher,
        settings: AttemptSettings,
        signs: SignsOfLife,
        offload: Callable[..., Any],
        failed: Callable[[BaseException], None],
    ) -> None:
        self.scheduler, self._lock, self._writer, self._logs = scheduler, lock, writer, logs
        self._clock, self._bus, self._hooks, self._launcher = clock, bus, hooks, launcher
        self._settings, self._signs, self._offload, self._failed = settings, signs, offload, failed
        self.changes: Changes
        self.intake: Intake
        self.release: Callable[[int], None] = lambda task_id: None
        self._timers: list[tuple[int, int, _Timed]] = []  # (when by the monotonic clock, task, what)
        self._deferred: dict[int, list[int]] = {}  # job -> tasks whose predecessor's processes are not gone
        self._chores: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._wake = threading.Event()
        self._closing = False
        self._held = False
        self.held: Mapping[str, str] = {}  # executors of which the launcher can run nothing now, and why
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        for target, name in ((self._loop, "dispatch"), (self._do_chores, "chores")):
            thread = threading.Thread(target=target, name=name, daemon=True)
            thread.start()
            self._threads.append(thread)

    def stop_picking(self) -> None:
        """Start nothing more."""
        self._closing = True
        self._wake.set()
        self._threads[0].join(timeout=5)

    def close(self) -> None:
        """Do the chores that are left, then end."""
        self._chores.put(None)
        self._threads[1].join(timeout=5)

    def wake(self) -> None:
        self._wake.set()

    # ---- what changes mean (never waits)

    def effects(self, applied: Applied, seal: Seal | None) -> None:
        """Told of each change, in the order of the commits."""
        before, task, decision = applied.before, applied.task, applied.decision
        if seal is not None:
            self._chores.put(lambda: self._settle_log(task.id, seal))
        else:
            self._logs.append_lines(before, task.updated_at, decision.lines)
        self._fence(before, task, decision)
        if task.state is State.QUEUED:
            self.queued(task)
        elif before.state is State.QUEUED:
            with self._lock:
                self.scheduler.remove(task.id)  # also when picked: it may have been paused and resumed since
        if task.state is State.WAITING_RETRY:
            self.retry_later(task)
        if task.state.final:
            self._signs.forget(task.id)
        if task.state.final and task.attempt and not before.active:
            self._chores.put(lambda: self._release_idle(task.id))  # with an attempt: once its processes are gone
        self._bus.publish(task.id)
        self._wake.set()

    def _fence(self, before: Task, task: Task, decision: Decision) -> None:
        """Keep the records of current attempts: made when one is picked, closed to anything more when it does not count."""
        if task.attempt != before.attempt:
            key = AttemptKey(task_id=task.id, number=task.attempt)
            self.intake.live[task.id] = Live(task=task, key=key, workdir=self._settings.folder / str(key))
            return
        live = self.intake.live.get(task.id)
        if live is None:
            return
        if not task.active:
            live.fenced = True
        live.asked = task.pause_requested
        if decision.ask_stop:
            self._chores.put(lambda: self._launcher.ask_stop(live.key))

    def accepted(self, task: Task) -> None:
        """A new task was stored."""
        self._signs.watch(task)
        if task.state is State.QUEUED:
            self.queued(task)
        elif task.state is State.CREATED:
            self.limit_waiting(task)
        self._bus.publish(task.id)
        self._wake.set()

    def retry_later(self, task: Task) -> None:
        """A task waits for its next attempt, never longer than it was told to, however the clock has jumped."""
        at = task.retry_at or 0
        self._timer(min(at - self._clock.now(), at - task.updated_at), task.id, RetryDue())

    def hold(self, held: bool) -> None:
        """Start nothing while held; what runs goes on."""
        self._held = held
        self._wake.set()

    def ability_changed(self) -> None:
        """Let tasks wait in the queue for a launcher that cannot run them, and go on when it can."""
        unable = {name: why for name in registry.names() if (why := self._launcher.unable(name))}
        with self._lock:
            self.held = self.scheduler.held = unable
        self._bus.publish(ALL)  # the reasons of all that wait may be others now
        self._wake.set()

    def queued(self, task: Task) -> None:
        """The task waits for its turn (unless processes of its job's earlier task are still there)."""
        with self._lock:
            if task.job_id is not None and any(
                x.task.job_id == task.job_id for x in list(self.intake.live.values()) if x.key.task_id != task.id
            ):
                self._deferred.setdefault(task.job_id, []).append(task.id)
                return
            self.scheduler.add(waiting(task), self._clock.now())
        self.limit_waiting(task)

    def limit_waiting(self, task: Task) -> None:
        """End a task that no worker has had when it has waited for too long, since it was queued or, before that, made."""
        limit = task.queuing_timeout_s or self._settings.queuing_timeout_s
        if limit and not task.ran:
            waited = max(0, self._clock.now() - task.waits_since)
            self._timer(limit * 1000 - waited, task.id, TimedOut(seconds=limit, attempt=0, since=task.waits_since))

    def reprioritised(self, task_id: int, priority: int) -> None:
        with self._lock:
            self.scheduler.reprioritise(task_id, priority, self._clock.now())
        self._bus.publish(task_id)
        self._wake.set()

    def gone(self, key: AttemptKey) -> None:
        """The processes of an attempt are gone: its slot is free."""
        with self._lock:
            self.scheduler.finished(key.task_id)
        self._wake.set()

    def stored(self, live: Live) -> None:
        """The end of an attempt is stored: its work folder goes (rows lay in it until now), and its job is free.

        What an ended task made and did not publish goes at once too (the janitor would find it later).
        """
        if live.workdir.exists():
            self._chores.put(lambda: self._offload(shutil.rmtree, live.workdir, True))
        if live.owns or live.key.number > 1:
            self._chores.put(lambda: self.release(live.key.task_id))
        if live.task.job_id is not None:
            self._undefer(live.task.job_id)

    def _release_idle(self, task_id: int) -> None:
        if all(key.task_id != task_id for key in self._launcher.running()):
            self.release(task_id)

    def _undefer(self, job_id: int) -> None:
        with self._lock:
            ids = self._deferred.pop(job_id, [])
        if ids:
            self._writer.post(lambda tx: [store.get(tx, task_id) for task_id in ids], partial(self._undeferred, job_id, ids))

    def _undeferred(self, job_id: int, ids: list[int], outcome: Outcome) -> None:
        """Told of the tasks as they stand now, in the order of the commits: as ``effects``."""
        if outcome.error is not None:  # the disk is full
            with self._lock:
                self._deferred.setdefault(job_id, []).extend(ids)
            self._chores.put(lambda: time.sleep(1.0))
            self._chores.put(lambda: self._undefer(job_id))
            return
        for task in outcome.value:
            if task.state is State.QUEUED:
                self.queued(task)
        self._wake.set()

    # ---- the loop

    def _loop(self) -> None:
        try:
            self._dispatch()
        except BaseException as error:  # nothing would start any more: the service must end
            if not self._closing:
                self._failed(error)

    def _dispatch(self) -> None:
        while not self._closing:
            now = self._clock.now()
            self._fire()
            with self._lock:
                picks = [] if self._held else self.scheduler.pick(now)
            if picks:
                self._start(picks)
                continue
            self._share_cores()
            self._wake.wait(self._until_next(now))
            self._wake.clear()

    def _until_next(self, now: int) -> float:
        left = [self._timers[0][0] - self._clock.monotonic()] if self._timers else []
        rise = self.scheduler.next_rise()
        if rise is not None and not self._held:
            left.append(rise - now)
        return min(5.0, max(0.0, min(left) / 1000)) if left else 5.0

    def _timer(self, after_ms: int, task_id: int, event: Event) -> None:
        with self._lock:
            heapq.heappush(self._timers, (self._clock.monotonic() + max(0, after_ms), task_id, _Timed(event)))

    def _fire(self) -> None:
        due = []
        now = self._clock.monotonic()
        with self._lock:
            while self._timers and self._timers[0][0] <= now:
                _, task_id, timed = heapq.heappop(self._timers)
                due.append(Order(task_id=task_id, event=timed.event))
        if not due:
            return
        try:
            self.enforce(self.changes.carry_out(due))
        except NotStored:
            for order in due:
                self._timer(1000, order.task_id, order.event)

    def enforce(self, done: Sequence[Done]) -> None:
        """End the processes of all attempts that changes have fenced; waits until they are gone or 2 s have passed.

        Also those that an earlier change has fenced and that are not gone yet: a second kill promises what the first did.
        """
        keys = {
            AttemptKey(task_id=change.task.id, number=change.task.attempt)
            for d in done
            for change in (*([d.applied] if d.applied is not None else ()), *d.more)
            if change.decision.stop_now
        }
        for d in done:
            live = None if d.task is None or d.applied is not None else self.intake.live.get(d.task.id)
            if live is not None and live.fenced:
                keys.add(live.key)
        if keys:
            self._launcher.kill(sorted(keys))

    def _start(self, picks: list[Waiting]) -> None:
        def load(tx: Tx, applied: Applied) -> Any:
            task = applied.task
            try:
                params, labels = store.asked(tx, task.id)
                storages = self._hooks.storages(tx, task.executor, params, task.user)
            except Exception as error:  # also a bug, or a row that nobody understands: that ends the task, not the service
                return error
            return (
                params,
                reports.stored_progress(tx, task.id) if task.attempt > 1 else None,
                storages,
                reports.samples(tx, task.id) if task.attempt > 1 else None,
                store.ran_ms(tx, task.id) if task.running_timeout_s or self._settings.running_timeout_s else 0,
                limits.asked(labels),
            )

        orders = [Order(task_id=p.id, event=Picked(), with_it=load) for p in picks]
        try:
            done = self.changes.carry_out(orders, patient=True)
        except (NotStored, Closing):
            with self._lock:
                for pick in picks:
                    self.scheduler.put_back(pick.id, self._clock.now())
            self._wake.clear()
            self._wake.wait(1.0)
            return
        for pick, outcome in zip(picks, done, strict=True):
            if outcome.applied is None:  # paused or killed meanwhile
                with self._lock:
                    self.scheduler.finished(pick.id)
            elif isinstance(outcome.extra, Exception):
                self._unable(outcome.applied.task, outcome.extra)
            else:
                self._launch(outcome.applied.task, *outcome.extra)

    def _launch(
        self,
        task: Task,
        params: Mapping[str, Any],
        stored: reports.StoredProgress | None,
        storages: Mapping[str, Mapping[str, Any]],
        samples: bytes | None,
        ran_ms: int,
        asked: tuple[tuple[str, str], ...],
    ) -> None:
        live = self.intake.live[task.id]
        key = live.key
        live.limits = asked
        live.ring = Ring(unpack(samples))
        if stored is not None:
            live.progress, live.state = progress_of(stored.values), stored.checkpoint
        limit = task.running_timeout_s or self._settings.running_timeout_s
        if limit:
            self._timer(limit * 1000 - ran_ms, task.id, TimedOut(seconds=limit, attempt=task.attempt))
        attempt = Attempt(
            key=key,
            executor=task.executor,
            params=params,
            workdir=str(live.workdir),
            checkpoint=live.state,
            cores=self._cores_each(),
            database_url=self._settings.database_url,
            storages=storages,
            commands=self._settings.commands if task.executor == "command" else {},
            limits=limits.of_attempt(asked, self._settings.limits),
        )
        if live.fenced or live.asked:
            self.intake.ended(key, End(ending=Ending.STOPPED))
            return
        try:
            self._launcher.start(attempt)
        except (LaunchFailed, OSError) as error:  # no fault of the task; the launcher is coming back
            time.sleep(_RELAUNCH_SECONDS)
            self.intake.ended(key, End(ending=Ending.LOST, reason=f"The attempt could not be started: {error}"))
        self._recheck(key)

    def _unable(self, task: Task, error: Exception) -> None:
        """What the attempt needs is not there."""
        key, reason = AttemptKey(task_id=task.id, number=task.attempt), str(error)
        if not isinstance(error, EntranceError):
            reason = f"the attempt could not be prepared: {type(error).__name__}"
            _LOG.exception("attempt not prepared", error, task=task.id)
        self.intake.ended(key, End(ending=Ending.FAILED, reason=reason, may_pass=isinstance(error, MayPass)))

    def _recheck(self, key: AttemptKey) -> None:
        """A kill or pause that was committed before the process existed is carried out now."""
        live = self.intake.live.get(key.task_id)
        if live is not None and live.key == key:
            if live.fenced:
                self._launcher.kill([key])
            elif live.asked:
                self._launcher.ask_stop(key)

    # ---- cores

    def _cores_each(self) -> int:
        with self._lock:
            running = list(self.scheduler.running.values())
            slots = self.scheduler.limits.slots
        whole = [r for r in running if r.cores >= 1]
        rest = slots - sum(r.cores for r in running if r.cores < 1)
        return max(1, min(_MOST_CORES, int(rest // max(1, len(whole)))))

    def _share_cores(self) -> None:
        """Divide the cores anew among the tasks that can use several."""
        cores = self._cores_each()
        for live in list(self.intake.live.values()):
            if live.task.cores >= 1 and live.cores != cores and not live.fenced:
                live.cores = cores
                self._launcher.cores(live.key, cores)

    # ---- chores (may wait for the disk)

    def _do_chores(self) -> None:
        while (chore := self._chores.get()) is not None:
            with suppress(EntranceError, OSError):
                chore()

    def _settle_log(self, task_id: int, seal: Seal) -> None:
        if self._logs.close(task_id, seal, self._offload):
            self._writer.post(lambda tx: reports.strike_log_body(tx, task_id), patient=True)


class _Timed:
    """An event in the heap of timers; never compared by what it is."""

    def __init__(self, event: Event) -> None:
        self.event = event

    def __lt__(self, other: object) -> bool:
        return False


def waiting(task: Task) -> Waiting:
    """The task, as far as its turn is concerned."""
    return Waiting(
        id=task.id,
        group=task.group,
        creator=task.creator,
        executor=task.executor,
        user=task.user,
        priority=task.priority,
        cores=task.cores,
        queued_at=task.queued_at or task.created_at,
        child=task.parent_id is not None,
    )
