"""What the large fork server does before the first task, so that all tasks share it and none pays for it again.

Called by its name. Measured for one pack: 40 ms for the compiler's library, which links the hashing kernel, 19 ms for the
text that its object code is found by, 4 ms for what it is tested with, 5 ms for the statements of the catalogue.
"""

from __future__ import annotations

import os
import subprocess
import sys
from functools import partial
from pathlib import Path

from common.content.kernel import jit, native, selftest
from common.db.catalogue import statements
from common.db.sql import Sql
from common.logging import own_log
from executors.launchers import processes
from executors.preparing import KERNELS

COMPILE_SECONDS = 25.0  # half a second as a rule; all who wait for the fork server wait for it


def warm_up(data: Path) -> None:
    """Let the data folder have the kernel of this machine, and make what a process makes at its first task."""
    for statement in vars(statements).values():
        if isinstance(statement, Sql):
            _ = statement.text  # compiled when it is first asked for
    log = own_log(__name__)
    host = jit.host()
    tier = next((tier for tier in native.LADDER if tier.supported(host)), None) if host is not None else None
    if host is None or tier is None:
        log.warning("no native hashing kernel, packing will be slow", reason="it needs llvmlite on x86-64")
        return
    selftest.slab()
    try:
        path = jit.cache_path(data / KERNELS, tier.name, tier.ir(host), tier.target(host))
        said = ""
        if jit.read_cached(path) is None:
            if (code := tier.installed(host)) is not None:
                jit.write_cached(path, code)
            else:
                said = _compile(data)
        if jit.read_cached(path) is not None:
            log.info("hashing kernel", kernel=tier.name)
        else:
            log.warning("hashing kernel not compiled, packing will be slow", reason=said)
    except (OSError, subprocess.SubprocessError) as error:
        log.warning("hashing kernel not compiled, packing will be slow", reason=str(error))


def _compile(data: Path) -> str:
    """Compile the kernel in a process of its own, whose memory the tasks do not get; return what it says.

    It carries no mark: the service, which ends the marked processes of an earlier life now, must not take it for one.
    """
    done = subprocess.run(
        [sys.executable, "-P", "-m", "common.content.kernel", "--data", str(data)],
        check=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        env={name: value for name, value in os.environ.items() if name != processes.MARKER},
        timeout=COMPILE_SECONDS,
        preexec_fn=partial(processes.die_with_parent, os.getpid()),  # this process has one thread
    )
    return done.stdout.strip()
