"""The golden preparations, the whole way: scan, pack and daggen give the bytes and CIDs that the vectors say."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
from harness import Harness, recorded
from trees import make_tree, vectors

from common.content import cid as cids
from common.content.index import IndexReader
from common.db.catalogue import Car
from common.task import State
from executors.packing.inline import Sidecar

CASES = [*vectors("derived_e2e")["cases"], *vectors("extra_e2e")["cases"]]


def prepared(tmp_path: Path, case: dict[str, Any], *, output: bool) -> tuple[Harness, list[Car], list[Car]]:
    harness = Harness(tmp_path / "service")
    source = make_tree(tmp_path / "source", case["tree"])
    folder = tmp_path / "out" if output else None
    if folder:
        folder.mkdir()
    harness.prepare(source, folder, maxSize=case["maxSize"], minPieceSize=case["minPieceSize"], follow=["pack", "daggen"])
    harness.run()
    assert {task.state for task in harness.tasks()} == {State.SUCCEEDED}, harness.states()
    cars = harness.catalogue.cars(1)
    return harness, [car for car in cars if car.type == "data"], [car for car in cars if car.type == "dag"]


def check_car(car: Car, wanted: dict[str, Any], mode: dict[str, Any]) -> None:
    assert cids.to_text(car.piece_cid) == wanted["pieceCid"]
    assert cids.to_text(car.root_cid) == wanted["rootCid"]
    assert car.piece_size == wanted["pieceSize"]
    assert car.car_size == wanted["carBytes"]
    assert car.blocks == wanted["blockCount"]
    assert car.file_size == mode["fileSize"]
    assert car.virtual_padding == mode["minPieceSizePadding"]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_exported_cars_are_those_of_the_vectors_byte_for_byte(case: dict[str, Any], tmp_path: Path) -> None:
    harness, data, dag = prepared(tmp_path, case, output=True)
    found = recorded(harness)
    for key in ("files", "fileRanges", "directories"):
        if key in case:
            wanted = [{k: v for k, v in row.items() if k != "sha256"} for row in case[key]]
            assert found[key] == wanted, key
    assert len(data) == len(case["cars"])
    for car, wanted in zip(data, case["cars"], strict=True):
        check_car(car, wanted, wanted["exported"])
        body = (tmp_path / "out" / car.storage_path).read_bytes()
        assert len(body) == car.file_size
        assert hashlib.sha256(body[: car.car_size]).hexdigest() == wanted["carSha256"]
        assert not any(body[car.car_size :])
        assert car.files == wanted["numOfFiles"]
    (export,) = dag
    wanted = case["dagCar"]
    check_car(export, wanted, wanted.get("exported", {"fileSize": wanted.get("fileSize"), "minPieceSizePadding": 0}))
    body = (tmp_path / "out" / export.storage_path).read_bytes()
    assert hashlib.sha256(body[: export.car_size]).hexdigest() == wanted["carSha256"]
    root = harness.catalogue.root(1)
    assert root is not None
    assert harness.catalogue.directory_node(root.id) == (export.root_cid, wanted["rootCumulativeSize"])
    left = {path.name for path in (tmp_path / "out").iterdir()}
    assert left == {name for car in (*data, export) for name in (car.storage_path, f"{car.storage_path}.idx")}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_inline_cars_have_the_same_ids_and_leave_a_sidecar_only(case: dict[str, Any], tmp_path: Path) -> None:
    harness, data, dag = prepared(tmp_path, case, output=False)
    for car, wanted in zip(data, case["cars"], strict=True):
        check_car(car, wanted, wanted["inline"])
        assert car.storage_id is None
        assert car.storage_path == ""
    (export,) = dag
    wanted = case["dagCar"]
    inline = {"fileSize": wanted.get("fileSize"), "minPieceSizePadding": (wanted.get("fileSize") or 0) - wanted["carBytes"]}
    check_car(export, wanted, wanted.get("inline", inline))
    left = sorted(path.name for path in (harness.folder / "inline").iterdir())
    assert left == sorted({f"{cids.to_text(car.piece_cid)}.car.idx" for car in (*data, export)})
    for car in (*data, export):
        sidecar = Sidecar(harness.folder / "inline" / f"{cids.to_text(car.piece_cid)}.car.idx")
        assert sidecar.blocks == car.blocks
        if car.type == "dag":
            assert len(list(sidecar.nodes())) == car.blocks
        sidecar.close()


def test_every_block_is_found_through_the_index_beside_its_car(tmp_path: Path) -> None:
    case = next(case for case in CASES if case["name"].startswith("multi-range"))
    _, data, dag = prepared(tmp_path, case, output=True)
    for car in (*data, *dag):
        path = tmp_path / "out" / car.storage_path
        with path.open("rb") as stream, IndexReader(f"{path}.idx") as index:
            from common.content.car import CarReader

            count = 0
            for section in CarReader(stream):
                assert section.offset in index.find(section.cid)
                count += 1
            assert count == len(index) == car.blocks


def test_the_public_preparation_of_singularity_gives_its_pieces(tmp_path: Path) -> None:
    case = vectors("singularity")["preparation"][0]
    harness = Harness(tmp_path / "service")
    (tmp_path / "out").mkdir()
    source = make_tree(tmp_path / "source", case["tree"])
    harness.prepare(source, tmp_path / "out", maxSize=case["maxSize"], follow=["pack", "daggen"])
    harness.run()
    data, dag = harness.catalogue.cars(1)
    wanted = case["expected"]["v1"]
    assert cids.to_text(data.piece_cid) == wanted["data"]["pieceCid"]
    assert (data.piece_size, data.file_size) == (wanted["data"]["pieceSize"], wanted["data"]["fileSize"])
    assert cids.to_text(data.root_cid) == wanted["data"]["rootCid"]
    assert cids.to_text(dag.piece_cid) == wanted["dag"]["pieceCid"]
    assert cids.to_text(dag.root_cid) == wanted["dag"]["rootCid"]


def test_an_inline_pack_of_singularity_gives_its_piece(tmp_path: Path) -> None:
    case = vectors("singularity")["pack"][0]
    harness = Harness(tmp_path / "service")
    harness.prepare(make_tree(tmp_path / "source", case["tree"]))
    harness.run()
    (car,) = harness.catalogue.cars(1)
    wanted = case["expected"]["v1"]
    assert cids.to_text(car.piece_cid) == wanted["pieceCid"]
    assert (car.piece_size, car.file_size) == (wanted["pieceSize"], wanted["fileSize"])


@pytest.mark.parametrize("case", vectors("singularity")["carSizes"], ids=lambda case: case["case"])
def test_cars_have_the_sizes_of_singularity(case: dict[str, Any], tmp_path: Path) -> None:
    size = int(case["case"].split(" bytes")[0].split()[-1])
    minimum = 1 if "minPieceSize 1" in case["case"] and "MiB" not in case["case"] else 1 << 20
    harness = Harness(tmp_path / "service")
    (tmp_path / "out").mkdir()
    source = make_tree(tmp_path / "source", {"file": {"derivedBuffer": size}})
    harness.prepare(source, tmp_path / "out", minPieceSize=minimum, follow=[])
    harness.run()
    if "split" in case["case"]:  # no setting cuts five bytes so; the range is cut by hand
        harness.connection.execute("UPDATE ranges SET length = 2")
        harness.connection.execute("INSERT INTO ranges SELECT 2, attachment_id, file_id, 2, 3, job_id FROM ranges")
    harness.add("pack", {"preparation": 1, "source": 1})
    harness.run()
    (car,) = harness.catalogue.cars(1)
    assert car.file_size == case["fileSize"]
    assert case.get("pieceSize") in (None, car.piece_size)


def test_a_scan_of_singularity_finds_its_directories_and_jobs(tmp_path: Path) -> None:
    case = vectors("singularity")["scan"]
    harness = Harness(tmp_path / "service")
    tree = {path: size if size is None else {"derivedBuffer": size} for path, size in case["tree"].items()}
    source = make_tree(tmp_path / "source", tree)
    harness.prepare(source, maxSize=case["maxSize"], follow=[])
    harness.run()
    assert len(recorded(harness)["directories"]) == case["directories"]
    jobs = harness.catalogue.jobs(1, "pack")
    assert len(jobs) == case["packJobs"]
    assert {job.state for job in jobs} == {"created"}
