"""scan: walk a source, register what is new, group it into pack jobs, and queue what is to follow (``walking``)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from marshmallow import ValidationError, fields, validate, validates_schema

from common.content import profile
from common.db.catalogue import Catalogue
from executors.base import Column, TaskContext
from executors.params import Params, Size
from executors.preparing import Ref, find_source, when_stored
from executors.walking import Walk

RESULT_ROWS = 10_000
PRESETS = ("porep-32", "pdp")


class ScanParams(Params):
    """A source of a preparation, or the short form, which makes what is missing."""

    preparation = Ref(metadata={"title": "Preparation", "description": "Name or id."})
    source = Ref(metadata={"title": "Source", "description": "Name or id of a source storage of the preparation."})
    path = fields.String(
        validate=validate.Length(min=1),
        metadata={"title": "Folder", "description": "Absolute path of the folder to prepare.", "examples": ["/data/photos"]},
    )
    output = fields.String(
        validate=validate.Length(min=1),
        metadata={"title": "Output", "description": "Folder for the CAR files. Without it none are written (inline)."},
    )
    name = fields.String(metadata={"title": "Name", "description": "Name of the preparation that is made."})
    maxSize = Size(metadata={"title": "Largest CAR", "examples": ["31.5GiB"]})  # noqa: N815 - names of the API
    pieceSize = Size(metadata={"title": "Largest piece", "description": "A power of two."})  # noqa: N815
    minPieceSize = Size(metadata={"title": "Smallest piece", "description": "A power of two."})  # noqa: N815
    preset = fields.String(
        validate=validate.OneOf(PRESETS), metadata={"title": "Sizes", "description": "A set of sizes by name."}
    )
    profile = fields.String(
        validate=validate.OneOf(profile.NAMES), metadata={"title": "Profile", "description": "How bytes become blocks."}
    )
    follow = fields.List(
        fields.String(validate=validate.OneOf(("pack", "daggen"))),
        load_default=lambda: ["pack"],
        metadata={"title": "Follow", "description": "What is queued as the scan goes."},
    )
    job = fields.Integer(metadata={"title": "Job", "description": "Given by the service."})

    @validates_schema
    def _one_form(self, data: dict[str, Any], **kwargs: Any) -> None:
        if "path" in data:
            wrong = [key for key in ("preparation", "source") if key in data]
            if wrong:
                raise ValidationError({key: ["does not go with path"] for key in wrong})
            if not data["path"].startswith("/"):
                raise ValidationError({"path": ["must be absolute"]})
            if not data.get("output", "/").startswith("/"):
                raise ValidationError({"output": ["must be absolute"]})
            return
        short = ("output", "name", "maxSize", "pieceSize", "minPieceSize", "preset", "profile")
        faults: dict[str, list[str]] = {key: ["goes with path only"] for key in short if key in data}
        faults |= {key: ["is missing; or give path"] for key in ("preparation", "source") if key not in data}
        if faults:
            raise ValidationError(faults)


class Scan:
    """See the module."""

    name: ClassVar[str] = "scan"
    summary: ClassVar[str] = "List a folder and group its files into pack jobs"
    params: ClassVar[type[Params]] = ScanParams
    columns: ClassVar[tuple[Column, ...]] = (
        Column(name="path"),
        Column(name="size", type="bigint", comment="bytes"),
        Column(name="lastModified", type="bigint", comment="nanoseconds since 1970"),
        Column(name="hash"),
        Column(name="ranges", type="int"),
    )
    cores: ClassVar[float] = 1.0

    def run(self, ctx: TaskContext) -> Sequence[Sequence[Any]] | None:
        """See ``Executor``. The rows are what was registered, at most the first 10,000."""
        catalogue: Catalogue = ctx.catalogue
        found = find_source(catalogue, ctx.params["preparation"], ctx.params["source"])
        walk = Walk(ctx, catalogue, *found)
        walk.run()
        if not walk.place.new_files:
            return []
        when_stored(lambda: catalogue.scan_count(ctx.task_id) >= walk.place.new_files or None, "the rows of the scan")
        return catalogue.scanned(ctx.task_id, 0, RESULT_ROWS)[0]
