"""Storages: where bytes lie, by name. ``open_storage`` is the one place that knows which kinds there are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from common.errors import BadInput
from common.storage.base import Storage
from common.storage.local import LocalStorage

TYPES = ("local", "s3")


def open_storage(name: str, settings: Mapping[str, Any]) -> Storage:
    """Open a storage. ``settings``: ``type``, ``path``, ``config`` (text to text, secrets in clear), ``client_config``, and
    ``allowed_endpoints`` (those that the administrator has listed; see ``common.storage.endpoints``).

    Nothing is touched until the first use. Raises BadInput for a type that does not exist.
    """
    kind = settings.get("type")
    if kind == "local":
        return LocalStorage(name, settings["path"], settings.get("config", {}))
    if kind == "s3":
        from common.storage.objects import ObjectStorage

        return ObjectStorage(name, settings)
    raise BadInput(f"storage type {kind} is not supported")
