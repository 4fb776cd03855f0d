"""Puts storages into the data folder of a service, past its doors: for tests of what is behind them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from common.db.accounts import Accounts
from common.db.database import open_writable
from common.db.peek import FILE_NAME
from common.db.sql import Tx
from common.storage.options import SECRET_OPTIONS
from common.storage.secrets import Secrets
from entrance.core.making import create_storage


def add_storage(data: Path, user: str, name: str, settings: Mapping[str, Any]) -> None:
    """Store a storage with its keys encrypted; a local folder is allowed, too."""
    config = {key: value for key, value in settings.get("config", {}).items() if key not in SECRET_OPTIONS}
    keys = {key: value for key, value in settings.get("config", {}).items() if key in SECRET_OPTIONS}
    connection = open_writable(data / FILE_NAME)
    try:
        connection.execute("PRAGMA busy_timeout = 5000")
        connection.execute("BEGIN IMMEDIATE")
        tx = Tx(connection)
        if settings["type"] == "local":
            Accounts(tx).allow(settings["path"], now=0)
        create_storage(
            tx,
            user=user,
            name=name,
            type=settings["type"],
            path=settings["path"],
            config=config,
            client_config=settings.get("client_config", {}),
            secrets=Secrets.of_folder(data).encrypt(json.dumps(keys)) if keys else None,
            now=0,
        )
        connection.execute("COMMIT")
    finally:
        connection.close()
