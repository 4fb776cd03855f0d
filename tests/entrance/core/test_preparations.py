"""What is made and checked before a scan is stored: names, sizes, folders, and who may."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from harness import USER, Harness

from common.content.profile import SINGULARITY, UNIXFS_V1_2025
from common.db import tasks
from common.db.accounts import Accounts
from common.db.catalogue import Catalogue, job_state
from common.errors import AlreadyExists, BadInput, EntranceError, InvalidParams, NotFound
from common.task import State
from entrance.core.making import NewPreparation, attach_output, attach_source, create_preparation, create_storage
from entrance.core.sizes import Sizes


@pytest.fixture
def harness(tmp_path: Path) -> Harness:
    for name in ("a", "b", "out"):
        (tmp_path / name).mkdir()
    (tmp_path / "a/file").write_text("file")
    found = Harness(tmp_path / "service")
    found.allow(tmp_path)
    return found


def prepare(harness: Harness, source: Path, **params: Any) -> dict[str, Any]:
    """Submit the short form; return the parameters that are stored."""
    task = harness.add("scan", {"path": str(source), **params})
    with harness.tx() as tx:
        stored, _ = tasks.asked(tx, task.id)
    harness.kill(task.id)
    return stored


def test_the_short_form_makes_what_is_missing(harness: Harness, tmp_path: Path) -> None:
    stored = prepare(harness, tmp_path / "a", output=str(tmp_path / "out"))
    assert {k: stored[k] for k in ("preparation", "source", "job", "follow")} == {
        "preparation": 1,
        "source": 1,
        "job": 1,
        "follow": ["pack"],
    }
    made = harness.catalogue.preparation(1)
    assert made is not None
    assert (made.name, made.user, made.profile) == ("a", USER, SINGULARITY)
    assert (made.max_size, made.piece_size, made.min_piece_size) == (33_822_867_456, 1 << 35, 1 << 20)
    assert [s.path for s in harness.catalogue.outputs(1)] == [str(tmp_path / "out")]


def test_the_same_folder_output_and_sizes_find_the_same_preparation(harness: Harness, tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    first = prepare(harness, tmp_path / "a", output=out)["preparation"]
    assert prepare(harness, tmp_path / "a", output=out)["preparation"] == first
    assert prepare(harness, tmp_path / "a" / ".." / "a", output=out, maxSize="31.5GiB")["preparation"] == first
    others = [
        prepare(harness, tmp_path / "a")["preparation"],
        prepare(harness, tmp_path / "b", output=out)["preparation"],
        prepare(harness, tmp_path / "a", output=out, maxSize="1GB")["preparation"],
        prepare(harness, tmp_path / "a", output=out, profile="unixfs-v1-2025")["preparation"],
        prepare(harness, tmp_path / "a", output=out, name="mine")["preparation"],
    ]
    assert len({first, *others}) == 6
    names = [preparation.name for preparation in harness.catalogue.preparations()]
    assert names == ["a", "a-2", "b", "a-3", "a-4", "mine"]
    assert len(harness.catalogue.storages()) == 3
    assert harness.catalogue.preparations()[4].profile == UNIXFS_V1_2025


def test_presets_are_sets_of_sizes(harness: Harness, tmp_path: Path) -> None:
    prepare(harness, tmp_path / "a", preset="pdp")
    made = harness.catalogue.preparation(1)
    assert made is not None
    assert (made.max_size, made.piece_size) == (1_056_964_608, 1 << 30)


@pytest.mark.parametrize(
    ("params", "faults"),
    [
        ({"path": "relative"}, ["path: must be absolute"]),
        ({"path": "/nowhere"}, ["/nowhere lies in no folder that is allowed here"]),
        ({"path": "HERE/none"}, ["HERE/none: there is no such folder"]),
        ({"path": "HERE/a", "output": "HERE/a"}, ["output: the source itself cannot be the output"]),
        ({"path": "HERE/a", "output": "/etc"}, ["/etc lies in no folder that is allowed here"]),
        ({"path": "HERE/a", "maxSize": "1GiB"}, ["maxSize needs to be reduced to leave space for padding"]),
        ({"path": "HERE/a", "pieceSize": "3MB"}, ["pieceSize must be a power of two"]),
        ({"path": "HERE/a", "pieceSize": "128GiB"}, ["pieceSize cannot be larger than 64 GiB"]),
        ({"path": "HERE/a", "minPieceSize": "64GiB"}, ["minPieceSize cannot be larger than pieceSize"]),
        ({"path": "HERE/a", "minPieceSize": 3}, ["minPieceSize must be a power of two"]),
        ({"path": "HERE/a", "maxSize": "much", "follow": ["all"], "x": 1}, ["follow", "maxSize", "x: there is no"]),
        ({"path": "HERE/a", "preparation": 1}, ["preparation: does not go with path"]),
        ({"preparation": "x", "maxSize": 5}, ["maxSize: goes with path only", "source: is missing"]),
        ({}, ["preparation: is missing", "source: is missing"]),
    ],
)
def test_what_cannot_be_right_is_refused_with_every_fault(
    harness: Harness, tmp_path: Path, params: dict[str, Any], faults: list[str]
) -> None:
    sent = {k: v.replace("HERE", str(tmp_path)) if isinstance(v, str) else v for k, v in params.items()}
    with pytest.raises(InvalidParams) as refused:
        harness.add("scan", sent)
    text = str(refused.value).replace(str(tmp_path), "HERE")
    assert all(fault in text for fault in faults), text
    assert harness.tasks() == []
    assert harness.catalogue.storages() == []


def test_a_link_inside_an_allowed_folder_does_not_allow_where_it_leads(harness: Harness, tmp_path: Path) -> None:
    (tmp_path / "a/link").symlink_to("/etc")
    with pytest.raises(InvalidParams, match="lies in no folder that is allowed"):
        harness.add("scan", {"path": str(tmp_path / "a/link")})


def test_a_folder_that_is_allowed_for_one_preparation_is_that_user_s_only(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    harness = Harness(tmp_path / "service")
    with harness.tx() as tx:
        Accounts(tx).allow(str(tmp_path / "a"), now=0, preparation_id=0)
    prepare(harness, tmp_path / "a")
    with harness.tx() as tx:
        assert [root.preparation_id for root in Accounts(tx).roots()] == [1]
        with pytest.raises(BadInput, match="no folder that is allowed"):
            create_storage(tx, user="mallory", name="theirs", type="local", path=str(tmp_path / "a"), now=0)
    prepare(harness, tmp_path / "a", maxSize="1GB")


def test_others_preparations_and_jobs_do_not_exist(harness: Harness, tmp_path: Path) -> None:
    harness.attempt(harness.add("scan", {"path": str(tmp_path / "a")}).id)
    with harness.tx() as tx:
        for executor, params in (
            ("scan", {"preparation": 1, "source": 1, "follow": []}),
            ("daggen", {"preparation": "a", "source": 1}),
            ("pack", {"preparation": 1, "source": 1}),
            ("pack", {"job": 3}),
            ("verify", {"preparation": 1}),
            ("verify", {"storage": 1, "path": "x.car"}),
        ):
            with pytest.raises(NotFound):
                harness.hooks.submitting(tx, "mallory", False, executor, params)
            harness.hooks.submitting(tx, "root", True, executor, params)


def test_names_become_ids_before_a_task_is_stored(harness: Harness, tmp_path: Path) -> None:
    prepare(harness, tmp_path / "a", name="photos")
    source = harness.catalogue.storages()[0]
    with harness.tx() as tx:
        params = {"preparation": "photos", "source": source.name}
        stored = harness.hooks.submitting(tx, USER, False, "daggen", params)
        assert (stored["preparation"], stored["source"], stored["job"]) == (1, source.id, 2)
        assert harness.hooks.job_of("daggen", stored) == 2
        with pytest.raises(NotFound, match="sourceAttachment 'other' is not attached to preparation 1"):
            harness.hooks.submitting(tx, USER, False, "daggen", {"preparation": 1, "source": "other"})


def make(harness: Harness, tmp_path: Path, **wanted: Any) -> None:
    with harness.tx() as tx:
        create_preparation(
            tx, user=USER, admin=False, wanted=NewPreparation(**{"name": "p", "sources": [1], **wanted}), now=0
        )


@pytest.mark.parametrize(
    ("wanted", "error", "text"),
    [
        ({"name": ""}, BadInput, "preparation name '' cannot be all digits or empty"),
        ({"name": "123"}, BadInput, "preparation name '123' cannot be all digits or empty"),
        ({"sources": ["none"]}, NotFound, "source storage none does not exist"),
        ({"outputs": [77]}, NotFound, "output storage 77 does not exist"),
        ({"delete_after_export": True}, BadInput, "deleteAfterExport cannot be set without output storages"),
        ({"no_inline": True}, BadInput, "inline preparation cannot be disabled without output storages"),
        ({"sizes": Sizes(max_size=1 << 36)}, BadInput, "maxSize needs to be reduced to leave space for padding"),
        ({"name": "taken"}, AlreadyExists, "preparation with name taken already exists"),
    ],
)
def test_a_preparation_is_checked_before_it_is_made(
    harness: Harness, tmp_path: Path, wanted: dict[str, Any], error: type[EntranceError], text: str
) -> None:
    with harness.tx() as tx:
        create_storage(tx, user=USER, name="source", type="local", path=str(tmp_path / "a"), now=0)
    make(harness, tmp_path, name="taken")
    with pytest.raises(error) as refused:
        make(harness, tmp_path, **wanted)
    assert str(refused.value) == text
    assert [p.name for p in harness.catalogue.preparations()] == ["taken"]


def test_storages_are_attached_once(harness: Harness, tmp_path: Path) -> None:
    with harness.tx() as tx:
        for name in ("a", "b"):
            create_storage(tx, user=USER, name=name, type="local", path=str(tmp_path / name), now=0)
        with pytest.raises(AlreadyExists, match="storage with name a already exists"):
            create_storage(tx, user=USER, name="a", type="local", path=str(tmp_path / "a"), now=0)
        with pytest.raises(BadInput, match="storage name 5 cannot be all digits"):
            create_storage(tx, user=USER, name="5", type="local", path=str(tmp_path / "a"), now=0)
    make(harness, tmp_path, sources=["a"])
    with harness.tx() as tx:
        attach_output(tx, preparation="p", storage="b", user=USER, admin=False)
        attach_source(tx, preparation=1, storage=2, user=USER, admin=False, now=0)
        for again in (
            lambda: attach_output(tx, preparation=1, storage="b", user=USER, admin=False),
            lambda: attach_source(tx, preparation=1, storage="a", user=USER, admin=False, now=0),
        ):
            with pytest.raises(AlreadyExists):
                again()
        with pytest.raises(NotFound, match="preparation '9' does not exist"):
            attach_source(tx, preparation=9, storage="a", user=USER, admin=False, now=0)
    catalogue: Catalogue = harness.catalogue
    assert [s.name for s in catalogue.outputs(1)] == ["b"]
    assert [a.storage_id for a in catalogue.attachments(1)] == [1, 2]
    assert [root.path for root in (catalogue.root(1), catalogue.root(2)) if root] == ["", ""]


@pytest.mark.parametrize(
    ("state", "asked", "shown"),
    [
        (None, False, "created"),
        (State.CREATED, False, "created"),
        (State.QUEUED, False, "ready"),
        (State.WAITING_RETRY, False, "ready"),
        (State.RUNNING, False, "processing"),
        (State.RUNNING, True, "paused"),
        (State.PAUSED, False, "paused"),
        (State.SUCCEEDED, False, "complete"),
        (State.FAILED, False, "error"),
        (State.CANCELLED, False, "error"),
        (State.TIMED_OUT, False, "error"),
    ],
)
def test_a_job_shows_the_state_of_its_last_task(state: State | None, asked: bool, shown: str) -> None:
    assert job_state(state, asked) == shown
