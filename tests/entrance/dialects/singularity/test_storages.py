"""Chapter 3.2 of the contract: storages."""

from __future__ import annotations

import json
import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from common.db.peek import FILE_NAME
from common.storage.secrets import Secrets

FIELDS = {"id", "name", "createdAt", "updatedAt", "type", "path", "config", "clientConfig"}


def test_a_local_storage_is_made_with_all_defaults(singularity: Any) -> None:
    folder, name = singularity.tree({"a.txt": "x"}), singularity.name("storage")
    made = singularity.ok("POST", "/storage/local", {"name": name, "path": str(folder)})
    assert set(made) == FIELDS
    assert (made["name"], made["type"], made["path"], made["clientConfig"]) == (name, "local", str(folder), {})
    assert made["config"]["copy_links"] == "false"
    assert made["config"]["encoding"] == "Slash,Dot"
    assert all(isinstance(value, str) for value in made["config"].values())
    assert made["createdAt"].endswith("Z")
    (listed,) = [s for s in singularity.ok("GET", "/storage") if s["name"] == name]
    assert listed == made


def test_options_come_in_every_spelling_and_are_kept_as_text(singularity: Any) -> None:
    body = {
        "name": singularity.name("storage"),
        "path": str(singularity.tree({})),
        "config": {"copyLinks": True, "unicode_normalization": "true", "someNumber": 5},
        "clientConfig": {"retryMaxCount": 3, "skipInaccessibleFile": True, "retryDelay": 1_000_000_000, "unknown": 1},
    }
    made = singularity.ok("POST", "/storage/local", body)
    assert made["config"]["copy_links"] == "true"
    assert made["config"]["unicode_normalization"] == "true"
    assert made["config"]["some_number"] == "5"
    assert made["clientConfig"] == {"retryMaxCount": 3, "skipInaccessibleFile": True, "retryDelay": 1_000_000_000}


@pytest.mark.parametrize(
    ("path", "body", "status", "text"),
    [
        (
            "/storage/local",
            {"name": "", "path": "/x"},
            400,
            "storage name  cannot be all digits or empty: invalid parameter",
        ),
        (
            "/storage/local",
            {"name": "12", "path": "/x"},
            400,
            "storage name 12 cannot be all digits or empty: invalid parameter",
        ),
        ("/storage/tape", {"name": "x", "path": "/x"}, 400, "storage type tape is not supported: invalid parameter"),
        ("/storage/s3/nobody", {"name": "x", "path": "b"}, 400, "provider 'nobody' is not supported: invalid parameter"),
    ],
)
def test_what_is_refused(path: str, body: Any, status: int, text: str, singularity: Any) -> None:
    singularity.refused(status, text, "POST", path, body)


def test_a_taken_name_and_a_folder_that_is_not_allowed(singularity: Any, tmp_path: Path) -> None:
    name = singularity.storage(singularity.tree({}))
    text = f"storage with name {name} already exists: duplicate record"
    singularity.refused(409, text, "POST", "/storage/local", {"name": name, "path": str(singularity.folder)})
    answer = singularity.call("POST", "/storage/local", {"name": "out", "path": str(tmp_path)})
    assert answer.status == 400
    assert answer.json()["err"].endswith(": invalid parameter")
    link = singularity.folder / singularity.name("link")
    link.symlink_to(tmp_path)
    assert singularity.call("POST", "/storage/local", {"name": "out", "path": str(link)}).status == 400


def test_a_store_that_cannot_be_listed_is_refused_with_the_kind_first(singularity: Any) -> None:
    body = {"name": "s3", "path": "bucket", "config": {"endpoint": "http://127.0.0.1:1", "region": "x"}}
    answer = singularity.call("POST", "/storage/s3/minio", body)
    assert answer.status == 400
    assert answer.json()["err"].startswith("invalid parameter\n")


def test_a_folder_is_explored(singularity: Any) -> None:
    folder = singularity.tree({"b/c.txt": "xyz", "a.txt": "x", "empty/": None})
    os.utime(folder / "a.txt", ns=(0, 1_700_000_000_123_000_000))
    name = singularity.storage(folder)
    entries = singularity.ok("GET", f"/storage/{name}/explore/%2F")
    assert [(e["path"], e["size"], e["isDir"]) for e in entries] == [
        ("a.txt", 1, False),
        ("b", -1, True),
        ("empty", -1, True),
    ]
    assert entries[0]["lastModified"] == "2023-11-14T22:13:20.123Z"
    assert [e["path"] for e in singularity.ok("GET", f"/storage/{name}/explore/b")] == ["b/c.txt"]
    assert singularity.ok("GET", f"/storage/{name}/explore/empty") is None
    singularity.refused(404, "storage 'nobody' does not exist: not found", "GET", "/storage/nobody/explore/%2F")


def test_a_storage_is_changed_renamed_and_removed(singularity: Any) -> None:
    name = singularity.storage(singularity.tree({"a.txt": "x"}))
    changed = singularity.ok("PATCH", f"/storage/{name}", {"config": {"copy_links": "true"}, "clientConfig": {"timeout": 5}})
    assert changed["config"]["copy_links"] == "true"
    assert changed["config"]["encoding"] == "Slash,Dot"
    assert changed["clientConfig"] == {"timeout": 5}
    other = singularity.name("renamed")
    assert singularity.ok("PATCH", f"/storage/{name}/rename", {"name": other})["name"] == other
    singularity.refused(
        404, f"storage '{name}' does not exist: not found", "PATCH", f"/storage/{name}/rename", {"name": "x"}
    )
    text = "storage name 7 cannot be all digits or empty: invalid parameter"
    singularity.refused(400, text, "PATCH", f"/storage/{other}/rename", {"name": "7"})
    taken = singularity.storage(singularity.tree({}))
    text = f"storage with name {taken} already exists: duplicate record"
    singularity.refused(409, text, "PATCH", f"/storage/{other}/rename", {"name": taken})
    singularity.ok("POST", "/preparation", {"name": singularity.name("prep"), "sourceStorages": [other]})
    singularity.refused(400, f"storage {other} is still in use: invalid parameter", "DELETE", f"/storage/{other}")
    answer = singularity.call("DELETE", f"/storage/{taken}")
    assert (answer.status, answer.body) == (204, b"")
    assert taken not in [s["name"] for s in singularity.ok("GET", "/storage")]


def test_the_list_says_what_a_storage_is_attached_to(singularity: Any) -> None:
    source, output = singularity.storage(singularity.tree({})), singularity.storage(singularity.tree({}))
    name = singularity.name("prep")
    singularity.ok("POST", "/preparation", {"name": name, "sourceStorages": [source], "outputStorages": [output]})
    found = {s["name"]: s for s in singularity.ok("GET", "/storage")}
    assert [p["name"] for p in found[source]["preparationsAsSource"]] == [name]
    assert [p["name"] for p in found[output]["preparationsAsOutput"]] == [name]
    assert "preparationsAsOutput" not in found[source]


def test_headers_that_are_sent_to_a_store_are_encrypted_and_masked(singularity: Any) -> None:
    name, secret, other = singularity.name("storage"), "bearer-of-the-store-0123", "changed-token-4567"
    headers = {"Authorization": secret, "X-Team": secret + "-too"}
    body = {"name": name, "path": str(singularity.tree({})), "clientConfig": {"headers": headers, "clientKey": secret}}
    masked = {"headers": {"Authorization": "******", "X-Team": "******"}, "clientKey": "******"}
    assert singularity.ok("POST", "/storage/local", body)["clientConfig"] == masked
    assert singularity.ok("PATCH", f"/storage/{name}", {"clientConfig": masked})["clientConfig"] == masked

    def kept() -> Any:
        data = singularity.service.data
        with closing(sqlite3.connect(data / FILE_NAME)) as database:
            row = database.execute("SELECT client_config, secrets FROM storages WHERE name = ?", (name,)).fetchone()
        assert json.loads(row[0]) == masked
        return json.loads(Secrets.of_folder(data).decrypt(row[1]))["clientConfig"]

    assert kept() == {"headers": headers, "clientKey": secret}
    changed = {"headers": {"Authorization": other, "X-Team": "******"}}
    singularity.ok("PATCH", f"/storage/{name}", {"clientConfig": changed})
    assert kept() == {"headers": {"Authorization": other, "X-Team": secret + "-too"}, "clientKey": secret}
    for file in singularity.service.data.glob("entrance.db*"):
        assert secret.encode() not in file.read_bytes()
        assert other.encode() not in file.read_bytes()
    masked["headers"] = {"X-Team": "******"}
    assert singularity.ok("PATCH", f"/storage/{name}", {"clientConfig": masked})["clientConfig"] == masked
