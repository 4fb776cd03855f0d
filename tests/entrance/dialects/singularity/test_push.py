"""Chapters 3.4 and 4 of the contract: the push sequence, and what a file is and holds."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from factories import wait_until
from trees import contents, derived, vectors

EMPTY_GROUP = 59


def cost(length: int) -> int:
    """Chapter 5.4."""
    blocks = -(-length // (1 << 20))
    return 37 if not length else length + 39 * blocks + (52 * blocks + 44 if blocks > 1 else 0)


def test_the_push_sequence(singularity: Any) -> None:
    folder = singularity.tree({"a/one.txt": "hello", "a/two.bin": {"derivedBuffer": 1_500_000}, "three.txt": "x"})
    prep, source = singularity.preparation(folder)
    base = f"/preparation/{prep}/source/{source}"

    pushed = [singularity.ok("POST", f"{base}/file", {"path": path}) for path in ("a/one.txt", "a/two.bin", "three.txt")]
    one, two, three = pushed
    assert (one["path"], one["size"], one["cid"], one["hash"]) == ("a/one.txt", 5, "", "")
    assert one["lastModifiedNano"] == (folder / "a" / "one.txt").stat().st_mtime_ns
    assert [(r["offset"], r["length"], r["cid"], r["jobId"]) for r in two["fileRanges"]] == [
        (0, 1_048_576, "", None),
        (1_048_576, 451_424, "", None),
    ]
    assert all(r["fileId"] == two["id"] for r in two["fileRanges"])
    assert singularity.ok("GET", f"/file/{two['id']}") == two
    assert singularity.jobs(prep) == []

    size = singularity.ok("POST", f"/file/{one['id']}/prepare_to_pack")
    assert size == EMPTY_GROUP + cost(5)
    (job,) = singularity.jobs(prep)
    assert (job["type"], job["state"]) == ("pack", "created")
    size = singularity.ok("POST", f"/file/{two['id']}/prepare_to_pack")
    assert size == EMPTY_GROUP + cost(5) + cost(1_048_576) + cost(451_424)
    assert singularity.ok("POST", f"/file/{two['id']}/prepare_to_pack") == EMPTY_GROUP
    assert len(singularity.jobs(prep)) == 1

    answer = singularity.call("POST", f"{base}/finalize")
    assert (answer.status, answer.body) == (204, b"")
    assert [j["state"] for j in singularity.settled(prep)] == ["complete"]
    assert singularity.ok("GET", f"/file/{three['id']}")["fileRanges"][0]["jobId"] == job["id"]
    (car,) = singularity.pieces(prep)
    assert (car["numOfFiles"], car["jobId"]) == (3, job["id"])
    assert singularity.ok("GET", f"/file/{two['id']}")["cid"].startswith("bafybei")

    singularity.run(prep, source, "start-scan")
    assert len(singularity.pieces(prep)) == 1


def test_a_full_job_becomes_ready_and_the_next_is_opened(singularity: Any) -> None:
    folder = singularity.tree({"big.bin": {"derivedBuffer": 5_000_000}})
    prep, source = singularity.preparation(folder)
    file = singularity.ok("POST", f"/preparation/{prep}/source/{source}/file", {"path": "big.bin"})
    lengths = [r["length"] for r in file["fileRanges"]]
    assert lengths == [1_048_576] * 4 + [805_696]
    size = singularity.ok("POST", f"/file/{file['id']}/prepare_to_pack")
    assert size == EMPTY_GROUP + 2 * cost(1_048_576) + cost(805_696)
    states = ["complete", "created"]
    wait_until(lambda: [j["state"] for j in singularity.jobs(prep)] == states, 20, what="the first is packed")
    first, second = (job["id"] for job in singularity.jobs(prep))
    ranges = singularity.ok("GET", f"/file/{file['id']}")["fileRanges"]
    assert [r["jobId"] for r in ranges] == [first, first, second, second, second]


def test_a_range_larger_than_a_car_gets_a_job_of_its_own(singularity: Any) -> None:
    push = vectors("singularity")["push"]
    folder = singularity.tree({"small.bin": {"derivedBuffer": push["fileSize"]}})
    prep, source = singularity.preparation(folder, maxSize=str(push["maxSize"] - 1), pieceSize="128", minPieceSize="128")
    path = f"/preparation/{prep}/source/{source}/file"
    file = singularity.ok("POST", path, {"path": "small.bin"})
    assert len(file["fileRanges"]) == push["fileRanges"]
    singularity.ok("POST", f"/file/{file['id']}/prepare_to_pack")
    assert len(singularity.jobs(prep)) == push["fileRanges"]
    singularity.refused(409, "file 'small.bin' already exists: duplicate record", "POST", path, {"path": "small.bin"})


def test_a_new_version_can_be_pushed(singularity: Any) -> None:
    folder = singularity.tree({"a.txt": "one"})
    prep, source = singularity.preparation(folder)
    path = f"/preparation/{prep}/source/{source}/file"
    first = singularity.ok("POST", path, {"path": "a.txt"})
    (folder / "a.txt").write_text("another")
    second = singularity.ok("POST", path, {"path": "a.txt"})
    assert second["id"] != first["id"]
    assert second["directoryId"] == first["directoryId"]


def test_what_cannot_be_pushed(singularity: Any) -> None:
    folder = singularity.tree({"d/a.txt": "x"})
    (folder / "link").symlink_to("/etc/passwd")
    prep, source = singularity.preparation(folder)
    for path in ("nothing.txt", "d", "../etc/passwd", "link", ""):
        answer = singularity.call("POST", f"/preparation/{prep}/source/{source}/file", {"path": path})
        assert answer.status == 400, path
        assert answer.json()["err"].startswith(f"invalid parameter\nfailed to check file '{path}'")
    text = f"sourceAttachment 'nobody' is not attached to preparation {prep}: not found"
    singularity.refused(404, text, "POST", f"/preparation/{prep}/source/nobody/file", {"path": "d/a.txt"})
    singularity.refused(
        404, "source 'nobody' does not exist: not found", "POST", f"/preparation/{prep}/source/nobody/finalize"
    )
    for method, path in (
        ("GET", "/file/999999"),
        ("GET", "/file/999999/deals"),
        ("GET", "/file/999999/retrieve"),
        ("POST", "/file/999999/prepare_to_pack"),
    ):
        singularity.refused(404, "file '999999' does not exist: not found", method, path)


def test_without_workers_the_client_packs_job_by_job(singularity: Any) -> None:
    """As Motion does: status, then POST /job/{id}/pack for each job."""
    known = vectors("singularity")["pack"][0]
    prep, source = singularity.preparation(known["tree"], maxSize="31.5GiB")
    file = singularity.ok("POST", f"/preparation/{prep}/source/{source}/file", {"path": "test.txt"})
    singularity.ok("POST", f"/file/{file['id']}/prepare_to_pack")
    (job,) = singularity.jobs(prep)
    assert job["state"] == "created"
    car = singularity.ok("POST", f"/job/{job['id']}/pack")
    assert {key: car[key] for key in known["expected"]["v1"]} == known["expected"]["v1"]
    assert (car["storageId"], car["storagePath"]) == (None, "")
    assert [j["state"] for j in singularity.jobs(prep)] == ["complete"]


# ---- the bytes of a file


def test_a_file_is_retrieved_with_ranges(singularity: Any) -> None:
    folder = singularity.tree({"a.bin": {"derivedBuffer": 3_000_000}})
    prep, source = singularity.preparation(folder)
    file = singularity.ok("POST", f"/preparation/{prep}/source/{source}/file", {"path": "a.bin"})
    path = f"/file/{file['id']}/retrieve"
    whole = singularity.call("GET", path)
    assert (whole.status, whole.body) == (200, derived(3_000_000))
    assert whole.headers["content-type"] == "application/octet-stream"
    assert whole.headers["accept-ranges"] == "bytes"
    assert whole.headers["last-modified"].endswith("GMT")
    part = singularity.call("GET", path, headers={"Range": "bytes=1000000-2000000"})
    assert (part.status, part.body) == (206, whole.body[1_000_000:2_000_001])
    assert part.headers["content-range"] == "bytes 1000000-2000000/3000000"
    assert singularity.call("GET", path, headers={"Range": "bytes=3000000-"}).status == 416
    deals = singularity.ok("GET", f"/file/{file['id']}/deals")
    assert [d["Deals"] for d in deals] == [[]] * 3
    assert [d["FileRange"]["id"] for d in deals] == [r["id"] for r in file["fileRanges"]]


def test_the_files_of_an_inline_preparation_are_extracted_through_its_blocks(singularity: Any, tmp_path: Path) -> None:
    tree = {
        "a.bin": {"derivedBuffer": 5_000_000},
        "d/e/b.txt": "b",
        "d/same.bin": {"derivedBuffer": 2_100_000},
        "d/empty": "",
    }
    folder = singularity.tree(tree)
    prep, source = singularity.preparation(folder)
    singularity.run(prep, source, "start-scan")
    singularity.service.cli("extract", str(prep), str(tmp_path / "back"))
    assert contents(tmp_path / "back") == contents(folder)
    (folder / "a.bin").write_bytes(b"changed")
    failed = singularity.service.cli("extract", str(prep), str(tmp_path / "again"), check=False)
    assert failed.returncode == 1
    assert "a.bin: file has been modified" in failed.stderr


def test_a_file_that_has_left_an_inline_preparation_is_nowhere(singularity: Any) -> None:
    folder = singularity.tree({"a.bin": {"derivedBuffer": 300_000}})
    prep, source = singularity.preparation(folder)
    singularity.run(prep, source, "start-scan")
    found = singularity.ok("GET", f"/preparation/{prep}/source/{source}/explore/%2F")
    (folder / "a.bin").unlink()
    file = found["subEntries"][0]["fileVersions"][0]["id"]
    answer = singularity.call("GET", f"/file/{file}/retrieve")
    assert (answer.status, answer.json()["err"].endswith(": not found")) == (404, True)


def test_a_file_that_has_left_its_source_comes_out_of_its_cars(singularity: Any) -> None:
    folder = singularity.tree({"d/a.bin": {"derivedBuffer": 3_000_000}})
    prep, source = singularity.preparation(folder, output=True)
    singularity.run(prep, source, "start-scan")
    found = singularity.ok("GET", f"/preparation/{prep}/source/{source}/explore/d")
    file = found["subEntries"][0]["fileVersions"][0]["id"]
    shutil.rmtree(folder / "d")
    answer = singularity.call("GET", f"/file/{file}/retrieve", headers={"Range": "bytes=1048570-1048590"})
    assert (answer.status, answer.body) == (206, derived(3_000_000)[1_048_570:1_048_591])
    assert singularity.call("GET", f"/file/{file}/retrieve").body == derived(3_000_000)
    (view,) = [p for p in singularity.ok("GET", "/preparation") if p["id"] == prep]
    for car in Path(view["outputStorages"][0]["path"]).glob("*.car"):
        car.unlink()
    answer = singularity.call("GET", f"/file/{file}/retrieve")
    assert (answer.status, answer.json()["err"].endswith(": not found")) == (404, True)
