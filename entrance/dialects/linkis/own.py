"""Endpoints of our own in Linkis' envelope: what the console and the command line need beside Linkis' own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask import Response

from common.errors import BadInput, TaskEnded, TaskNotFound
from common.task import Priority as Level
from common.task import Task
from entrance.core.model import ActionItem, Filter
from entrance.dialects.linkis import query, wire
from entrance.dialects.linkis.blueprint import LinkisBlueprint
from entrance.dialects.linkis.envelope import answer
from entrance.dialects.linkis.errors import LinkisError, in_linkis_words, permission_text
from entrance.dialects.linkis.history import rows
from entrance.dialects.linkis.schemas import Actions, Priority
from entrance.web.dialect import the_caller
from entrance.web.state import the_core

CHILDREN = 500  # in one answer

blueprint = LinkisBlueprint("own", "Beyond Linkis")


# ---- one task -----------------------------------------------------------------------------------------------------


@blueprint.on("/entrance/<ref>/priority", ("POST",), data={"priority": "integer", "execID": "string"})
@blueprint.arguments(Priority())
def priority(body: Mapping[str, Any], ref: str) -> Response:
    """Change the priority of a task that has not ended; its children follow."""
    try:
        task = the_core().tasks.steer.set_priority(the_caller(), ref, _priority(body["priority"]))
    except TaskEnded as error:
        raise LinkisError("the job already completed") from error
    return answer({"priority": task.priority, **wire.ids(task, ref)})


def _priority(value: Any) -> int:
    """Return a priority given as number, digits or name of a level. Raises BadInput."""
    text = str(value).strip().upper() if isinstance(value, (int, str)) and not isinstance(value, bool) else ""
    if text in Level.__members__:
        return int(Level[text])
    if text.isascii() and text.isdigit() and len(text) <= 4 and int(text) <= Level.CRITICAL:
        return int(text)
    raise BadInput(f"priority must be 0 to {int(Level.CRITICAL)} or one of {', '.join(Level.__members__)}")


@blueprint.on(
    "/entrance/<ref>/children",
    query={"pageNow": "integer: from 1", "pageSize": f"integer: {CHILDREN} when missing, and at most"},
    data={"tasks": "array: as in jobhistory/list, oldest first", "totalPage": "integer: number of children"},
)
def children(ref: str) -> Response:
    """The children of a task."""
    size = min(max(1, query.integer("pageSize", CHILDREN)), CHILDREN)
    offset = (max(1, query.integer("pageNow", 1)) - 1) * size
    found = the_core().tasks.look.children(the_caller(), ref, offset, size)
    return answer({"tasks": rows(found.tasks), "totalPage": found.total})


@blueprint.on("/entrance/<ref>/attempts", data={"attempts": "array: oldest first"})
def attempts(ref: str) -> Response:
    """Each run of a task in a process."""
    found = the_core().tasks.look.attempts(the_caller(), ref)
    return answer(
        {
            "attempts": [
                {
                    "attempt": a.number,
                    "startTime": a.started_at,
                    "endTime": a.ended_at,
                    "end": a.ending,
                    "reason": a.reason,
                    "doneAtStart": a.done_at_start,
                    "doneAtEnd": a.done_at_end,
                    "maxRss": a.max_rss_bytes,
                    "cpuSeconds": a.cpu_seconds,
                }
                for a in found
            ]
        }
    )


@blueprint.on("/entrance/<ref>/history", data={"history": "array: oldest first"})
def history(ref: str) -> Response:
    """Each change of state, with time, reason and who caused it."""
    found = the_core().tasks.look.history(the_caller(), ref)
    return answer({"history": [{"time": h.at, "state": h.state.value, "reason": h.reason, "who": h.who} for h in found]})


@blueprint.on(
    "/entrance/<ref>/metrics", query={"since": "integer: ms"}, data={"metrics": "array: at most 720 points, oldest first"}
)
def metrics(ref: str) -> Response:
    """Resources over time."""
    found = the_core().tasks.look.metrics(the_caller(), ref, max(0, query.integer("since", 0)))
    return answer(
        {
            "metrics": [
                {
                    "t": m.t,
                    "rss": m.rss,
                    "cpu": m.cpu,
                    "readBytes": m.read_bytes,
                    "writtenBytes": m.written_bytes,
                    "rate": m.rate,
                }
                for m in found
            ]
        }
    )


# ---- many tasks ---------------------------------------------------------------------------------------------------


@blueprint.on("/entrance/actions", ("POST",), data={"count": "integer", "items": "array: one for each task"})
@blueprint.arguments(Actions())
def actions(body: Mapping[str, Any]) -> Response:
    """Kill, pause, resume, reprioritise or rerun many: those named, or those that a filter selects."""
    which: Filter | list[int | str]
    given, chosen = body.get("ids"), body.get("filter")
    if (given is None) == (chosen is None):
        raise BadInput("give either ids or filter")
    if given is not None:
        limit = the_core().settings.limits.kill_items
        if len(given) > limit:
            raise BadInput(f"ids: at most {limit} at once")
        which = list(dict.fromkeys(_ref(i) for i in given))
    else:
        which = _filter(chosen or {})
    level = _priority(body["priority"]) if body["action"] == "priority" else None
    count, items = the_core().tasks.steer.act(
        the_caller(), body["action"], which, priority=level, expect=body.get("expect"), dry_run=body["dryRun"]
    )
    return answer({"count": count, "items": [_item(i) for i in items]})


def _ref(value: Any) -> int | str:
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise BadInput("ids: must be task numbers, execution ids or UUIDs")
    return value


_FILTER_KEYS = {
    "status": str,
    "creator": str,
    "executor": str,
    "user": str,
    "text": str,
    "startDate": int,
    "endDate": int,
    "parentTaskID": int,
    "isAdminView": bool,
    "topLevel": bool,
}


def _filter(given: Mapping[str, Any]) -> Filter:
    """Return the filter of an action; a key that is not known is an error here, since it would widen what is killed."""
    for key, value in given.items():
        kind = _FILTER_KEYS.get(key)
        if kind is None:
            raise BadInput(f"filter.{key}: unknown; there are: {', '.join(_FILTER_KEYS)}")
        if value is not None and type(value) is not kind:
            raise BadInput(f"filter.{key}: must be {_KINDS[kind]}")
    caller = the_caller()
    everyone = caller.admin and bool(given.get("isAdminView"))
    if not everyone and given.get("user") not in (None, "", caller.name):
        raise BadInput("filter.user: tasks of others are an administrator's, with isAdminView")
    status = given.get("status") or None
    states, words = wire.selected(status.split(",")) if status else (None, [])
    end = given.get("endDate")
    return Filter(
        states=states,
        words=words,
        user=(given.get("user") or None) if everyone else None,
        all_users=everyone,
        creator=given.get("creator") or None,
        executor=given.get("executor") or None,
        created_from=given.get("startDate"),
        created_to=None if end is None else end + 1,
        parent_id=given.get("parentTaskID"),
        top_level=bool(given.get("topLevel")),
        text=given.get("text") or None,
    )


_KINDS = {str: "a text", int: "an integer", bool: "true or false"}


def _item(item: ActionItem) -> dict[str, Any]:
    text = "OK"
    match item.error:
        case None:
            pass
        case TaskNotFound():
            text = "there is no such task"
        case error if owner := getattr(error, "owner", ""):
            text = permission_text(getattr(error, "verb", "view"), owner)
        case error:
            text = str(in_linkis_words(error) or error)
    task: Task | None = item.task
    return {
        "id": item.ref,
        "taskID": None if task is None else task.id,
        "execID": None if task is None else task.exec_id,
        "state": None if task is None else wire.status_word(task),
        "paused": task is not None and bool(wire.waits(task)["paused"]),
        "status": 0 if item.error is None else 1,
        "message": text,
    }


# ---- the service --------------------------------------------------------------------------------------------------


@blueprint.on("/executors", data={"executors": "array: name, summary, JSON schema of the parameters, result columns"})
def executors() -> Response:
    """What kinds of work there are."""
    return answer({"executors": list(the_core().tasks.look.executors())})


@blueprint.on(
    "/service/queue",
    data={
        "slots": "number: cores",
        "slotsUsed": "number: cores",
        "online": "boolean",
        "waiting": "integer",
        "running": "integer",
        "groups": "array",
        "held": "object: executors whose tasks cannot be run now, and why",
    },
)
def queue() -> Response:
    """What waits and what runs; the groups of others only for administrators."""
    info, caller = the_core().tasks.look.queue(), the_caller()
    groups = [
        {"group": name, "waiting": waiting, "running": running}
        for name, waiting, running in info.groups
        if caller.admin or name.rpartition("_")[0].endswith(f"_{caller.name}")
    ]
    return answer(
        {
            "slots": info.slots,
            "slotsUsed": info.slots_used,
            "online": info.online,
            "waiting": info.waiting,
            "running": info.running,
            "groups": groups,
            "held": dict(info.held),
        }
    )


@blueprint.on("/service/workers", data={"workers": "array: attempts that run now"})
def workers() -> Response:
    """What runs now, and what it uses; that of others only for administrators."""
    caller = the_caller()
    return answer(
        {
            "workers": [
                {
                    "taskID": w.task_id,
                    "attempt": w.attempt,
                    "executor": w.executor,
                    "user": w.user,
                    "startTime": w.started_at,
                    "cores": w.cores,
                    "rss": w.sample.rss if w.sample else None,
                    "cpuSeconds": w.sample.cpu_seconds if w.sample else None,
                    "processes": w.sample.processes if w.sample else None,
                }
                for w in the_core().tasks.look.workers()
                if caller.admin or w.user == caller.name
            ]
        }
    )
