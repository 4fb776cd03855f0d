"""``/jobhistory/*``: tasks as rows, one or many; and the small list of executors that the console's filter needs."""

from __future__ import annotations

from collections.abc import Sequence

from flask import Response

from common.errors import Forbidden, TaskNotFound
from common.task import Task
from entrance.core.model import Caller, Filter
from entrance.dialects.linkis import query, wire
from entrance.dialects.linkis.blueprint import LinkisBlueprint
from entrance.dialects.linkis.envelope import answer
from entrance.dialects.linkis.errors import LinkisError
from entrance.web.dialect import the_caller
from entrance.web.state import the_core

blueprint = LinkisBlueprint("jobhistory", "Tasks as rows")

DAY_MS = 86_400_000
NOT_FOUND = "The corresponding job was not found, or there may be no permission to view the job"
MOST_IDS = 30

_FILTERS = {
    "startDate": "integer: created from, ms",
    "endDate": "integer: created to, ms",
    "status": "string: comma list of states",
    "pageNow": "integer: from 1",
    "pageSize": "integer: 20 when missing",
    "taskID": "integer",
    "executeApplicationName": "string: executor",
    "creator": "string",
    "proxyUser": "string: user, with isAdminView",
    "isAdminView": "boolean: tasks of all users, for administrators",
    "instance": "string: host:port",
    "text": "string: part of user, creator, executor or reason, or an id (ours)",
    "parentTaskID": "integer: children of a task (ours)",
    "topLevel": "boolean: without children (ours)",
}
_PAGE = {"tasks": "array: newest first", "totalPage": "integer: number of rows"}


@blueprint.on("/jobhistory/<ref>/get", data={"task": "object"})
def get(ref: str) -> Response:
    """One task."""
    try:
        task = the_core().tasks.look.get(the_caller(), ref)
    except (TaskNotFound, Forbidden) as error:
        raise LinkisError(NOT_FOUND, http=404) from error
    return answer({"task": rows([task])[0]})


@blueprint.on("/jobhistory/list", query=_FILTERS, data=_PAGE)
def list_() -> Response:
    """A page of tasks."""
    which = _filter(the_caller(), query.text("status"))
    return _page(which)


@blueprint.on(
    "/jobhistory/listundonetasks",
    query={
        "status": f"string: {wire.UNDONE} when missing",
        "startDate": "integer: the last 24 hours when missing",
        "endDate": "integer",
        "startTaskID": "integer: exact, in spite of its name",
        "engineType": "string: executor",
        "creator": "string",
        "pageNow": "integer",
        "pageSize": "integer",
    },
    data=_PAGE,
)
def list_undone_tasks() -> Response:
    """A page of tasks that have not ended."""
    return _page(_undone())


@blueprint.on("/jobhistory/listundone", query={"engineType": "string"}, data={"totalPage": "integer: number of rows"})
def list_undone() -> Response:
    """How many tasks have not ended."""
    return answer({"totalPage": the_core().tasks.look.page(the_caller(), _undone(), 0, 1).total})


@blueprint.on("/jobhistory/list-taskids", query={"taskID": "string: comma list"}, data={"jobHistoryList": "array"})
def list_task_ids() -> Response:
    """Tasks by their numbers; those that are unknown or of others are left out."""
    given = query.text("taskID")
    if given is None:
        raise LinkisError("Invalid taskID cannot be empty")
    if not all(c in "0123456789," for c in given):
        raise LinkisError("TaskID contains illegal characters")
    numbers = list(dict.fromkeys(int(part[:18]) for part in given.split(",") if part))
    if len(numbers) > MOST_IDS:
        raise LinkisError(f"TaskID size cannot exceed {MOST_IDS}")
    caller = the_caller()
    found = the_core().tasks.look.page(caller, Filter(ids=numbers, all_users=caller.admin), 0, MOST_IDS).tasks
    return answer({"jobHistoryList": rows(found)})


@blueprint.on(
    "/jobhistory/governanceStationAdmin",
    data={"admin": "boolean", "historyAdmin": "boolean", "deptAdmin": "boolean", "errorMsgTip": "string"},
)
def governance_station_admin() -> Response:
    """Whether the caller is an administrator."""
    admin = the_caller().admin
    return answer({"admin": admin, "historyAdmin": admin, "deptAdmin": False, "errorMsgTip": ""})


@blueprint.on("/configuration/engineType", data={"engineType": "array: executors"})
def engine_types() -> Response:
    """Names of the executors."""
    return answer({"engineType": [e["name"] for e in the_core().tasks.look.executors()]})


# ---- filters ------------------------------------------------------------------------------------------------------


def _filter(caller: Caller, status: str | None) -> Filter | None:
    """Return what the query selects, None for nothing at all."""
    executor = query.plain_name("executeApplicationName", "applicationName")
    creator = query.plain_name("creator", "creator")
    instance = (
        query.plain_name("instance", "instances") if ":" not in (query.text("instance") or "") else query.text("instance")
    )
    admin_view = caller.admin and query.flag("isAdminView")
    if query.text("engineInstance") or (instance is not None and instance != the_core().instance):
        return None
    start, end = query.optional_integer("startDate"), query.optional_integer("endDate")
    task_id = query.optional_integer("taskID")
    states, words = wire.selected(status.split(",")) if status else (None, [])
    return Filter(
        ids=None if task_id is None else [task_id],
        states=states,
        words=words,
        user=query.text("proxyUser") if admin_view else None,
        all_users=admin_view,
        creator=creator,
        executor=executor,
        created_from=start,
        created_to=_end(start, end),
        parent_id=query.optional_integer("parentTaskID"),
        top_level=query.flag("topLevel"),
        text=query.text("text"),
    )


def _undone() -> Filter:
    start, end = query.optional_integer("startDate"), query.optional_integer("endDate")
    task_id = query.optional_integer("startTaskID")
    states, words = wire.selected((query.text("status") or wire.UNDONE).split(","))
    return Filter(
        ids=None if task_id is None else [task_id],
        states=states,
        words=words,
        creator=query.plain_name("creator", "creator"),
        executor=query.plain_name("engineType", "applicationName"),
        created_from=the_core().clock.now() - DAY_MS if start is None else start,
        created_to=_end(start, end),
    )


def _end(start: int | None, end: int | None) -> int | None:
    """Return the exclusive end of a span whose given end is inclusive; equal ends mean one day."""
    if end is None:
        return None
    return end + (DAY_MS if end == start else 1)


def _page(which: Filter | None) -> Response:
    """Return a page; one beyond the last shows the last."""
    core, caller = the_core(), the_caller()
    page, size = max(1, query.integer("pageNow", 1)), query.integer("pageSize", 20)
    size = min(size if size > 0 else 20, core.settings.limits.list_page)
    if which is None:
        return answer({"tasks": [], "totalPage": 0})
    found = core.tasks.look.page(caller, which, (page - 1) * size, size)
    if not found.tasks and found.total:
        found = core.tasks.look.page(caller, which, (found.total - 1) // size * size, size)
    return answer({"tasks": rows(found.tasks), "totalPage": found.total})


def rows(tasks: Sequence[Task]) -> list[wire.Wire]:
    """Return tasks as the history shows them."""
    core = the_core()
    now = core.clock.now()
    records = core.tasks.look.submissions(the_caller(), tasks)
    return [
        wire.history_row(task, record, core.tasks.look.progress_of(task).fraction, instance=core.instance, now=now)
        for task, record in zip(tasks, records, strict=True)
    ]
