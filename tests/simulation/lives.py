"""One service after another on the same rows: how it goes, and how the next one takes over (entrance.core.lifecycle)."""

from __future__ import annotations

from simulation.rules import hold
from simulation.shell import Crash, Row
from simulation.turns import Queue

from common.task import Lost, State, Stopped

ORPHANS_LIVE_MS = 20_000  # a worker that hears nothing for so long ends its attempts
LEASE_MS = 30_000  # without a sign of life for so long, an attempt is lost


class Lives(Queue):
    """Dies and is taken over, at any moment."""

    def crash(self) -> None:
        """kill -9 of the service: what is not a row is gone. Processes live on for a while, and nobody hears of them."""
        self.holder = None
        for row in self.rows.values():  # also those between the pick and its commit
            row.held, row.told, row.killed = None, False, False
        self.used = 0.0
        for count in (self.by_group, self.by_creator, self.by_executor, self.submitted, self.submitted_by):
            count.clear()
        for volatile in (self.endings, self.timers, self.deferred, self.turns, self.queue):
            volatile.clear()
        self.scheduler = self._scheduler(self.limits)
        self.online, self.held = True, False

    def take_over(self) -> None:
        """The next service comes up on these rows, however often it dies over it."""
        while True:
            try:
                self._come_up()
                return
            except Crash:
                self.crash()

    def _come_up(self) -> None:
        waited = int(self.random.random() * 2 * LEASE_MS)
        self.now, self.steady = self.now + waited, self.steady + waited
        self.service += 1
        hold(self.holder is None, "two services on one data folder")
        self.holder = self.service
        self.note("takeover", None, f"service {self.service}")
        self.reconcile()
        unfinished = sorted(self.open, key=lambda row: row.task.id)
        lost = [row for row in unfinished if row.task.active]
        at_once = self.random.choice((1, 7, 500))
        for start in range(0, len(lost), at_once):
            batch = lost[start : start + at_once]
            done = self.commit([(r, Lost(attempt=r.task.attempt, reason="The service was restarted")) for r in batch])
            if done is None:
                self.note("refused start", None, "the disk is full")
                self.disk_full = False  # until somebody makes room, no service comes up
                raise Crash
            hold(all(done), "what ran is not taken up")
        ran = {row.task.id for row in lost}
        for row in unfinished:
            if row.task.id not in ran:
                self._take_up(row)
        self.fire()

    def reconcile(self) -> None:
        """End what an earlier life left behind, on every machine, before anything is started."""
        for row in self.running:
            self.note("swept", row, row.process)
            row.process, row.place = 0, None
        self.running.clear()

    def _take_up(self, row: Row) -> None:
        task = row.task
        if task.state is State.QUEUED:
            self.queued(row)
        elif task.state is State.WAITING_RETRY:
            self.retry_later(task)
        elif task.state is State.CREATED:
            self.limit_waiting(task)

    def restart(self) -> None:
        """The service is killed, or ends in good order: then attempts are stored as stopped."""
        orderly = self.random.random() < 0.3
        self.note("restart", None, "orderly" if orderly else "kill -9")
        self.check_counts()
        try:
            for row in list(self.running) if orderly else ():
                attempt = row.process
                self.gone(row)
                self.apply(row, Stopped(attempt=attempt))
        except Crash:
            pass
        self.crash()
        self.take_over()

    def second_service(self) -> None:
        """Somebody starts another service on the folder that one holds: it is refused before it touches anything."""
        self.note("second service", None, "refused" if self.holder is not None else "")
        hold(self.holder == self.service, "the folder is free while a service runs")
