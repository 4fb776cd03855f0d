"""Pieces: list, add, remove, and what is needed to put one together elsewhere."""

from __future__ import annotations

from flask import Response, request

from common.content import cid as cids
from common.content import piececid
from common.content.faults import BadCid
from common.errors import BadInput, NotFound
from entrance.core.pieces import NewPiece
from entrance.dialects.singularity import metadata, wire
from entrance.dialects.singularity.blueprint import SingularityBlueprint, ref
from entrance.dialects.singularity.door import the_content, the_data, the_keep, the_pieces
from entrance.dialects.singularity.errors import Carried, PlainText
from entrance.dialects.singularity.schemas import body
from entrance.web.dialect import the_caller

blueprint = SingularityBlueprint("piece", "Pieces")

CBOR = "application/cbor"


@blueprint.on("/preparation/<id>/piece", answers={200: "pieces of each source"})
def list_(id: str) -> Response:
    """The CARs of a preparation."""
    return wire.answer([wire.piece_list(pieces) for pieces in the_data().pieces(the_caller(), ref(id))])


@blueprint.on("/preparation/<id>/piece", ("POST",), answers={200: "the Car"})
def add(id: str) -> Response:
    """Note a piece that was made elsewhere."""
    sent = body()
    text = sent.text("pieceCid")
    try:
        piece = piececid.parse(text)
    except BadCid as error:
        raise Carried(f"invalid piece CID {text}: {error}") from error
    wanted = NewPiece(
        piece=piece,
        piece_size=sent.size("pieceSize", 0),
        root_cid=_cid(sent.text("rootCid")),
        file_size=sent.number("fileSize"),
        file_path=sent.text("filePath"),
    )
    return wire.answer(wire.car(the_pieces().add(the_caller(), ref(id), wanted)))


@blueprint.on("/preparation/<id>/piece/<piece_cid>", ("DELETE",), answers={204: "it is gone"})
def remove(id: str, piece_cid: str) -> Response:
    """Forget a piece; with ``deleteCar`` its file goes too."""
    try:
        cid = cids.from_text(piece_cid)
        parts, _ = cids.split(cid)
    except BadCid as error:
        raise Carried(f"failed to parse piece CID: {error}") from error
    if parts.codec != piececid.CODEC_V1:
        raise BadInput("piece CID must be commp")
    the_keep().remove_piece(the_caller(), ref(id), cid, delete_car=body().flag("deleteCar"))
    return wire.nothing()


def _cid(text: str) -> bytes | None:
    try:
        return cids.from_text(text) or None
    except BadCid as error:
        raise Carried(f"invalid rootCid: {error}") from error


def metadata_of(piece_cid: str) -> Response:
    """Return the answer that a piece can be put together from: JSON, or CBOR when it is asked for."""
    try:
        piece = piececid.parse(piece_cid)
    except BadCid as error:
        raise PlainText(f"failed to parse piece CID: {error}", 400) from error
    try:
        found = the_content().metadata(the_caller(), piece)
    except NotFound:
        raise PlainText("piece not found", 404) from None
    if CBOR in request.headers.get("Accept", ""):
        return Response(metadata.as_cbor(found), content_type=CBOR)
    return wire.answer(metadata.as_json(found))


@blueprint.on("/piece/<id>/metadata", answers={200: "the Car, its storage, blocks and files"})
def piece_metadata(id: str) -> Response:
    """What is needed to put a piece together from its sources."""
    return metadata_of(id)
