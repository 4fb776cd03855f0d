"""``/preparation``: list, status, explore, pieces."""

from __future__ import annotations

from flask import Response

from entrance.dialects.singularity import wire
from entrance.dialects.singularity.blueprint import SingularityBlueprint, ref
from entrance.dialects.singularity.door import the_data
from entrance.web.dialect import the_caller
from entrance.web.state import the_core

blueprint = SingularityBlueprint("preparation", "Preparations")


@blueprint.on("/preparation", answers={200: "preparations with their storages"})
def list_() -> Response:
    """All preparations of the caller."""
    return wire.answer([wire.preparation_view(view) for view in the_data().preparations(the_caller())])


@blueprint.on("/preparation/<id>", answers={200: "sources with their jobs, null when there are none"})
def status(id: str) -> Response:
    """How the jobs of a preparation stand."""
    views = the_data().status(the_caller(), ref(id))
    instance = the_core().instance
    return wire.answer([wire.source_status(view, instance) for view in views] or None)


@blueprint.on("/preparation/<id>/piece", answers={200: "pieces of each source"})
def pieces(id: str) -> Response:
    """The CARs of a preparation."""
    return wire.answer([wire.piece_list(pieces) for pieces in the_data().pieces(the_caller(), ref(id))])


@blueprint.on("/preparation/<id>/source/<name>/explore/<path*>", answers={200: "what lies in the folder"})
def explore(id: str, name: str, path: str) -> Response:
    """A folder of a source: its folders, and its files with all versions."""
    return wire.answer(wire.explored(the_data().explore(the_caller(), ref(id), ref(name), path)))


@blueprint.on("/preparation/<id>/schedules", answers={200: "always empty: there are no deals here"})
def schedules(id: str) -> Response:
    """No schedules."""
    the_data().preparation(the_caller(), ref(id))
    return wire.answer([])
