"""One running service: how it comes up, what it does in the background, how it goes down.

Up: migrate, end what an earlier life left behind, carry out what was committed, take up every unfinished task. Down
(orderly): pick nothing more, let attempts checkpoint and end, store, close. After kill -9 the next start does the same work:
there is one road.
"""

from __future__ import annotations

import os
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any, Protocol, TypeVar

from sqlalchemy import bindparam, insert, select
from sqlalchemy.dialects.sqlite import insert as upsert

from common.clock import Clock, SystemClock
from common.config import Settings
from common.db import tables as t
from common.db import tasks as store
from common.db.database import Readers, open_writable
from common.db.migrate import upgrade
from common.db.sql import Sql, Tx
from common.db.writer import Threads, Writer
from common.errors import EntranceError
from common.logging import get_log
from common.task import Lost, State, Task
from entrance.core.accepting import AcceptService
from entrance.core.changes import Changes, Order
from entrance.core.dispatch import AttemptSettings, Dispatcher
from entrance.core.events import Bus
from entrance.core.folder import Folder
from entrance.core.hooks import Hooks
from entrance.core.idmark import IdMark
from entrance.core.intake import Intake
from entrance.core.janitor import Janitor
from entrance.core.lag import HubLag
from entrance.core.logs import FLUSH_SECONDS, Logs
from entrance.core.looking import LookService
from entrance.core.scheduler import Limits as SchedulerLimits
from entrance.core.scheduler import Scheduler
from entrance.core.service import TaskService
from entrance.core.signs import CHECK_SECONDS, SignsOfLife
from entrance.core.steering import SteerService
from executors.launchers.base import AttemptKey, Launcher
from executors.launchers.base import Limits as AttemptLimits

T = TypeVar("T")
_LOG = get_log("entrance.core")
_META = Sql(select(t.meta.c.value).where(t.meta.c.key == bindparam("key")))
_SET_META = Sql(insert(t.meta).values(key=bindparam("key"), value=bindparam("value")))
_put = upsert(t.meta).values(key="tried", value=bindparam("value"))
_TRY = Sql(_put.on_conflict_do_update(index_elements=["key"], set_={"value": _put.excluded.value}))

STOP_SECONDS = 12.0  # for attempts, of the 15 that an orderly stop may take
_SWEEP_SECONDS = 60.0


class Runtime(Protocol):
    """What the surroundings lend the core: native threads and locks, and a way to wait without holding others up."""

    @property
    def threads(self) -> Threads: ...

    def lock(self) -> AbstractContextManager[Any]:
        """A native lock, held for microseconds only."""
        ...

    def offload(self, function: Callable[..., T], /, *arguments: Any) -> T: ...

    def hub_lag(self) -> HubLag: ...


class PlainRuntime:
    """Ordinary threads, no event loop: for tests."""

    def __init__(self) -> None:
        from common.db.writer import PlainThreads

        self.threads: Threads = PlainThreads()

    def lock(self) -> AbstractContextManager[Any]:
        return threading.Lock()

    def offload(self, function: Callable[..., T], /, *arguments: Any) -> T:
        return function(*arguments)

    def hub_lag(self) -> HubLag:
        return HubLag()


class Core:
    """Everything of a service but its faces."""

    def __init__(
        self,
        settings: Settings,
        folder: Folder,
        *,
        runtime: Runtime,
        launcher: Launcher,
        hooks: Hooks,
        failed: Callable[[BaseException], None],
        clock: Clock | None = None,
    ) -> None:
        self.settings, self.folder, self._runtime, self._hooks = settings, folder, runtime, hooks
        self.clock = clock or SystemClock()
        upgrade(folder.database)
        _identify(folder.database)
        instance = settings.service.instance or f"{settings.service.host}:{settings.service.port}"
        self.instance = instance
        self.readers = Readers(folder.database)
        self.writer = Writer(lambda: open_writable(folder.database), runtime.threads, failed)
        self.events = Bus()
        self.logs = Logs(folder.path / "logs", instance, runtime.lock())
        self.launcher = launcher
        s = settings.scheduler
        self.scheduler = Scheduler(
            SchedulerLimits(
                slots=float(s.slots or os.cpu_count() or 1),
                per_group=s.running_per_group,
                per_creator=s.running_per_creator,
                per_executor=s.running_per_executor,
                ageing_ms=s.ageing_seconds * 1000,
            )
        )
        self.signs = SignsOfLife(settings.tasks.sign_of_life_creators, settings.tasks.sign_of_life_seconds)
        work = folder.path / "work"
        lim = settings.limits
        self.dispatcher = Dispatcher(
            scheduler=self.scheduler,
            lock=runtime.lock(),
            writer=self.writer,
            logs=self.logs,
            clock=self.clock,
            bus=self.events,
            hooks=hooks,
            launcher=self.launcher,
            settings=AttemptSettings(
                folder=work,
                database_url=str(folder.database),
                limits=AttemptLimits(
                    memory_bytes=lim.memory_bytes or None,
                    open_files=lim.open_files or None,
                    cpu_seconds=lim.cpu_seconds or None,
                ),
                commands=settings.commands,
                running_timeout_s=settings.tasks.running_timeout_seconds,
                queuing_timeout_s=settings.tasks.queuing_timeout_seconds,
            ),
            signs=self.signs,
            offload=runtime.offload,
            failed=failed,
        )
        self.changes = Changes(
            writer=self.writer,
            logs=self.logs,
            clock=self.clock,
            ladder_ms=tuple(x * 1000 for x in settings.retry.ladder_seconds),
            hooks=hooks,
            effects=self.dispatcher.effects,
        )
        accept = AcceptService(
            writer=self.writer,
            changes=self.changes,
            dispatcher=self.dispatcher,
            hooks=hooks,
            clock=self.clock,
            instance=instance,
            waiting_per_group=s.waiting_per_group,
            waiting_per_user=s.waiting_per_user,
            max_retries=settings.retry.max_retries,
        )
        self.intake = Intake(
            writer=self.writer,
            changes=self.changes,
            logs=self.logs,
            hooks=hooks,
            clock=self.clock,
            offload=runtime.offload,
            submit_child=accept.submit_child,
        )
        self.intake.launcher, self.intake.ends = self.launcher, self.dispatcher
        self.dispatcher.changes, self.dispatcher.intake = self.changes, self.intake
        self.janitor = Janitor(
            readers=self.readers,
            writer=self.writer,
            logs=self.logs,
            hooks=hooks,
            clock=self.clock,
            work=work,
            days=(settings.retention.tasks_days, settings.retention.logs_days, settings.retention.results_days),
            offload=runtime.offload,
        )
        self.dispatcher.release = self.janitor.release
        look = LookService(
            readers=self.readers,
            accept=accept,
            dispatcher=self.dispatcher,
            intake=self.intake,
            logs=self.logs,
            hooks=hooks,
            signs=self.signs,
            offload=runtime.offload,
        )
        steer = SteerService(
            accept=accept,
            look=look,
            writer=self.writer,
            changes=self.changes,
            dispatcher=self.dispatcher,
            clock=self.clock,
        )
        self.tasks = TaskService(accept=accept, look=look, steer=steer)
        self._ids = IdMark(folder.path)
        self._closing = threading.Event()
        self._background: list[threading.Thread] = []

    def offload(self, function: Callable[..., T], /, *arguments: Any) -> T:
        return self._runtime.offload(function, *arguments)

    def hub_lag(self) -> HubLag:
        return self._runtime.hub_lag()

    def start(self) -> None:
        """Take up where the last life ended; returns when everything may be asked."""
        self.launcher.open(self.intake)
        self.launcher.reconcile()
        if behind := self.writer.call(self._ids.catch_up):
            _LOG.warning("the database is older than the ids that were given: was it restored from a backup?", ids=behind)
        self.janitor.recover()
        self._take_up()
        self.dispatcher.start()
        work = [(self._flush_logs, "logs"), (self._flush_reports, "reports"), (self._sweep, "janitor")]
        if self.signs.wanted:
            work.append((self._look_for_signs, "signs"))
        for target, name in work:
            thread = threading.Thread(target=target, name=name, daemon=True)
            thread.start()
            self._background.append(thread)

    def stop(self) -> None:
        """Orderly: nothing new, attempts end at their next step, everything is stored. No task is lost."""
        self.tasks.accept.closing = True
        self.tasks.accept.online = False
        self.dispatcher.stop_picking()
        self.launcher.close(STOP_SECONDS)
        deadline = time.monotonic() + 2.0
        while self.intake.live and time.monotonic() < deadline:
            time.sleep(0.01)
        self._closing.set()
        for thread in self._background:
            thread.join(timeout=2.0)
        self.intake.flush()
        with suppress(OSError):
            self.logs.flush(lambda f, *a: f(*a), besides=self.intake.behind())
        self.dispatcher.close()
        self.writer.close()
        self.readers.close()

    # ---- inside

    def _take_up(self) -> None:
        """Every unfinished task goes on: what ran is queued again, what was queued still is, in its order."""
        with self.readers.read() as tx:
            tasks = store.unfinished(tx)
        lost = [x for x in tasks if x.active]
        self.writer.call(lambda tx: store.heard_last(tx, [(x.id, x.attempt) for x in lost], self.clock.now()))
        for start in range(0, len(lost), 500):
            self.changes.carry_out(
                [
                    Order(task_id=x.id, event=Lost(attempt=x.attempt, reason="The service was restarted"))
                    for x in lost[start : start + 500]
                ]
            )
        ran = {x.id for x in lost}
        for task in tasks:
            self.signs.watch(task)
            if task.id not in ran:
                self._take_up_one(task)

    def _take_up_one(self, task: Task) -> None:
        if task.state is State.QUEUED:
            self.dispatcher.queued(task)
        elif task.state is State.WAITING_RETRY and task.retry_at is not None:
            self.dispatcher.retry_later(task)
        elif task.state is State.CREATED:
            self.dispatcher.limit_waiting(task)
            wishes = self.writer.call(lambda tx: self._hooks.added(tx, task, store.submission(tx, task.id)["params"]))
            self.changes.carry_out([Order(task_id=w.task_id, event=w.event) for w in wishes])

    def _flush_logs(self) -> None:
        while not self._closing.wait(FLUSH_SECONDS):
            if self.logs.dirty():
                self._guarded("log files cannot be written", self._flush_waiting)

    def _flush_waiting(self) -> None:
        self.logs.flush(self._runtime.offload, waiting_seconds=FLUSH_SECONDS, besides=self.intake.behind())

    def _flush_reports(self) -> None:
        while not self._closing.wait(1.0):
            self._guarded("reports cannot be stored", self.intake.flush)
            self._guarded("the ids that were given cannot be noted", self._keep_ids)
            if self.writer.trouble:
                self._guarded("the database cannot be written", self._try_to_write)

    def _sweep(self) -> None:
        self._guarded("old log files cannot be removed", self.janitor.remove_stale_logs)
        while not self._closing.is_set():
            self._guarded("the janitor failed", lambda: self.janitor.sweep(self._running))
            self._closing.wait(_SWEEP_SECONDS)

    def _keep_ids(self) -> None:
        with self.readers.read() as tx:
            self._ids.keep(tx)

    def _try_to_write(self) -> None:
        """Write something into the database that took nothing: when it does again, it is known before somebody needs it."""
        self.writer.call(lambda tx: tx.run(_TRY, value=str(self.clock.now())))

    def _look_for_signs(self) -> None:
        while not self._closing.wait(min(CHECK_SECONDS, self.signs.seconds / 2)):
            self._guarded("tasks without a client cannot be ended", self._drop_silent)

    def _drop_silent(self) -> None:
        self.dispatcher.enforce(self.changes.carry_out(self.signs.silent))

    def _running(self) -> set[AttemptKey]:
        return set(self.launcher.running())

    def _guarded(self, what: str, work: Callable[[], None]) -> None:
        try:
            work()
        except (OSError, EntranceError) as error:
            _LOG.warning(what, reason=str(error))


def _identify(database: Path) -> None:
    """Give a new database the name by which clients know it for life."""
    connection = open_writable(database)
    try:
        tx = Tx(connection)
        if tx.one(_META, key="instance") is None:
            tx.run(_SET_META, key="instance", value=uuid.uuid4().hex)
    finally:
        connection.close()
