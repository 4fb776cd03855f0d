"""Jobs are started, paused and packed at once: the rules of Singularity's chapter 3.3, over tasks.

A job's state is that of its latest task. To start one makes a task or lets a paused one go on; to pause one pauses its task.
Two requests at once cannot start a job twice: the second task is refused where it would be stored. Texts are those of the
contract, without its suffix for the kind of error.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

from common.db.catalogue import Attachment, Car, Catalogue, Job
from common.db.catalogue.store import pages
from common.db.contents_changes import ContentsChanges
from common.db.tasks import JobBusy
from common.errors import BadInput, Conflict, ExecutorError, NotFound
from common.task import State, Task
from entrance.core.data import DataService, Ref, find_attachment, may
from entrance.core.events import ALL, Bus
from entrance.core.model import Caller, Submission
from entrance.core.service import TaskService

CREATOR = "SINGULARITY"
DOOR = "singularity"
STARTABLE = ("created", "paused", "error")
PAUSABLE = ("ready", "processing")
_AT_ONCE = 32  # submissions on their way to the writer
_LOOK_SECONDS = 1.0


class JobService:
    """See the module."""

    def __init__(self, *, data: DataService, tasks: TaskService, events: Bus) -> None:
        self._data, self._tasks, self._events = data, tasks, events

    # ---- scan and daggen

    def start(self, caller: Caller, preparation: Ref, source: Ref, type: str) -> Job:
        """Start the scan or daggen of a source; return the job as ``ready``. Raises NotFound, BadInput."""
        attachment, job = self._data.read(lambda c: _only_job(c, caller, preparation, source, type))
        running = f"{type} job for sourceAttachment '{source}' is already running"
        if job is not None and job.state in PAUSABLE:
            raise BadInput(running)
        if type == "daggen" and self._data.read(lambda c: _no_dag(c, attachment)):
            raise BadInput(f"dag generation is disabled for preparation '{preparation}'")
        params: dict[str, Any] = {"preparation": attachment.preparation_id, "source": attachment.storage_id}
        if type == "scan":
            params["follow"] = ["pack"]
        try:
            task = self._go_on(caller, job) or self._submit(caller, type, params)
        except JobBusy as error:
            raise BadInput(running) from error
        return self._as(task, job, "ready")

    def pause(self, caller: Caller, preparation: Ref, source: Ref, type: str) -> Job:
        """Pause the scan or daggen of a source; return the job as ``paused``. Raises NotFound, BadInput."""
        _, job = self._data.read(lambda c: _only_job(c, caller, preparation, source, type))
        if job is None or job.task_id is None:
            raise NotFound(f"{type} job for sourceAttachment '{source}' does not exist")
        not_running = f"{type} job for sourceAttachment '{source}' is not running"
        if job.state not in PAUSABLE:
            raise BadInput(not_running)
        try:
            task = self._tasks.steer.pause(caller, job.task_id)
        except Conflict as error:
            raise BadInput(not_running) from error
        return self._as(task, job, "paused")

    # ---- packs

    def start_packs(self, caller: Caller, preparation: Ref, source: Ref, job_id: int) -> list[Job]:
        """Start one pack of a source, or with 0 all that can be; return those that were. Raises NotFound, BadInput.

        One that is started alone still has the ``reason`` of its last failure, as there.
        """
        refused = f"pack job {job_id} for source '{source}' is running or complete"
        jobs = self._packs(caller, preparation, source, job_id, STARTABLE, refused)
        return self._start_all(caller, jobs, refused if job_id else None)

    def pause_packs(self, caller: Caller, preparation: Ref, source: Ref, job_id: int) -> list[Job]:
        """Pause one pack of a source, or with 0 all that can be; return those that were. Raises NotFound, BadInput."""
        refused = f"pack job {job_id} for source '{source}' is not running"
        jobs = self._packs(caller, preparation, source, job_id, PAUSABLE, refused)
        _, items = self._tasks.steer.act(caller, "pause", [job.task_id for job in jobs if job.task_id is not None])
        if job_id and any(item.error is not None for item in items):
            raise BadInput(refused)
        done = {item.task.id: item.task for item in items if item.task is not None and item.error is None}
        return [self._as(done[job.task_id], job, "paused") for job in jobs if job.task_id in done]

    def start_ready(self, caller: Caller, job_ids: Iterable[int]) -> None:
        """Queue a task for each of these packs, which have none."""
        jobs = self._data.read(lambda c: [job for job in map(c.job, job_ids) if job is not None])
        self._start_all(caller, jobs, None)

    def _packs(
        self, caller: Caller, preparation: Ref, source: Ref, job_id: int, states: Sequence[str], refused: str
    ) -> list[Job]:
        def look(catalogue: Catalogue) -> list[Job]:
            attachment = find_attachment(catalogue, caller, preparation, source)
            if not job_id:
                every = pages(lambda after, n: catalogue.jobs(attachment.id, "pack", after, n), 0, lambda j: j.id)
                return [job for job in every if job.state in states]
            job = catalogue.job(job_id)
            if job is None or job.attachment_id != attachment.id or job.type != "pack":
                raise NotFound(f"pack job {job_id} for source '{source}' does not exist")
            if job.state not in states:
                raise BadInput(refused)
            return [job]

        return self._data.read(look)

    def _start_all(self, caller: Caller, jobs: Sequence[Job], refused: str | None) -> list[Job]:
        """Start packs; those that cannot be any more are left out, or with ``refused`` an error."""
        filling = [job.id for job in jobs if job.filling]
        if filling:
            self._data.change(lambda tx: ContentsChanges(tx).filled(*filling))

        def one(job: Job) -> Job | None:
            try:
                task = self._go_on(caller, job) or self._submit(caller, "pack", {"job": job.id})
            except Conflict as error:
                if refused is not None:
                    raise BadInput(refused) from error
                return None
            started = self._as(task, job, "ready")
            return replace(started, reason=job.reason) if refused is not None and job.state == "error" else started

        if len(jobs) == 1:
            found = [one(jobs[0])]
        else:
            with ThreadPoolExecutor(_AT_ONCE) as pool:  # they share commits
                found = list(pool.map(one, jobs))
        return [job for job in found if job is not None]

    # ---- pack now

    def pack(self, caller: Caller, job_id: int) -> Car:
        """Pack a job, or wait for the task that is at it, and return its CAR; of a complete job the stored one.

        Raises NotFound; BadInput for a job that is no pack; ExecutorError when it could not be packed.
        """
        missing = f"pack job {job_id} does not exist"

        def look(catalogue: Catalogue) -> tuple[Job, Car | None, int]:
            job = catalogue.job(job_id)
            attachment = catalogue.attachment(job.attachment_id) if job is not None else None
            preparation = catalogue.preparation(attachment.preparation_id) if attachment is not None else None
            if job is None or preparation is None or not may(caller, preparation):
                raise NotFound(missing)
            if job.type != "pack":
                raise BadInput(f"job {job_id} is a {job.type} job, not a pack job")
            return job, catalogue.car_of_job(job_id), catalogue.job_totals(job_id)[0]

        job, car, ranges = self._data.read(look)
        if job.state == "complete" and car is not None:
            return car
        if not ranges:
            raise ExecutorError("no content to pack")
        task_id = job.task_id
        if job.state not in PAUSABLE:
            try:
                started = self._start_all(caller, [job], missing)
                task_id = started[0].task_id
            except BadInput:
                task_id = self._data.read(look)[0].task_id  # somebody else was quicker
        task = self._wait_for(caller, task_id or 0)
        car = self._data.read(look)[1]
        if task.state is not State.SUCCEEDED:
            raise ExecutorError(task.reason or f"the task ended as {task.state.value}")
        if car is None:
            raise ExecutorError("no content to pack")
        return car

    def _wait_for(self, caller: Caller, task_id: int) -> Task:
        heard = self._events.subscribe()
        try:
            while True:
                task = self._tasks.look.get(caller, task_id)
                if task.state.final:
                    return task
                while heard.get(_LOOK_SECONDS) not in (task_id, ALL, None):
                    pass
        finally:
            self._events.unsubscribe(heard)

    # ---- what was left

    def start_following(self) -> None:
        """At the start of the service: queue a task for each pack that is to follow by itself and has none.

        Where a scan is unfinished it is left to the scan, whose children they are.
        """

        def look(catalogue: Catalogue) -> dict[str, list[int]]:
            found: dict[str, list[int]] = {}
            for job_id, type, attachment_id in pages(lambda a, n: catalogue.following(a, n), 0, lambda row: row[0]):
                attachment = catalogue.attachment(attachment_id)
                preparation = catalogue.preparation(attachment.preparation_id) if attachment is not None else None
                if type == "pack" and preparation is not None and catalogue.open_scan(attachment_id) is None:
                    found.setdefault(preparation.user, []).append(job_id)
            return found

        for user, job_ids in self._data.read(look).items():
            self.start_ready(Caller(name=user, admin=True), job_ids)

    # ---- inside

    def _go_on(self, caller: Caller, job: Job | None) -> Task | None:
        """Let the unfinished task of a job go on, if it has one."""
        if job is None or job.task_id is None or job.state not in ("paused", "created"):
            return None
        return self._tasks.steer.resume(caller, job.task_id)

    def _submit(self, caller: Caller, executor: str, params: Mapping[str, Any]) -> Task:
        return self._tasks.accept.submit(
            caller,
            Submission(
                executor=executor,
                params=params,
                creator=CREATOR,
                door=DOOR,
                code=json.dumps(dict(params)),
                exempt=executor == "pack",
            ),
        )

    def _as(self, task: Task, job: Job | None, state: str) -> Job:
        """Return the job as the request has left it, whatever has happened since."""
        if job is None:
            found = self._data.read(lambda c: c.job(task.job_id or 0))
            assert found is not None, "the task of a job names it"
            job = found
        stands = State.PAUSED if state == "paused" else State.QUEUED
        return replace(job, task_id=task.id, task_state=stands, pause_requested=False, reason=None, filling=False)


def _only_job(
    catalogue: Catalogue, caller: Caller, preparation: Ref, source: Ref, type: str
) -> tuple[Attachment, Job | None]:
    attachment = find_attachment(catalogue, caller, preparation, source)
    jobs = catalogue.jobs(attachment.id, type)
    return attachment, jobs[0] if jobs else None


def _no_dag(catalogue: Catalogue, attachment: Attachment) -> bool:
    preparation = catalogue.preparation(attachment.preparation_id)
    return preparation is not None and preparation.no_dag
