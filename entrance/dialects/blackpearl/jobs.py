"""``active_job``, ``job``, ``canceled_job``, ``completed_job``: get, list, modify, cancel; one call and its XML each."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from flask import Response, request

from common.db import shown, transfers
from common.db.shown import JobFilter, Place, ShownJob
from common.db.transfers import TransferFile
from common.errors import BadInput, Conflict, NotFound, TaskEnded, TaskNotFound
from common.task import State, Task
from entrance.dialects.blackpearl import wire
from entrance.dialects.blackpearl.answers import answer, no_content
from entrance.dialects.blackpearl.blueprint import BlackPearlBlueprint
from entrance.dialects.blackpearl.query import Query
from entrance.web.dialect import the_caller
from entrance.web.state import the_core

blueprint = BlackPearlBlueprint("jobs", "Tasks as jobs")

MAX_NAME_CHARACTERS = 1024
FULL_DETAILS_MS = 30 * 86_400_000  # how far back full_details looks
DEFAULT_PAGE, LARGEST_PAGE = 1000, 10_000
MOST_OBJECTS = 100_000  # of a job that was not created through this API
_AT_ONCE = 500  # jobs read together
_A_TURN = 50  # jobs rendered before others get a turn


def _query() -> Query:
    return Query(request.environ.get("QUERY_STRING", ""))


# ---- one job ------------------------------------------------------------------------------------------------------


def _task(ref: str, verb: str = "view") -> Task:
    try:
        return the_core().tasks.look.get(the_caller(), ref, verb)
    except TaskNotFound as error:
        raise NotFound(f"Job {ref} does not exist.") from error


def _view(task: Task) -> wire.View:
    core = the_core()
    with core.readers.read() as tx:
        job = shown.job(tx, task.id)
    if job is None:
        raise NotFound(f"Job {task.uuid} does not exist.")
    return wire.View(job=job, report=core.tasks.look.progress_of(job.task))


def _in_state(ref: str, states: Sequence[State], what: str) -> wire.View:
    view = _view(_task(ref))
    if view.job.task.state not in states:
        raise NotFound(f"Job {ref} is not {what}.")
    return view


def _master_object_list(task: Task) -> Response:
    view = _view(task)
    return answer("".join(wire.master_object_list(view, _node(), _objects(view.job))))


def _objects(job: ShownJob) -> Iterator[Sequence[TransferFile]]:
    """Yield the files of a transfer that has not ended, page by page; other tasks have none."""
    if job.task.state.final:
        return
    after, left = "", MOST_OBJECTS
    while left > 0:
        with the_core().readers.read() as tx:
            files = transfers.files(tx, job.task.id, after)
        if not files:
            return
        yield files[:left]
        after, left = files[-1].path, left - len(files)


def _node() -> wire.Node:
    core = the_core()
    with core.readers.read() as tx:
        instance = shown.instance(tx)
    parts = urlsplit(f"//{request.host}")  # the guard has looked at it
    return wire.node_of(instance, parts.hostname or core.settings.service.host, parts.port)


@blueprint.on("/active_job/<ref>")
def get_active_job(ref: str) -> Response:
    """A job in progress, one element for each field."""
    return answer(wire.active_job(_in_state(ref, wire.ACTIVE, "in progress")))


@blueprint.on("/job/<ref>")
def get_job(ref: str) -> Response:
    """A job in any status, as MasterObjectList."""
    return _master_object_list(_task(ref))


@blueprint.on("/canceled_job/<ref>")
def get_canceled_job(ref: str) -> Response:
    """A job that was canceled or failed."""
    return answer(wire.canceled_job(_in_state(ref, wire.CANCELED, "canceled")))


@blueprint.on("/completed_job/<ref>")
def get_completed_job(ref: str) -> Response:
    """A job that is done."""
    return answer(wire.completed_job(_in_state(ref, wire.COMPLETED, "completed")))


# ---- modify and cancel --------------------------------------------------------------------------------------------


@blueprint.on("/active_job/<ref>", ("PUT",))
def modify_active_job(ref: str) -> Response:
    """Change priority, name or shown date of a job in progress."""
    return _modify(ref, _query())


@blueprint.on("/job/<ref>", ("PUT",))
def modify_job(ref: str) -> Response:
    """The older name of modify; with ``close_aggregating_job`` nothing changes, since no job aggregates."""
    query = _query()
    return _modify(ref, Query("") if query.flag("close_aggregating_job") else query)


def _modify(ref: str, query: Query) -> Response:
    """Read every value before the first change, so that a bad one changes nothing."""
    core, caller = the_core(), the_caller()
    task = _task(ref, "change")
    if task.state.final:
        raise TaskEnded(task.state)
    priority = query.word("priority", wire.LEVELS)
    if priority is not None and priority not in wire.SETTABLE:
        raise BadInput(f"priority {priority} is reserved for the system")
    name = query.text("name")
    if name is not None and not 1 <= len(name) <= MAX_NAME_CHARACTERS:
        raise BadInput(f"name must have 1 to {MAX_NAME_CHARACTERS} characters")
    created_at = query.date("created_at")
    protected, cleanup = query.boolean("protected"), query.boolean("dead_job_cleanup_allowed")
    if any(value is not None for value in (name, created_at, protected, cleanup)):
        still_open = core.writer.call(
            lambda tx: shown.set_shown(
                tx, task.id, name=name, created_at=created_at, protected=protected, dead_job_cleanup_allowed=cleanup
            )
        )
        if not still_open:
            raise TaskEnded(task.state)
    if priority is not None:
        task = core.tasks.steer.set_priority(caller, task.id, int(wire.LEVELS[priority]))
    return _master_object_list(task)


@blueprint.on("/active_job/<ref>", ("DELETE",))
def cancel_active_job(ref: str) -> Response:
    """End a job in progress, for ever."""
    return _cancel(ref)


@blueprint.on("/job/<ref>", ("DELETE",))
def cancel_job(ref: str) -> Response:
    """The older name of cancel."""
    return _cancel(ref)


def _cancel(ref: str) -> Response:
    """Kill the task. What arrived whole stays, with and without ``force``; nothing else was ever visible."""
    task = _task(ref, "kill")
    if task.state.final:
        raise TaskEnded(task.state)
    if not _query().flag("force") and _view(task).job.protected:
        raise Conflict("The job is protected; only force cancels it.")
    ended = the_core().tasks.steer.kill(the_caller(), task.id)
    if not ended.state.final:  # somebody else was quicker, and nothing was left to do
        raise TaskEnded(State.CANCELLED)
    return no_content()


# ---- lists --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class _Listing:
    """One of the lists with pages: which states, the name of an entry, how it is written, and what its order goes by."""

    states: Sequence[State]
    entry: str
    write: Callable[[wire.View, str], str]
    by_end: bool


_ACTIVE = _Listing(states=wire.ACTIVE, entry="Job", write=wire.active_job, by_end=False)
_CANCELED = _Listing(states=wire.CANCELED, entry="CanceledJob", write=wire.canceled_job, by_end=True)
_COMPLETED = _Listing(states=wire.COMPLETED, entry="CompletedJob", write=wire.completed_job, by_end=True)


@blueprint.on("/active_job")
def list_active_jobs() -> Response:
    """Jobs in progress, newest first, by page."""
    return _list(_ACTIVE)


@blueprint.on("/canceled_job")
def list_canceled_jobs() -> Response:
    """Jobs that were canceled or failed, newest end first, by page."""
    return _list(_CANCELED)


@blueprint.on("/completed_job")
def list_completed_jobs() -> Response:
    """Jobs that are done, newest end first, by page."""
    return _list(_COMPLETED)


@blueprint.on("/canceled_job", ("DELETE",))
def forget_canceled_jobs() -> Response:
    """Strike the entries from the list of canceled jobs."""
    return _forget(_CANCELED)


@blueprint.on("/completed_job", ("DELETE",))
def forget_completed_jobs() -> Response:
    """Strike the entries from the list of completed jobs."""
    return _forget(_COMPLETED)


@blueprint.on("/job")
def list_jobs() -> Response:
    """Jobs in progress, with ``full_details`` those that ended in the last 30 days too; newest first, not by page."""
    query, core = _query(), the_core()
    which = JobFilter(states=wire.ACTIVE, owner=_owner())
    if query.flag("full_details"):
        which = replace(which, states=tuple(State), ended_since=core.clock.now() - FULL_DETAILS_MS)
    which = _in_bucket(which, query)
    node = _node()
    parts = (wire.job_element(view, node) for view in _all(which))
    return answer(f"<Jobs>{''.join(parts)}</Jobs>")


@blueprint.on("/active_job", ("DELETE",))
def cancel_active_jobs() -> Response:
    """End all matching jobs of the caller."""
    return _cancel_all()


@blueprint.on("/job", ("DELETE",))
def cancel_jobs() -> Response:
    """The older name of it."""
    return _cancel_all()


def _owner() -> str | None:
    """Whose jobs the caller may see: None = everybody's."""
    caller = the_caller()
    return None if caller.admin else caller.name


def _list(listing: _Listing) -> Response:
    query, core = _query(), the_core()
    which, by_end = _filter(query, listing), listing.by_end
    length = query.integer("page_length", DEFAULT_PAGE, 1, LARGEST_PAGE)
    offset = query.integer("page_offset", 0, 0, 10**12)
    after = _marker(query, by_end)
    where: dict[str, Any] = {"after": after, "offset": offset, "limit": length, "last": query.flag("last_page")}
    with core.readers.read() as tx:
        page = core.offload(partial(shown.page, tx, which, by_end=by_end, **where))
    response = answer(f"<Data>{''.join(listing.write(view, listing.entry) for view in _views(page.jobs))}</Data>")
    response.headers["Total-Result-Count"] = str(page.total)
    response.headers["Page-Truncated"] = str(page.left)
    return response


def _marker(query: Query, by_end: bool) -> Place | None:
    """Return the place that the page begins behind: where its job stands, whether or not it still matches."""
    marker = query.text("page_start_marker")
    if marker is None:
        return None
    if query.flag("page_offset"):
        raise BadInput("page_offset and page_start_marker exclude each other")
    try:
        task = the_core().tasks.look.get(the_caller(), marker)
    except TaskNotFound as error:
        raise BadInput(f"page_start_marker: job {marker} does not exist") from error
    return shown.place_of(_view(task).job, by_end=by_end)


def _filter(query: Query, listing: _Listing) -> JobFilter:
    """Return what the filters of a list select; they combine with AND. Some values no job ever has."""
    level = query.word("priority", wire.LEVELS)
    which = JobFilter(
        states=listing.states,
        owner=_owner(),
        name=query.text("name"),
        kind=query.word("request_type", wire.KINDS),
        level=None if level is None else wire.LEVELS[level],
        remembered=listing.by_end,
    )
    never = [
        listing is _ACTIVE and query.boolean("aggregating") is True,
        query.word("chunk_client_processing_order_guarantee", wire.GUARANTEES) not in (None, wire.GUARANTEE),
        query.boolean("truncated") is True,
        query.date("rechunked") is not None,
    ]
    if listing is _CANCELED:
        by_timeout = query.boolean("canceled_due_to_timeout")
        if by_timeout is not None:
            which = replace(which, states=[s for s in which.states if (s is State.TIMED_OUT) == by_timeout])
    return _of_user(_in_bucket(replace(which, nothing=any(never)), query), query)


def _in_bucket(which: JobFilter, query: Query) -> JobFilter:
    """Narrow to a bucket given by UUID or name."""
    given = query.text("bucket_id")
    if given is None:
        return which
    with the_core().readers.read() as tx:
        names = the_core().offload(shown.buckets, tx, which)
    name = next((n for n in names if n == given or wire.bucket_id(n) == given.lower()), None)
    return replace(which, nothing=True) if name is None else replace(which, bucket=name)


def _of_user(which: JobFilter, query: Query) -> JobFilter:
    """Narrow to a user given by UUID or name."""
    given = query.text("user_id")
    if given is None:
        return which
    with the_core().readers.read() as tx:
        names = the_core().offload(shown.users, tx)
    name = next((n for n in names if n == given.lower() or wire.user_id(n) == given.lower()), None)
    return replace(which, nothing=True) if name is None else replace(which, user=name)


def _views(jobs: Sequence[ShownJob]) -> Iterator[wire.View]:
    look = the_core().tasks.look
    for start in range(0, len(jobs), _A_TURN):
        some = jobs[start : start + _A_TURN]
        reports = look.progress_of_all([job.task for job in some])
        yield from (wire.View(job=job, report=report) for job, report in zip(some, reports, strict=True))
        time.sleep(0)  # a turn for everybody else


def _all(which: JobFilter) -> Iterator[wire.View]:
    """Yield all jobs that match, newest shown date first; nothing stays open between two reads."""
    core = the_core()
    with core.readers.read() as tx:
        ids = core.offload(shown.ids, tx, which)
    for start in range(0, len(ids), _AT_ONCE):
        with core.readers.read() as tx:
            jobs = core.offload(shown.jobs, tx, ids[start : start + _AT_ONCE])
        yield from _views(jobs)


def _forget(listing: _Listing) -> Response:
    which = _filter(_query(), listing)
    the_core().writer.call(lambda tx: shown.forget(tx, which))
    return no_content()


def _cancel_all() -> Response:
    """Kill the caller's own jobs, an administrator's too; without ``force`` protected ones go on."""
    query = _query()
    which = JobFilter(states=wire.ACTIVE, owner=the_caller().name, kind=query.word("request_type", wire.KINDS))
    which, force = _in_bucket(which, query), query.flag("force")
    chosen = [v.job.task.id for v in _all(which) if force or not v.job.protected]
    the_core().tasks.steer.kill_many(the_caller(), chosen)
    return no_content()
