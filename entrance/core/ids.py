"""The three names of a task: its number, its execution id and its UUID. Each is valid for ever.

An execution id tells its own lengths, in characters (Linkis' "strong execution id")::

    exec_id 018 014 linkis-cg-entrance localhost:9104 IDE_alice_scan_2
            |   |   application        instances      short id: {creator}_{user}_{executor}_{number}
            |   length of the instances
            length of the application's name

The number at the end is the task's number, so an id leads to its row and is never given twice. Creator, user and executor
may hold ``_``: only the last one counts, and the whole text is compared with the stored one afterwards. Host and port are
not checked: an id that was made before a move still works.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

Ref = int | str  # a task as a request names it

APPLICATION = "linkis-cg-entrance"
_PREFIX = "exec_id"
_MAX_ID = (1 << 63) - 1  # what a row id can hold
_MAX_TEXT = 4096  # no id that we gave is longer
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


@dataclass(frozen=True, kw_only=True)
class TaskRef:
    """What a text says of a task: a number, a number with the execution id that must be stored with it, or a UUID."""

    task_id: int | None = None
    exec_id: str | None = None
    uuid: str | None = None


def build_exec_id(creator: str, user: str, executor: str, task_id: int, host_port: str) -> str:
    """Return the execution id of a task; ``host_port`` names the service (999 characters at most)."""
    short = short_id(creator, user, executor, task_id)
    return f"{_PREFIX}{len(APPLICATION):03d}{len(host_port):03d}{APPLICATION}{host_port}{short}"


def short_id(creator: str, user: str, executor: str, task_id: int) -> str:
    """Return the part of an execution id that names the task within its service."""
    return f"{creator}_{user}_{executor}_{task_id}"


def parse_ref(ref: int | str) -> TaskRef | None:
    """Read a number, an execution id or a UUID. None = it cannot name a task of ours (malformed ids too): unknown."""
    if isinstance(ref, int):
        return TaskRef(task_id=ref) if 0 < ref <= _MAX_ID else None
    number = _number(ref)
    if number is not None:
        return TaskRef(task_id=number)
    if ref.startswith(_PREFIX):
        return _parse_exec_id(ref)
    lower = ref.lower()
    return TaskRef(uuid=lower) if _UUID.fullmatch(lower) else None


def _number(text: str) -> int | None:
    if not (0 < len(text) <= 19 and text.isascii() and text.isdigit()):
        return None
    value = int(text)
    return value if 0 < value <= _MAX_ID else None


def _parse_exec_id(text: str) -> TaskRef | None:
    if len(text) > _MAX_TEXT:
        return None
    lengths = text[len(_PREFIX) : len(_PREFIX) + 6]
    if len(lengths) != 6 or not (lengths.isascii() and lengths.isdigit()):
        return None
    short = text[len(_PREFIX) + 6 + int(lengths[:3]) + int(lengths[3:]) :]
    number = _number(short.rpartition("_")[2])
    return None if number is None else TaskRef(task_id=number, exec_id=text)
