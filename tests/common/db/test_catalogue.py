"""The catalogue by itself: pages, what counts when, and what a task process may not do."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine

from common.content.profile import UNIXFS_V1_2025
from common.db import tables
from common.db.catalogue import Catalogue, Preparation, StorageRecord, open_readonly
from common.db.catalogue.store import pages
from common.db.database import open_writable
from common.db.sql import Tx


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "entrance.db"
    engine = create_engine(f"sqlite:///{path}")
    tables.metadata.create_all(engine)
    engine.dispose()
    return path


@pytest.fixture
def catalogue(database: Path) -> Iterator[Catalogue]:
    connection = open_writable(database)
    made = Catalogue(Tx(connection))
    made.add_storage(StorageRecord(id=made.take_ids("storages"), name="s", user="u", type="local", path="/s"))
    made.add_preparation(
        Preparation(
            id=made.take_ids("preparations"),
            name="p",
            user="u",
            max_size=1000,
            piece_size=1024,
            min_piece_size=128,
            profile=UNIXFS_V1_2025,
        )
    )
    made.add_attachment(1, 1, now=5)
    yield made
    connection.close()


def run(catalogue: Catalogue, sql: str, *values: object) -> None:
    catalogue.tx.connection.execute(sql, values)


def add_car(catalogue: Catalogue, number: int) -> None:
    run(
        catalogue,
        "INSERT INTO cars VALUES (?, 'data', x'01', x'02', 128, x'03', 1, 1, 0, NULL, '', 0, 1, 1, 1, NULL, NULL, 0)",
        number,
    )


def test_entities_come_back_as_they_were_stored(catalogue: Catalogue) -> None:
    found = catalogue.preparation("p")
    assert found == catalogue.preparation(1)
    assert found is not None
    assert found.profile == UNIXFS_V1_2025
    storage = catalogue.storage(1)
    assert storage == catalogue.storage("s")
    assert catalogue.storage("1") is None
    assert catalogue.preparation(2) is None
    assert catalogue.attachment_of(1, 1) == catalogue.attachment(1)
    assert [(job.type, job.state) for job in catalogue.jobs(1)] == [("scan", "created"), ("daggen", "created")]


def test_pages_hold_every_row_once(catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch) -> None:
    from common.db.catalogue import store

    monkeypatch.setattr(store, "PAGE_ROWS", 7)
    for number in range(1, 51):
        run(catalogue, "INSERT INTO ranges VALUES (?, 1, ?, 0, 1, ?)", number, number, number % 3 or None)
    loose = pages(lambda after, n: catalogue.loose_ranges(1, after, n), 0, lambda r: r.id)
    assert [part.id for part in loose] == list(range(3, 51, 3))
    job = pages(lambda after, n: catalogue.ranges_of(2, after, n), 0, lambda r: r.id)
    assert [part.id for part in job] == list(range(2, 51, 3))


def test_versions_are_paged_by_name_and_id(catalogue: Catalogue) -> None:
    names = ["a", "a", "b", "\U0001f600", "\ufb01", "z"]
    for number, name in enumerate(names, start=1):
        run(catalogue, "INSERT INTO files VALUES (?, 1, 1, ?, NULL, 1, 1, '')", number, name)
    expected = [("a", 1), ("a", 2), ("b", 3), ("z", 6), ("\ufb01", 5), ("\U0001f600", 4)]
    for size in (1, 2, 3, 10):
        found, after = [], ("", 0)
        while page := catalogue.versions(1, after, size):
            found += [(file.name, file.id) for file in page]
            after = found[-1]
        assert found == expected


def test_a_cid_counts_once_its_car_is_there(catalogue: Catalogue) -> None:
    run(catalogue, "INSERT INTO files VALUES (1, 1, 1, 'f', NULL, 1, 1, '')")
    run(catalogue, "INSERT INTO ranges VALUES (1, 1, 1, 0, 1, 9)")
    run(catalogue, "INSERT INTO range_cids VALUES (1, 4, x'aa', NULL)")
    run(catalogue, "INSERT INTO file_cids VALUES (1, 4, x'bb', 1)")
    run(catalogue, "INSERT INTO directory_nodes VALUES (1, 4, x'cc', 2)")
    before = (catalogue.file_cid(1), catalogue.range_cids(1)[0].cid, catalogue.packed_files(1), catalogue.directory_node(1))
    assert before == (None, None, [], None)
    add_car(catalogue, 4)
    assert catalogue.file_cid(1) == b"\xbb"
    assert catalogue.range_cids(1)[0].cid == b"\xaa"
    assert [file.id for file in catalogue.packed_files(1)] == [1]
    assert catalogue.directory_node(1) == (b"\xcc", 2)


def test_an_export_counts_as_long_as_its_dag_is_there(catalogue: Catalogue) -> None:
    attachment = catalogue.attachment(1)
    assert attachment is not None
    add_car(catalogue, 1)
    add_car(catalogue, 2)
    run(catalogue, "UPDATE cars SET type = 'dag' WHERE id = 2")
    assert [car.id for car in catalogue.unexported(attachment)] == [1]
    run(catalogue, "INSERT INTO exported VALUES (1, 1, 2)")
    assert catalogue.unexported(attachment) == []
    run(catalogue, "DELETE FROM cars WHERE id = 2")
    assert [car.id for car in catalogue.unexported(attachment)] == [1]


def test_a_task_process_reads_only(catalogue: Catalogue, database: Path) -> None:
    for url in (database, str(database), f"sqlite:///{database}"):
        reading = open_readonly(url)
        assert reading.data_folder == database.parent
        assert reading.preparation(1) is not None
        with pytest.raises(sqlite3.OperationalError):
            reading.add_job(1, "pack", 0)


def test_ids_are_handed_out_once(catalogue: Catalogue) -> None:
    assert [catalogue.take_ids("files", n) for n in (3, 1, 5)] == [1, 4, 5]
    assert catalogue.take_ids("files") == 10
