"""``/preparation``: make, list, look, attach, rename, remove."""

from __future__ import annotations

from flask import Response

from entrance.dialects.singularity import wire
from entrance.dialects.singularity.blueprint import SingularityBlueprint, ref
from entrance.dialects.singularity.door import the_data, the_keep
from entrance.dialects.singularity.schemas import body, new_preparation
from entrance.web.dialect import the_caller
from entrance.web.state import the_core

blueprint = SingularityBlueprint("preparation", "Preparations")


@blueprint.on("/preparation", ("POST",), answers={200: "the preparation with its storages"})
def create() -> Response:
    """Make a preparation."""
    return wire.answer(wire.preparation_view(the_keep().create_preparation(the_caller(), new_preparation(body()))))


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


@blueprint.on("/preparation/<id>/source/<name>", ("POST",), answers={200: "the preparation with its storages"})
def attach_source(id: str, name: str) -> Response:
    """Make a storage a source of the preparation."""
    return wire.answer(wire.preparation_view(the_keep().attach_source(the_caller(), ref(id), ref(name))))


@blueprint.on("/preparation/<id>/output/<name>", ("POST",), answers={200: "the preparation with its storages"})
def attach_output(id: str, name: str) -> Response:
    """Make a storage an output of the preparation."""
    return wire.answer(wire.preparation_view(the_keep().attach_output(the_caller(), ref(id), ref(name))))


@blueprint.on("/preparation/<id>/output/<name>", ("DELETE",), answers={200: "the preparation with its storages"})
def detach_output(id: str, name: str) -> Response:
    """Take an output away from the preparation."""
    return wire.answer(wire.preparation_view(the_keep().detach_output(the_caller(), ref(id), ref(name))))


@blueprint.on("/preparation/<name>/rename", ("PATCH",), answers={200: "the preparation"})
def rename(name: str) -> Response:
    """Give the preparation another name."""
    return wire.answer(wire.preparation(the_keep().rename_preparation(the_caller(), ref(name), body().text("name"))))


@blueprint.on("/preparation/<name>", ("DELETE",), answers={204: "it is gone"})
def remove(name: str) -> Response:
    """Remove the preparation, and with ``removeCars`` its CAR files."""
    the_keep().remove_preparation(the_caller(), ref(name), remove_cars=body().flag("removeCars"))
    return wire.nothing()


@blueprint.on("/preparation/<id>/source/<name>/explore/<path*>", answers={200: "what lies in the folder"})
def explore(id: str, name: str, path: str) -> Response:
    """A folder of a source: its folders, and its files with all versions."""
    return wire.answer(wire.explored(the_data().explore(the_caller(), ref(id), ref(name), path)))


@blueprint.on("/preparation/<id>/schedules", answers={200: "always empty: there are no deals here"})
def schedules(id: str) -> Response:
    """No schedules."""
    the_data().preparation(the_caller(), ref(id))
    return wire.answer([])
