"""The service's hold on its fork server: start it, talk to it, notice its end."""

from __future__ import annotations

import array
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from common.errors import LaunchFailed
from executors import registry
from executors.channel import DATAGRAM_BYTES
from executors.launchers import processes

KILL_BATCH = 2_000  # keys in one datagram
_LOG = logging.getLogger(__name__)

_PASSED_ON = frozenset({"PATH", "HOME", "USER", "LOGNAME", "LANG", "LANGUAGE", "TZ", "TMPDIR", "LD_LIBRARY_PATH"})
_PASSED_ON_PREFIXES = ("LC_", "PYTHON", "SSL_CERT_", "COVERAGE_")


def clean_environment(environment: Mapping[str, str], instance: str) -> dict[str, str]:
    """Return what a fork server and its tasks see of the service's environment: no settings, no keys, no proxies.

    It carries the marker of ``instance``, so that descendants that only fork are found by it too.
    """
    kept = {name: value for name, value in environment.items() if name in _PASSED_ON or name.startswith(_PASSED_ON_PREFIXES)}
    return {**kept, **processes.FORK_SERVER_ONLY, processes.MARKER: f"{instance}/forkserver"}


class ForkServerProcess:
    """One fork server, from its start to its end. ``events`` is for one thread, the rest for any."""

    servers: set[int] = set()  # noqa: RUF012 - process ids of the living ones of this process, never taken for orphans

    def __init__(self, *, data: Path, instance: str, preload: Sequence[str], executors: Sequence[str] = ()) -> None:
        """Start the process, with these executors, or all. What is sent before it is ready waits in the socket."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        command = [sys.executable, "-P", "-m", "executors.launchers.forkserver", "--data", str(data)]
        command += ["--control-fd", str(theirs.fileno()), "--instance", instance, "--preload", ",".join(preload)]
        places = registry.places()
        command += ["--executors", ",".join(f"{name}={places[name]}" for name in executors or places)]
        command += ["--bare"] if executors else []
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                cwd="/",
                env=clean_environment(os.environ, instance),
                start_new_session=True,
            )
        except OSError as error:
            ours.close()
            raise LaunchFailed(f"the fork server cannot be started: {error.strerror}") from error
        finally:
            theirs.close()
        self.pid = self._process.pid
        self.servers.add(self.pid)
        self._control = ours
        self._sending = threading.Lock()

    def start(self, key: str, descriptors: Sequence[int]) -> None:
        """Have an attempt started, on its channel, standard output and error. Raises LaunchFailed when it is gone."""
        self._send(f"start {key}", [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))])

    def _send(self, message: str, rights: Sequence[tuple[int, int, array.array[int]]] = ()) -> None:
        try:
            with self._sending:
                self._control.sendmsg([message.encode()], rights)
        except OSError as error:
            raise LaunchFailed("the fork server is gone") from error

    def ping(self) -> None:
        """Ask for a sign of life, unless somebody else is still trying to send."""
        if self._sending.acquire(blocking=False):
            try:
                self._control.send(b"ping")
            except OSError:
                pass  # gone; ``events`` ends
            finally:
                self._sending.release()

    def kill_tasks(self, keys: Sequence[str]) -> None:
        """Have the processes of these attempts killed; those that are gone are passed over."""
        for start in range(0, len(keys), KILL_BATCH):
            try:
                self._send(f"kill {' '.join(keys[start : start + KILL_BATCH])}")
            except LaunchFailed:
                return  # and its tasks with it

    def events(self) -> Iterator[tuple[str, str]]:
        """Yield what the fork server tells, each time a verb and what follows it, until it is gone."""
        while True:
            try:
                data = self._control.recv(DATAGRAM_BYTES)
            except OSError:
                return
            if not data:
                return
            verb, _, rest = data.decode().partition(" ")
            yield verb, rest

    def kill(self) -> None:
        """SIGKILL the fork server itself; its tasks die with it."""
        self._process.kill()

    def hang_up(self) -> None:
        """Let the fork server end everything that it started, and itself."""
        with suppress(OSError):  # gone already
            self._control.shutdown(socket.SHUT_RDWR)

    def wait(self, timeout_seconds: float) -> bool:
        """Wait for the end of the process; tell whether it came."""
        try:
            self._process.wait(timeout_seconds)
        except subprocess.TimeoutExpired:
            return False
        self.servers.discard(self.pid)
        return True

    @property
    def status(self) -> int:
        """How the process ended, as of ``os.waitstatus_to_exitcode``; -9 as long as its end is not known."""
        return -signal.SIGKILL if self._process.returncode is None else self._process.returncode

    def close(self) -> None:
        self._control.close()
