"""Multipart uploads that ended tasks have left in stores are aborted, by a program of its own (``transferring.sweep``)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from common.db.database import Readers
from common.logging import get_log
from entrance.core.hooks import Hooks
from executors.launchers.control import clean_environment
from executors.launchers.processes import MARKER
from executors.transferring import SWEEP_SECONDS

_LOG = get_log("entrance.core")
_EXTRA_SECONDS = 10.0


def abort_uploads(
    readers: Readers, hooks: Hooks, data_folder: Path, uploads: Sequence[tuple[int, str]]
) -> list[tuple[int, str]]:
    """Abort uploads, given as (task, declaration); return those that need no further thought.

    The settings of the storages go through a pipe, and only there. Waits for the stores, a minute at most.
    """
    if not uploads:
        return []
    storages: dict[str, Mapping[str, Any]] = {}
    with readers.read() as tx:
        for name in {json.loads(text)["storage"] for _, text in uploads}:
            place = {"storage": name}
            storages |= hooks.storages(tx, "transfer", {"from": place, "to": place})
    environment = {k: v for k, v in clean_environment(os.environ, "").items() if k != MARKER}
    command = [sys.executable, "-P", "-m", "executors.transferring.sweep", "--data", str(data_folder)]
    asked = json.dumps({"storages": storages, "uploads": [text for _, text in uploads]})
    try:
        done = subprocess.run(
            command,
            input=asked,
            capture_output=True,
            text=True,
            cwd="/",
            env=environment,
            timeout=SWEEP_SECONDS + _EXTRA_SECONDS,
            check=True,
        )
    except (subprocess.SubprocessError, OSError) as error:
        status = getattr(error, "returncode", None)
        _LOG.warning("uploads could not be aborted", uploads=len(uploads), status=status)
        return []
    return [uploads[index] for index in json.loads(done.stdout)["done"]]
