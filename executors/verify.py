"""verify: read CARs again and hold everything against what it should be (``verifying``).

A row per fault; what was found is told to the log, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from marshmallow import ValidationError, fields, validate, validates_schema

from common.db.catalogue import Catalogue
from executors.base import Column, TaskContext
from executors.params import Params
from executors.preparing import Ref, when_stored


class VerifyParams(Params):
    """All CARs of a preparation, those of a piece, or one file of a storage."""

    preparation = Ref(metadata={"title": "Preparation", "description": "Name or id: all its CARs."})
    pieceCid = fields.String(  # noqa: N815 - name of the API
        metadata={"title": "Piece CID", "description": "v1 or v2: all CARs of this piece."}
    )
    storage = Ref(metadata={"title": "Storage", "description": "Name or id of the storage that has the file."})
    path = fields.String(
        validate=validate.Length(min=1), metadata={"title": "Path", "description": "Path of a CAR in the storage."}
    )

    cars = fields.List(fields.Integer(), metadata={"title": "CARs", "description": "Given by the service."})

    @validates_schema
    def _one_form(self, data: dict[str, Any], **kwargs: Any) -> None:
        given = [key for key in ("preparation", "pieceCid", "storage") if key in data]
        if len(given) != 1:
            raise ValidationError("give one of preparation, pieceCid, or storage and path")
        if ("storage" in data) != ("path" in data):
            raise ValidationError("storage and path go together")


class Verify:
    """See the module."""

    name: ClassVar[str] = "verify"
    summary: ClassVar[str] = "Read CAR files again and check every byte"
    params: ClassVar[type[Params]] = VerifyParams
    columns: ClassVar[tuple[Column, ...]] = (
        Column(name="object", comment="the CAR"),
        Column(name="offset", type="bigint", comment="byte in the CAR; -1: the whole"),
        Column(name="expected"),
        Column(name="found"),
        Column(name="message"),
    )
    cores: ClassVar[float] = 1.0

    def run(self, ctx: TaskContext) -> Sequence[Sequence[Any]] | None:
        """See ``Executor``. No row: everything is as it should be."""
        from executors.verifying import MOST_FAULTS, Inspection  # here: brings numpy, which the service does without

        catalogue: Catalogue = ctx.catalogue
        inspection = Inspection(ctx, catalogue)
        count = inspection.run()
        if not count:
            return []
        wanted = min(count, MOST_FAULTS)
        rows, _ = when_stored(
            lambda: page if (page := catalogue.faults(ctx.task_id, 0, MOST_FAULTS))[1] >= wanted else None,
            "the faults",
        )
        return rows
