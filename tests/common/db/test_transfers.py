"""What is noted of a transfer when it is stored: its way, bucket, data space and data set."""

from __future__ import annotations

import json
import random
import sqlite3
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert
from transfer_rows import add_storage, put

from common.content.profile import SINGULARITY
from common.db import retention, shown, tables, transfers
from common.db import tasks as store
from common.db.database import Readers, short_write
from common.db.migrate import upgrade
from common.db.peek import FILE_NAME
from common.db.sql import Sql, Tx
from common.db.transfers import Transfer, TransferFilter, Way
from common.storage.secrets import Secrets
from common.task import Event, Failed, Kill, Picked, State, Succeeded, Task


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


# ---- lists --------------------------------------------------------------------------------------------------------

NOW, HOUR = 1_700_000_000_000, 3_600_000
SUBMISSION = {"code": "{}", "params": "{}", "settings": "{}", "source": "{}", "labels": "[]"}
LIVES: tuple[tuple[Event, ...], ...] = (
    (),
    (Kill(by="ann"),),
    (Picked(),),
    (Picked(), Succeeded(attempt=1)),
    (Picked(), Failed(attempt=1, reason="no space left", may_pass=False)),
)


def _many(tx: Tx) -> None:
    """Some hundred transfers within three days, some of one moment, in two data spaces."""
    choose = random.Random(11)
    for n in range(240):
        user, source, target = choose.choice(("ann", "bob")), *choose.choice((("disk", "s1"), ("s1", "disk"), ("s1", "s2")))
        at = NOW + n // 2 * HOUR // 2
        blank = {"id": 0, "uuid": "", "exec_id": "", "creator": "IDE", "run_type": "x", "door": "linkis"}
        names = {"user": user, "execute_user": "eve" if n % 40 == 39 else user, "executor": "transfer"}
        new = Task(**blank, **names, **dict.fromkeys(("created_at", "queued_at", "updated_at"), at), state=State.QUEUED)
        params = {"from": {"storage": source}, "to": {"storage": target}, "repoId": str(n % 5), "repoName": f"Data {n % 7}"}
        params["dataSpaceId"] = choose.choice(("one", "one", "two"))
        task = store.add(tx, new, exec_id=lambda i: f"exec-{i}", submission=SUBMISSION)
        transfers.note(tx, task, params, default_space="s")
        for event in choose.choice(LIVES):
            store.apply(tx, task.id, event, at + 1000, ladder_ms=(0,))


def _plain(found: Transfer, which: TransferFilter) -> bool:
    task = found.task
    return (
        found.data_space == which.data_space
        and which.owner in (None, task.user, task.execute_user)
        and (which.ways is None or found.way in which.ways)
        and (which.states is None or any(task.state is state and ran in (None, task.ran) for state, ran in which.states))
        and which.repo_id in ("", found.repo_id)
        and which.repo_name_part.lower() in found.repo_name.lower()
        and (which.created_from or 0) <= task.created_at <= (which.created_to or 1 << 62)
    )


def _any_filter(choose: random.Random) -> TransferFilter:
    everything = {
        "owner": choose.choice(("ann", "bob", "eve")),
        "ways": choose.choice(([Way.OUT], [Way.IN, Way.WITHIN])),
        "states": [(choose.choice(list(State)), choose.choice((None, True, False))) for _ in range(choose.randint(0, 3))],
        "repo_id": "3",
        "repo_name_part": "DATA 2",
        "created_from": NOW + choose.randint(-5, 70) * HOUR,
        "created_to": NOW + choose.randint(-5, 70) * HOUR - choose.randint(0, 1),
    }
    some = {key: everything[key] for key in choose.sample(sorted(everything), choose.choice((0, 1, 1, 2, 3)))}
    return TransferFilter(data_space=choose.choice(("one", "two", "none")), **some)


def test_every_filter_and_page_shows_what_a_plain_loop_would(data: Path) -> None:
    choose = random.Random(3)
    with short_write(data / FILE_NAME) as tx:
        _many(tx)
    for forgotten in (False, True):
        with short_write(data / FILE_NAME) as tx:
            while forgotten and retention.forget_tasks(tx, NOW + 30 * HOUR):
                pass
        with Readers(data / FILE_NAME).read() as tx:
            spaces = [TransferFilter(data_space=space) for space in ("one", "two")]
            known = [transfer for which in spaces for transfer in transfers.page(tx, which, 0, 1000)[0]]
            assert len(known) == tx.connection.execute("SELECT count(*) FROM transfers").fetchone()[0] > 50
            for _ in range(100):
                which = _any_filter(choose)
                wanted = [x for x in known if _plain(x, which)]
                wanted.sort(key=lambda x: (-x.task.created_at, x.task.uuid))
                offset, limit = choose.randint(0, max(3, len(wanted))), choose.choice((1, 7, 500))
                found = transfers.page(tx, which, offset, limit)
                assert found == (wanted[offset : offset + limit], len(wanted)), which
