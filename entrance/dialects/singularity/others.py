"""What clients call at their start, and what is not ours: deals, wallets, schedules."""

from __future__ import annotations

from flask import Response

from entrance.dialects.singularity import wire
from entrance.dialects.singularity.blueprint import SingularityBlueprint
from entrance.dialects.singularity.door import the_keep
from entrance.dialects.singularity.errors import Plain
from entrance.dialects.singularity.schemas import body

blueprint = SingularityBlueprint("other", "Others")

_ANY = ("GET", "POST", "PUT", "PATCH", "DELETE")
_NOT_OURS = {501: "deals are not made here"}


@blueprint.on("/identity", ("POST",), answers={204: "stored"})
def identity() -> Response:
    """Note who a deployment belongs to."""
    the_keep().set_identity(body().text("identity"))
    return wire.nothing()


def _not_supported(**given: str) -> Response:
    """Not ours."""
    raise Plain("not supported", 501)


for _number, _rule in enumerate(
    (
        "/wallet",
        "/wallet/<rest*>",
        "/preparation/<id>/wallet",
        "/preparation/<id>/wallet/<rest*>",
        "/schedule",
        "/schedule/<rest*>",
        "/send_deal",
    )
):
    blueprint.on(_rule, _ANY, answers=_NOT_OURS, endpoint=f"not_ours_{_number}")(_not_supported)
blueprint.on("/deal", ("POST",), answers=_NOT_OURS, endpoint="not_ours_deal")(_not_supported)
