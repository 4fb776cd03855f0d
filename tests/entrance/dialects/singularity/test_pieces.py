"""Chapters 3.5, 3.6 and 5.8 of the contract: pieces, their metadata, and their bytes."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import Any

import libipld
import pytest
from factories import Http
from trees import derived, make_tree, whole_preparations

from common.content import cid as cids
from common.content import piececid

CAR_FIELDS = {
    "id",
    "createdAt",
    "pieceType",
    "pieceCid",
    "pieceCidV2",
    "pieceSize",
    "rootCid",
    "fileSize",
    "minPieceSizePadding",
    "storageId",
    "storagePath",
    "numOfFiles",
    "preparationId",
    "attachmentId",
}


@pytest.fixture(scope="session", params=["inline", "exported"])
def made(request: pytest.FixtureRequest, singularity: Any) -> tuple[int, str, Path]:
    """A preparation of several CARs, without and with files."""
    tree = {
        "a.bin": {"derivedBuffer": 2_500_000},
        "d/b.bin": {"derivedBuffer": 1_500_000},
        "d/c": request.param,
        "0": request.param,
    }
    folder = singularity.tree({**tree, "b.txt": request.param, "d/a.txt": request.param})
    prep, source = singularity.preparation(folder, output=request.param == "exported")
    singularity.run(prep, source, "start-scan")
    singularity.run(prep, source, "start-daggen")
    return prep, source, folder


def test_pieces_are_listed_for_each_source(made: tuple[int, str, Path], singularity: Any) -> None:
    prep, source, _ = made
    (found,) = singularity.ok("GET", f"/preparation/{prep}/piece")
    assert set(found) == {"attachmentId", "storageId", "source", "pieces"}
    assert found["source"]["name"] == source
    *data, dag = found["pieces"]
    assert all(set(car) == CAR_FIELDS | {"jobId"} for car in data)
    assert set(dag) == CAR_FIELDS
    assert (dag["pieceType"], dag["numOfFiles"]) == ("dag", 0)
    assert sum(car["numOfFiles"] for car in data) == 6
    empty, _ = singularity.preparation({"a.txt": "x"})
    assert singularity.pieces(empty) == []
    alone = singularity.ok("POST", "/preparation", {"name": singularity.name("prep")})["id"]
    assert singularity.call("GET", f"/preparation/{alone}/piece").status == 404


def test_a_piece_is_downloaded_by_both_of_its_cids(made: tuple[int, str, Path], singularity: Any) -> None:
    for car in singularity.pieces(made[0]):
        answer = singularity.http.get(f"/piece/{car['pieceCid']}")
        assert (answer.status, len(answer.body)) == (200, car["fileSize"])
        assert answer.headers["content-type"] == "application/vnd.ipld.car; version=1"
        assert answer.headers["content-disposition"] == f'attachment; filename="{car["pieceCid"]}.car"'
        assert answer.headers["etag"] == f'"{car["pieceCid"]}"'
        assert answer.headers["accept-ranges"] == "bytes"
        assert cids.to_text(answer.body[14:50]) == car["rootCid"]
        assert singularity.http.get(f"/piece/{car['pieceCidV2']}").body == answer.body
        head = singularity.http.request("HEAD", f"/piece/{car['pieceCid']}")
        assert (head.status, head.body, head.headers["content-length"]) == (200, b"", str(car["fileSize"]))


@pytest.mark.parametrize(
    ("wanted", "first", "last"),
    [
        ("0-0", 0, 0),
        ("0-", 0, -1),
        ("58-59", 58, 59),
        ("1000000-1100000", 1_000_000, 1_100_000),
        ("-1", -1, -1),
        ("-500", -500, -1),
    ],
)
def test_ranges_of_a_piece(wanted: str, first: int, last: int, made: tuple[int, str, Path], singularity: Any) -> None:
    car = singularity.pieces(made[0])[0]
    path, size = f"/piece/{car['pieceCid']}", car["fileSize"]
    whole = singularity.http.get(path).body
    begin, end = first % size, last % size
    answer = singularity.http.get(path, headers={"Range": f"bytes={wanted}"})
    assert (answer.status, answer.headers["content-range"]) == (206, f"bytes {begin}-{end}/{size}")
    assert answer.body == whole[begin : end + 1]


def test_ranges_that_are_none(made: tuple[int, str, Path], singularity: Any) -> None:
    car = singularity.pieces(made[0])[0]
    path, size = f"/piece/{car['pieceCid']}", car["fileSize"]
    for wanted in (f"{size}-", "5-4", "-0", "x-y"):
        answer = singularity.http.get(path, headers={"Range": f"bytes={wanted}"})
        assert (answer.status, answer.headers["content-range"]) == (416, f"bytes */{size}")
    for headers in ({"Range": "lines=1-2"}, {"Range": "bytes=0-1,5-6"}, {"Range": "bytes=0-1", "If-Range": '"other"'}):
        assert len(singularity.http.get(path, headers=headers).body) == size
    etag = f'"{car["pieceCid"]}"'
    assert singularity.http.get(path, headers={"Range": "bytes=0-1", "If-Range": etag}).status == 206
    assert singularity.http.get(path, headers={"If-None-Match": etag}).status == 304


def test_what_is_no_piece(singularity: Any) -> None:
    for path, status, text in (
        ("/piece/bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku", 400, "CID is not a commp"),
        ("/piece/nonsense", 400, "CID is not a commp"),
        ("/piece/baga6ea4seaqao7s73y24kcutaosvacpdjgfe5pw76ooefnyqw4ynr3d2y6x2mpq", 404, "piece not found"),
        ("/piece", 404, "piece not found"),
        ("/api/piece/baga6ea4seaqao7s73y24kcutaosvacpdjgfe5pw76ooefnyqw4ynr3d2y6x2mpq/metadata", 404, "piece not found"),
    ):
        answer = singularity.http.get(path)
        assert (answer.status, answer.text) == (status, text)
        assert answer.headers["content-type"] == "text/plain; charset=UTF-8"
    answer = singularity.http.get("/api/piece/nonsense/metadata")
    assert answer.status == 400
    assert answer.text.startswith("failed to parse piece CID: ")


def test_metadata_is_enough_to_put_a_piece_together(made: tuple[int, str, Path], singularity: Any) -> None:
    prep, source, folder = made
    for car in singularity.pieces(prep):
        found = singularity.ok("GET", f"/piece/{car['pieceCid']}/metadata")
        assert set(found) == {"car", "storage", "carBlocks", "files"}
        assert found["car"] == car
        assert found["storage"]["name"] == source
        paths = {file["id"]: file["path"] for file in found["files"]}
        body = b"\x3a\xa2\x65roots\x81\xd8\x2a\x58\x25\x00" + cids.from_text(car["rootCid"]) + b"\x67version\x01"
        for block in found["carBlocks"]:
            assert block["carOffset"] == len(body)
            head = base64.b64decode(block["varint"])
            length = block["carBlockLength"] - len(head) - 36
            if block["rawBlock"] is None:
                at = block["fileOffset"]
                data = (folder / paths[block["fileId"]]).read_bytes()[at : at + length]
            else:
                data = base64.b64decode(block["rawBlock"])
            body += head + cids.from_text(block["cid"]) + data
        body += bytes(car["fileSize"] - len(body))
        assert (
            hashlib.sha256(body).digest() == hashlib.sha256(singularity.http.get(f"/piece/{car['pieceCid']}").body).digest()
        )


def test_metadata_do_not_need_the_index_beside_a_car(singularity: Any) -> None:
    folder, output = singularity.tree({"a.bin": {"derivedBuffer": 4_500_000}}), singularity.tree({})
    prep, source = singularity.preparation(folder, outputStorages=[singularity.storage(output)])
    singularity.run(prep, source, "start-scan")
    first, second = sorted(singularity.pieces(prep), key=lambda piece: piece["fileSize"])  # packs end in any order
    index, other = (output / f"{piece['storagePath']}.idx" for piece in (first, second))
    path = f"/piece/{first['pieceCid']}/metadata"
    found = singularity.ok("GET", path)
    assert len(found["carBlocks"]) == 2
    index.write_bytes(other.read_bytes())
    assert singularity.ok("GET", path) == found
    index.write_bytes(b"no index")
    assert singularity.ok("GET", path) == found
    index.unlink()
    assert singularity.ok("GET", path) == found


def test_metadata_as_cbor_has_integer_keys(made: tuple[int, str, Path], singularity: Any) -> None:
    car = singularity.pieces(made[0])[0]
    answer = singularity.http.get(f"/api/piece/{car['pieceCid']}/metadata", headers={"Accept": "application/cbor"})
    assert answer.headers["content-type"] == "application/cbor"
    assert answer.body[0] == 0xA4  # a map of four
    assert answer.body[1] == 1
    assert cids.from_text(car["pieceCid"]) in answer.body
    same = singularity.http.get(f"/piece/metadata/{car['pieceCid']}", headers={"Accept": "application/cbor"})
    assert same.body == answer.body
    assert libipld.decode_dag_cbor(b"\xa0") == {}


def test_a_changed_source_is_an_error_and_never_wrong_bytes(singularity: Any) -> None:
    folder = singularity.tree({"a.bin": {"derivedBuffer": 500_000}})
    prep, source = singularity.preparation(folder)
    singularity.run(prep, source, "start-scan")
    (car,) = singularity.pieces(prep)
    (folder / "a.bin").write_bytes(derived(500_000)[::-1])
    answer = singularity.http.get(f"/piece/{car['pieceCid']}", headers={"Range": "bytes=200-300"})
    assert answer.status == 500
    assert "file has been modified" in answer.text


def test_a_lost_car_file_is_an_error(singularity: Any) -> None:
    prep, source = singularity.preparation({"a.txt": "lost"}, output=True)
    singularity.run(prep, source, "start-scan")
    (car,) = singularity.pieces(prep)
    (view,) = [p for p in singularity.ok("GET", "/preparation") if p["id"] == prep]
    (Path(view["outputStorages"][0]["path"]) / car["storagePath"]).unlink()
    answer = singularity.http.get(f"/piece/{car['pieceCid']}")
    assert (answer.status, "failed to find piece: " in answer.text) == (500, True)


def test_a_removed_piece_is_packed_again(singularity: Any) -> None:
    prep, source = singularity.preparation({"a.txt": "x"}, output=True)
    singularity.run(prep, source, "start-scan")
    singularity.run(prep, source, "start-daggen")
    data, dag = singularity.pieces(prep)
    (view,) = [p for p in singularity.ok("GET", "/preparation") if p["id"] == prep]
    output = Path(view["outputStorages"][0]["path"])
    for car in (data, dag):
        answer = singularity.call("DELETE", f"/preparation/{prep}/piece/{car['pieceCid']}", {"deleteCar": car is data})
        assert (answer.status, answer.body) == (204, b"")
    assert singularity.pieces(prep) == []
    assert sorted(p.name for p in output.glob("*.car")) == [dag["storagePath"]]
    singularity.run(prep, source, "start-scan")
    singularity.run(prep, source, "start-daggen")
    again = singularity.pieces(prep)
    assert [c["pieceCid"] for c in again] == [data["pieceCid"], dag["pieceCid"]]
    path = f"/preparation/{prep}/piece/{data['pieceCidV2']}"
    singularity.refused(400, "piece CID must be commp: invalid parameter", "DELETE", path)
    assert singularity.call("DELETE", f"/preparation/{prep}/piece/nonsense").status == 400
    other, _ = singularity.preparation({"b.txt": "x"})
    assert singularity.call("DELETE", f"/preparation/{other}/piece/{data['pieceCid']}").status == 404


def test_a_piece_made_elsewhere_is_added(singularity: Any) -> None:
    prep, source = singularity.preparation({"a.txt": "made elsewhere"}, output=True)
    singularity.run(prep, source, "start-scan")
    (car,) = singularity.pieces(prep)
    (view,) = [p for p in singularity.ok("GET", "/preparation") if p["id"] == prep]
    file = Path(view["outputStorages"][0]["path"]) / car["storagePath"]
    other, _ = singularity.preparation({"b.txt": "x"})
    body = {"pieceCid": car["pieceCid"], "pieceSize": "1MiB", "filePath": str(file)}
    added = singularity.ok("POST", f"/preparation/{other}/piece", body)
    assert (added["pieceCid"], added["rootCid"], added["fileSize"]) == (car["pieceCid"], car["rootCid"], car["fileSize"])
    assert (added["storageId"], added["storagePath"], added["attachmentId"]) == (None, str(file), None)
    lists = singularity.ok("GET", f"/preparation/{other}/piece")
    assert [(one["attachmentId"] is None, len(one["pieces"])) for one in lists] == [(False, 0), (True, 1)]
    unknown = cids.to_text(piececid.encode_v1(bytes(31) + b"\x05"))
    path = f"/preparation/{other}/piece"
    answer = singularity.call("POST", path, {"pieceCid": unknown})
    assert (answer.status, answer.json()["err"]) == (
        400,
        "pieceSize is required when the piece is not known: invalid parameter",
    )
    assert singularity.call("POST", path, {"pieceCid": unknown, "pieceSize": "3MiB"}).status == 400
    assert singularity.call("POST", path, {"pieceCid": "nonsense"}).status == 400
    assert (
        singularity.call("POST", path, {"pieceCid": unknown, "pieceSize": "1MiB", "filePath": "/etc/passwd"}).status == 400
    )
    made = singularity.ok("POST", path, {"pieceCid": unknown, "pieceSize": "1MiB"})
    assert made["rootCid"] == "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku"


def test_public_content_is_for_everyone_and_nothing_else_is(make_service: Any, tmp_path: Path) -> None:
    service = make_service(CONTENT__ACCESS="public").start()
    folder = make_tree(tmp_path / "source", {"a.txt": "x"})
    service.cli("prepare", str(folder), str(tmp_path / "output"))
    nobody = Http(service.url)
    (car, _) = service.http.get("/api/preparation/1/piece").json()[0]["pieces"]
    assert len(nobody.get(f"/piece/{car['pieceCid']}").body) == car["fileSize"]
    assert nobody.get(f"/piece/metadata/{car['pieceCid']}").status == 401
    assert nobody.get("/api/preparation").status == 401


# ---- the batch sequence


@pytest.mark.parametrize("case", whole_preparations(), ids=lambda case: case["name"].replace(" ", "-"))
def test_each_known_tree_inline_through_the_api(case: Any, singularity: Any) -> None:
    prep, source = singularity.preparation(
        singularity.tree(case["tree"]), maxSize=str(case["maxSize"]), minPieceSize=str(case["minPieceSize"])
    )
    singularity.run(prep, source, "start-scan")
    jobs = singularity.run(prep, source, "start-daggen")
    assert {job["state"] for job in jobs} == {"complete"}
    *data, dag = singularity.pieces(prep)
    data.sort(key=lambda car: car["jobId"])
    for car, wanted in zip([*data, dag], [*case["cars"], case["dagCar"]], strict=True):
        assert (car["pieceCid"], car["pieceSize"], car["rootCid"]) == (
            wanted["pieceCid"],
            wanted["pieceSize"],
            wanted["rootCid"],
        )
        if "inline" in wanted:
            assert {key: car[key] for key in wanted["inline"]} == wanted["inline"]
        body = singularity.http.get(f"/piece/{car['pieceCid']}").body
        assert len(body) == car["fileSize"]
        assert hashlib.sha256(body[: wanted["carBytes"]]).hexdigest() == wanted["carSha256"]
        assert not body[wanted["carBytes"] :].strip(b"\0")
    for row in case["directories"]:
        path = row["path"].replace("/", "%2F") or "%2F"
        assert singularity.ok("GET", f"/preparation/{prep}/source/{source}/explore/{path}")["cid"] == row["cid"]
