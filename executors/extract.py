"""extract: get files back out of a packed preparation, every block checked against its CID (``extracting``)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from marshmallow import fields, validate

from common.db.catalogue import Catalogue
from executors.base import Column, TaskContext
from executors.params import Params
from executors.preparing import Ref, find_preparation


class ExtractParams(Params):
    """What comes out, and where to."""

    preparation = Ref(required=True, metadata={"title": "Preparation", "description": "Name or id."})
    path = fields.String(
        load_default="",
        metadata={"title": "Path", "description": "A folder, whose contents come out, or a file. Empty: everything."},
    )
    to = fields.String(
        required=True,
        validate=validate.Length(min=1),
        metadata={"title": "Target", "description": "Absolute path of a folder that is there.", "examples": ["/data/back"]},
    )


class Extract:
    """See the module."""

    name: ClassVar[str] = "extract"
    summary: ClassVar[str] = "Get files back out of the CARs of a preparation"
    params: ClassVar[type[Params]] = ExtractParams
    columns: ClassVar[tuple[Column, ...]] = (
        Column(name="files", type="bigint", comment="files that came out"),
        Column(name="bytes", type="bigint", comment="their bytes"),
        Column(name="kept", type="bigint", comment="files that were there already"),
        Column(name="leftOut", type="bigint", comment="files that are not packed; the log names them"),
    )
    cores: ClassVar[float] = 1.0

    def run(self, ctx: TaskContext) -> Sequence[Sequence[Any]] | None:
        """See ``Executor``."""
        from executors.extracting import Work  # here: both bring numpy, which the service does without
        from executors.packed import open_prepared

        catalogue: Catalogue = ctx.catalogue
        preparation = find_preparation(catalogue, ctx.params["preparation"])
        storage = open_prepared(catalogue, preparation, ctx.storage, ctx.workdir)
        try:
            count = Work(ctx, storage, Path(ctx.params["to"])).run()
        finally:
            storage.close()
        return [[count.files, count.bytes, count.kept, count.left_out]]
