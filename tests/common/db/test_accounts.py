"""common.db.accounts: users, tokens, sessions, keys and roots on a real database file."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import create_engine

from common.db import tables
from common.db.accounts import DAY_MS, Accounts, hash_password, user_name, verify_password
from common.db.database import Readers, short_write
from common.db.peek import FILE_NAME
from common.errors import AlreadyExists, BadInput, Conflict, EntranceError, NotFound, StartRefused
from common.storage.secrets import Secrets

NOW = 1_700_000_000_000


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / FILE_NAME
    engine = create_engine(f"sqlite:///{path}")
    tables.metadata.create_all(engine)
    engine.dispose()
    with short_write(path) as tx:
        Accounts(tx).add_user("Admin", "", admin=True, now=NOW)
        Accounts(tx).add_user("alice", "", admin=False, now=NOW + 1)
    return path


def test_a_password_fits_its_own_hash_and_no_other() -> None:
    made = hash_password("correct horse")
    assert made.startswith("$argon2id$")
    assert "correct" not in made
    assert verify_password(made, "correct horse")
    assert not verify_password(made, "correct hors")
    assert not verify_password("", "")
    assert not verify_password("not a hash", "x")


@pytest.mark.parametrize("password", ["", "x" * 1025])
def test_a_password_that_is_empty_or_huge_is_refused(password: str) -> None:
    with pytest.raises(BadInput):
        hash_password(password)


@pytest.mark.parametrize("name", ["", "-a", "a b", "a/b", "ü", "a" * 65, "a\n"])
def test_a_name_that_would_not_fit_into_ids_and_paths_is_refused(name: str) -> None:
    if name == "a\n":
        assert user_name(name) == "a"
        return
    with pytest.raises(BadInput):
        user_name(name)


def test_names_are_one_whatever_their_letter_case(database: Path) -> None:
    with short_write(database) as tx:
        accounts = Accounts(tx)
        found = accounts.user("ALICE")
        assert found is not None
        assert found.name == "alice"
        with pytest.raises(AlreadyExists):
            accounts.add_user("Alice", "", admin=False, now=NOW)


def test_the_first_administrator_is_the_one_made_first_and_the_last_one_stays(database: Path) -> None:
    with short_write(database) as tx:
        accounts = Accounts(tx)
        first = accounts.first_admin()
        assert first is not None
        assert first.name == "admin"
        with pytest.raises(Conflict):
            accounts.remove_user("admin")
        with pytest.raises(Conflict):
            accounts.set_admin("admin", False)
        accounts.set_admin("alice", True)
        accounts.remove_user("admin")
        assert [u.name for u in accounts.users()] == ["alice"]


def test_a_token_names_its_user_and_is_stored_as_a_hash_only(database: Path) -> None:
    with short_write(database) as tx:
        token, secret = Accounts(tx).add_token("alice", now=NOW, days=2)
    assert token.expires_at == NOW + 2 * DAY_MS
    assert secret.startswith(token.prefix)
    raw = b"".join(p.read_bytes() for p in database.parent.iterdir())
    assert secret.encode() not in raw
    readers = Readers(database)
    with readers.read() as tx:
        holder = Accounts(tx).token_holder(secret)
        assert holder is not None
        assert (holder.user, holder.admin, holder.expires_at) == ("alice", False, NOW + 2 * DAY_MS)
        assert Accounts(tx).token_holder(secret + "x") is None
    with short_write(database) as tx:
        Accounts(tx).remove_token(token.id)
    with readers.read() as tx:
        assert Accounts(tx).token_holder(secret) is None, "a reader that is open sees the change"
    readers.close()


def test_a_token_for_nobody_or_for_a_strange_time_is_refused(database: Path) -> None:
    with short_write(database) as tx:
        with pytest.raises(NotFound):
            Accounts(tx).add_token("bob", now=NOW)
        with pytest.raises(BadInput):
            Accounts(tx).add_token("alice", now=NOW, days=0)
        with pytest.raises(NotFound):
            Accounts(tx).remove_token(99)


def test_a_new_password_ends_the_sessions_and_a_removed_user_loses_everything(database: Path, tmp_path: Path) -> None:
    secrets = Secrets(tmp_path / "secret.key", environ={})
    with short_write(database) as tx:
        accounts = Accounts(tx)
        ticket = accounts.add_session("alice", now=NOW, life_ms=1000)
        holder = accounts.session_holder(ticket)
        assert holder is not None
        assert holder.user == "alice"
        accounts.set_password("alice", "hash")
        assert accounts.session_holder(ticket) is None
        ticket = accounts.add_session("alice", now=NOW, life_ms=1000)
        _, token = accounts.add_token("alice", now=NOW)
        key = accounts.add_key("alice", secrets, now=NOW)
        accounts.remove_user("alice")
        assert accounts.session_holder(ticket) is None
        assert accounts.token_holder(token) is None
        assert accounts.key(key.access_id, secrets) is None


def test_sessions_that_nobody_used_for_their_life_go_at_the_next_login(database: Path) -> None:
    with short_write(database) as tx:
        accounts = Accounts(tx)
        old = accounts.add_session("alice", now=NOW, life_ms=1000)
        used = accounts.add_session("alice", now=NOW, life_ms=1000)
        accounts.use_session(used, NOW + 900)
        accounts.add_session("admin", now=NOW + 1500, life_ms=1000)
        assert accounts.session_holder(old) is None
        assert accounts.session_holder(used) is not None
        accounts.end_session(used)
        accounts.end_session(used)
        assert accounts.session_holder(used) is None


def test_the_secret_of_a_key_is_encrypted_and_comes_back_whole(database: Path, tmp_path: Path) -> None:
    key_file = tmp_path / "secret.key"
    secrets = Secrets(key_file, environ={})
    assert key_file.stat().st_mode & 0o777 == 0o600
    with short_write(database) as tx:
        made = Accounts(tx).add_key("alice", secrets, now=NOW)
    assert (len(made.access_id), len(made.secret)) == (20, 40)
    assert made.secret not in repr(made)
    assert made.secret.encode() not in b"".join(p.read_bytes() for p in tmp_path.iterdir())
    with short_write(database) as tx:
        found = Accounts(tx).key(made.access_id, Secrets(key_file, environ={}))
        assert found == made
        assert [k.secret for k in Accounts(tx).keys()] == [""]  # noqa: SIM118
        with pytest.raises(EntranceError, match="does not fit the key"):
            Accounts(tx).key(made.access_id, Secrets(tmp_path / "other.key", environ={}))


def test_a_key_file_that_others_may_read_is_refused(tmp_path: Path) -> None:
    key_file = tmp_path / "secret.key"
    Secrets(key_file, environ={})
    key_file.chmod(0o644)
    with pytest.raises(StartRefused, match="chmod 600"):
        Secrets(key_file, environ={})


def test_the_key_may_come_from_the_environment_and_then_no_file_is_made(tmp_path: Path) -> None:
    key = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="
    secrets = Secrets(tmp_path / "secret.key", environ={"ENTRANCE_SECRET_KEY": key})
    assert secrets.decrypt(secrets.encrypt("ß")) == "ß"
    assert not (tmp_path / "secret.key").exists()
    with pytest.raises(StartRefused):
        Secrets(tmp_path / "secret.key", environ={"ENTRANCE_SECRET_KEY": "short"})


def test_a_folder_allowed_for_all_is_not_narrowed_by_a_preparation(database: Path) -> None:
    with short_write(database) as tx:
        accounts = Accounts(tx)
        accounts.allow("/data", now=NOW)
        accounts.allow("/data", now=NOW, preparation_id=3)
        accounts.allow("/more", now=NOW, preparation_id=3)
        assert [(r.path, r.preparation_id) for r in accounts.roots()] == [("/data", None), ("/more", 3)]
        accounts.allow("/more", now=NOW)
        assert [r.preparation_id for r in accounts.roots()] == [None, None]
        accounts.disallow("/more")
        with pytest.raises(NotFound):
            accounts.disallow("/more")
