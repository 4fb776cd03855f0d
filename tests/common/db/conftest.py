"""A migrated database of each test's own, and a transaction on it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from common.db.database import open_writable
from common.db.migrate import upgrade
from common.db.sql import Tx


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty database at the newest revision; copy it."""
    path = tmp_path_factory.mktemp("migrated") / "entrance.db"
    upgrade(path)
    connection = open_writable(path)
    connection.execute("PRAGMA journal_mode=DELETE")  # so that one file is all of it
    connection.close()
    return path


@pytest.fixture
def database(migrated: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(migrated, tmp_path / "entrance.db"))


@pytest.fixture
def tx(database: Path) -> Iterator[Tx]:
    """An open transaction; never committed."""
    connection = open_writable(database)
    connection.execute("BEGIN IMMEDIATE")
    yield Tx(connection)
    connection.close()
