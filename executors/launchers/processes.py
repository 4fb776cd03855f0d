"""Linux processes: ties between them, finding what an attempt left behind, and what a tree of them uses.

Sources: prctl(2), proc(5). The kernel must be built with CONFIG_PROC_CHILDREN, as those of all distributions are.
"""

from __future__ import annotations

import ctypes
import os
import signal
import time
from collections.abc import Collection, Iterable
from contextlib import suppress
from typing import NamedTuple

MARKER = "ENTRANCE_TASK"
"""Variable in the environment of all processes below a fork server: ``{instance}/`` and ``forkserver`` or an attempt."""

FORK_SERVER_ONLY = {
    "OPENBLAS_NUM_THREADS": "1",  # it makes threads as soon as numpy is imported; a fork server has one
    "LD_BIND_NOW": "1",  # else each task looks up the C functions that it is the first to call (ld.so(8))
}
"""Variables in the environment of a fork server itself, which takes them away from its tasks."""

_KILL = int(signal.SIGKILL)
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_libc = ctypes.PyDLL(None, use_errno=True)
_fork = _libc.fork
_prctl = _libc.prctl
_prctl.argtypes = [ctypes.c_int] + [ctypes.c_ulong] * 4
_TICK = os.sysconf("SC_CLK_TCK")
_TRIES, _TRY_SECONDS = 10, 0.11
_PAGE = os.sysconf("SC_PAGE_SIZE")


def bare_fork() -> int:
    """Fork as fork(2), without what the interpreter and its modules do for the forked process besides.

    They mend locks and states that other threads left behind, and copy two hundred pages for it, a third of what a small
    task costs. Only for a process that has never had a second thread, and for tasks that draw nothing from ``random``, whose
    state would be the same in each.
    """
    pid: int = _fork()
    if pid < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return pid


def adopt_orphans() -> None:
    """Make this process the parent of every descendant whose own parent ends (a child subreaper)."""
    _set(_PR_SET_CHILD_SUBREAPER, 1)


def die_with_parent(parent: int) -> None:
    """Have this process killed when the thread that forked it ends; ends it now if ``parent`` is gone already."""
    _set(_PR_SET_PDEATHSIG, 9)
    if os.getppid() != parent:
        os._exit(1)


def _set(option: int, value: int) -> None:
    if _prctl(option, value, 0, 0, 0) != 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))


def children(pid: int | str) -> list[int]:
    """Return the children of a process, zombies included; none when it is gone."""
    found: list[int] = []
    try:
        threads = os.listdir(f"/proc/{pid}/task")  # noqa: PTH208 - names are all that is wanted, often
        for thread in threads:
            found += map(int, _read(f"/proc/{pid}/task/{thread}/children").split())
    except OSError:
        pass
    return found


class Children:
    """The children of this process, which has one thread: asked often, and cheaper than ``children``."""

    def __init__(self) -> None:
        pid = os.getpid()
        self.file = os.open(f"/proc/{pid}/task/{pid}/children", os.O_RDONLY | os.O_CLOEXEC)

    def __call__(self) -> set[int]:
        """Return the children, zombies included."""
        text = b""
        while part := os.pread(self.file, 1 << 16, len(text)):
            text += part
        return set(map(int, text.split()))


def marked(instance: str, besides: Collection[int] = ()) -> list[int]:
    """Return the living processes that carry the marker of ``instance``, but neither this one nor those ``besides``."""
    mark = f"{MARKER}={instance}/".encode()
    found = []
    for name in os.listdir("/proc"):  # noqa: PTH208 - as above
        if not name.isdigit():
            continue
        pid = int(name)
        if pid == os.getpid() or pid in besides:
            continue
        try:
            environment = _read(f"/proc/{pid}/environ")
        except OSError:  # gone, or not ours to read
            continue
        if environment.startswith(mark) or b"\0" + mark in environment:
            found.append(pid)
    return found


def strangers(spared: Collection[int]) -> list[int]:
    """Return the children of this process, zombies included, that it never started: orphans that came to it.

    Told by the session: what this process starts stays in its own, or is among those ``spared``.
    """
    session = os.getsid(0)
    found = []
    for pid in children("self"):
        if pid in spared:
            continue
        try:
            if os.getsid(pid) != session:
                found.append(pid)
        except ProcessLookupError:
            continue
    return found


def kill(pid: int) -> None:
    """SIGKILL a process, if it is there."""
    with suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGKILL)


def kill_group_of(pid: int, besides: Collection[int]) -> None:
    """SIGKILL the process group that ``pid`` is in, unless its number is one of ``besides``."""
    try:
        group = os.getpgid(pid)
        if group not in besides:
            os.killpg(group, _KILL)
    except (ProcessLookupError, PermissionError):
        pass


def step_back(nice: int) -> None:
    """Let all processes of this session have the processor as if they were so nice, seen from outside of it.

    Where the kernel groups processes by session (``sched_autogroup_enabled``, sched(7)), a process's own niceness counts
    within its session only. Without root's rights the kernel takes ten such changes a second from all users together.
    """
    for _ in range(_TRIES):
        try:
            group = os.open("/proc/self/autogroup", os.O_WRONLY | os.O_CLOEXEC)
            try:
                os.write(group, b"%d" % nice)
                return
            finally:
                os.close(group)
        except BlockingIOError:
            time.sleep(_TRY_SECONDS)
        except OSError:
            return  # a kernel without it


def reap(pid: int) -> None:
    """Take note of the end of a child that nobody waits for; nothing when it lives or somebody else took it."""
    with suppress(OSError):
        os.waitpid(pid, os.WNOHANG)


class Usage(NamedTuple):
    """What a tree of processes uses: resident bytes, CPU seconds, bytes read and written by system calls, processes."""

    rss: int
    cpu_seconds: float
    read_bytes: int
    written_bytes: int
    processes: int


def usage(roots: Iterable[int]) -> dict[int, Usage]:
    """Return the usage of the process tree below (and with) each of ``roots``; those that are gone are left out.

    CPU and bytes include processes that ended and were waited for. Touches nothing but files, so it may run in any thread.
    """
    return {root: total for root in roots if (total := _tree(root)).processes}


def _tree(root: int) -> Usage:
    rss = ticks = read = written = processes = 0
    open_pids = [root]
    while open_pids:
        pid = open_pids.pop()
        try:
            # The name, in brackets, may hold anything; fields are numbered from 3 behind it.
            fields = _read(f"/proc/{pid}/stat").rpartition(b")")[2].split()
            if fields[0] in (b"Z", b"X"):
                continue
            counters = dict(line.split(b": ") for line in _read(f"/proc/{pid}/io").splitlines())
        except (OSError, IndexError, ValueError):
            continue
        ticks += sum(map(int, fields[11:15]))  # utime, stime, cutime, cstime
        rss += int(fields[21]) * _PAGE
        read += int(counters.get(b"rchar", 0))
        written += int(counters.get(b"wchar", 0))
        processes += 1
        open_pids += children(pid)
    return Usage(rss, ticks / _TICK, read, written, processes)


def memory_kills() -> int:
    """Return how many processes the kernel has killed since it started because memory ran out."""
    try:
        for line in _read("/proc/vmstat").splitlines():
            if line.startswith(b"oom_kill "):
                return int(line.split()[1])
    except OSError:
        pass
    return 0


def address_space() -> int:
    """Return the bytes of address space that this process has now."""
    return int(_read("/proc/self/statm").split()[0]) * _PAGE


def _read(path: str) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        parts = []
        while data := os.read(descriptor, 1 << 16):
            parts.append(data)
        return b"".join(parts)
    finally:
        os.close(descriptor)
