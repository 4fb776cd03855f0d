"""verify finds every way in which a CAR can be other than it should be, and says where."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from harness import Harness
from trees import derived, make_tree

from common.content import cid as cids
from common.content.car import CarReader, header, section_prefix
from common.db.catalogue import Car
from common.errors import NotFound
from common.task import State

TREE = {
    "a.txt": {"text": "hello"},
    "big.bin": {"derivedBuffer": 5_000_000},
    "d/empty": {"text": ""},
    "d/more.bin": {"derivedBuffer": 2_500_000},
}


def packed(tmp_path: Path, *, inline: bool = False) -> tuple[Harness, list[Car]]:
    harness = Harness(tmp_path / "service")
    output = tmp_path / "out"
    output.mkdir()
    source = make_tree(tmp_path / "source", TREE)
    harness.prepare(source, None if inline else output, maxSize="6MB", follow=["pack", "daggen"])
    harness.run()
    return harness, harness.catalogue.cars(1)


def faults(harness: Harness, **params: object) -> list[list[object]]:
    task = harness.add("verify", params or {"preparation": 1})
    assert harness.attempt(task.id).state is State.SUCCEEDED, harness.get(task.id).reason
    return [list(row) for row in harness.results]


@pytest.mark.parametrize("inline", [False, True], ids=["exported", "inline"])
def test_cars_as_they_were_made_have_no_fault(tmp_path: Path, inline: bool) -> None:
    harness, cars = packed(tmp_path, inline=inline)
    assert [car.type for car in cars] == ["data", "data", "dag"]
    assert faults(harness) == []
    assert faults(harness, pieceCid=cids.to_text(cars[0].piece_cid)) == []
    assert faults(harness, pieceCid=cids.to_text(cars[0].piece_cid_v2)) == []


def flip_leaf(path: Path) -> None:
    body = bytearray(path.read_bytes())
    body[59 + 3000] ^= 1
    path.write_bytes(body)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1000])


def append_noise(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\0\0\1")


def swap_blocks(path: Path) -> None:
    with path.open("rb") as stream:
        reader = CarReader(stream)
        blocks = [(s.cid, s.data) for s in reader]
    blocks[1], blocks[2] = blocks[2], blocks[1]
    path.write_bytes(header(blocks[0][0]) + b"".join(section_prefix(c, len(d)) + d for c, d in blocks))


def drop_last(path: Path) -> None:
    with path.open("rb") as stream:
        blocks = [(s.cid, s.data) for s in CarReader(stream)][:-1]
    path.write_bytes(header(blocks[0][0]) + b"".join(section_prefix(c, len(d)) + d for c, d in blocks))


def wrong_root(path: Path) -> None:
    body = path.read_bytes()
    path.write_bytes(header(cids.of_raw(b"other")) + body[59:])


@pytest.mark.parametrize(
    ("damage", "messages"),
    [
        (flip_leaf, ["do not hash", "piece CID"]),
        (cut, ["another length", "are there", "piece CID"]),
        (append_noise, ["another length", "padding", "piece CID"]),
        (swap_blocks, ["not the link node of big.bin", "piece CID", "index"]),
        (drop_last, ["another length", "too early", "missing or too many", "piece CID", "index"]),
        (wrong_root, ["another root", "piece CID"]),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_damaged_car_is_told_with_its_place(tmp_path: Path, damage: Callable[[Path], None], messages: list[str]) -> None:
    harness, cars = packed(tmp_path)
    car = max((car for car in cars if car.type == "data"), key=lambda car: car.file_size)
    damage(tmp_path / "out" / car.storage_path)
    found = faults(harness)
    assert {row[0] for row in found} == {car.storage_path}
    assert len(found) == len(messages), found
    for row, message in zip(found, messages, strict=True):
        assert message in str(row[4]), found


def test_a_flipped_leaf_is_told_with_both_cids_and_its_offset(tmp_path: Path) -> None:
    harness, cars = packed(tmp_path)
    path = tmp_path / "out" / cars[1].storage_path
    flip_leaf(path)
    first = faults(harness)[0]
    assert first[1] == 59
    assert first[2] == cids.to_text(cids.of_raw(derived(5_000_000)[: 1 << 20])) or first[2] != first[3]


def test_a_missing_car_and_a_missing_index_are_each_one_fault(tmp_path: Path) -> None:
    harness, cars = packed(tmp_path)
    (tmp_path / "out" / cars[0].storage_path).unlink()
    (tmp_path / "out" / f"{cars[1].storage_path}.idx").unlink()
    found = faults(harness)
    assert [row[0] for row in found] == [cars[0].storage_path, cars[1].storage_path]
    assert "not there" in str(found[0][4])
    assert "index is not there" in str(found[1][4])


def test_a_foreign_car_is_held_against_its_own_name(tmp_path: Path) -> None:
    harness, cars = packed(tmp_path)
    folder = tmp_path / "out"
    one, other = (folder / car.storage_path for car in cars[:2])
    storage = harness.catalogue.outputs(1)[0].name
    shutil.copy(one, folder / "plain.car")
    assert faults(harness, storage=storage, path="plain.car") == []
    assert faults(harness, storage=storage, path=cars[0].storage_path) == []
    shutil.copy(other, one)
    assert any("piece CID" in str(row[4]) for row in faults(harness, storage=storage, path=cars[0].storage_path))


def test_pieces_and_storages_of_others_do_not_exist(tmp_path: Path) -> None:
    harness, cars = packed(tmp_path)
    piece = cids.to_text(cars[0].piece_cid)
    with harness.tx() as tx:
        for params in ({"pieceCid": piece}, {"pieceCid": "nonsense"}, {"storage": 1, "path": "x"}):
            with pytest.raises(NotFound):
                harness.hooks.submitting(tx, "mallory", False, "verify", params)
        assert harness.hooks.submitting(tx, "root", True, "verify", {"pieceCid": piece})["cars"] == [cars[0].id]


def test_an_inline_car_whose_source_has_changed_is_a_fault(tmp_path: Path) -> None:
    harness, _ = packed(tmp_path, inline=True)
    (tmp_path / "source" / "a.txt").write_text("HELLO!")
    found = faults(harness)
    assert any("file has been modified" in str(row[4]) and "a.txt" in str(row[4]) for row in found)
