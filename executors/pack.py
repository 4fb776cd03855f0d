"""pack: make the CAR of a job, or start all packs of a source. The work is done by ``packing``.

A job that has failed before leaves out what is no longer there and what a newer version has taken the place of: a scan has
put that into another job, and the other files of the job must not wait for it for ever.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from marshmallow import ValidationError, fields, validate, validates_schema

from common.db.catalogue import Catalogue
from common.db.catalogue.store import pages
from common.errors import ExecutorError
from executors.base import Column, TaskContext
from executors.params import Params
from executors.preparing import CAR_COLUMNS, Ref, car_row, find_source


class PackParams(Params):
    """One job, or all startable jobs of a source."""

    job = fields.Integer(validate=validate.Range(min=1), metadata={"title": "Job", "description": "Id of a pack job."})
    preparation = Ref(metadata={"title": "Preparation", "description": "Name or id."})
    source = Ref(metadata={"title": "Source", "description": "Name or id: all packs of it that can be started."})

    @validates_schema
    def _one_form(self, data: dict[str, Any], **kwargs: Any) -> None:
        if "job" in data:
            wrong = [key for key in ("preparation", "source") if key in data]
            if wrong:
                raise ValidationError({key: ["does not go with job"] for key in wrong})
        else:
            missing = [key for key in ("preparation", "source") if key not in data]
            if missing:
                raise ValidationError({key: ["is missing; or give job"] for key in missing})


class Pack:
    """See the module."""

    name: ClassVar[str] = "pack"
    summary: ClassVar[str] = "Make the CAR files of a preparation"
    params: ClassVar[type[Params]] = PackParams
    columns: ClassVar[tuple[Column, ...]] = CAR_COLUMNS
    cores: ClassVar[float] = 1.0

    def run(self, ctx: TaskContext) -> Sequence[Sequence[Any]] | None:
        """See ``Executor``."""
        catalogue: Catalogue = ctx.catalogue
        if "job" not in ctx.params:
            return _start_all(ctx, catalogue)
        job = catalogue.job(ctx.params["job"])
        attachment = catalogue.attachment(job.attachment_id) if job is not None else None
        if job is None or attachment is None or job.type != "pack":
            raise ExecutorError(f"pack job {ctx.params['job']} does not exist")
        from executors.packing.work import Work  # here: brings numpy, which the service does without

        work = Work(ctx, catalogue, job, attachment)
        done = catalogue.car_of_job(job.id)
        if done is None:
            rows = work.make()
        else:
            ctx.log(f"the CAR of job {job.id} is there already")
            rows = [car_row(done)]
        work.delete_sources()
        return rows


def _start_all(ctx: TaskContext, catalogue: Catalogue) -> Sequence[Sequence[Any]]:
    """Queue a child for each pack of a source that can be started."""
    _, source, _ = find_source(catalogue, ctx.params["preparation"], ctx.params["source"])
    count = 0
    for job in pages(lambda after, n: catalogue.jobs(source.id, "pack", after, n), 0, lambda j: j.id):
        if job.state in ("created", "paused", "error") and not job.filling and job.task_id != ctx.task_id:
            ctx.child(f"pack-{job.id}", "pack", {"job": job.id}, job=job.id)
            count += 1
            ctx.step(count, count)
    ctx.log(f"{count} packs were queued")
    return []
