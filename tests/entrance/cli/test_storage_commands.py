"""``storage create``, ``list``, ``check`` through a running service, and ``rekey`` beside one."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import ds3
import pytest
from factories import Service
from servers.seaweedfs import ACCESS_KEY, SECRET_KEY, SeaweedFS

from common.db.peek import FILE_NAME
from common.storage.secrets import KEY_FILE_NAME, add_key

MakeService = Callable[..., Service]


def folder(service: Service, path: Path) -> Path:
    path.mkdir()
    service.cli("storage", "allow", str(path))
    return path


def secrets_of(service: Service) -> list[bytes]:
    """What is encrypted in the database."""
    with closing(sqlite3.connect(service.data / FILE_NAME)) as database:
        rows = database.execute(
            "SELECT secrets FROM storages WHERE secrets IS NOT NULL UNION ALL SELECT secret FROM keys"
        ).fetchall()
    return [row[0] for row in rows]


def test_a_local_storage_is_made_listed_and_checked(shared_service: Service, tmp_path: Path) -> None:
    place = folder(shared_service, tmp_path / "place")
    made = shared_service.cli("storage", "create", "cli-local", "local", str(place), "copy_links=true")
    assert (made.stdout, made.stderr) == ("", f"storage cli-local made (local, {place})\n")
    line = next(x for x in shared_service.cli("storage", "list").stdout.splitlines() if "cli-local" in x)
    assert line.split()[1:4] == ["cli-local", "local", str(place)]
    (listed,) = [s for s in json.loads(shared_service.cli("storage", "list", "--json").stdout) if s["name"] == "cli-local"]
    assert listed["config"]["copy_links"] == "true"
    assert shared_service.cli("storage", "check", "cli-local").stdout.splitlines()[1].split() == ["cli-local", "ok"]


def test_a_check_names_what_cannot_be_listed_and_fails(shared_service: Service, tmp_path: Path) -> None:
    place = folder(shared_service, tmp_path / "goes")
    shared_service.cli("storage", "create", "cli-gone", "local", str(place))
    place.rmdir()
    done = shared_service.cli("storage", "check", "cli-gone", "cli-unknown", "--json", check=False)
    assert done.returncode == 1
    gone, unknown = json.loads(done.stdout)
    assert (gone["name"], gone["ok"], bool(gone["message"])) == ("cli-gone", False, True)
    assert "does not exist" in unknown["message"] or "not found" in unknown["message"]


def test_what_the_service_refuses_is_one_sentence(shared_service: Service, tmp_path: Path) -> None:
    for arguments in (["12", "local", str(tmp_path)], ["cli-not-allowed", "local", "/etc"]):
        done = shared_service.cli("storage", "create", *arguments, check=False)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1), done.stderr


@pytest.mark.parametrize("pair", ["secret_access_key=abc", "accessKeyId=abc", "session_token=abc"])
def test_a_secret_on_the_command_line_is_refused_before_anything_is_sent(shared_service: Service, pair: str) -> None:
    done = shared_service.cli("storage", "create", "cli-leak", "s3", "bucket", pair, check=False)
    assert done.returncode == 2
    assert "list of processes" in done.stderr
    headers = shared_service.cli("storage", "create", "cli-leak", "s3", "b", "--client", 'headers={"X":"y"}', check=False)
    assert headers.returncode == 2


def test_keys_come_from_a_file_and_from_standard_input(
    make_service: MakeService, object_server: SeaweedFS, place: str, tmp_path: Path
) -> None:
    service = make_service(STORAGE__ALLOWED_ENDPOINTS="127.0.0.1").start()
    access = tmp_path / "access"
    access.write_text(ACCESS_KEY + "\n")
    options = [f"endpoint={object_server.endpoint}", f"access_key_id=@{access}", "secret_access_key=@-"]
    arguments = ["storage", "create", "archive", "s3", place, *options, "--provider", "other", "--json"]
    made = json.loads(service.cli(*arguments, stdin=SECRET_KEY + "\n").stdout)
    assert (made["config"]["secret_access_key"], made["config"]["provider"]) == ("******", "Other")
    service.cli("storage", "check")
    wrong = service.cli(*[x.replace("archive", "wrong") for x in arguments], stdin="something else", check=False)
    assert wrong.returncode == 1
    assert SECRET_KEY not in wrong.stderr and "something else" not in wrong.stderr


def test_a_new_key_is_in_use_at_once_and_nothing_is_left_of_the_old(service: Service) -> None:
    service.user("ann")
    access_id, secret = service.cli("key", "create", "ann").stdout.split()
    pearl = ds3.Client(service.url, access_id, secret)
    old, key_file = secrets_of(service), service.data / KEY_FILE_NAME
    old_key = key_file.read_text()
    failed, done = [], threading.Event()

    def ask() -> None:
        while not done.is_set():
            if (status := pearl.get("/_rest_/job").status) != 200:
                failed.append(status)

    asking = threading.Thread(target=ask)
    asking.start()
    told = json.loads(service.cli("storage", "rekey", "--json").stdout)
    done.set()
    asking.join()
    assert (told, failed) == ({"storages": 0, "keys": 1}, [])
    assert set(secrets_of(service)).isdisjoint(old)
    assert old_key.strip() not in key_file.read_text()
    assert len(key_file.read_text().split()) == 1
    assert pearl.get("/_rest_/job").status == 200


def test_a_change_of_key_that_was_cut_short_is_finished_by_the_next(make_service: MakeService) -> None:
    service = make_service()
    service.cli("user", "add", "ann", "--no-password")
    service.cli("key", "create", "ann")
    add_key(service.data / KEY_FILE_NAME)  # and then the power went
    service.cli("key", "create", "ann")
    assert json.loads(service.cli("storage", "rekey", "--json").stdout) == {"storages": 0, "keys": 2}
    assert len((service.data / KEY_FILE_NAME).read_text().split()) == 1


def test_nothing_changes_when_a_secret_cannot_be_decrypted(make_service: MakeService) -> None:
    service = make_service()
    service.cli("user", "add", "ann", "--no-password")
    service.cli("key", "create", "ann")
    shutil.move(service.data / KEY_FILE_NAME, service.data / "elsewhere")
    before = secrets_of(service)
    done = service.cli("storage", "rekey", check=False)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert secrets_of(service) == before
    os.replace(service.data / "elsewhere", service.data / KEY_FILE_NAME)
    service.cli("storage", "rekey")
