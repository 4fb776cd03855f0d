"""What SDKs and tools ask of the machine itself before they begin."""

from __future__ import annotations

import hashlib
import uuid

from flask import Response

from common.db import shown
from common.errors import Draining
from entrance.dialects.blackpearl import markup
from entrance.dialects.blackpearl.answers import answer
from entrance.dialects.blackpearl.blueprint import BlackPearlBlueprint
from entrance.web.state import the_core

blueprint = BlackPearlBlueprint("system", "The machine")

CONTRACT_VERSION = "5.8.0"  # of the public API whose shapes these are
_HALF = 16  # hexadecimal digits


@blueprint.on("/system_information")
def system_information() -> Response:
    """Which API this is, and which installation."""
    core = the_core()
    with core.readers.read() as tx:
        instance = shown.instance(tx)
    digest = hashlib.sha256(CONTRACT_VERSION.encode()).hexdigest().upper()
    build = markup.element(
        "BuildInformation", markup.fields({"Branch": None, "Revision": None, "Version": CONTRACT_VERSION})
    )
    parts = [
        *markup.fields({"ApiVersion": f"{digest[:_HALF]}.{digest[_HALF : 2 * _HALF]}", "BackendActivated": True}),
        build,
        *markup.fields(
            {
                "InstanceId": str(uuid.UUID(instance)),
                "Now": core.clock.now(),
                "SerialNumber": instance[:_HALF].upper(),
            }
        ),
    ]
    return answer(markup.element("Data", parts))


@blueprint.on("/system_health")
def system_health() -> Response:
    """Whether jobs are taken; 503 when not."""
    if not the_core().tasks.accept.online:
        raise Draining
    return answer(markup.element("Data", markup.fields({"MsRequiredToVerifyDataPlannerHealth": 0})))
