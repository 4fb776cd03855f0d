"""``/entrance/operation/*``: figures for people who look after the service, and taking it out of use."""

from __future__ import annotations

from flask import Response

from common.task import OPEN, State
from entrance.core.access import check_admin
from entrance.core.model import Caller, Filter
from entrance.dialects.linkis import query
from entrance.dialects.linkis.blueprint import LinkisBlueprint
from entrance.dialects.linkis.envelope import answer
from entrance.dialects.linkis.errors import LinkisError
from entrance.web.dialect import the_caller
from entrance.web.state import the_core

blueprint = LinkisBlueprint("operation", "The service itself")

_EVERYONE = Caller(name="", admin=True)  # counts only: no caller sees a task through it


def _count(which: Filter) -> int:
    return the_core().tasks.look.page(_EVERYONE, which, 0, 1).total


@blueprint.on(
    "/entrance/operation/metrics/taskinfo",
    query={"user": "string", "creator": "string", "ecType": "string: executor"},
    data={
        "taskNumber": "integer",
        "runningNumber": "integer",
        "queuedNumber": "integer",
        "creatorECTypeMaxRunningJobs": "integer: only with creator and ecType",
        "limitExceeded": "boolean: only with creator and ecType",
    },
)
def task_info() -> Response:
    """Tasks that have not ended, of the caller; of another user or of all for administrators."""
    caller, user = the_caller(), query.text("user")
    if user is not None and user.lower() != caller.name and not caller.admin:
        raise LinkisError("Non-administrators cannot view other users' task information")
    creator, executor = query.text("creator"), query.text("ecType")
    owner = (user or caller.name).lower()

    def count(*states: State) -> int:
        return _count(Filter(states=states, user=owner, all_users=True, creator=creator, executor=executor))

    running = count(State.RUNNING)
    data: dict[str, object] = {
        "taskNumber": count(*OPEN),
        "runningNumber": running,
        "queuedNumber": count(State.QUEUED),
    }
    if creator and executor:
        most = the_core().settings.scheduler.running_per_creator
        data |= {"creatorECTypeMaxRunningJobs": most, "limitExceeded": running >= most}
    return answer(data, "success")


@blueprint.on("/entrance/operation/metrics/runningtask", data={"runningTaskNumber": "integer", "isCompleted": "boolean"})
def running_task() -> Response:
    """How many tasks have not ended: asked before a shutdown."""
    number = _count(Filter(states=OPEN, all_users=True))
    return answer({"runningTaskNumber": number, "isCompleted": number == 0}, "success")


@blueprint.on("/entrance/operation/label/markoffline", changes=True)
def mark_offline() -> Response:
    """Take no new tasks; those that run end, those that wait stay stored."""
    check_admin(the_caller(), "only admin can do this")
    the_core().tasks.accept.set_online(False)
    return answer()


@blueprint.on("/entrance/operation/label/backonline", changes=True)
def back_online() -> Response:
    """Take new tasks again."""
    check_admin(the_caller(), "only admin can do this")
    the_core().tasks.accept.set_online(True)
    return answer()


@blueprint.on("/entrance/operation/label/isOnline", data={"isOnline": "boolean"})
def is_online() -> Response:
    """Whether new tasks are taken."""
    return answer({"isOnline": the_core().tasks.accept.online})


@blueprint.on("/entrance/operation/consumer/info", data={"consumerNum": "integer: groups that have tasks"})
def consumer_info() -> Response:
    """How many groups have tasks."""
    check_admin(the_caller(), "only admin can do this")
    return answer({"consumerNum": len(the_core().tasks.look.queue().groups)})
