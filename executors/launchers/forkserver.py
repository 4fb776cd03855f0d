"""The fork server: a small, plain Python process that forks one fresh process per attempt, in a millisecond.

``python -m executors.launchers.forkserver --data ABSDIR --control-fd N --instance NAME
[--preload MODULE[:FUNCTION],...] [--executors NAME=MODULE:ATTRIBUTE,...] [--bare]``

It has one thread, is never patched by gevent, and opens no store, database or network connection: native runtimes do not
survive a fork. It imports what it is told and the executors (those that are named, else all) once, calls the functions that
it is told with the data folder, then waits on its control socket (AF_UNIX SEQPACKET). A message is a verb and words, one
space between them; the last of ``refused`` and ``failed`` is a sentence:

    to it     start KEY, with descriptors: channel, standard output, standard error
              kill KEY ...        ping
    from it   ready
              refused KEY WHY     no process could be made
              exit KEY STATUS CPU RSS, as of os.waitstatus_to_exitcode, in seconds, in bytes
              pids KEY PID ..., of all tasks there are, before each pong
              failed WHY, in place of ready, then it ends: a module of ``--preload`` cannot be imported

How nothing is left behind: every task leads a process group and is a child subreaper, so what it starts stays below it,
however it detaches. When the task ends, its orphans come to the fork server, a subreaper too, where every child that is no
living task is a leftover and is killed. ``exit`` is sent when the last of them is gone. When the control socket ends, the
service is gone: everything is killed, then the fork server ends. It must be killed itself before tasks outlive it, and then
they die with it (PR_SET_PDEATHSIG), and the service adopts and ends what they leave.
"""

from __future__ import annotations

import argparse
import array
import gc
import importlib
import logging
import os
import resource
import select
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from os import close, dup2, environ, nice, setpgid  # what a forked process looks up in a module costs it pages
from pathlib import Path
from signal import set_wakeup_fd
from sys import modules
from typing import NoReturn

from common.errors import LaunchFailed
from executors import registry, runner
from executors.channel import DATAGRAM_BYTES, Channel, attempt_frame, attempt_of
from executors.launchers import processes
from executors.launchers.base import Attempt, AttemptKey, Ending, Limits
from executors.launchers.processes import MARKER, adopt_orphans, die_with_parent

NICE = 10
OOM_SCORE = 500  # of 1000: when memory runs out, a task that uses much goes first, and the service last
END_SECONDS = 10.0
COLLECT_AFTER = (10_000, 20, 20)  # objects made: tasks read rows by the ten thousand, hardly any in cycles
NAMED = 2_000  # process ids in one datagram
_ROOM = socket.CMSG_SPACE(3 * array.array("i").itemsize)  # for the descriptors of a start
_CLOSE_ON_EXEC = int(socket.MSG_CMSG_CLOEXEC)
_DEFAULT = int(signal.SIG_DFL)
_RESET = (int(signal.SIGINT), int(signal.SIGTERM), int(signal.SIGHUP), int(signal.SIGCHLD))
set_signal = importlib.import_module("_signal").signal  # without its enumerations, which cost a forked process eighty pages
_WARM_UP_RUNS = 20  # enough for the interpreter to specialise the code


class ForkServer:
    """The loop around one control socket."""

    def __init__(self, control: socket.socket, instance: str, fork: Callable[[], int] = os.fork) -> None:
        self._control, self._control_file = control, control.fileno()
        self._instance = instance
        self._fork = fork
        self._pid = os.getpid()
        self._children = processes.Children()
        self._tasks: dict[int, str] = {}
        self._pids: dict[str, int] = {}
        self._exits: list[tuple[str, set[int]]] = []  # what to say of tasks that have ended, once these are gone too
        self._leftovers: set[int] = set()
        self._wake, self._waker = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def serve(self) -> NoReturn:
        """Answer requests until the service is gone; never returns, neither here nor in a forked task."""
        signal.set_wakeup_fd(self._waker, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        # Its end is the end of the control socket: a signal to the service's group or unit must not come before.
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        poll = select.poll()
        poll.register(self._control, select.POLLIN)
        poll.register(self._wake, select.POLLIN)
        try:
            self._say("ready")
            while True:
                for descriptor, _ in poll.poll():
                    if descriptor == self._wake:
                        self._reap()
                    else:
                        self._answer()
        except OSError:  # end of file counts as such, see _answer
            self._end()

    def _say(self, message: str) -> None:
        self._control.send(message.encode())

    def _answer(self) -> None:
        data, extra, _, _ = self._control.recvmsg(DATAGRAM_BYTES, _ROOM, _CLOSE_ON_EXEC)
        if not data:
            raise ConnectionResetError("the service is gone")
        descriptors = array.array("i")
        for _, _, passed in extra:
            descriptors.frombytes(passed)
        match data.decode().split(" "):
            case ["start", key]:
                self._start(key, list(descriptors))
            case ["kill", *keys]:
                for key in keys:
                    if (pid := self._pids.get(key)) is not None:
                        processes.kill(pid)
            case ["ping"]:
                named = [f" {key} {pid}" for key, pid in self._pids.items()]
                for start in range(0, len(named), NAMED):  # so many fit into a message
                    self._say(f"pids{''.join(named[start : start + NAMED])}")
                self._say("pong")

    def _start(self, key: str, descriptors: list[int]) -> None:
        try:
            pid = self._fork()
        except OSError as error:
            self._say(f"refused {key} {os.strerror(error.errno or 0)}")
            pid = -1
        if pid == 0:
            self._become(key, *descriptors)
        for descriptor in descriptors:
            os.close(descriptor)
        if pid > 0:
            self._tasks[pid] = key
            self._pids[key] = pid

    def _become(self, key: str, channel: int, output: int, errors: int) -> NoReturn:
        """The rest of a forked process: be the task's process, run it, end."""
        status = 1
        try:
            setpgid(0, 0)
            die_with_parent(self._pid)
            adopt_orphans()
            set_wakeup_fd(-1)
            for number in _RESET:
                set_signal(number, _DEFAULT)
            nice(NICE)
            dup2(output, 1)
            dup2(errors, 2)
            for descriptor in (self._control_file, self._wake, self._waker, self._children.file, output, errors):
                close(descriptor)
            environ[MARKER] = f"{self._instance}/{key}"
            if "numpy.random" in modules:
                modules["numpy.random"].seed()
            talk = Channel(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0, channel))
            status = _work(talk)
        except BaseException:
            traceback.print_exc()
        finally:
            try:
                sys.stdout.flush()
                sys.stderr.flush()
            finally:
                os._exit(status)

    def _reap(self) -> None:
        try:
            while os.read(self._wake, 4096):
                pass
        except BlockingIOError:
            pass
        while True:
            try:
                ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                break
            if ended is None:
                break
            pid = ended.si_pid
            key = self._tasks.pop(pid, None)
            if key is not None:
                processes.kill_group_of(pid, (self._pid,))  # while the zombie still holds the number
                del self._pids[key]
            _, status, used = os.wait4(pid, 0)
            self._leftovers.discard(pid)
            if key is not None:
                cpu = used.ru_utime + used.ru_stime
                message = f"exit {key} {os.waitstatus_to_exitcode(status)} {cpu:.3f} {used.ru_maxrss << 10}"
                self._exits.append((message, set()))
        self._sweep()

    def _sweep(self) -> None:
        """Kill what dead tasks left; tell of those of which nothing is left."""
        found = self._children().difference(self._tasks)
        fresh = found - self._leftovers
        for pid in fresh:
            processes.kill_group_of(pid, (self._pid, *self._tasks))
            processes.kill(pid)
        self._leftovers = found
        waiting = []
        for message, leftovers in self._exits:
            if left := (leftovers & found) | fresh:
                waiting.append((message, left))
            else:
                self._say(message)
        self._exits = waiting

    def _end(self) -> NoReturn:
        deadline = time.monotonic() + END_SECONDS
        while (left := self._children()) and time.monotonic() < deadline:
            for pid in left:
                processes.kill_group_of(pid, (self._pid,))
                processes.kill(pid)
                processes.reap(pid)
            time.sleep(0.005)
        os._exit(0)


def _work(channel: Channel, *, limited: bool = True) -> int:
    """Run the attempt that comes over ``channel``, with its limits set; return the exit status."""
    frame = channel.receive(wait=True)
    if frame is None:
        return 1
    attempt = attempt_of(frame)
    if limited:
        _limit(attempt.limits)
    end = runner.run(attempt, channel)
    return 1 if end.ending is Ending.FAILED else 0


def _limit(limits: Limits) -> None:
    """Set what the process and those it starts may use. Memory is what is added to what the fork server had."""
    if limits.memory_bytes is not None:
        _lower(resource.RLIMIT_AS, processes.address_space() + limits.memory_bytes)
    if limits.open_files is not None:
        _lower(resource.RLIMIT_NOFILE, limits.open_files)
    if limits.cpu_seconds is not None:
        _lower(resource.RLIMIT_CPU, limits.cpu_seconds)


def _lower(what: int, value: int) -> None:
    _, hard = resource.getrlimit(what)
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    resource.setrlimit(what, (value, hard))


def _prefer_to_kill() -> None:
    with suppress(OSError):  # a container may not allow it; then all are equal
        score = os.open("/proc/self/oom_score_adj", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(score, b"%d" % OOM_SCORE)
        finally:
            os.close(score)


def _preload(places: list[str], executors: list[str], data: Path) -> None:
    """Import everything. Raises LaunchFailed with the first of ``places`` that cannot be; the log says more."""
    for place in places:
        module, _, function = place.partition(":")
        try:
            loaded = importlib.import_module(module)
            if function:
                getattr(loaded, function)(data)
        except Exception as error:
            logging.getLogger(__name__).error("not preloaded: %s (%s: %s)", place, type(error).__name__, error)
            raise LaunchFailed(f"{module} cannot be loaded") from error
    registry.take({name: place for name, _, place in (told.partition("=") for told in executors)})
    registry.load_all()


def _warm_up() -> None:
    """Run a trial attempt here, so that what is set up at first use is shared by all tasks and not made by each."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        params = registry.load_params(registry.get("echo"), {})
        attempt = Attempt(key=AttemptKey(task_id=0, number=0), executor="echo", params=params, workdir="/nonexistent")
        for _ in range(_WARM_UP_RUNS):
            ours.send(attempt_frame(attempt))
            _work(Channel(theirs), limited=False)
            ours.recv(DATAGRAM_BYTES)


def main() -> NoReturn:
    """Entry point of the fork server's process."""
    parser = argparse.ArgumentParser(prog="executors.launchers.forkserver")
    parser.add_argument("--data", required=True, help="the service's data folder, absolute")
    parser.add_argument("--control-fd", type=int, required=True)
    parser.add_argument("--instance", required=True)
    parser.add_argument("--preload", default="", help="module or module:function of each, separated by commas")
    parser.add_argument("--executors", default="", help="name=module:attribute of each, separated by commas; default: all")
    parser.add_argument("--bare", action="store_true", help="fork without the interpreter's hooks")
    options = parser.parse_args()
    control = socket.socket(fileno=options.control_fd)
    control.setblocking(True)
    control.set_inheritable(False)
    processes.adopt_orphans()
    processes.step_back(NICE)
    _prefer_to_kill()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a task's core file would hold secrets of storages
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True, errors="backslashreplace")  # type: ignore[union-attr]
    try:
        places, names = options.preload.split(","), options.executors.split(",")
        _preload([*filter(None, places)], [*filter(None, names)], Path(options.data))
    except LaunchFailed as error:
        control.send(f"failed {error}".encode())
        sys.exit(1)
    for name in processes.FORK_SERVER_ONLY:
        os.environ.pop(name, None)
    _warm_up()
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECT_AFTER)
    ForkServer(control, options.instance, processes.bare_fork if options.bare else os.fork).serve()


if __name__ == "__main__":
    main()
