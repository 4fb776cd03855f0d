"""Chapter 3.3 of the contract, row by row: what starting and pausing does to a job in each state, with every text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

MANY = {"f%05d": {"text": "x", "count": 20_000}}


def job(found: dict[str, Any]) -> dict[str, Any]:
    """The fields that the tables speak of."""
    return {key: found[key] for key in ("type", "state", "errorMessage", "errorStackTrace")}


def fresh(type: str, state: str) -> dict[str, Any]:
    return {"type": type, "state": state, "errorMessage": "", "errorStackTrace": ""}


# ---- scan and daggen


@pytest.mark.parametrize("type", ["scan", "daggen"])
def test_there_is_no_job_before_the_first_start(type: str, busy: Any) -> None:
    prep, source = busy.preparation({"a.txt": "x"})
    assert busy.jobs(prep) == []
    busy.refused(
        404,
        f"{type} job for sourceAttachment '{source}' does not exist: not found",
        "POST",
        f"/preparation/{prep}/source/{source}/pause-{type}",
    )


@pytest.mark.parametrize("type", ["scan", "daggen"])
def test_none_becomes_ready_and_ready_is_running(type: str, busy: Any) -> None:
    prep, source = busy.preparation({"a.txt": "x"})
    path = f"/preparation/{prep}/source/{source}"
    started = busy.ok("POST", f"{path}/start-{type}")
    assert job(started) == fresh(type, "ready")
    assert "workerId" not in started
    (shown,) = busy.jobs(prep)
    assert shown == started
    text = f"{type} job for sourceAttachment '{source}' is already running: invalid parameter"
    busy.refused(400, text, "POST", f"{path}/start-{type}")


@pytest.mark.parametrize("type", ["scan", "daggen"])
def test_ready_is_paused_and_paused_becomes_ready(type: str, busy: Any) -> None:
    prep, source = busy.preparation({"a.txt": "x"})
    path = f"/preparation/{prep}/source/{source}"
    first = busy.ok("POST", f"{path}/start-{type}")
    assert job(busy.ok("POST", f"{path}/pause-{type}")) == fresh(type, "paused")
    text = f"{type} job for sourceAttachment '{source}' is not running: invalid parameter"
    busy.refused(400, text, "POST", f"{path}/pause-{type}")
    again = busy.ok("POST", f"{path}/start-{type}")
    assert job(again) == fresh(type, "ready")
    assert (again["id"], again["taskId"]) == (first["id"], first["taskId"])


@pytest.mark.parametrize("type", ["scan", "daggen"])
def test_complete_can_be_started_again_but_not_paused(type: str, singularity: Any) -> None:
    prep, source = singularity.preparation({"a.txt": "x"})
    path = f"/preparation/{prep}/source/{source}"
    singularity.run(prep, source, "start-scan")
    singularity.run(prep, source, "start-daggen")
    (first,) = singularity.jobs(prep, type)
    assert job(first) == fresh(type, "complete")
    text = f"{type} job for sourceAttachment '{source}' is not running: invalid parameter"
    singularity.refused(400, text, "POST", f"{path}/pause-{type}")
    again = singularity.ok("POST", f"{path}/start-{type}")
    assert job(again) == fresh(type, "ready")
    assert again["id"] == first["id"]
    assert again["taskId"] != first["taskId"]
    singularity.settled(prep)


@pytest.mark.parametrize("type", ["scan", "daggen"])
def test_error_can_be_started_again_and_its_texts_go(type: str, busy: Any) -> None:
    prep, source = busy.preparation({"a.txt": "x"})
    path = f"/preparation/{prep}/source/{source}"
    started = busy.ok("POST", f"{path}/start-{type}")
    busy.service.cli("kill", str(started["taskId"]))
    (shown,) = busy.jobs(prep, type)
    assert job(shown) == {**fresh(type, "error"), "errorMessage": "killed by admin"}
    text = f"{type} job for sourceAttachment '{source}' is not running: invalid parameter"
    busy.refused(400, text, "POST", f"{path}/pause-{type}")
    assert job(busy.ok("POST", f"{path}/start-{type}")) == fresh(type, "ready")


@pytest.mark.parametrize("type", ["scan", "daggen"])
def test_processing_is_paused_and_goes_on(type: str, singularity: Any) -> None:
    prep, source = singularity.preparation(MANY)
    path = f"/preparation/{prep}/source/{source}"
    if type == "daggen":
        singularity.run(prep, source, "start-scan")
    singularity.ok("POST", f"{path}/start-{type}")
    frozen = singularity.freeze(prep, type)
    assert frozen["workerId"]
    text = f"{type} job for sourceAttachment '{source}' is already running: invalid parameter"
    singularity.refused(400, text, "POST", f"{path}/start-{type}")
    assert job(singularity.ok("POST", f"{path}/pause-{type}")) == fresh(type, "paused")
    assert singularity.jobs(prep, type)[0]["state"] == "paused"
    assert job(singularity.ok("POST", f"{path}/start-{type}")) == fresh(type, "ready")
    assert all(j["state"] == "complete" for j in singularity.settled(prep))


# ---- packs


def created_packs(singularity: Any, tree: Any) -> tuple[int, str, list[int]]:
    """A preparation whose packs wait: scanned, but nothing follows."""
    prep, source = singularity.preparation(tree)
    task = singularity.service.submit("scan", {"preparation": prep, "source": source, "follow": []})
    singularity.service.wait_for(task)
    packs = singularity.jobs(prep, "pack")
    assert all(job(p) == fresh("pack", "created") for p in packs)
    return prep, source, [p["id"] for p in packs]


@pytest.fixture(scope="session")
def waiting(singularity: Any) -> tuple[int, str, list[int]]:
    return created_packs(singularity, {"a.bin": {"derivedBuffer": 2_500_000}, "b.bin": {"derivedBuffer": 2_500_001}})


def test_a_created_pack_cannot_be_paused_and_runs_when_started(singularity: Any) -> None:
    prep, source, (pack,) = created_packs(singularity, {"a.txt": "x"})
    path = f"/preparation/{prep}/source/{source}"
    text = f"pack job {pack} for source '{source}' is not running: invalid parameter"
    singularity.refused(400, text, "POST", f"{path}/pause-pack/{pack}")
    (started,) = singularity.ok("POST", f"{path}/start-pack/{pack}")
    assert job(started) == fresh("pack", "ready")
    assert [j["state"] for j in singularity.settled(prep) if j["type"] == "pack"] == ["complete"]
    running = f"pack job {pack} for source '{source}' is running or complete: invalid parameter"
    singularity.refused(400, running, "POST", f"{path}/start-pack/{pack}")
    singularity.refused(400, text, "POST", f"{path}/pause-pack/{pack}")


def test_a_ready_pack_is_paused_and_goes_on(busy: Any) -> None:
    for task in _blockers(busy):
        busy.service.cli("pause", str(task))
    prep, source, (pack,) = created_packs(busy, {"a.txt": "x"})
    for task in _blockers(busy):
        busy.service.cli("resume", str(task))
        busy.service.wait_for(task, "Running")
    path = f"/preparation/{prep}/source/{source}"
    (first,) = busy.ok("POST", f"{path}/start-pack/{pack}")
    running = f"pack job {pack} for source '{source}' is running or complete: invalid parameter"
    busy.refused(400, running, "POST", f"{path}/start-pack/{pack}")
    assert [job(p) for p in busy.ok("POST", f"{path}/pause-pack/{pack}")] == [fresh("pack", "paused")]
    text = f"pack job {pack} for source '{source}' is not running: invalid parameter"
    busy.refused(400, text, "POST", f"{path}/pause-pack/{pack}")
    (again,) = busy.ok("POST", f"{path}/start-pack/{pack}")
    assert job(again) == fresh("pack", "ready")
    assert again["taskId"] == first["taskId"]
    busy.service.cli("kill", str(again["taskId"]))
    assert job(busy.jobs(prep, "pack")[0]) == {**fresh("pack", "error"), "errorMessage": "killed by admin"}
    busy.refused(400, text, "POST", f"{path}/pause-pack/{pack}")
    (fourth,) = busy.ok("POST", f"{path}/start-pack/{pack}")
    assert fourth["taskId"] != first["taskId"]
    assert job(fourth) == {**fresh("pack", "ready"), "errorMessage": "killed by admin"}  # one alone keeps it, all do not
    busy.service.cli("kill", str(fourth["taskId"]))
    assert [job(p) for p in busy.ok("POST", f"{path}/start-pack/0")] == [fresh("pack", "ready")]


def _blockers(busy: Any) -> list[int]:
    tasks = busy.service.http.get(
        "/api/rest_j/v1/jobhistory/list", query={"executeApplicationName": "sleep", "status": "Running,Scheduled"}
    ).data["tasks"]
    return [task["taskID"] for task in tasks]


def test_a_processing_pack_is_paused_and_goes_on(singularity: Any) -> None:
    prep, source, (pack,) = created_packs(singularity, MANY)
    path = f"/preparation/{prep}/source/{source}"
    singularity.ok("POST", f"{path}/start-pack/{pack}")
    singularity.freeze(prep, "pack")
    running = f"pack job {pack} for source '{source}' is running or complete: invalid parameter"
    singularity.refused(400, running, "POST", f"{path}/start-pack/{pack}")
    assert [job(p) for p in singularity.ok("POST", f"{path}/pause-pack/{pack}")] == [fresh("pack", "paused")]
    assert [job(p) for p in singularity.ok("POST", f"{path}/start-pack/{pack}")] == [fresh("pack", "ready")]
    assert all(j["state"] == "complete" for j in singularity.settled(prep))


def test_all_packs_of_a_source_are_started_and_paused_with_0(busy: Any, singularity: Any) -> None:
    prep, source, packs = created_packs(singularity, {f"f{n}.bin": {"derivedBuffer": 2_500_000 + n} for n in range(3)})
    path = f"/preparation/{prep}/source/{source}"
    assert len(packs) == 3
    assert singularity.ok("POST", f"{path}/pause-pack/0") == []
    started = singularity.ok("POST", f"{path}/start-pack/0")
    assert [j["id"] for j in started] == packs
    assert [j["state"] for j in started] == ["ready"] * 3
    singularity.settled(prep)
    assert singularity.ok("POST", f"{path}/start-pack/0") == []
    assert singularity.ok("POST", f"{path}/pause-pack/0") == []


def test_what_is_no_pack_of_this_source_is_not_found(singularity: Any, waiting: tuple[int, str, list[int]]) -> None:
    prep, source, (pack, _) = waiting
    other, other_source = singularity.preparation({"a.txt": "x"})
    for verb in ("start", "pause"):
        for number, where in ((999_999, source), (pack, other_source)):
            of = prep if where == source else other
            singularity.refused(
                404,
                f"pack job {number} for source '{where}' does not exist: not found",
                "POST",
                f"/preparation/{of}/source/{where}/{verb}-pack/{number}",
            )
        answer = singularity.call("POST", f"/preparation/{prep}/source/{source}/{verb}-pack")
        assert (answer.status, answer.json()["message"]) == (404, "Not Found")
        answer = singularity.call("POST", f"/preparation/{prep}/source/{source}/{verb}-pack/x")
        assert (answer.status, answer.json()) == (400, {"err": "failed to parse path parameter as number"})


@pytest.mark.parametrize(
    "verb", ["start-scan", "pause-scan", "start-daggen", "pause-daggen", "start-pack/0", "pause-pack/0"]
)
def test_a_source_that_is_not_attached_is_not_found(verb: str, singularity: Any) -> None:
    prep, _ = singularity.preparation({"a.txt": "x"})
    stranger = singularity.storage(singularity.tree({}))
    for of, source in ((prep, stranger), (prep, "nobody"), (999_999, stranger)):
        text = f"sourceAttachment '{source}' is not attached to preparation {of}: not found"
        singularity.refused(404, text, "POST", f"/preparation/{of}/source/{source}/{verb}")


def test_a_preparation_without_dag_has_no_daggen(singularity: Any) -> None:
    prep, source = singularity.preparation({"a.txt": "x"}, noDag=True)
    text = f"dag generation is disabled for preparation '{prep}': invalid parameter"
    singularity.refused(400, text, "POST", f"/preparation/{prep}/source/{source}/start-daggen")


# ---- pack now


def test_a_pack_is_made_while_the_client_waits(singularity: Any, waiting: tuple[int, str, list[int]]) -> None:
    prep, _, packs = waiting
    car = singularity.ok("POST", f"/job/{packs[0]}/pack")
    assert car["jobId"] == packs[0]
    assert car["pieceType"] == "data"
    assert singularity.ok("POST", f"/job/{packs[0]}/pack") == car
    assert [j["state"] for j in singularity.jobs(prep, "pack")] == ["complete", "created"]


def test_what_cannot_be_packed_now_is_refused(singularity: Any, tmp_path: Path) -> None:
    prep, source, (pack,) = created_packs(singularity, {"a.txt": "x"})
    scan = singularity.jobs(prep, "scan")[0]["id"]
    singularity.refused(400, f"job {scan} is a scan job, not a pack job: invalid parameter", "POST", f"/job/{scan}/pack")
    singularity.refused(404, "pack job 999999 does not exist: not found", "POST", "/job/999999/pack")
    singularity.refused(400, "failed to parse path parameter as number", "POST", "/job/x/pack")
    (folder,) = [s["path"] for s in singularity.ok("GET", "/storage") if s["name"] == source]
    (Path(folder) / "a.txt").unlink()
    singularity.refused(500, "a.txt is not there", "POST", f"/job/{pack}/pack")
    assert job(singularity.jobs(prep, "pack")[0]) == {**fresh("pack", "error"), "errorMessage": "a.txt is not there"}
