"""The local launcher: one fresh process per attempt on this machine, forked by a fork server.

Runs inside the service process with threads, sockets and locks of the standard library, which are greenlets' when the
service has patched them; the pass over /proc goes through ``offload``. Per attempt there is one thread that reads its
channel and outputs (``session``); one more listens to the fork server, one takes the samples of all attempts.

An attempt's end is told when the fork server has reported its exit (its processes are gone then) and all that it said is
handed over. When the fork server itself ends, what it leaves is killed, its attempts are lost, and a new one is started.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from common.clock import Clock, SystemClock
from common.errors import LaunchFailed, Refused, StartRefused
from common.records import but
from executors.channel import attempt_frame, encode
from executors.launchers import processes
from executors.launchers.base import Attempt, AttemptKey, End, Ending, Sample, Sink
from executors.launchers.control import ForkServerProcess
from executors.launchers.session import Session

READY_SECONDS = 60.0
LATE_SECONDS = 30.0  # a fork server that is not ready by then is told of; a start takes one or two
STOP_SECONDS = 1.0  # from the wish to stop to the kill
SAMPLE_SECONDS = 1.0
ANSWER_SECONDS = 0.2  # a sample waits at most so long for the fork server to name the processes
SWEEP_SECONDS = 10.0
SILENT_TICKS = 15  # a fork server that leaves so many questions unanswered is ended
END_SECONDS = 5.0
QUICK_END_SECONDS = 5.0  # a fork server that ends sooner than this is not replaced at once
MAX_BACKOFF_SECONDS = 10.0
_LOG = logging.getLogger(__name__)

Offload = Callable[[Callable[[], Any]], Any]
"""Calls a function that only reads files, where it does not hold up others, and returns its value."""


class _Exit(NamedTuple):
    """How a process ended, and what it and those below it have used."""

    status: int  # as of ``os.waitstatus_to_exitcode``
    cpu_seconds: float
    rss: int  # bytes, at most

    @classmethod
    def of(cls, status: str, cpu_seconds: str, rss: str) -> _Exit:
        return cls(int(status), float(cpu_seconds), int(rss))


class _Run:
    """One attempt under way."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.key = session.key
        self.pid: int | None = None
        self.gone = threading.Event()  # its processes are
        self.exit: _Exit | None = None
        self.refused = ""  # why no process could be made
        self.stopping = False
        self.timer: threading.Timer | None = None
        self.cpu_seconds = 0.0

    def is_gone(self) -> None:
        self.gone.set()
        self.session.hang_up()


class LocalLauncher:
    """See the module. ``instance`` names the service's data folder among all on this machine.

    Args:
        data: the service's data folder, absolute; shown on the command line of every process.
        preload: modules that the fork server imports besides those of the executors.
        executors: those that it imports, by name; none = all that are installed.
        awaited: whether ``reconcile`` waits for it, and refuses when it ends instead. Else attempts that are started before
            it is ready wait in its socket, and one that ends is replaced, whether it ever was ready or not.
        offload: how the passes over /proc are called; the default calls them in the launcher's own threads.
    """

    def __init__(
        self,
        *,
        data: Path,
        instance: str,
        preload: Sequence[str] = (),
        executors: Sequence[str] = (),
        awaited: bool = True,
        offload: Offload = lambda work: work(),
        clock: Clock | None = None,
    ) -> None:
        if "/" in instance or not instance or not data.is_absolute():
            raise ValueError("the instance must be a name and the data folder absolute")
        self._data = data
        self._instance = instance
        self._preload = tuple(preload)
        self._executors = tuple(executors)
        self._awaited = awaited
        self._offload = offload
        self._clock = clock or SystemClock()
        self._sink: Sink
        self._runs: dict[str, _Run] = {}
        self._tasks: set[int] = set()
        self._changing = threading.Lock()  # guards runs, tasks, server, readers
        self._server: ForkServerProcess | None = None
        self._spared: set[int] = set()
        self._ready = threading.Event()
        self._named = threading.Event()  # the fork server has named the processes of all runs
        self._closing = threading.Event()
        self._opened = not awaited  # whether a fork server that ends is replaced
        self._begun = 0.0  # when the present one was
        self._failure = ""  # what the present one said of its end
        self._trouble = ""  # why none is ready, since one was expected
        self._unheard = 0
        self._memory_kills = 0
        self._threads: list[threading.Thread] = []
        self._readers: set[threading.Thread] = set()

    # ---- the launcher contract

    def warm_up(self) -> None:
        """Start the fork server ahead of ``open``, which does it else: it imports while the caller does other things."""
        self._spared = set(processes.children("self"))
        self._memory_kills = processes.memory_kills()
        processes.adopt_orphans()
        self._new_server()

    def open(self, sink: Sink) -> None:
        self._sink = sink
        if self._server is None:
            self.warm_up()
        server = self._server
        assert server is not None
        self._begin(lambda: self._listen(server), "listen")

    def reconcile(self) -> None:
        if self._awaited and (not self._ready.wait(READY_SECONDS) or self._closing.is_set()):
            self.close(0)
            raise LaunchFailed(f"the fork server does not get ready: {self._trouble or self._failure or 'no word from it'}")
        self._opened = True
        self._begin(self._sample, "sample")
        if not self._sweep(SWEEP_SECONDS):
            left = ", ".join(map(str, self._left()))
            raise StartRefused(f"processes of an earlier run cannot be ended: {left}")

    def start(self, attempt: Attempt) -> None:
        key = attempt.key
        ours, theirs = socket.socketpair()
        output, output_end = os.pipe()
        errors, errors_end = os.pipe()
        outputs = ((output, "INFO"), (errors, "WARN"))
        run = _Run(Session(attempt, self._sink, ours, outputs, on_refused=lambda: self.ask_stop(key)))
        reader = threading.Thread(target=self._attend, args=(run,), name=f"attempt-{key}", daemon=True)
        try:
            server = self._enter(run, reader)
            try:
                run.session.send(attempt_frame(attempt))
                server.start(str(key), (theirs.fileno(), output_end, errors_end))
            except BaseException:
                self._leave(run)
                self._done(reader)
                raise
        except BaseException:
            run.session.close()
            raise
        finally:
            theirs.close()
            os.close(output_end)
            os.close(errors_end)
        reader.start()
        if run.stopping:  # a kill may have reached the fork server before the start
            self._kill([run])

    def unable(self, executor: str) -> str:
        return self._trouble

    def ask_stop(self, key: AttemptKey) -> None:
        with self._changing:
            run = self._runs.get(str(key))
            if run is None or run.stopping:
                return
            run.stopping = True
            run.timer = threading.Timer(STOP_SECONDS, self._kill, ([run],))
            run.timer.daemon = True
            run.timer.start()
        run.session.send(encode({"t": "stop"}))

    def kill(self, keys: Sequence[AttemptKey], timeout_seconds: float = 2.0) -> Sequence[AttemptKey]:
        deadline = time.monotonic() + timeout_seconds
        with self._changing:
            runs = [run for key in keys if (run := self._runs.get(str(key))) is not None]
            for run in runs:
                run.stopping = True
        self._kill(runs)
        return [run.key for run in runs if not run.gone.wait(max(0.0, deadline - time.monotonic()))]

    def cores(self, key: AttemptKey, cores: int) -> None:
        self._tell(key, encode({"t": "cores", "cores": cores}))

    def merged(self, key: AttemptKey, number: int) -> None:
        self._tell(key, encode({"t": "merged", "number": number}))

    def running(self) -> Sequence[AttemptKey]:
        with self._changing:
            return [run.key for run in self._runs.values() if not run.gone.is_set()]

    def close(self, timeout_seconds: float) -> None:
        deadline = time.monotonic() + timeout_seconds
        self._closing.set()
        keys = self.running()
        for key in keys:
            self.ask_stop(key)
        with self._changing:
            runs = list(self._runs.values())
        for run in runs:
            run.gone.wait(max(0.0, deadline - time.monotonic()))
        self.kill(keys)
        with self._changing:
            server = self._server
        if server is not None:
            server.hang_up()
            if not self._ready.is_set():
                server.kill()  # it would see that only when it has imported all; it has no tasks yet
        until = time.monotonic() + END_SECONDS  # for all of them: those whose ends cannot be stored wait for the disk
        for thread in [*self._threads, *tuple(self._readers)]:
            thread.join(max(0.0, until - time.monotonic()))

    # ---- attempts

    def _enter(self, run: _Run, reader: threading.Thread) -> ForkServerProcess:
        """Take the attempt in and return the fork server that shall run it."""
        task = run.key.task_id
        with self._changing:
            if self._server is None or self._closing.is_set():
                raise LaunchFailed("the fork server is not running")
            if task in self._tasks:
                raise LaunchFailed(f"an earlier attempt of task {task} has not ended")
            self._tasks.add(task)
            self._runs[str(run.key)] = run
            self._readers.add(reader)
            return self._server

    def _leave(self, run: _Run) -> None:
        with self._changing:
            del self._runs[str(run.key)]
            self._tasks.discard(run.key.task_id)
            if run.timer is not None:
                run.timer.cancel()

    def _done(self, reader: threading.Thread) -> None:
        with self._changing:
            self._readers.discard(reader)

    def _attend(self, run: _Run) -> None:
        """Hand over what an attempt says, then its end."""
        try:
            run.session.pump(run.gone.is_set)
        except Exception:
            _LOG.exception("attempt not heard to its end", extra={"attempt": str(run.key)})
            self.ask_stop(run.key)
        run.gone.wait()
        run.session.close()
        end = self._end_of(run)
        self._leave(run)  # before the end is told: the next attempt may start from there
        try:
            self._sink.ended(run.key, end)
        except Exception:
            _LOG.exception("end not taken", extra={"attempt": str(run.key)})
        self._done(threading.current_thread())

    def _end_of(self, run: _Run) -> End:
        session, told = run.session, run.exit
        if said := session.fault or session.result:
            end = said
        elif run.refused:
            reason = f"no process could be started: {run.refused}"
            end = End(ending=Ending.FAILED, reason=reason, may_pass=True)
        elif run.stopping:
            end = End(ending=Ending.STOPPED)
        elif told is None:
            end = End(ending=Ending.LOST, reason="The attempt was lost with its fork server")
        elif told.status == -signal.SIGXCPU and (seconds := session.attempt.limits.cpu_seconds):
            end = End(ending=Ending.FAILED, reason=f"it used more than {seconds} s of processor time", may_pass=False)
        else:
            end = End(ending=Ending.DIED, reason=self._death(told.status), may_pass=True)
        if told is None:
            return end
        return but(end, exit_status=told.status, max_rss_bytes=told.rss, cpu_seconds=max(told.cpu_seconds, run.cpu_seconds))

    def _death(self, status: int) -> str:
        """Return the sentence for a process that ended without a result."""
        how = f"the process {_how_it_ended(status)}"
        if status >= 0:
            return f"{how} without a result"
        if -status == signal.SIGKILL:
            before, self._memory_kills = self._memory_kills, processes.memory_kills()
            if self._memory_kills > before:
                return f"{how}: the machine ran out of memory"
        return how

    def _kill(self, runs: Sequence[_Run]) -> None:
        with self._changing:
            server = self._server
        if server is not None:  # else they die already
            server.kill_tasks([str(run.key) for run in runs if not run.gone.is_set()])

    def _tell(self, key: AttemptKey, data: bytes) -> None:
        with self._changing:
            run = self._runs.get(str(key))
        if run is not None:
            run.session.send(data)

    # ---- the fork server

    def _begin(self, target: Callable[[], None], name: str) -> None:
        thread = threading.Thread(target=target, name=f"launcher-{name}", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _new_server(self) -> ForkServerProcess:
        server = ForkServerProcess(
            data=self._data, instance=self._instance, preload=self._preload, executors=self._executors
        )
        self._ready.clear()
        self._begun = time.monotonic()
        self._failure = ""
        with self._changing:
            self._server = server
            self._unheard = 0
        return server

    def _listen(self, server: ForkServerProcess) -> None:
        """Follow one fork server after the other."""
        backoff = 0.0
        while True:
            began = time.monotonic()
            for event in server.events():
                self._hear(*event)
            self._bury(server)
            if self._closing.is_set():
                return
            if not self._opened:  # reconcile() waits for this one
                self._closing.set()
                self._ready.set()
                return
            quick = time.monotonic() - began < QUICK_END_SECONDS
            backoff = min(max(0.1, backoff * 2), MAX_BACKOFF_SECONDS) if quick else 0.0
            replacement = None
            while replacement is None:
                if self._closing.wait(backoff):
                    return
                try:
                    replacement = self._new_server()
                except LaunchFailed as error:
                    _LOG.error("fork server not started", extra={"reason": str(error)})
                    self._is_in_trouble(str(error))
                    backoff = min(max(0.1, backoff * 2), MAX_BACKOFF_SECONDS)
            server = replacement

    def _hear(self, verb: str, rest: str) -> None:
        match verb, rest.split(" "):
            case "ready", _:
                self._ready.set()
                self._is_in_trouble("")
            case "failed", _:
                self._failure = rest
            case "pong", _:
                self._unheard = 0
                self._named.set()
            case "pids", words:
                with self._changing:
                    for key, pid in zip(words[::2], words[1::2], strict=True):
                        if (run := self._runs.get(key)) is not None:
                            run.pid = int(pid)
            case "exit", [key, *how]:
                self._ended(key, exit_=_Exit.of(*how))
            case "refused", [key, *why]:
                self._ended(key, refused=" ".join(why))

    def _ended(self, key: str, *, exit_: _Exit | None = None, refused: str = "") -> None:
        with self._changing:
            run = self._runs.get(key)
        if run is not None:
            run.exit, run.refused = exit_, refused
            run.is_gone()

    def _bury(self, server: ForkServerProcess) -> None:
        """End what a fork server leaves behind, then its attempts."""
        with self._changing:
            self._server = None
            runs = list(self._runs.values())
        if not self._closing.is_set():
            what = "fork server lost" if self._ready.is_set() else "fork server ended before it was ready"
            _LOG.error(what, extra={"pid": server.pid, "attempts": len(runs)})
        if not server.wait(0 if self._ready.is_set() and not self._closing.is_set() else END_SECONDS):
            server.kill()
            server.wait(END_SECONDS)
        server.close()
        if not self._ready.is_set() and not self._closing.is_set():
            why = self._failure or f"it {_how_it_ended(server.status)}"
            self._is_in_trouble(f"the fork server ended before it was ready: {why}")
        while not self._sweep(SWEEP_SECONDS):  # no attempt may start anew while its old processes live
            _LOG.error("processes cannot be ended", extra={"pids": self._left()})
            self._is_in_trouble("processes that a lost fork server left behind cannot be ended")
        for run in runs:
            run.is_gone()

    def _is_in_trouble(self, why: str) -> None:
        """Tell, if that is new, why no fork server is ready; "" = one is."""
        if why != self._trouble:
            self._trouble = why
            self._sink.ability_changed()

    def _left(self) -> list[int]:
        """Return the processes that should not be there; touches only files, so it may be offloaded."""
        servers = ForkServerProcess.servers
        return [*processes.strangers(servers | self._spared), *processes.marked(self._instance, servers)]

    def _sweep(self, timeout_seconds: float) -> bool:
        """Kill what is left of attempts without a fork server until nothing is; tell whether that came to pass."""
        deadline = time.monotonic() + timeout_seconds
        while left := self._offload(self._left):
            if time.monotonic() > deadline:
                return False
            for pid in left:
                processes.kill(pid)
                processes.reap(pid)
            time.sleep(0.01)
        return True

    # ---- resources

    def _sample(self) -> None:
        """Once a second: what each attempt's processes use, and whether the fork server still answers."""
        due = time.monotonic() + SAMPLE_SECONDS
        while not self._closing.wait(max(0.0, due - time.monotonic())):
            due = max(due + SAMPLE_SECONDS, time.monotonic())
            self._named.clear()
            self._ask_server()
            self._named.wait(ANSWER_SECONDS)
            with self._changing:
                runs = {run.pid: run for run in self._runs.values() if run.pid and not run.gone.is_set()}
            if not runs:
                continue
            used: dict[int, processes.Usage] = self._offload(partial(processes.usage, tuple(runs)))
            at = self._clock.now()
            for pid, usage in used.items():
                self._hand_over(runs[pid], usage, at)

    def _hand_over(self, run: _Run, usage: processes.Usage, at: int) -> None:
        run.cpu_seconds = max(run.cpu_seconds, usage.cpu_seconds)
        sample = Sample(
            at=at,
            rss=usage.rss,
            cpu_seconds=run.cpu_seconds,
            read_bytes=usage.read_bytes,
            written_bytes=usage.written_bytes,
            processes=usage.processes,
        )
        try:
            self._sink.resources(run.key, sample)
        except Refused:
            self.ask_stop(run.key)
        except Exception:
            _LOG.exception("sample not taken", extra={"attempt": str(run.key)})

    def _ask_server(self) -> None:
        with self._changing:
            server = self._server
        if server is None:
            return
        if not self._ready.is_set():
            waited = time.monotonic() - self._begun
            if waited > LATE_SECONDS and not self._trouble:
                self._is_in_trouble(f"the fork server has not got ready within {LATE_SECONDS:g} s")
            if waited > READY_SECONDS:
                _LOG.error("fork server does not get ready", extra={"pid": server.pid})
                self._failure = f"it took more than {READY_SECONDS:g} s"
                server.kill()
            return
        self._unheard += 1
        if self._unheard > SILENT_TICKS:
            _LOG.error("fork server does not answer", extra={"pid": server.pid})
            server.kill()
            return
        server.ping()


def _how_it_ended(status: int) -> str:
    """Return in words what the status of a process says, as of ``os.waitstatus_to_exitcode``."""
    if status >= 0:
        return f"exited with status {status}"
    try:
        return f"was killed by signal {-status} ({signal.Signals(-status).name})"
    except ValueError:
        return f"was killed by signal {-status}"
