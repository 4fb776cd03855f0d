"""daggen: the directories of a source as one CAR. The work is done by ``exporting``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from marshmallow import fields

from common.db.catalogue import Catalogue
from common.errors import ExecutorError
from executors.base import Column, TaskContext
from executors.exporting.scratch import FOLDER, Scratch
from executors.params import Params
from executors.preparing import CAR_COLUMNS, Ref, car_row, find_source


class DaggenParams(Params):
    """A source of a preparation."""

    preparation = Ref(required=True, metadata={"title": "Preparation", "description": "Name or id."})
    source = Ref(required=True, metadata={"title": "Source", "description": "Name or id of the source storage."})
    wait = fields.Boolean(
        load_default=False,
        metadata={"title": "Wait", "description": "Start when all packs of the source are complete."},
    )
    job = fields.Integer(metadata={"title": "Job", "description": "Given by the service."})


class Daggen:
    """See the module."""

    name: ClassVar[str] = "daggen"
    summary: ClassVar[str] = "Make the CAR of a preparation's directories"
    params: ClassVar[type[Params]] = DaggenParams
    columns: ClassVar[tuple[Column, ...]] = CAR_COLUMNS
    cores: ClassVar[float] = 1.0

    def run(self, ctx: TaskContext) -> Sequence[Sequence[Any]] | None:
        """See ``Executor``; no row when there was nothing to export."""
        catalogue: Catalogue = ctx.catalogue
        done = [car for car in catalogue.cars_of_task(ctx.task_id) if car.type == "dag"]
        if done:
            return [car_row(car) for car in done]
        preparation, source, _ = find_source(catalogue, ctx.params["preparation"], ctx.params["source"])
        if preparation.no_dag:
            raise ExecutorError("dag generation is disabled for this preparation")
        if catalogue.data_folder is None:
            raise ExecutorError("the service's data folder is not known here")
        from executors.exporting.work import Export  # here: brings numpy, which the service does without

        folder = catalogue.data_folder / FOLDER
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        scratch = Scratch(folder, ctx.task_id)
        try:
            return Export(ctx, catalogue, preparation, source, scratch).run()
        finally:
            scratch.close()
