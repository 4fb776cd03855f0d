"""What a task process does: load the executor, run it, report the end. Every launcher ends in ``run``.

returned rows           succeeded
StopRequested           stopped
an EntranceError        failed, in its words; MayPass and its kind may pass
no space, no memory     failed, in a sentence; may pass, unless it is the task's own limit that it broke
anything else           failed; a bug, its traceback is in the task's log
"""

from __future__ import annotations

import errno
import json
import traceback
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from common.content.sizes import show_size
from common.errors import EntranceError, ExecutorError, MayPass
from executors import registry
from executors.base import Executor, StopRequested
from executors.channel import Channel, ChannelClosed, encode
from executors.context import ChannelContext
from executors.launchers.base import Attempt, End, Ending

MAX_RESULT_ROWS = 10_000
_dump = json.JSONEncoder(default=str).encode
_NO_SPACE = {errno.ENOSPC: "no space left on the device", errno.EDQUOT: "the disk quota is used up"}
_SQLITE = {13: _NO_SPACE[errno.ENOSPC], 10: "a file of rows cannot be read or written"}  # sqlite.org/rescode.html


def run(attempt: Attempt, channel: Channel) -> End:
    """Run ``attempt`` in this process and thread; send its events and its end over ``channel``, and return the end.

    Never raises for what the executor does.
    """
    context: ChannelContext | None = None
    try:
        executor = registry.get(attempt.executor)
        context = ChannelContext(attempt, dict(attempt.params), channel)
        rows = _result(executor, executor.run(context))
        channel.cork()  # its last words and its end are one piece
        context.finish(rows=True)
        end = End(ending=Ending.SUCCEEDED, rows=rows)
    except BaseException as error:
        end = _end_of(error, attempt, context)
    try:
        if context is not None and end.ending is not Ending.SUCCEEDED:
            context.finish(rows=False)
        end = _send(end, channel)
        channel.uncork()
    except (StopRequested, ChannelClosed):
        pass  # nobody listens any more
    return end


def _result(executor: Executor, rows: Sequence[Sequence[Any]] | None) -> list[list[Any]]:
    """Return the result rows as they are stored: None becomes one row ``ok``."""
    width = len(executor.columns)
    if rows is None:
        return [["ok"] + [None] * (width - 1)]
    if len(rows) > MAX_RESULT_ROWS:
        raise ExecutorError(f"{len(rows)} result rows are more than {MAX_RESULT_ROWS}")
    if wrong := [len(row) for row in rows if len(row) != width]:
        raise ExecutorError(f"a result row has {wrong[0]} values, there are {width} columns")
    return [list(row) for row in rows]


def _end_of(error: BaseException, attempt: Attempt, context: ChannelContext | None) -> End:
    match error:
        case StopRequested():
            return End(ending=Ending.STOPPED)
        case EntranceError():
            return _failed(str(error), may_pass=isinstance(error, MayPass))
        case MemoryError():
            limit = attempt.limits.memory_bytes
            reason = f"it used more than {show_size(limit)} of memory" if limit else "the machine ran out of memory"
            return _failed(reason, may_pass=not limit)
        case OSError(errno=errno.EMFILE):
            files = attempt.limits.open_files
            reason = f"it had more than {files} files open" if files else "it had more files open than the machine allows"
            return _failed(reason, may_pass=not files)
        case OSError() if error.errno in _NO_SPACE:
            return _failed(_NO_SPACE[error.errno], may_pass=True)
        case Exception() if (kind := getattr(error, "sqlite_errorcode", 0) & 0xFF) in _SQLITE:
            return _failed(_SQLITE[kind], may_pass=True)
        case SystemExit():
            return _failed("the executor called exit", may_pass=False)
    if context is not None:
        _say("".join(traceback.format_exception(error)), context)
    return _failed(traceback.format_exception_only(error)[-1].strip(), may_pass=False)


def _failed(reason: str, *, may_pass: bool) -> End:
    return End(ending=Ending.FAILED, reason=reason, may_pass=may_pass)


def _say(text: str, context: ChannelContext) -> None:
    with suppress(StopRequested):  # nobody listens any more
        context.log(text, "ERROR")


def _send(end: End, channel: Channel) -> End:
    """Send the end, or what it becomes when its rows are too large to be sent; return what was sent."""
    try:
        data = _frame(end)
    except ValueError:
        end = _failed("the result rows are too large", may_pass=False)
        data = _frame(end)
    channel.send(data)
    return end


def _frame(end: End) -> bytes:
    body = b"" if end.rows is None else _dump(end.rows).encode()
    header = {"t": "end", "ending": end.ending, "reason": end.reason, "may_pass": end.may_pass}
    return encode(header, body)
