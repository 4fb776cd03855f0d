"""A look at a database without SQLAlchemy, whose import takes longer than all else that a short command does."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

FILE_NAME = "entrance.db"
"""Name of the database in a service's data folder."""
ADMIN = "admin"
"""Name of the administrator whom the first start makes."""
ADMIN_FILE = "admin-password"
"""Name of the file in the data folder that keeps that one's password."""


def has_administrator(path: Path) -> bool:
    """Whether a database has an administrator; no when it is not there, or is too old or too broken to tell."""
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            return connection.execute("SELECT 1 FROM users WHERE admin = 1").fetchone() is not None
    except sqlite3.Error:
        return False
