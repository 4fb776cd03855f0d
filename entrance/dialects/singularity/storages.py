"""``/storage``: make, list, look, change, remove."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask import Response, request

from common.errors import BadInput
from common.storage import TYPES
from entrance.core.keeping import MOST_ENTRIES, NewStorage
from entrance.core.making import checked_name
from entrance.dialects.singularity import wire
from entrance.dialects.singularity.blueprint import SingularityBlueprint, number, ref
from entrance.dialects.singularity.door import the_data, the_keep
from entrance.dialects.singularity.options import defaults_of, provider_of
from entrance.dialects.singularity.schemas import Body, body, unreadable
from entrance.web.dialect import the_caller

blueprint = SingularityBlueprint("storage", "Storages")

_CLIENT_NUMBERS = (
    "connectTimeout",
    "timeout",
    "expectContinueTimeout",
    "retryDelay",
    "retryBackoff",
    "retryMaxCount",
    "lowlevelRetries",
    "scanConcurrency",
)
_CLIENT_FLAGS = (
    "insecureSkipVerify",
    "noGzip",
    "disableHttp2",
    "disableHttpKeepAlives",
    "skipInaccessibleFile",
    "useServerModTime",
)
_CLIENT_TEXTS = ("userAgent", "clientCert", "clientKey")


@blueprint.on("/storage/<type>", ("POST",), answers={200: "the storage"})
def create(type: str) -> Response:
    """Make a storage; its root is listed once to see whether it is there."""
    sent = body()
    return _create(type, sent, sent.text("provider"))


@blueprint.on("/storage/<type>/<provider>", ("POST",), answers={200: "the storage"})
def create_of_provider(type: str, provider: str) -> Response:
    """Make a storage of a certain provider."""
    return _create(type, body(), provider)


def _create(type: str, sent: Body, provider: str) -> Response:
    name = checked_name("storage", sent.text("name"))
    type = type.lower()
    if type not in TYPES:
        raise BadInput(f"storage type {type} is not supported")
    config = {**defaults_of(type), **wire.text_config(sent.object("config"))}
    if provider:
        config["provider"] = provider_of(type, provider)
    wanted = NewStorage(
        name=name,
        type=type,
        path=sent.text("path"),
        config=config,
        client_config=client_config(sent.object("clientConfig")),
    )
    return wire.answer(wire.storage(the_keep().create_storage(the_caller(), wanted)))


@blueprint.on("/storage", answers={200: "storages, each with the preparations that it is attached to"})
def list_() -> Response:
    """All storages of the caller."""
    caller, data = the_caller(), the_data()
    return wire.answer(wire.storages_with_preparations(data.storages(caller), data.preparations(caller)))


@blueprint.on("/storage/<name>/explore/<path*>", answers={200: "what lies in the folder, null when it is empty"})
def explore(name: str, path: str) -> Response:
    """A folder of a storage; ``?limit=N``, which is ours, for its first entries only."""
    limit = request.args.get("limit", "")
    most = number(limit) if limit else MOST_ENTRIES
    entries = the_keep().explore(the_caller(), ref(name), path, max(1, most))
    return wire.answer([wire.storage_entry(entry) for entry in entries] or None)


@blueprint.on("/storage/<name>", ("PATCH",), answers={200: "the storage"})
def update(name: str) -> Response:
    """Change settings of a storage."""
    sent = body()
    record = the_keep().update_storage(
        the_caller(), ref(name), wire.text_config(sent.object("config")), client_config(sent.object("clientConfig"))
    )
    return wire.answer(wire.storage(record))


@blueprint.on("/storage/<name>/rename", ("PATCH",), answers={200: "the storage"})
def rename(name: str) -> Response:
    """Give a storage another name."""
    return wire.answer(wire.storage(the_keep().rename_storage(the_caller(), ref(name), body().text("name"))))


@blueprint.on("/storage/<name>", ("DELETE",), answers={204: "it is gone"})
def remove(name: str) -> Response:
    """Remove a storage that is attached nowhere; its files stay."""
    the_keep().remove_storage(the_caller(), ref(name))
    return wire.nothing()


def client_config(sent: Mapping[str, Any]) -> dict[str, Any]:
    """Return what of a ClientConfig is known, each of its type; unknown keys are ignored. Raises Plain (400)."""
    found: dict[str, Any] = {}
    fields = Body(sent)
    for keys, read in ((_CLIENT_NUMBERS, fields.number), (_CLIENT_FLAGS, fields.flag), (_CLIENT_TEXTS, fields.text)):
        found |= {key: read(key) for key in keys if sent.get(key) is not None}
    if sent.get("caCert") is not None:
        found["caCert"] = fields.texts("caCert")
    if sent.get("headers") is not None:
        headers = fields.object("headers")
        if not all(isinstance(value, str) for value in headers.values()):
            raise unreadable("headers: expected strings")
        found["headers"] = headers
    factor = sent.get("retryBackoffExponential")
    if factor is not None:
        if isinstance(factor, bool) or not isinstance(factor, (int, float)):
            raise unreadable("retryBackoffExponential: expected number")
        found["retryBackoffExponential"] = float(factor)
    return found
