"""The revisions make exactly the schema of ``tables``, and a database that is not ours is left alone."""

from __future__ import annotations

import sqlite3
import stat
import subprocess
import sys
from contextlib import closing, suppress
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import create_engine

from common.db import migrate
from common.db.database import open_writable
from common.db.migrate import HEAD, needs_upgrade, upgrade
from common.db.tables import metadata
from common.errors import StartRefused

VERSIONS = Path(migrate.__file__).parent / "migrations" / "versions"


def test_the_revisions_make_the_schema_of_the_tables(database: Path) -> None:
    engine = create_engine(f"sqlite:///{database}")
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, metadata) == []
    engine.dispose()


def test_every_check_index_and_key_is_the_same_text_as_the_tables_would_make(database: Path) -> None:
    """What ``compare`` does not see: partial indexes, AUTOINCREMENT, WITHOUT ROWID, foreign keys' actions."""

    def shape(path: Path) -> dict[str, object]:
        connection = sqlite3.connect(path)
        found: dict[str, object] = {}
        names = [r[0] for r in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for name in names:
            if name in ("alembic_version", "sqlite_sequence"):
                continue
            (sql,) = connection.execute("SELECT sql FROM sqlite_master WHERE name = ?", (name,)).fetchone()
            found[name] = (
                sorted(connection.execute(f'SELECT name, type, "notnull", pk FROM pragma_table_info("{name}")').fetchall()),
                sorted(r[2:] for r in connection.execute(f'PRAGMA foreign_key_list("{name}")')),
                "AUTOINCREMENT" in sql,
                "WITHOUT ROWID" in sql,
            )
        indexes = connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL")
        found["indexes"] = {name: " ".join(sql.replace('"', "").split()) for name, sql in indexes}
        connection.close()
        return found

    made = database.parent / "made.db"
    engine = create_engine(f"sqlite:///{made}")
    metadata.create_all(engine)
    engine.dispose()
    assert shape(database) == shape(made)


def test_head_is_the_newest_revision_and_the_revisions_are_one_line() -> None:
    revisions = {}
    for path in VERSIONS.glob("[0-9]*.py"):
        values: dict[str, object] = {}
        exec(path.read_text(), values)
        revisions[values["revision"]] = values["down_revision"]
    assert max(revisions) == HEAD
    for number, revision in enumerate(sorted(revisions)):
        assert revision == f"{number + 1:04d}"
        assert revisions[revision] == (f"{number:04d}" if number else None)


def test_a_new_database_is_private_and_needs_nothing_more(tmp_path: Path) -> None:
    path = tmp_path / "entrance.db"
    assert needs_upgrade(path)
    upgrade(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not needs_upgrade(path)
    before = path.stat().st_mtime_ns
    upgrade(path)
    assert path.stat().st_mtime_ns == before


def test_a_file_that_is_no_database_of_ours_is_refused_in_one_sentence(tmp_path: Path) -> None:
    broken = tmp_path / "broken.db"
    broken.write_bytes(b"not a database" * 100)
    with pytest.raises(StartRefused, match="is broken"):
        upgrade(broken)
    other = tmp_path / "other.db"
    connection = sqlite3.connect(other)
    connection.execute("CREATE TABLE songs (name)")
    connection.commit()
    connection.close()
    with pytest.raises(StartRefused, match="not a database of this program"):
        upgrade(other)
    assert broken.read_bytes() == b"not a database" * 100


def test_a_database_of_a_newer_version_is_refused(database: Path) -> None:
    connection = sqlite3.connect(database)
    connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.commit()
    connection.close()
    with pytest.raises(StartRefused, match="newer version"):
        needs_upgrade(database)


def test_what_earlier_scans_registered_becomes_batches_without_gaps(database: Path) -> None:
    engine = create_engine(f"sqlite:///{database}")
    config = Config()
    config.set_main_option("script_location", str(VERSIONS.parent))
    config.set_main_option("path_separator", "os")
    with engine.connect() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "0003")
        connection.commit()
    engine.dispose()
    with closing(sqlite3.connect(database)) as plain, plain:
        plain.execute("INSERT INTO scans VALUES (7, 1, 11, 20), (8, 2, 15, 15)")
        plain.executemany(
            "INSERT INTO files VALUES (?, ?, 1, ?, NULL, 0, 0, '')",
            [(n, 2 if n == 15 else 1, f"file {n}") for n in range(11, 21) if n != 13],
        )
    upgrade(database)
    with closing(sqlite3.connect(database)) as plain:
        found = plain.execute("SELECT task_id, before, attachment_id, first_file_id, files FROM scans").fetchall()
    assert found == [(7, 0, 1, 11, 2), (7, 2, 1, 14, 1), (7, 3, 1, 16, 5), (8, 0, 2, 15, 1)]


@pytest.mark.parametrize("pages", [1, 20, 60, 90])
def test_a_database_that_a_full_disk_did_not_take_is_made_when_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pages: int
) -> None:
    def full(path: Path) -> sqlite3.Connection:
        connection = open_writable(path)
        connection.execute(f"PRAGMA max_page_count={pages}")
        return connection

    path = tmp_path / "entrance.db"
    with monkeypatch.context() as patch:
        patch.setattr(migrate, "open_writable", full)
        with pytest.raises(StartRefused, match="cannot be made or upgraded: database or disk is full"):
            upgrade(path)
    upgrade(path)
    assert not needs_upgrade(path)


def test_a_database_whose_making_was_killed_is_made_by_the_next_start(tmp_path: Path) -> None:
    making = (
        "import sys, alembic.command; from pathlib import Path; from common.db.migrate import upgrade;"
        "print('now', flush=True); upgrade(Path(sys.argv[1]))"
    )
    for number in range(6):
        path = tmp_path / f"{number}.db"
        process = subprocess.Popen([sys.executable, "-c", making, str(path)], stdout=subprocess.PIPE)
        with process:
            assert process.stdout is not None and process.stdout.readline()
            with suppress(subprocess.TimeoutExpired):
                process.wait(0.02 * number)
            process.kill()
        upgrade(path)
        assert not needs_upgrade(path)
