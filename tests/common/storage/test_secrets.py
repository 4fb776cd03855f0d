"""common.storage.secrets: keys are changed while somebody uses them."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.errors import EntranceError, StartRefused
from common.storage.secrets import Secrets, add_key, drop_old_keys

FIRST = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="
SECOND = "MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTI="


def test_who_has_the_secrets_open_sees_a_new_key_at_the_next_use(tmp_path: Path) -> None:
    path = tmp_path / "secret.key"
    open_before = Secrets(path, environ={})
    old = open_before.encrypt("old")
    add_key(path)
    new = open_before.encrypt("new")
    assert (open_before.is_newest(old), open_before.is_newest(new)) == (False, True)
    assert [open_before.decrypt(body) for body in (old, new)] == ["old", "new"]
    drop_old_keys(path)
    assert open_before.decrypt(new) == "new"
    with pytest.raises(EntranceError, match="does not fit the key"):
        open_before.decrypt(old)


def test_the_key_file_is_replaced_whole_and_stays_its_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "secret.key"
    Secrets(path, environ={})
    before = path.read_text()
    add_key(path)
    assert path.read_text().splitlines()[1:] == before.split()
    drop_old_keys(path)
    assert len(path.read_text().splitlines()) == 1
    assert path.stat().st_mode & 0o777 == 0o600
    assert [p.name for p in tmp_path.iterdir()] == ["secret.key"]


def test_the_first_key_of_the_environment_encrypts_and_all_of_them_decrypt(tmp_path: Path) -> None:
    before = Secrets(tmp_path / "none", environ={"ENTRANCE_SECRET_KEY": FIRST})
    both = Secrets(tmp_path / "none", environ={"ENTRANCE_SECRET_KEY": f"{SECOND} {FIRST}"})
    after = Secrets(tmp_path / "none", environ={"ENTRANCE_SECRET_KEY": SECOND})
    assert both.decrypt(before.encrypt("x")) == "x"
    assert after.decrypt(both.encrypt("x")) == "x"


def test_an_empty_key_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "secret.key"
    path.touch(mode=0o600)
    with pytest.raises(StartRefused, match="empty"):
        Secrets(path, environ={})
