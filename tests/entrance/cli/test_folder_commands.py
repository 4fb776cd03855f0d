"""Commands that work on the data folder: accounts, keys, allowed folders, the database, the doctor."""

from __future__ import annotations

import fcntl
import json
import sqlite3
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from factories import Service


@pytest.fixture
def folder(make_service: Callable[..., Service]) -> Service:
    """A data folder that does not exist yet, and no service."""
    return make_service()


def add(folder: Service, name: str, *more: str) -> None:
    folder.cli("user", "add", name, *more, "--password-file", "-", stdin="secret\n")


def test_the_first_command_makes_the_folder_for_its_owner_alone(folder: Service) -> None:
    add(folder, "alice")
    assert stat.S_IMODE(folder.data.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder.data / "entrance.db").stat().st_mode) == 0o600


def test_a_token_is_printed_alone_and_a_key_as_two_words(folder: Service) -> None:
    add(folder, "alice", "--admin")
    token = folder.cli("token", "create", "alice", "--days", "2").stdout
    assert token.endswith("\n")
    assert len(token.split()) == 1
    access_id, secret = folder.cli("key", "create", "alice").stdout.split()
    assert access_id
    assert secret
    listed = json.loads(folder.cli("token", "list", "--json").stdout)
    assert [(t["user"], t["expiresTime"] - t["createdTime"]) for t in listed] == [("alice", 2 * 86_400_000)]
    assert secret not in folder.cli("key", "list").stdout


def test_only_one_newline_of_a_password_file_is_cut(folder: Service, tmp_path: Path) -> None:
    from common.db.accounts import Accounts, verify_password
    from common.db.database import open_readonly
    from common.db.sql import Tx

    file = tmp_path / "password"
    file.write_bytes(b" pass word \n\n")
    folder.cli("user", "add", "alice", "--password-file", str(file))
    connection = open_readonly(folder.data / "entrance.db")
    user = Accounts(Tx(connection)).user("alice")
    connection.close()
    assert user is not None
    assert verify_password(user.password_hash, " pass word \n")


def test_unknown_users_and_names_that_exist_are_one_sentence(folder: Service) -> None:
    add(folder, "alice")
    assert folder.cli("token", "create", "bob", check=False).stderr == "entrance: there is no user bob\n"
    twice = folder.cli("user", "add", "alice", "--no-password", check=False)
    assert (twice.returncode, twice.stderr) == (1, "entrance: there is a user alice already\n")


def test_a_revoked_token_is_gone(folder: Service) -> None:
    add(folder, "alice")
    folder.cli("token", "create", "alice")
    (token,) = json.loads(folder.cli("token", "list", "--json").stdout)
    folder.cli("token", "revoke", str(token["id"]))
    assert json.loads(folder.cli("token", "list", "--json").stdout) == []


def test_an_allowed_folder_is_kept_by_its_real_path(folder: Service, tmp_path: Path) -> None:
    real = tmp_path / "real"
    real.mkdir()
    (tmp_path / "link").symlink_to(real)
    folder.cli("storage", "allow", str(tmp_path / "link"))
    allowed = json.loads(folder.cli("storage", "allow", "--list", "--json").stdout)
    assert [root["path"] for root in allowed] == [str(real)]
    missing = folder.cli("storage", "allow", str(tmp_path / "none"), check=False)
    assert missing.returncode == 1
    assert "No such file" in missing.stderr
    folder.cli("storage", "allow", str(real), "--remove")
    assert json.loads(folder.cli("storage", "allow", "--list", "--json").stdout) == []


def test_the_database_is_upgraded_once(folder: Service) -> None:
    assert json.loads(folder.cli("db", "upgrade", "--json").stdout)["changed"] is True
    assert json.loads(folder.cli("db", "upgrade", "--json").stdout)["changed"] is False


def test_nothing_is_migrated_while_the_folder_is_locked(folder: Service) -> None:
    folder.data.mkdir(mode=0o700)
    with (folder.data / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = folder.cli("user", "list", check=False)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "a service is running" in done.stderr


def test_a_broken_database_is_one_sentence(folder: Service) -> None:
    folder.data.mkdir(mode=0o700)
    (folder.data / "entrance.db").write_bytes(b"this is no database" * 100)
    for command in (["user", "list"], ["db", "upgrade"], ["start", "--port", "0"]):
        done = folder.cli(*command, check=False)
        assert done.returncode == 1, command
        assert done.stderr.count("\n") == 1, done.stderr
        assert "entrance.db" in done.stderr


def test_a_data_folder_that_is_a_file_is_one_sentence(folder: Service) -> None:
    folder.data.write_text("")
    done = folder.cli("user", "list", check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("entrance: the data folder")
    assert done.stderr.count("\n") == 1


def test_the_doctor_has_a_line_for_each_thing_and_makes_the_folder(folder: Service) -> None:
    done = folder.cli("doctor")
    verdicts = {line.split()[0] for line in done.stdout.splitlines()}
    assert verdicts <= {"ok", "warn"}
    found = json.loads(folder.cli("doctor", "--json").stdout)
    names = [finding["name"] for finding in found]
    for name in ("python", "sqlite", "data folder", "disk space", "database", "slots", "kernel", "service"):
        assert name in names
    with sqlite3.connect(folder.data / "entrance.db") as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()


def test_the_doctor_says_what_is_wrong_with_the_settings(folder: Service) -> None:
    folder.settings["SCHEDULER__SLOTZ"] = "1"
    done = folder.cli("doctor", check=False)
    assert done.returncode == 1
    assert "scheduler.slotz" in done.stdout
