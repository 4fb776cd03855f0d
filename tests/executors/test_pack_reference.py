"""Random trees: what comes out is what the plain second implementation (tests/reference.py) says, in both profiles."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import reference
from harness import Harness
from trees import listed

from common.content import cid as cids
from common.db.catalogue import Car
from common.task import State

NAMES = ["a", "b.txt", "b", "Ω", "файл.bin", "a b", "z" * 40, "-", "ä\u0301", "0", "b-", "日本"]


def random_tree(chance: random.Random, folder: Path, split: int, depth: int = 0) -> None:
    folder.mkdir()
    for name in chance.sample(NAMES, chance.randint(0, 6)):
        kind = chance.random()
        if kind < 0.3 and depth < 4:
            random_tree(chance, folder / name, split, depth + 1)
        else:
            around = chance.choice([0, 1, 127, 1000, split, 2 * split, 3 * split, 1 << 20, 2 << 20])
            size = max(0, around + chance.choice([-1, 0, 0, 1, 17]))
            (folder / name).write_bytes(chance.randbytes(min(size, 3_200_000)))


def check(car: Car, wanted: reference.Car, mode: tuple[int, int], body: bytes | None) -> None:
    assert cids.to_text(car.piece_cid) == wanted.piece_cid
    assert cids.to_text(car.piece_cid_v2) == wanted.piece_cid_v2
    assert cids.to_text(car.root_cid) == wanted.root
    assert (car.piece_size, car.car_size, car.blocks) == (wanted.piece_size, len(wanted.data), wanted.blocks)
    assert (car.file_size, car.virtual_padding) == mode
    if body is not None:
        assert body[: car.car_size] == wanted.data
        assert len(body) == car.file_size


@pytest.mark.parametrize("profile", ["singularity", "unixfs-v1-2025"])
@pytest.mark.parametrize("seed", range(8))
def test_a_random_tree_gives_what_the_reference_says(seed: int, profile: str, tmp_path: Path) -> None:
    chance = random.Random(f"{seed}-{profile}")
    max_size = chance.choice([3_000_000, 1_500_000, 200_000, 9_000, 6_000_000])
    minimum = chance.choice([1 << 20, 128, 1 << 14]) if max_size > (1 << 20) else 128
    split = reference.split_size(max_size)
    source = tmp_path / "source"
    random_tree(chance, source, split)
    files, folders = listed(source)
    inline = seed % 3 == 2
    output = tmp_path / "out"
    output.mkdir()
    harness = Harness(tmp_path / "service", cores=chance.randint(1, 4))
    params: dict[str, Any] = {"maxSize": max_size, "minPieceSize": minimum, "profile": profile}
    scan = harness.prepare(source, None if inline else output, **params)
    harness.attempt(scan.id)
    harness.run(chance, only="pack")
    assert {task.state for task in harness.tasks()} == {State.SUCCEEDED}, harness.states()
    wanted = reference.prepare(files, folders, max_size=max_size, min_piece_size=minimum, profile=profile)
    harness.add("daggen", {"preparation": 1, "source": 1})
    harness.run()
    cars = harness.catalogue.cars(1)
    data = sorted((car for car in cars if car.type == "data"), key=lambda car: car.job_id or 0)
    dag = [car for car in cars if car.type == "dag"]
    assert len(data) == len(wanted.cars)
    for car, should in zip(data, wanted.cars, strict=True):
        body = None if inline else (output / car.storage_path).read_bytes()
        check(car, should, should.inline if inline else should.exported, body)
        assert car.files == should.files
    assert len(dag) == (wanted.dag is not None)
    if wanted.dag is not None:
        body = None if inline else (output / dag[0].storage_path).read_bytes()
        check(dag[0], wanted.dag, wanted.dag.inline if inline else wanted.dag.exported, body)
        root = harness.catalogue.root(1)
        assert root is not None
        assert harness.catalogue.directory_node(root.id) == (dag[0].root_cid, wanted.root_tsize)
    rows = harness.connection.execute("SELECT id, path FROM directories").fetchall()
    nodes = {path: harness.catalogue.directory_node(row) for row, path in rows}
    assert {path: cids.to_text(node[0]) if node else "" for path, node in nodes.items()} == wanted.directories
