"""``/piece``: CARs by piece CID, with ranges; put together from their sources when there is no file."""

from __future__ import annotations

from flask import Response

from common.content import piececid
from common.content.faults import BadCid
from common.errors import NotFound
from entrance.core.model import Caller
from entrance.dialects.singularity.blueprint import SingularityBlueprint
from entrance.dialects.singularity.door import the_content
from entrance.dialects.singularity.errors import PlainText
from entrance.dialects.singularity.pieces import metadata_of
from entrance.dialects.singularity.serving import serve
from entrance.web.dialect import the_caller
from entrance.web.state import the_core

blueprint = SingularityBlueprint("content", "Content", base="/piece")

CAR_TYPE = "application/vnd.ipld.car; version=1"
PIECE = "piece"
"""Endpoint of the one route that may be public."""
EVERYONE = Caller(name="", admin=True)  # of public content: no more than this route is reached with it


@blueprint.on(
    "/<piece_cid>", ("GET", "HEAD"), answers={200: "the CAR", 206: "a range of it", 416: "no such range"}, endpoint=PIECE
)
def piece(piece_cid: str) -> Response:
    """The CAR of a piece (v1 or v2)."""
    try:
        wanted = piececid.parse(piece_cid)
    except BadCid:
        raise PlainText("CID is not a commp", 400) from None
    caller = EVERYONE if the_core().settings.content.access == "public" else the_caller()
    try:
        found = the_content().piece(caller, wanted)
    except NotFound:
        raise PlainText("piece not found", 404) from None
    return serve(
        found,
        content_type=CAR_TYPE,
        headers={"Content-Disposition": f'attachment; filename="{piece_cid}.car"', "Etag": f'"{piece_cid}"'},
    )


@blueprint.on("/metadata/<piece_cid>", ("GET", "HEAD"), answers={200: "as /api/piece/{id}/metadata"})
def piece_metadata(piece_cid: str) -> Response:
    """What is needed to put a piece together from its sources."""
    return metadata_of(piece_cid)
