"""``/file``: the push API, and what a version of a file is and holds."""

from __future__ import annotations

from flask import Response

from entrance.dialects.singularity import wire
from entrance.dialects.singularity.blueprint import SingularityBlueprint, number, ref
from entrance.dialects.singularity.door import the_content, the_data, the_push
from entrance.dialects.singularity.schemas import body
from entrance.dialects.singularity.serving import serve
from entrance.web.dialect import the_caller

blueprint = SingularityBlueprint("file", "Files")


@blueprint.on("/preparation/<id>/source/<name>/file", ("POST",), answers={200: "the file with its ranges"})
def push(id: str, name: str) -> Response:
    """Register a file of the source."""
    return wire.answer(wire.file(the_push().push(the_caller(), ref(id), ref(name), body().text("path"))))


@blueprint.on("/file/<id>", answers={200: "the file with its ranges"})
def get(id: str) -> Response:
    """A version of a file."""
    return wire.answer(wire.file(the_data().file(the_caller(), number(id))))


@blueprint.on("/file/<id>/prepare_to_pack", ("POST",), answers={200: "estimated bytes of the last CAR touched"})
def prepare_to_pack(id: str) -> Response:
    """Put what of a file is in no pack into packs."""
    return wire.answer(the_push().prepare_to_pack(the_caller(), number(id)))


@blueprint.on("/file/<id>/deals", answers={200: "the ranges of the file; there are no deals here"})
def deals(id: str) -> Response:
    """The ranges of a file, each with no deals."""
    ranges = wire.file(the_data().file(the_caller(), number(id)))["fileRanges"]
    return wire.answer([{"FileRange": part, "Deals": []} for part in ranges])


@blueprint.on("/file/<id>/retrieve", answers={200: "the bytes", 206: "a range of them", 416: "no such range"})
def retrieve(id: str) -> Response:
    """The bytes of a file: from the source while it is unchanged there, else out of CARs."""
    return serve(the_content().file(the_caller(), number(id)))
