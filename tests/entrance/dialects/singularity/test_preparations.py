"""Chapter 3.1 of the contract: preparations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from servers.storages import add_storage

GIB = 1 << 30


def test_a_preparation_has_the_defaults_of_the_contract(singularity: Any) -> None:
    name = singularity.name("prep")
    made = singularity.ok("POST", "/preparation", {"name": name})
    assert made == {
        "id": made["id"],
        "name": name,
        "createdAt": made["createdAt"],
        "updatedAt": made["updatedAt"],
        "deleteAfterExport": False,
        "maxSize": 33_822_867_456,
        "pieceSize": 32 * GIB,
        "minPieceSize": 1 << 20,
        "noInline": False,
        "noDag": False,
    }
    assert singularity.ok("GET", f"/preparation/{name}") is None
    assert singularity.ok("GET", f"/preparation/{name}/schedules") == []
    singularity.refused(404, "preparation '999999' does not exist: not found", "GET", "/preparation/999999/schedules")


@pytest.mark.parametrize(
    ("body", "status", "text"),
    [
        ({"name": "", "maxSize": "much"}, 400, "preparation name '' cannot be all digits or empty: invalid parameter"),
        ({"name": "77"}, 400, "preparation name '77' cannot be all digits or empty: invalid parameter"),
        ({"name": "x", "pieceSize": "0"}, 400, "pieceSize must be a power of two: invalid parameter"),
        (
            {"name": "x", "pieceSize": "3MiB", "minPieceSize": "much"},
            400,
            "pieceSize must be a power of two: invalid parameter",
        ),
        ({"name": "", "maxSize": 3}, 400, "failed to bind request body: maxSize: expected string, got number"),
        ({"name": "x", "pieceSize": "3MiB"}, 400, "pieceSize must be a power of two: invalid parameter"),
        ({"name": "x", "maxSize": "65GiB"}, 400, "pieceSize cannot be larger than 64 GiB: invalid parameter"),
        ({"name": "x", "maxSize": "1GiB"}, 400, "maxSize needs to be reduced to leave space for padding: invalid parameter"),
        (
            {"name": "x", "maxSize": "1MB", "minPieceSize": "2MiB"},
            400,
            "minPieceSize cannot be larger than pieceSize: invalid parameter",
        ),
        ({"name": "x", "minPieceSize": "3MiB"}, 400, "minPieceSize must be a power of two: invalid parameter"),
        ({"name": "x", "sourceStorages": ["nobody"]}, 404, "source storage nobody does not exist: not found"),
        ({"name": "x", "outputStorages": ["nobody"]}, 404, "output storage nobody does not exist: not found"),
        (
            {"name": "x", "deleteAfterExport": True},
            400,
            "deleteAfterExport cannot be set without output storages: invalid parameter",
        ),
        (
            {"name": "x", "noInline": True},
            400,
            "inline preparation cannot be disabled without output storages: invalid parameter",
        ),
    ],
)
def test_the_checks_in_their_order(body: Any, status: int, text: str, singularity: Any) -> None:
    singularity.refused(status, text, "POST", "/preparation", body)


@pytest.mark.parametrize("key", ["maxSize", "pieceSize", "minPieceSize"])
def test_a_size_that_is_none_has_the_kind_first(key: str, singularity: Any) -> None:
    answer = singularity.call("POST", "/preparation", {"name": "x", key: "much"})
    assert answer.status == 400
    assert answer.json()["err"].startswith(f"invalid parameter\ninvalid value for {key}: ")


def test_sizes_as_people_write_them(singularity: Any) -> None:
    for text, size in (("3MB", 3_000_000), ("1.5 mib", 1_572_864), ("1,000,000", 1_000_000), ("3Ki", 3072)):
        body = {"name": singularity.name("prep"), "maxSize": text, "minPieceSize": "1"}
        assert singularity.ok("POST", "/preparation", body)["maxSize"] == size


def test_a_taken_name_is_a_duplicate(singularity: Any) -> None:
    name = singularity.name("prep")
    singularity.ok("POST", "/preparation", {"name": name})
    text = f"preparation with name {name} already exists: duplicate record"
    singularity.refused(409, text, "POST", "/preparation", {"name": name})


def test_storages_are_attached_and_detached(singularity: Any) -> None:
    name = singularity.name("prep")
    prep = singularity.ok("POST", "/preparation", {"name": name})["id"]
    source, output = singularity.storage(singularity.tree({})), singularity.storage(singularity.tree({}))
    made = singularity.ok("POST", f"/preparation/{name}/source/{source}")
    assert [s["name"] for s in made["sourceStorages"]] == [source]
    made = singularity.ok("POST", f"/preparation/{prep}/output/{output}")
    assert [s["name"] for s in made["outputStorages"]] == [output]
    (status,) = singularity.ok("GET", f"/preparation/{prep}")
    assert set(status) == {"attachmentId", "storageId", "source", "output", "jobs"}
    assert status["jobs"] == []
    for kind, storage in (("source", source), ("output", output)):
        answer = singularity.call("POST", f"/preparation/{prep}/{kind}/{storage}")
        assert answer.status == 409
        assert answer.json()["err"].endswith(": duplicate record")
        text = f"{kind} storage 'nobody' does not exist: not found"
        singularity.refused(404, text, "POST", f"/preparation/{prep}/{kind}/nobody")
        text = "preparation '999999' does not exist: not found"
        singularity.refused(404, text, "POST", f"/preparation/999999/{kind}/{storage}")
    assert "outputStorages" not in singularity.ok("DELETE", f"/preparation/{prep}/output/{output}")
    assert singularity.call("DELETE", f"/preparation/{prep}/output/{output}").status == 404


def test_a_store_can_be_an_output(singularity: Any) -> None:
    stores, name = [singularity.name("store") for _ in range(2)], singularity.name("prep")
    for store in stores:
        add_storage(singularity.service.data, "admin", store, {"type": "s3", "path": "bucket"})
    body = {"name": name, "outputStorages": stores[:1], "noInline": True, "deleteAfterExport": True}
    assert [s["name"] for s in singularity.ok("POST", "/preparation", body)["outputStorages"]] == stores[:1]
    made = singularity.ok("POST", f"/preparation/{name}/output/{stores[1]}")
    assert [(s["name"], s["type"]) for s in made["outputStorages"]] == [(store, "s3") for store in stores]


@pytest.mark.parametrize("flag", ["deleteAfterExport", "noInline"])
def test_the_last_output_stays_where_it_is_needed(flag: str, singularity: Any) -> None:
    output, name = singularity.storage(singularity.tree({})), singularity.name("prep")
    singularity.ok("POST", "/preparation", {"name": name, "outputStorages": [output], flag: True})
    assert singularity.call("DELETE", f"/preparation/{name}/output/{output}").status == 400


def test_a_preparation_is_renamed(singularity: Any) -> None:
    first, second = singularity.name("prep"), singularity.name("prep")
    for name in (first, second):
        singularity.ok("POST", "/preparation", {"name": name})
    text = f"preparation with name {second} already exists: duplicate record"
    singularity.refused(409, text, "PATCH", f"/preparation/{first}/rename", {"name": second})
    text = "preparation name '9' cannot be all digits or empty: invalid parameter"
    singularity.refused(400, text, "PATCH", f"/preparation/{first}/rename", {"name": "9"})
    third = singularity.name("prep")
    assert singularity.ok("PATCH", f"/preparation/{first}/rename", {"name": third})["name"] == third
    assert singularity.call("GET", f"/preparation/{first}").status == 404


@pytest.mark.parametrize("remove_cars", [True, False])
def test_a_preparation_is_removed_with_or_without_its_cars(remove_cars: bool, singularity: Any) -> None:
    prep, source = singularity.preparation({f"d{n}/f{n}.txt": str(n) for n in range(50)}, output=True)
    singularity.run(prep, source, "start-scan")
    singularity.run(prep, source, "start-daggen")
    (view,) = [p for p in singularity.ok("GET", "/preparation") if p["id"] == prep]
    output = Path(view["outputStorages"][0]["path"])
    assert len(list(output.glob("*.car"))) == 2
    answer = singularity.call("DELETE", f"/preparation/{prep}", {"removeCars": remove_cars})
    assert (answer.status, answer.body) == (204, b"")
    assert len(list(output.iterdir())) == (0 if remove_cars else 4)
    singularity.refused(404, f"preparation '{prep}' does not exist: not found", "GET", f"/preparation/{prep}")
    again = singularity.ok("POST", "/preparation", {"name": view["name"], "sourceStorages": [source], "maxSize": "3MB"})
    assert singularity.ok("GET", f"/preparation/{again['id']}")[0]["jobs"] == []
    singularity.run(again["id"], source, "start-scan")
    assert len(singularity.pieces(again["id"])) == 1


def test_a_preparation_at_work_is_not_removed(singularity: Any) -> None:
    prep, source = singularity.preparation({"f%05d": {"text": "x", "count": 20_000}})
    singularity.ok("POST", f"/preparation/{prep}/source/{source}/start-scan")
    singularity.freeze(prep, "scan")
    text = f"preparation {prep} has 1 active jobs: invalid parameter"
    singularity.refused(400, text, "DELETE", f"/preparation/{prep}")
    singularity.ok("POST", f"/preparation/{prep}/source/{source}/pause-scan")
    assert singularity.call("DELETE", f"/preparation/{prep}").status == 204


def test_explore_shows_folders_first_and_all_versions(singularity: Any) -> None:
    folder = singularity.tree({"z.txt": "one", "b/c.txt": "c", "a/": None})
    prep, source = singularity.preparation(folder)
    singularity.run(prep, source, "start-scan")
    (folder / "z.txt").write_text("another")
    singularity.run(prep, source, "start-scan")
    found = singularity.ok("GET", f"/preparation/{prep}/source/{source}/explore/%2F")
    assert found["path"] == ""
    assert [(e["path"], e["isDir"]) for e in found["subEntries"]] == [("/a", True), ("/b", True), ("z.txt", False)]
    assert found["subEntries"][0]["fileVersions"] is None
    versions = found["subEntries"][2]["fileVersions"]
    assert [v["size"] for v in versions] == [3, 7]
    assert found["subEntries"][2]["cid"] == versions[0]["cid"]
    assert set(versions[0]) == {"id", "cid", "hash", "size", "lastModified"}
    inner = singularity.ok("GET", f"/preparation/{prep}/source/{source}/explore/b")
    assert [e["path"] for e in inner["subEntries"]] == ["b/c.txt"]
    assert singularity.ok("GET", f"/preparation/{prep}/source/{source}/explore/a")["subEntries"] is None
    text = "directory 'no/where' does not exist: not found"
    singularity.refused(404, text, "GET", f"/preparation/{prep}/source/{source}/explore/no/where")
