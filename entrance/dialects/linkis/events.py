"""``/events``: one stream of server-sent events for a client: tasks that changed, and the tails of logs that it asks for.

    id: 7
    event: tasks
    data: [{"taskID": 17, "execID": "...", "status": "Running", ...}]

``tasks`` holds what the caller may see of the tasks that changed since the event before, each once, as it stands now.
``missed``: more changed than could be told one by one, read the list anew. ``log``: lines of a log that was asked for with
``log=TASK:FROMLINE`` (repeatable), in order, each once; ``fromLine`` is what to ask for after a break. ``logEnd``: the task
has ended and all its lines were sent. A comment comes every 15 s. The stream ends when the login does, or the service.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from flask import Response, request, stream_with_context

from common.errors import BadInput, EntranceError, NotLoggedIn
from common.task import Task
from entrance.core.events import ALL, Subscription
from entrance.core.model import Caller
from entrance.dialects.linkis import wire
from entrance.dialects.linkis.blueprint import LinkisBlueprint
from entrance.dialects.linkis.door import caller_of
from entrance.dialects.linkis.envelope import encode
from entrance.web.core import Core
from entrance.web.dialect import the_caller
from entrance.web.errors import TooManyStreams
from entrance.web.state import the_core, the_web

blueprint = LinkisBlueprint("events", "What happens, as it happens")

BEAT_SECONDS = 15.0  # between signs of life; the login is looked at anew with each
TICK_SECONDS = 0.5  # between looks at the logs that are followed
GATHER_SECONDS = 0.05  # changes so close together are told in one event
MOST_TASKS = 1000  # in one event
MOST_TAILS = 16
MOST_LINES = 1000  # of one event
MOST_STREAMS = 32  # of one user


@blueprint.on("/events", query={"log": "string: TASK:FROMLINE, repeatable"})
def events() -> Response:
    """A stream of server-sent events."""
    core, caller, streams = the_core(), the_caller(), the_web().streams
    tails = [_tail(core, caller, text) for text in request.args.getlist("log")]
    if len(tails) > MOST_TAILS:
        raise BadInput(f"log: at most {MOST_TAILS} of them")
    if streams[caller.name] >= MOST_STREAMS:
        raise TooManyStreams(MOST_STREAMS)
    body = stream_with_context(_stream(core, caller, tails, streams))
    response = Response(body, content_type="text/event-stream; charset=utf-8")
    response.headers["X-Accel-Buffering"] = "no"
    return response


@dataclass
class _Tail:
    """A log that is followed."""

    task_id: int
    next_line: int


def _tail(core: Core, caller: Caller, text: str) -> _Tail:
    ref, _, line = text.rpartition(":")
    if not ref or not (line.isascii() and line.isdigit() and len(line) <= 18):
        raise BadInput("log: must be TASK:FROMLINE")
    return _Tail(core.tasks.look.get(caller, ref).id, int(line))


def _stream(core: Core, caller: Caller, tails: list[_Tail], streams: Counter[str]) -> Iterator[bytes]:
    number = 0

    def event(kind: str, data: Any) -> bytes:
        nonlocal number
        number += 1
        return f"id: {number}\nevent: {kind}\ndata: {encode(data)}\n\n".encode("utf-8", "replace")

    subscription = core.events.subscribe()
    streams[caller.name] += 1
    try:
        yield b": welcome\n\n"
        beat = time.monotonic() + BEAT_SECONDS
        while not core.tasks.accept.closing:
            changed = _changed(subscription)
            if ALL in changed:
                yield event("missed", {})
            rows = [row for task_id in changed if (row := _row(core, caller, task_id)) is not None]
            for first in range(0, len(rows), MOST_TASKS):
                yield event("tasks", rows[first : first + MOST_TASKS])
            for tail in list(tails):
                lines, ended = _lines(core, caller, tail)
                if lines is not None:
                    yield event("log", lines)
                if ended:
                    tails.remove(tail)
                    yield event("logEnd", {"taskID": tail.task_id, "fromLine": tail.next_line})
            if time.monotonic() >= beat:
                caller_of(request)
                beat = time.monotonic() + BEAT_SECONDS
                yield b": beat\n\n"
    except NotLoggedIn:
        yield event("goodbye", {"message": "You are not logged in, please login first!"})
    finally:
        core.events.unsubscribe(subscription)
        streams[caller.name] -= 1


def _changed(subscription: Subscription) -> dict[int, None]:
    """Return the tasks that changed, each once, in their order; waits at most a tick for the first."""
    changed: dict[int, None] = {}
    task_id = subscription.get(TICK_SECONDS)
    until = time.monotonic() + GATHER_SECONDS
    while task_id is not None and len(changed) < MOST_TASKS:
        changed[task_id] = None
        task_id = subscription.get(max(0.0, until - time.monotonic()))
    return changed


def _row(core: Core, caller: Caller, task_id: int) -> dict[str, Any] | None:
    """Return what the caller may know of a task; None = nothing."""
    if task_id == ALL:
        return None
    try:
        task: Task = core.tasks.look.get(caller, task_id)
    except EntranceError:
        return None
    return {
        "taskID": task.id,
        "execID": task.exec_id,
        "parentTaskID": task.parent_id,
        "status": wire.status_word(task),
        "umUser": task.user,
        "requestApplicationName": task.creator,
        "executeApplicationName": task.executor,
        "updatedTime": task.updated_at,
        **wire.waits(task),
    }


def _lines(core: Core, caller: Caller, tail: _Tail) -> tuple[dict[str, Any] | None, bool]:
    """Return new lines of a log (None = there are none) and whether there will be no more."""
    try:
        ended = core.tasks.look.get(caller, tail.task_id).state.final
        page = core.tasks.look.log(caller, tail.task_id, tail.next_line, MOST_LINES)
    except EntranceError:
        return None, True
    if not page.lines:
        return None, ended
    tail.next_line = page.next_line
    data = {
        "taskID": tail.task_id,
        "lines": list(page.lines),
        "levels": list(page.levels),
        "fromLine": page.next_line,
    }
    return data, False
