"""What ``linkis-python-sdk`` sees of a service, as JSON. Run by a Python that has the package and nothing of ours.

python _linkis_sdk.py URL USER PASSWORD CODES      CODES: JSON, what to submit by name
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import importlib.metadata
import json
import logging
import sys
from pathlib import Path
from typing import Any

import requests
from linkis_python_sdk.asyncio.client import LinkisClient as AsyncClient
from linkis_python_sdk.client import LinkisClient
from linkis_python_sdk.config.config import LinkisConfig

PACKAGE = "linkis-python-sdk"


def unchanged() -> bool:
    """Whether every file of the package is as its wheel had it."""
    files = importlib.metadata.files(PACKAGE) or []
    hashed = [file for file in files if file.hash is not None]
    for file in hashed:
        assert file.hash is not None
        digest = hashlib.new(file.hash.mode, Path(str(file.locate())).read_bytes()).digest()
        if base64.urlsafe_b64encode(digest).rstrip(b"=").decode() != file.hash.value:
            return False
    return bool(hashed)


def frame(client: LinkisClient, code: str, executor: str) -> Any:
    """Return the DataFrame of a task: the steps of ``execute_code``, before it cuts columns and makes a list of it."""
    session = requests.Session()
    client._login(session)
    files = client._running_code_task(session, code, executor, executor)
    (table,) = client._query_result_set(session, files)
    return table.to_pandas()


def told(table: Any) -> dict[str, Any]:
    return {
        "kind": type(table).__name__,
        "columns": {name: str(kind) for name, kind in table.dtypes.items()},
        "rows": table.astype(object).where(table.notna(), None).values.tolist(),
    }


def main() -> None:
    url, user, password, text = sys.argv[1:]
    codes = json.loads(text)
    config = LinkisConfig(base_url=url, username=user, password=password)
    client = LinkisClient(config)
    logging.disable(logging.CRITICAL)  # it logs the failure that is asked for
    scanned = frame(client, codes["scan"], "scan")
    echoed = frame(client, codes["echo"], "echo")
    raised = ""
    try:
        frame(client, codes["failing"], "echo")
    except ValueError as error:
        raised = str(error)
    largest = {
        "columns": [{"column": "path"}, {"column": "size"}],
        "filters": [{"column": "size", "operator": "gt", "value": 0}],
        "orderbys": [{"column": "size", "ascending": False}, {"column": "path", "ascending": True}],
        "page": 1,
        "page_size": 10,
    }
    message = {"columns": [{"column": "message"}]}
    found = {
        "version": importlib.metadata.version(PACKAGE),
        "unchanged": unchanged(),
        "scan": told(scanned),
        "echo": told(echoed),
        "raised": raised,
        "largest": client.execute_code(codes["scan again"], largest, "scan", "scan"),
        "failed": client.execute_code(codes["failing"], message, "echo", "echo"),
        "async": asyncio.run(AsyncClient(config).execute_code(codes["echo"], message, "echo", "echo")),
        "async_failed": asyncio.run(AsyncClient(config).execute_code(codes["failing"], message, "echo", "echo")),
    }
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
