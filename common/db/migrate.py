"""Bringing a database to the present schema. Only under the data folder's lock: by the service at its start, or by a
command while no service runs.

``python -m common.db.migrate MESSAGE`` writes a new revision from the difference between ``tables`` and the revisions.
"""

from __future__ import annotations

import sqlite3
import sys
import tempfile
from pathlib import Path
from typing import Any

from common.db.database import open_writable
from common.errors import StartRefused

HEAD = "0008"  # the newest revision; a test holds it against the folder


def needs_upgrade(path: Path) -> bool:
    """Whether the database is missing or older than this program.

    Raises StartRefused when it is no database of ours, is broken, or is newer than this program.
    """
    if not path.exists() or path.stat().st_size == 0:
        return True
    try:
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
        try:
            if connection.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,):
                return True  # whoever was making it was ended before the first commit
            row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
        finally:
            connection.close()
    except sqlite3.DatabaseError as error:
        if "no such table" in str(error):
            raise StartRefused(f"{path} is not a database of this program") from error
        raise StartRefused(f"the database file {path} is broken: {error}; restore it from a backup") from error
    if row is None:
        raise StartRefused(f"the database {path} was never made to its end: remove it")
    if row[0] > HEAD:
        raise StartRefused(f"the database {path} was made by a newer version of this program")
    return bool(row[0] < HEAD)


def upgrade(path: Path) -> None:
    """Make the database if it is missing (mode 0600) and bring it to the present schema, in one transaction.

    Raises StartRefused when it cannot be stored; the database is then what it was before.
    """
    from sqlalchemy.exc import DBAPIError

    if not needs_upgrade(path):
        return
    try:
        path.touch(mode=0o600)
        _alembic(path, "upgrade")
    except (DBAPIError, OSError) as error:
        why = error.orig if isinstance(error, DBAPIError) else error.strerror
        raise StartRefused(f"the database {path} cannot be made or upgraded: {why}") from error


def _alembic(path: Path, what: str, message: str = "") -> None:
    from alembic import command
    from alembic.config import Config
    from sqlalchemy import create_engine, event
    from sqlalchemy.pool import StaticPool

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.set_main_option("path_separator", "os")
    engine = create_engine("sqlite://", creator=lambda: open_writable(path.absolute()), poolclass=StaticPool)
    # sqlite3 begins no transaction by itself, so that each statement would count alone
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
    with engine.connect() as connection:
        config.attributes["connection"] = connection
        run: Any = command.upgrade
        if what == "upgrade":
            run(config, "head")
        else:
            command.revision(config, message=message, autogenerate=True, rev_id=f"{int(HEAD) + 1:04d}")
        connection.commit()
    engine.dispose()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder) / "scratch.db"
        upgrade(scratch)
        _alembic(scratch, "revision", sys.argv[1])
