"""``/entrance/*``: submit, watch and steer one task. Each view is one call of the core and its words."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import psutil
from flask import Response, request

from common.errors import EntranceError, Forbidden, LogGone, NotStored, TaskEnded, TaskNotFound
from common.task import State, Task
from entrance.core.ids import parse_ref
from entrance.core.model import ActionItem
from entrance.dialects.linkis import query, submission, wire
from entrance.dialects.linkis.blueprint import LinkisBlueprint
from entrance.dialects.linkis.envelope import answer, message
from entrance.dialects.linkis.errors import LinkisError, permission_text
from entrance.dialects.linkis.schemas import KillJobs, Submit
from entrance.web.dialect import the_caller
from entrance.web.state import the_auth, the_core

blueprint = LinkisBlueprint("entrance", "Tasks: submit, watch, steer")

NO_STATUS = "Get job by ID error and cannot obtain the corresponding task status."
NO_PROGRESS = "The job corresponding to the ID is empty, and the corresponding task progress cannot be obtained."
NO_LOG = "Can't find execID: {} Corresponding job, can not get the corresponding log"
LOG_IS_GONE = (
    "The job you just executed has ended. This interface no longer provides a query. "
    "It is recommended that you download the log file for viewing."
)
NO_KILL = "Get job by ID error, kill failed."
KILLED = "Successfully killed the job"
ENDED_BEFORE_KILL = "The job already completed. Do not support kill."
FORCED = "Forced Kill task"
NO_PAUSE = "can not find the job of exexID :{} can not pause"
NO_MATCH = "execID and taskID do not match"

DEFAULT_LINES = 100
ALL_LINES = 10_000
MOST_LINES = 100_000  # of one answer, however short they are

_IDS = {"execID": "string: execution id", "taskID": "string: only when asked for by number"}
_PROGRESS = {
    "progress": "number: 0 to 1",
    "progressInfo": "array: one item for each stage",
    "bytesDone": "integer",
    "bytesTotal": "integer",
    "filesDone": "integer",
    "filesTotal": "integer",
    "bytesPerSecond": "number",
    "secondsLeft": "number",
    **_IDS,
}


# ---- submit -------------------------------------------------------------------------------------------------------


def _submit(body: Mapping[str, Any]) -> Response:
    wanted = submission.read(
        body,
        the_caller(),
        address=the_auth().address(request),
        idempotency_key=request.headers.get("Idempotency-Key", ""),
    )
    try:
        task = the_core().tasks.accept.submit(the_caller(), wanted)
    except NotStored as error:
        raise LinkisError("Persist jobRequest error, please submit again later", errno=20052, http=500) from error
    return answer({"execID": task.exec_id, "taskID": task.id, "jobId": task.uuid})


_SUBMITTED = {"execID": "string: execution id", "taskID": "integer: task number", "jobId": "string: UUID"}


@blueprint.on("/entrance/submit", ("POST",), data=_SUBMITTED)
@blueprint.arguments(Submit())
def submit(body: Mapping[str, Any]) -> Response:
    """Submit a task; it is stored when the answer comes."""
    return _submit(body)


@blueprint.on("/entrance/execute", ("POST",), data=_SUBMITTED)
@blueprint.arguments(Submit())
def execute(body: Mapping[str, Any]) -> Response:
    """The older name of submit."""
    return _submit(body)


# ---- watch --------------------------------------------------------------------------------------------------------


@blueprint.on(
    "/entrance/<ref>/status",
    data={
        "status": "string: Inited, Scheduled, Running, Succeed, Failed, Cancelled, Timeout",
        "paused": "boolean",
        "waitingRetry": "boolean",
        "priority": "integer",
        **_IDS,
    },
)
def status(ref: str) -> Response:
    """State of a task."""
    try:
        task = the_core().tasks.look.get(the_caller(), ref)
    except TaskNotFound as error:
        raise LinkisError(NO_STATUS, http=404) from error
    return answer({"status": wire.status_word(task), **wire.ids(task, ref), **wire.waits(task)})


@blueprint.on("/entrance/<ref>/progress", data=_PROGRESS)
def progress(ref: str) -> Response:
    """How far a task is."""
    return answer(_progress(ref)[1])


@blueprint.on("/entrance/<ref>/progressWithResource", data={"yarnMetrics": "object: resources", **_PROGRESS})
def progress_with_resource(ref: str) -> Response:
    """How far a task is, and what it uses."""
    task, data = _progress(ref)
    look, caller = the_core().tasks.look, the_caller()
    sample = look.resources(caller, task.id)
    recent = look.metrics(caller, task.id, sample.at - 1) if sample else ()
    cores, memory = _machine()
    used = recent[-1].cpu if recent else 0.0
    return answer({**wire.resources(task, sample, used, machine_cores=cores, machine_bytes=memory), **data})


def _progress(ref: str) -> tuple[Task, dict[str, Any]]:
    try:
        report = the_core().tasks.look.progress(the_caller(), ref)
    except TaskNotFound as error:
        raise LinkisError(NO_PROGRESS, http=404) from error
    return report.task, {**wire.progress(report), **wire.ids(report.task, ref)}


@lru_cache(maxsize=1)
def _machine() -> tuple[int, int]:
    return os.cpu_count() or 1, psutil.virtual_memory().total


@blueprint.on(
    "/entrance/<ref>/log",
    query={
        "fromLine": "integer: number of lines already read",
        "size": "integer: most lines to return, 100 when missing, 10000 when negative",
        "distinctLevel": "string: false for one text instead of four",
    },
    data={"log": "array: [error, warn, info, all]", "fromLine": "integer: what to send next time", **_IDS},
)
def log(ref: str) -> Response:
    """Lines of a task's log."""
    first = max(0, query.integer("fromLine", 0))
    size = query.integer("size", DEFAULT_LINES)
    size = min(ALL_LINES if size < 0 else size, MOST_LINES)
    core, caller = the_core(), the_caller()
    try:
        task = core.tasks.look.get(caller, ref)
    except TaskNotFound as error:
        raise LinkisError(NO_LOG.format(ref), http=404) from error
    try:
        page = core.tasks.look.log_of(task, first, size, core.settings.limits.log_answer_bytes)
    except LogGone as error:
        raise LinkisError(LOG_IS_GONE, data=wire.ids(task, ref)) from error
    except OSError as error:
        data = {"log": "", "fromLine": first, **wire.ids(task, ref)}
        raise LinkisError("Failed to get log information", data=data) from error
    by_level = request.args.get("distinctLevel") != "false"
    text = wire.log_by_level(page) if by_level else wire.log_as_text(page)
    return answer({"log": text, "fromLine": page.next_line, **wire.ids(task, ref)})


# ---- steer --------------------------------------------------------------------------------------------------------


@blueprint.on("/entrance/<ref>/kill", ("GET", "POST"), data=_IDS, changes=True)
def kill(ref: str) -> Response:
    """End a task, for ever. Its processes are gone when the answer comes, or 2 s later at most."""
    try:
        task = the_core().tasks.steer.kill(the_caller(), ref)
    except TaskNotFound as error:
        raise LinkisError(NO_KILL, http=404) from error
    except TaskEnded as error:
        raise LinkisError(ENDED_BEFORE_KILL) from error
    except Forbidden:
        raise
    except EntranceError as error:
        raise _kill_failed(error) from error
    return answer(wire.ids(task, ref), KILLED)


def _kill_failed(error: EntranceError) -> LinkisError:
    text = f"An exception occurred while killing the job, kill failed with error:{error}"
    return LinkisError(text, http=error.http_status if error.http_status >= 500 else 400)


@blueprint.on("/entrance/<ref>/killJobs", ("POST",), data={"messages": "array: one envelope for each item"})
@blueprint.arguments(KillJobs())
def kill_jobs(body: Mapping[str, Any], ref: str) -> Response:
    """End several tasks; one answer for each, in their order."""
    refs, numbers = body.get("idList"), body.get("taskIDList")
    if not isinstance(refs, list) or not isinstance(numbers, list):
        raise LinkisError("Request parameter error, please use array")
    if len(refs) != len(numbers):
        raise LinkisError("The length of the ID list does not match the length of the TASKID list")
    limit = the_core().settings.limits.kill_items
    if len(refs) > limit:
        raise LinkisError(f"At most {limit} jobs can be killed at once")
    faults = [_pair_fault(r, n) for r, n in zip(refs, numbers, strict=True)]
    good = list(dict.fromkeys(str(r) for r, fault in zip(refs, faults, strict=True) if fault is None))
    done = dict(zip(good, the_core().tasks.steer.kill_many(the_caller(), good) if good else (), strict=True))
    items = [
        _kill_item(str(r), done[str(r)]) if fault is None else _item(str(r), {"execID": str(r)}, fault, 1)
        for r, fault in zip(refs, faults, strict=True)
    ]
    if items and len(done) == len(set(map(str, refs))) and all(isinstance(i.error, Forbidden) for i in done.values()):
        return answer({"messages": items}, items[0]["message"], status=1, http=403)
    return answer({"messages": items}, "success")


def _pair_fault(ref: Any, number: Any) -> str | None:
    """Return what is wrong with one position of the two lists."""
    if isinstance(ref, bool) or not isinstance(ref, (str, int)):
        return NO_KILL
    named = parse_ref(ref)
    if named is None:
        return NO_KILL
    if named.task_id is None:
        return None  # a UUID says nothing of the number
    digits = isinstance(number, (int, str)) and not isinstance(number, bool) and str(number).strip()
    other = parse_ref(digits) if digits else None
    return None if other is not None and other.exec_id is None and other.task_id == named.task_id else NO_MATCH


def _item(ref: str, data: Mapping[str, Any], text: str, status: int) -> dict[str, Any]:
    return message(f"/api/entrance/{ref}/kill", data, text, status)


def _kill_item(ref: str, item: ActionItem) -> dict[str, Any]:
    data = {"execID": item.task.exec_id if item.task is not None else ref}
    match item.error:
        case None:
            return _item(ref, data, KILLED, 0)
        case TaskEnded(state=State.CANCELLED):
            return _item(ref, data, KILLED, 0)
        case TaskEnded():
            return _item(ref, data, FORCED, 0)
        case TaskNotFound():
            return _item(ref, data, NO_KILL, 1)
        case Forbidden(owner=owner):
            return _item(ref, data, permission_text("kill", owner), 1)
        case error:
            return _item(ref, data, str(_kill_failed(error)), 1)


@blueprint.on("/entrance/<ref>/pause", ("GET", "POST"), data=_IDS, changes=True)
def pause(ref: str) -> Response:
    """Stop a task, keeping the work done."""
    try:
        task = the_core().tasks.steer.pause(the_caller(), ref)
    except TaskNotFound as error:
        raise LinkisError(NO_PAUSE.format(ref), http=404) from error
    except TaskEnded as error:
        raise LinkisError("Abnormal when pausing job, pause failed: the job already completed") from error
    return answer(wire.ids(task, ref), "success to pause job")


@blueprint.on("/entrance/<ref>/resume", ("GET", "POST"), data=_IDS, changes=True)
def resume(ref: str) -> Response:
    """Let a paused task go on."""
    try:
        task = the_core().tasks.steer.resume(the_caller(), ref)
    except TaskNotFound as error:
        raise LinkisError(f"can not find the job of exexID :{ref} can not resume", http=404) from error
    except TaskEnded as error:
        raise LinkisError("Abnormal when resuming job, resume failed: the job already completed") from error
    return answer(wire.ids(task, ref), "success to resume job")
