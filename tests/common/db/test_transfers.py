"""What is noted of a transfer when it is stored: its way, bucket, data space and data set."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert
from transfer_rows import add_storage, put

from common.content.profile import SINGULARITY
from common.db import shown, tables, transfers
from common.db.database import FILE_NAME, Readers, short_write
from common.db.migrate import upgrade
from common.db.sql import Sql
from common.db.transfers import TransferFilter, Way
from common.storage.secrets import Secrets
from common.task import State


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data folder with two local storages, two buckets and a preparation."""
    upgrade(tmp_path / FILE_NAME)
    Secrets.of_folder(tmp_path)
    for name, kind, path in (("disk", "local", "/d"), ("tape", "local", "/t"), ("s1", "s3", "b1/p"), ("s2", "s3", "b2")):
        add_storage(tmp_path, name, kind, path)
    sizes = {"max_size": 1, "piece_size": 1, "min_piece_size": 1}
    flags = {"delete_after_export": 0, "no_inline": 0, "no_dag": 0, "created_at": 0, "updated_at": 0}
    row = {"id": 7, "name": "Weather", "user": "alice", "profile": json.dumps(asdict(SINGULARITY)), **sizes, **flags}
    with short_write(tmp_path / FILE_NAME) as tx:
        tx.run(Sql(insert(tables.preparations)), **row)
    return tmp_path


def stored(data: Path, source: str, target: str, **params: Any) -> transfers.Transfer:
    with short_write(data / FILE_NAME) as tx:
        task = put(tx, source, target, "alice", State.QUEUED, None, None, 5, params)
        given = {"from": {"storage": source}, "to": {"storage": target}, **params}
        transfers.note(tx, task, given | {"repoName": "another"}, default_space="default")  # a second time: nothing
    space = params.get("dataSpaceId") or "default"
    with Readers(data / FILE_NAME).read() as tx:
        found, total = transfers.page(tx, TransferFilter(data_space=space, owner="alice"), 0, 10)
        assert transfers.exists(tx, space)
        assert not transfers.exists(tx, "other")
    assert total == 1
    return found[0]


@pytest.mark.parametrize(
    ("source", "target", "way", "bucket"),
    [
        ("disk", "s1", Way.OUT, "b1"),
        ("s1", "disk", Way.IN, "b1"),
        ("s1", "s2", Way.WITHIN, "b2"),
        ("disk", "tape", Way.WITHIN, "tape"),
        ("prep:Weather", "s2", Way.OUT, "b2"),
        ("prep:Weather", "disk", Way.WITHIN, "disk"),
        ("gone", "s1", Way.OUT, "b1"),
    ],
)
def test_the_way_and_the_bucket_follow_from_both_ends(data: Path, source: str, target: str, way: Way, bucket: str) -> None:
    found = stored(data, source, target)
    assert (found.way, found.bucket) == (way, bucket)


def test_what_the_task_names_counts_over_the_preparation_and_the_default(data: Path) -> None:
    found = stored(data, "prep:Weather", "s1")
    assert (found.data_space, found.repo_id, found.repo_name) == ("default", "7", "Weather")
    found = stored(data, "prep:Weather", "s1", dataSpaceId="x", repoId="9", repoName="Mine")
    assert (found.data_space, found.repo_id, found.repo_name) == ("x", "9", "Mine")


def test_what_belongs_to_a_transfer_goes_with_its_task(data: Path) -> None:
    task = stored(data, "disk", "s1").task
    with short_write(data / FILE_NAME) as tx:
        tx.run(Sql(insert(tables.transfer_files)), task_id=task.id, path="a", size=1, state="failed", fault="store")
        assert shown.set_shown(tx, task.id, name="x")
        tx.run(Sql(tables.tasks.delete()))
    connection = sqlite3.connect(data / FILE_NAME)
    for table in ("transfers", "transfer_files", "shown_jobs"):
        assert connection.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)
    connection.close()
