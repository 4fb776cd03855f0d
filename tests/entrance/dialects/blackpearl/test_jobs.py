"""Get, list, modify and cancel over real HTTP: requests of chapter 6, shapes of chapter 5, rows of chapter 11."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from ds3 import Answer, send
from factories import Service, wait_until

from common.db.database import short_write
from common.db.peek import FILE_NAME

GOLDEN = Path(__file__).resolve().parents[3] / "data" / "golden" / "blackpearl"
RESOURCES = ("active_job", "job")
UNKNOWN = "0123edab-a4ec-4472-927e-c4df0ac9416b"

REQUIRED_ATTRIBUTES = {  # 5.1, "R"
    "Aggregating",
    "BucketName",
    "CachedSizeInBytes",
    "ChunkClientProcessingOrderGuarantee",
    "CompletedSizeInBytes",
    "JobId",
    "Naked",
    "Name",
    "OriginalSizeInBytes",
    "Priority",
    "RequestType",
    "StartDate",
    "Status",
    "UserId",
    "UserName",
}
ACTIVE_ELEMENTS = {  # 5.3
    "Aggregating",
    "BucketId",
    "CachedSizeInBytes",
    "ChunkClientProcessingOrderGuarantee",
    "CompletedSizeInBytes",
    "CreatedAt",
    "DeadJobCleanupAllowed",
    "ErrorMessage",
    "Id",
    "ImplicitJobIdResolution",
    "MinimizeSpanningAcrossMedia",
    "Naked",
    "Name",
    "OriginalSizeInBytes",
    "Priority",
    "Protected",
    "Rechunked",
    "Replicating",
    "RequestType",
    "Restore",
    "Truncated",
    "TruncatedDueToTimeout",
    "UserId",
    "VerifyAfterWrite",
}
ENDED_ELEMENTS = {  # 5.4
    "BucketId",
    "CachedSizeInBytes",
    "ChunkClientProcessingOrderGuarantee",
    "CompletedSizeInBytes",
    "CreatedAt",
    "ErrorMessage",
    "Id",
    "Naked",
    "Name",
    "OriginalSizeInBytes",
    "Priority",
    "Rechunked",
    "RequestType",
    "Truncated",
    "UserId",
}


@pytest.fixture
def job(pearl: Any) -> Iterator[dict[str, str]]:
    """A task of alice that runs or waits for as long as the test needs it."""
    task = pearl.submit(seconds=600)
    yield task
    pearl.linkis["admin"].post(f"/api/rest_j/v1/entrance/{task['taskID']}/kill")


@pytest.fixture
def ended(pearl: Any) -> dict[str, dict[str, str]]:
    """One task of alice in each end."""
    tasks = {
        "Succeed": pearl.submit("echo", lines=1),
        "Failed": pearl.submit("echo", fail="no such\nluck"),
        "Cancelled": pearl.submit(seconds=600),
    }
    assert pearl.client().delete(f"/_rest_/job/{tasks['Cancelled']['jobId']}", force=None).status == 204
    for state, task in tasks.items():
        pearl.service.wait_for(task["taskID"], state)
    return tasks


def mended(text: str) -> str:
    """Return an answer with what differs from run to run replaced, one element a line."""
    text = re.sub(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "{uuid}", text)
    text = re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", "{date}", text)
    text = re.sub(r'HttpPort="\d+"', 'HttpPort="{port}"', text)
    text = re.sub(r"<ResourceId>\d+<", "<ResourceId>{number}<", text)
    return text.replace("><", ">\n<") + "\n"


def held_against(name: str, answer: Answer) -> None:
    assert mended(answer.body.decode()) == (GOLDEN / f"{name}.xml").read_text()


# ---- shapes -------------------------------------------------------------------------------------------------------


def test_every_shape_is_the_golden_one(pearl: Any, job: Any, ended: Any) -> None:
    client = pearl.client()
    wanted = {"name": 'a "quoted" <name> & more', "priority": "URGENT"}
    pearl.service.wait_for(job["taskID"], "Running")
    held_against("master_object_list", client.put(f"/_rest_/active_job/{job['jobId']}", **wanted))
    held_against("master_object_list", client.get(f"/_rest_/job/{job['jobId']}"))
    held_against("active_job", client.get(f"/_rest_/active_job/{job['jobId']}"))
    held_against("canceled_job", client.get(f"/_rest_/canceled_job/{ended['Cancelled']['jobId']}"))
    held_against("failed_job", client.get(f"/_rest_/canceled_job/{ended['Failed']['jobId']}"))
    held_against("completed_job", client.get(f"/_rest_/completed_job/{ended['Succeed']['jobId']}"))
    held_against("error", client.get(f"/_rest_/active_job/{UNKNOWN}"))


def test_modify_and_get_of_job_are_attributes_get_of_active_job_is_elements(pearl: Any, job: Any) -> None:
    client, ref = pearl.client(), job["jobId"]
    answers = [client.put(f"/_rest_/{r}/{ref}") for r in RESOURCES] + [client.get(f"/_rest_/job/{ref}")]
    for answer in answers:
        root = answer.xml
        assert (answer.status, root.tag) == (200, "MasterObjectList")
        assert set(root.attrib) >= REQUIRED_ATTRIBUTES
        assert all(root.attrib.values())
        assert root.find("Nodes") is not None
        assert root.find("Nodes/Node").get("EndPoint")
    active = client.get(f"/_rest_/active_job/{ref}").xml
    assert (active.tag, {e.tag for e in active}) == ("Data", ACTIVE_ELEMENTS)
    assert {e.tag for e in active if not e.text} == {"ErrorMessage", "Rechunked"}


def test_every_id_is_a_uuid_and_the_same_each_time(pearl: Any, job: Any) -> None:
    client = pearl.client()
    seen = set()
    for _ in range(2):
        root, active = client.get(f"/_rest_/job/{job['jobId']}").xml, client.get(f"/_rest_/active_job/{job['jobId']}").xml
        node = root.find("Nodes/Node")
        assert node is not None
        ids = (root.get("JobId"), root.get("UserId"), node.get("Id"), active.findtext("BucketId"))
        assert all(str(uuid.UUID(i)) == i for i in ids)
        assert (active.findtext("Id"), active.findtext("UserId")) == ids[:2]
        seen.add(ids)
    assert len(seen) == 1


def test_a_job_is_known_by_its_uuid_in_any_case_and_by_the_other_names_of_its_task(pearl: Any, job: Any) -> None:
    client = pearl.client()
    for ref in (job["jobId"], job["jobId"].upper(), job["execID"], str(job["taskID"])):
        assert client.get(f"/_rest_/active_job/{ref}").xml.findtext("Id") == job["jobId"]
    for ref in (UNKNOWN, "999999999", "nonsense", "exec_id018nonsense", "%00", "../job"):
        assert client.get(f"/_rest_/active_job/{ref}").error == "NotFound"


def test_lists_have_no_wrapper_around_jobs_and_job_elements_in_data(pearl: Any, job: Any) -> None:
    client = pearl.client()
    jobs = client.get("/_rest_/job").xml
    assert jobs.tag == "Jobs"
    assert {e.tag for e in jobs} == {"Job"}
    (mine,) = [e for e in jobs if e.get("JobId") == job["jobId"]]
    assert set(mine.attrib) >= REQUIRED_ATTRIBUTES
    assert [e.tag for e in mine] == ["Nodes"]
    active = client.get("/_rest_/active_job").xml
    assert active.tag == "Data"
    assert {e.tag for e in active} == {"Job"}
    assert all({f.tag for f in e} == ACTIVE_ELEMENTS for e in active)


def test_ended_jobs_have_their_elements_and_dates(pearl: Any, ended: Any) -> None:
    client = pearl.client()
    done = client.get(f"/_rest_/completed_job/{ended['Succeed']['jobId']}").xml
    assert {e.tag for e in done} == ENDED_ELEMENTS | {"DateCompleted"}
    failed = client.get(f"/_rest_/canceled_job/{ended['Failed']['jobId']}").xml
    assert {e.tag for e in failed} == ENDED_ELEMENTS | {"CanceledDueToTimeout", "DateCanceled"}
    assert failed.findtext("ErrorMessage") == "no such luck"
    assert client.get(f"/_rest_/canceled_job/{ended['Succeed']['jobId']}").error == "NotFound"
    assert client.get(f"/_rest_/completed_job/{ended['Failed']['jobId']}").error == "NotFound"


# ---- get and status -----------------------------------------------------------------------------------------------


def test_job_is_shown_in_every_status_active_job_only_while_in_progress(pearl: Any, job: Any, ended: Any) -> None:
    client = pearl.client()
    words = {"Succeed": "COMPLETED", "Failed": "CANCELED", "Cancelled": "CANCELED"}
    for state, task in ended.items():
        assert client.get(f"/_rest_/job/{task['jobId']}").xml.get("Status") == words[state]
        assert client.get(f"/_rest_/active_job/{task['jobId']}").error == "NotFound"
    assert client.get(f"/_rest_/job/{job['jobId']}").xml.get("Status") == "IN_PROGRESS"


def test_a_task_that_timed_out_is_canceled_due_to_timeout(pearl: Any) -> None:
    task = pearl.submit(seconds=60)
    pearl.linkis["alice"].post(f"/api/rest_j/v1/entrance/{task['taskID']}/kill")
    with short_write(pearl.service.data / FILE_NAME) as tx:  # the end alone is set: limits are the core's business
        tx.connection.execute(
            "UPDATE tasks SET state = 'timed_out', reason = 'timed out after 1 s' WHERE id = ?", (task["taskID"],)
        )
    client = pearl.client()
    shown = client.get(f"/_rest_/canceled_job/{task['jobId']}").xml
    assert shown.findtext("CanceledDueToTimeout") == "true"
    assert shown.findtext("ErrorMessage") == "timed out after 1 s"
    listed = client.get("/_rest_/canceled_job", canceled_due_to_timeout="TRUE").xml
    assert [e.findtext("Id") for e in listed] == [task["jobId"]]
    others = client.get("/_rest_/canceled_job", canceled_due_to_timeout="false").xml
    assert task["jobId"] not in [e.findtext("Id") for e in others]


def test_the_size_of_a_job_comes_from_its_progress(pearl: Any, job: Any) -> None:
    root = pearl.client().get(f"/_rest_/job/{job['jobId']}").xml
    original, completed = int(root.get("OriginalSizeInBytes") or ""), int(root.get("CompletedSizeInBytes") or "")
    assert 0 <= completed <= original or original == 0


# ---- modify -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("resource", RESOURCES)
def test_modify_sets_priority_name_and_date_and_get_shows_them(pearl: Any, job: Any, resource: str) -> None:
    client, ref = pearl.client(), job["jobId"]
    created = "2020-02-29T12:34:56.789Z"
    root = client.put(f"/_rest_/{resource}/{ref}", priority="High", name="ünïcode + more", created_at=created).xml
    assert (root.get("Priority"), root.get("Name"), root.get("StartDate")) == ("HIGH", "ünïcode + more", created)
    active = client.get(f"/_rest_/active_job/{ref}").xml
    assert [active.findtext(n) for n in ("Priority", "Name", "CreatedAt")] == ["HIGH", "ünïcode + more", created]
    linkis = pearl.linkis["alice"].get(f"/api/rest_j/v1/entrance/{job['taskID']}/status").data
    assert linkis["priority"] == 200  # the same task through another door


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("2026-11-21T20:50:00.000Z", "2026-11-21T20:50:00.000Z"),
        ("2026-11-21T20:50:00Z", "2026-11-21T20:50:00.000Z"),
        ("2026-11-21T20:50:00", "2026-11-21T20:50:00.000Z"),
        ("2026-11-21T20:50:00.123456Z", "2026-11-21T20:50:00.123Z"),
        ("2026-11-21T20:50:00.5+02:00", "2026-11-21T18:50:00.500Z"),
        ("2026-11-21T20:50:00-0130", "2026-11-21T22:20:00.000Z"),
        ("1795294200", "2026-11-21T20:50:00.000Z"),
        ("1795294200123", "2026-11-21T20:50:00.123Z"),
        ("99999999999", "5138-11-16T09:46:39.000Z"),
        ("100000000000", "1973-03-03T09:46:40.000Z"),
    ],
)
def test_a_date_is_read_in_every_form_and_kept_to_the_millisecond(pearl: Any, job: Any, given: str, shown: str) -> None:
    assert pearl.client().put(f"/_rest_/job/{job['jobId']}", created_at=given).xml.get("StartDate") == shown


@pytest.mark.parametrize(
    "query",
    [
        {"priority": "CRITICAL"},
        {"priority": "BACKGROUND"},
        {"priority": "HIGHEST"},
        {"priority": ""},
        {"name": ""},
        {"name": "x" * 1025},
        {"created_at": "Samstag, 21. November 2026"},
        {"created_at": "2026-13-21T20:50:00Z"},
        {"created_at": "9999999999999999"},
        {"created_at": ""},
        {"protected": "maybe"},
        {"dead_job_cleanup_allowed": "1"},
    ],
)
def test_one_bad_value_changes_nothing(pearl: Any, job: Any, query: dict[str, str]) -> None:
    client, ref = pearl.client(), job["jobId"]
    before = mended(client.get(f"/_rest_/active_job/{ref}").body.decode())
    good = {"priority": "URGENT", "name": "other", "created_at": "2020-01-01T00:00:00Z", "protected": "true"}
    answer = client.put(f"/_rest_/active_job/{ref}", **(good | query))
    assert (answer.status, answer.error) == (400, "BadRequest")
    assert mended(client.get(f"/_rest_/active_job/{ref}").body.decode()) == before


def test_modify_without_parameters_changes_nothing_and_unknown_ones_are_ignored(pearl: Any, job: Any) -> None:
    client, ref = pearl.client(), job["jobId"]
    before = client.get(f"/_rest_/job/{ref}").body
    assert client.put(f"/_rest_/job/{ref}").body == before
    assert client.put(f"/_rest_/job/{ref}", colour="blue", close_aggregating_job=None, priority="CRITICAL").body == before
    assert client.put(f"/_rest_/job/{ref}", NAME="shouted", PROTECTED="TRUE").xml.get("Name") == "shouted"
    assert client.get(f"/_rest_/active_job/{ref}").xml.findtext("Protected") == "true"


def test_a_plus_in_a_query_is_a_plus(pearl: Any, job: Any) -> None:
    client = pearl.client()
    answer = client.request("PUT", f"/_rest_/job/{job['jobId']}?name=a+b%20c", raw=True)
    assert answer.xml.get("Name") == "a+b c"
    broken = client.request("PUT", f"/_rest_/job/{job['jobId']}?name=%ff", raw=True)
    assert (broken.status, broken.error) == (400, "BadRequest")


def test_what_xml_cannot_hold_is_replaced(pearl: Any, job: Any) -> None:
    answer = pearl.client().put(f"/_rest_/job/{job['jobId']}", name="a\x00b\x1fc\ufffed\te")
    assert answer.xml.get("Name") == "a\ufffdb\ufffdc\ufffdd\te"


def test_a_modify_of_a_job_that_has_ended_or_never_was_is_404(pearl: Any, ended: Any) -> None:
    client = pearl.client()
    for ref in (UNKNOWN, *(t["jobId"] for t in ended.values())):
        for resource in RESOURCES:
            assert client.put(f"/_rest_/{resource}/{ref}", priority="LOW").error == "NotFound"


@pytest.mark.parametrize("headers", [{}, {"Content-Length": "0"}])
def test_a_put_without_a_body_comes_with_a_length_or_without(pearl: Any, job: Any, headers: dict[str, str]) -> None:
    client = pearl.client()
    assert client.request("PUT", f"/_rest_/job/{job['jobId']}", headers=headers).status == 200
    with_body = client.request("PUT", f"/_rest_/job/{job['jobId']}", body=b"<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;")
    assert with_body.status == 200  # ignored


def test_a_changed_priority_decides_which_task_starts_next(make_pearl: Any) -> None:
    pearl = make_pearl(SCHEDULER__SLOTS="1", SCHEDULER__RUNNING_PER_GROUP="1")
    blocker = pearl.submit(seconds=600)
    pearl.service.wait_for(blocker["taskID"], "Running")
    first, second = pearl.submit(seconds=600), pearl.submit(seconds=600)
    client = pearl.client()
    client.put(f"/_rest_/active_job/{first['jobId']}", created_at="2001-01-01T00:00:00Z")  # shown only
    assert client.put(f"/_rest_/active_job/{second['jobId']}", priority="URGENT").status == 200
    assert client.delete(f"/_rest_/active_job/{blocker['jobId']}", force=None).status == 204
    assert pearl.service.wait_for(second["taskID"], "Running") == "Running"
    assert pearl.service.state(first["taskID"]) == "Scheduled"


# ---- cancel -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("resource", RESOURCES)
def test_cancel_ends_the_task_at_once_and_a_second_one_is_404(pearl: Any, job: Any, resource: str) -> None:
    client, ref = pearl.client(), job["jobId"]
    answer = client.delete(f"/_rest_/{resource}/{ref}", force=None)
    assert (answer.status, answer.body) == (204, b"")
    assert client.get(f"/_rest_/active_job/{ref}").status == 404
    assert client.get(f"/_rest_/job/{ref}").xml.get("Status") == "CANCELED"
    assert ref not in client.get("/_rest_/job").body.decode()
    assert ref not in client.get("/_rest_/active_job").body.decode()
    assert ref in client.get("/_rest_/job", full_details=None).body.decode()
    assert ref in client.get("/_rest_/canceled_job").body.decode()
    assert pearl.service.state(job["taskID"]) == "Cancelled"
    assert client.delete(f"/_rest_/{resource}/{ref}", force=None).error == "NotFound"
    assert client.delete(f"/_rest_/{resource}/{UNKNOWN}", force=None).error == "NotFound"


def test_a_protected_job_is_cancelled_by_force_only(pearl: Any, job: Any) -> None:
    client, ref = pearl.client(style="go"), job["jobId"]
    assert client.put(f"/_rest_/job/{ref}", protected="true").status == 200
    refused = client.delete(f"/_rest_/job/{ref}")
    assert (refused.status, refused.error) == (409, "Conflict")
    assert client.delete(f"/_rest_/job/{ref}", force=None).status == 204


def test_a_bulk_cancel_ends_the_callers_own_matching_jobs(make_pearl: Any) -> None:
    pearl = make_pearl()
    mine, kept, bobs = pearl.submit(seconds=600), pearl.submit(seconds=600), pearl.submit(name="bob", seconds=600)
    client = pearl.client()
    client.put(f"/_rest_/job/{kept['jobId']}", protected="true")
    assert client.delete("/_rest_/active_job", request_type="GET").status == 204
    assert pearl.service.state(mine["taskID"]) != "Cancelled"
    assert client.delete("/_rest_/active_job").status == 204
    states = [pearl.service.state(t["taskID"]) for t in (mine, kept, bobs)]
    assert (states[0], "Cancelled" in states[1:]) == ("Cancelled", False)
    assert pearl.client("admin").delete("/_rest_/job", force=None).status == 204
    assert pearl.service.state(bobs["taskID"]) != "Cancelled"
    assert client.delete("/_rest_/job", force=None, bucket_id="-").status == 204
    assert pearl.service.state(kept["taskID"]) == "Cancelled"


# ---- lists --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory, opened: Any) -> Iterator[tuple[Any, list[str]]]:
    """A service with seven jobs of alice that wait, one of bob, and two ended; newest first."""
    service = Service(data=tmp_path_factory.mktemp("many") / "data", settings={"SCHEDULER__SLOTS": "1"})
    pearl = opened(service)
    tasks = [pearl.submit(seconds=600) for _ in range(7)]
    pearl.submit(name="bob", seconds=600)
    yield pearl, [t["jobId"] for t in tasks[::-1]]
    service.cli("stop", check=False)


def ids(answer: Answer) -> list[str]:
    assert answer.status == 200, answer.body
    return [e.findtext("Id") or e.get("JobId") or "" for e in answer.xml]


def counts(answer: Answer) -> tuple[int, int]:
    assert not answer.doubled
    return int(answer.headers["total-result-count"]), int(answer.headers["page-truncated"])


def test_lists_are_newest_first_and_hold_the_callers_jobs(many: Any) -> None:
    pearl, newest_first = many
    client = pearl.client()
    for resource in RESOURCES:
        assert ids(client.get(f"/_rest_/{resource}")) == newest_first
    assert counts(client.get("/_rest_/active_job")) == (7, 0)
    assert len(ids(pearl.client("bob").get("/_rest_/active_job"))) == 1
    assert len(ids(pearl.client("admin").get("/_rest_/active_job"))) == 8


def test_pages_are_counted_and_none_overlap(many: Any) -> None:
    pearl, all_ids = many
    client = pearl.client()
    pages = [client.get("/_rest_/active_job", page_length="3", page_offset=str(o)) for o in (0, 3, 6, 9)]
    assert [ids(p) for p in pages] == [all_ids[:3], all_ids[3:6], all_ids[6:], []]
    assert [counts(p) for p in pages] == [(7, 4), (7, 1), (7, 0), (7, 0)]
    by_marker = client.get("/_rest_/active_job", page_length="3", page_start_marker=all_ids[1])
    assert (ids(by_marker), counts(by_marker)) == (all_ids[2:5], (7, 2))
    last = client.get("/_rest_/active_job", page_length="3", last_page=None)
    assert (ids(last), counts(last)) == (all_ids[6:], (7, 0))
    for bad in (
        {"page_offset": "0", "page_start_marker": all_ids[0]},
        {"page_start_marker": UNKNOWN},
        {"page_length": "0"},
        {"page_length": "10001"},
        {"page_length": "ten"},
        {"page_offset": "-1"},
    ):
        assert client.get("/_rest_/active_job", **bad).error == "BadRequest"


def test_filters_select_and_combine(many: Any) -> None:
    pearl, all_ids = many
    client, admin = pearl.client(), pearl.client("admin")
    one, two = all_ids[2], all_ids[4]
    client.put(f"/_rest_/job/{one}", name="nightly_1", priority="LOW")
    client.put(f"/_rest_/job/{two}", name="nightlyX1", priority="LOW")

    def found(who: Any = client, **query: str) -> list[str]:
        return ids(who.get("/_rest_/active_job", **query))

    assert found(priority="low") == [one, two]
    assert found(name="nightly_1") == [one]
    assert found(name="nightly%") == [one, two]
    assert found(name="%_1") == [one]
    assert found(name="Nightly%") == []
    assert found(name="nightly[_]1") == []
    assert len(found(name="PUT by alice")) == 5
    assert found(name="nightly%", priority="NORMAL") == []
    assert found(priority="CRITICAL") == []
    assert len(found(priority="NORMAL")) == 5
    assert len(found(request_type="put")) == 7
    assert found(request_type="GET") == []
    assert len(found(aggregating="false")) == 7
    assert found(aggregating="True") == []
    assert found(truncated="true") == []
    assert found(rechunked="2026-11-21T20:50:00.000Z") == []
    assert found(chunk_client_processing_order_guarantee="none") == []
    bucket = client.get(f"/_rest_/active_job/{one}").xml.findtext("BucketId") or ""
    user = client.get(f"/_rest_/active_job/{one}").xml.findtext("UserId") or ""
    for given in (bucket, bucket.upper(), "-"):
        assert len(found(bucket_id=given)) == 7
        assert len(ids(client.get("/_rest_/job", bucket_id=given))) == 7
    assert found(bucket_id="other") == found(bucket_id=UNKNOWN) == []
    for given in (user, user.upper(), "alice"):
        assert len(found(admin, user_id=given)) == 7
    assert len(found(admin, user_id="bob")) == 1
    assert found(user_id="bob") == []
    for bad in (
        {"priority": "x"},
        {"request_type": "x"},
        {"aggregating": "x"},
        {"truncated": ""},
        {"rechunked": "x"},
        {"chunk_client_processing_order_guarantee": "x"},
    ):
        assert client.get("/_rest_/active_job", **bad).error == "BadRequest"


def test_the_shown_date_decides_the_place_in_the_list(many: Any) -> None:
    pearl, all_ids = many
    client, admin = pearl.client(), pearl.client("admin")
    client.put(f"/_rest_/job/{all_ids[-1]}", created_at="2100-01-01T00:00:00Z")
    wanted = [all_ids[-1], *all_ids[:-1]]
    for resource in RESOURCES:
        assert ids(client.get(f"/_rest_/{resource}")) == wanted
    page = client.get("/_rest_/active_job", page_start_marker=all_ids[-1], page_length="2")
    assert ids(page) == all_ids[:2]
    client.put(f"/_rest_/job/{all_ids[-1]}", created_at="2000-01-01T00:00:00Z")
    assert ids(admin.get("/_rest_/active_job"))[-1] == all_ids[-1]


def test_ended_jobs_are_listed_by_their_end_and_can_be_forgotten(make_pearl: Any) -> None:
    pearl = make_pearl()
    client = pearl.client()
    done = [pearl.submit("echo") for _ in range(3)]
    for task in done:
        pearl.service.wait_for(task["taskID"], "Succeed")
    gone = pearl.submit(seconds=600)
    client.delete(f"/_rest_/job/{gone['jobId']}", force=None)
    listed = client.get("/_rest_/completed_job", page_length="2")
    assert {e.tag for e in listed.xml} == {"CompletedJob"}
    dates = [e.findtext("DateCompleted") for e in listed.xml]
    assert dates == sorted(dates, reverse=True)
    assert counts(listed) == (3, 1)
    rest = client.get("/_rest_/completed_job", page_start_marker=ids(listed)[-1])
    assert {*ids(listed), *ids(rest)} == {t["jobId"] for t in done}
    canceled = client.get("/_rest_/canceled_job")
    assert ({e.tag for e in canceled.xml}, ids(canceled)) == ({"CanceledJob"}, [gone["jobId"]])
    full = client.get("/_rest_/job", full_details=None)
    assert len(ids(full)) == 4
    assert ids(client.get("/_rest_/job")) == []
    for resource in ("completed_job", "canceled_job"):
        assert client.delete(f"/_rest_/{resource}").status == 204
        assert counts(client.get(f"/_rest_/{resource}")) == (0, 0)
    assert client.get(f"/_rest_/job/{gone['jobId']}").xml.get("Status") == "CANCELED"


def test_names_dates_and_flags_outlive_the_service(make_pearl: Any) -> None:
    pearl = make_pearl(SCHEDULER__SLOTS="1")
    task = pearl.submit(seconds=600)
    client = pearl.client()
    wanted = {"name": "kept", "created_at": "2020-01-01T00:00:00.001Z", "protected": "true", "priority": "HIGH"}
    client.put(f"/_rest_/job/{task['jobId']}", **wanted)
    before = client.get(f"/_rest_/active_job/{task['jobId']}").body
    pearl.service.kill()
    pearl.service.start()
    client = pearl.client()
    wait_until(lambda: client.get(f"/_rest_/active_job/{task['jobId']}").body == before, what="the same answer as before")


# ---- other people's jobs, other addresses -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path"),
    [
        *[(m, f"/_rest_/{r}/{{}}") for r in RESOURCES for m in ("GET", "PUT", "DELETE")],
        ("GET", "/_rest_/canceled_job/{}"),
        ("GET", "/_rest_/completed_job/{}"),
    ],
)
def test_somebody_elses_job_is_403_for_all_but_administrators(pearl: Any, job: Any, method: str, path: str) -> None:
    path = path.format(job["jobId"])
    refused = pearl.client("bob").request(method, path)
    assert (refused.status, refused.error) == (403, "AccessDenied")
    assert b"sleep" not in refused.body
    assert send(pearl.service.url, method, path, {}).error == "AccessDenied"
    assert pearl.client("admin").request(method, path).status in (200, 204, 404)


@pytest.mark.parametrize("path", ["/_rest_/active_job", "/_rest_/job", "/_rest_/canceled_job", "/_rest_/system_health"])
def test_a_trailing_slash_is_answered_directly(pearl: Any, path: str) -> None:
    client = pearl.client()
    assert client.get(path + "/").status == client.get(path).status == 200


@pytest.mark.parametrize("resource", RESOURCES)
def test_a_trailing_slash_after_an_id_is_answered_directly(pearl: Any, job: Any, resource: str) -> None:
    path = f"/_rest_/{resource}/{job['jobId']}/"
    assert [pearl.client().request(m, path).status for m in ("GET", "PUT", "DELETE")] == [200, 200, 204]


def test_every_error_is_xml_with_numbers_the_frameworks_own_too(pearl: Any, job: Any) -> None:
    client = pearl.client()
    cases: list[tuple[str, str, int, str]] = [
        ("GET", f"/_rest_/active_job/{UNKNOWN}", 404, "NotFound"),
        ("GET", "/_rest_", 404, "NotFound"),
        ("GET", "/_rest_/", 404, "NotFound"),
        ("GET", "/_rest_/nothing", 404, "NotFound"),
        ("GET", "/_rest_/active_job/a/b", 404, "NotFound"),
        ("POST", "/_rest_/active_job", 405, "MethodNotAllowed"),
        ("PATCH", f"/_rest_/job/{job['jobId']}", 405, "MethodNotAllowed"),
        ("OPTIONS", "/_rest_/job", 405, "MethodNotAllowed"),
        ("GET", "/_rest_/tape", 501, "NotImplemented"),
        ("GET", "/_rest_/job_chunk", 501, "NotImplemented"),
        ("PUT", "/_rest_/bucket/b1?operation=start_bulk_put", 501, "NotImplemented"),
        ("GET", "/", 501, "NotImplemented"),
        ("HEAD", "/b1", 501, ""),
        ("GET", "/b1/o1", 501, "NotImplemented"),
        ("GET", "/_rest_/job_created_notification_registration", 501, "NotImplemented"),
    ]
    for method, path, status, code in cases:
        answer = client.request(method, path, raw=True)
        assert (method, path, answer.status) == (method, path, status)
        assert method == "HEAD" or answer.error == code
        assert answer.headers["content-type"] == "text/xml;charset=UTF-8"
        assert answer.version == 11
        if status == 405:
            assert "GET" in answer.headers["allow"]
    large = send(client.url, "PUT", "/_rest_/job", {"Content-Length": str(1 << 40)})
    assert (large.status, large.error) == (413, "EntityTooLarge")
    assert send(client.url, "GET", "/b1", {"Authorization": "AWS a:b"}).error == "InvalidAccessKeyId"
    unsigned = send(client.url, "GET", "/b1", {})
    assert (unsigned.status, unsigned.headers["content-type"]) == (404, "application/json")  # not a DS3 client's
    foreign = send(client.url, "GET", "/_rest_/job", {"Authorization": "AWS a:b"})
    assert foreign.error == "InvalidAccessKeyId"


def test_answers_carry_a_request_number_and_are_not_redirected(pearl: Any, job: Any) -> None:
    client = pearl.client()
    paths = ("/_rest_/job", f"/_rest_/job/{job['jobId']}", "/_rest_/system_information", f"/_rest_/job/{UNKNOWN}")
    answers = [client.get(path) for path in paths]
    assert all(int(a.headers["x-amz-request-id"]) > 0 for a in answers)
    assert len({a.headers["x-amz-request-id"] for a in answers}) == len(answers)
    head = client.request("HEAD", f"/_rest_/job/{job['jobId']}")
    assert (head.status, head.body) == (200, b"")


def test_the_machine_tells_what_it_is(pearl: Any) -> None:
    information = pearl.client().get("/_rest_/system_information").xml
    assert re.fullmatch(r"[0-9A-F]+\.[0-9A-F]+", information.findtext("ApiVersion") or "")
    assert information.findtext("BackendActivated") == "true"
    assert [e.tag for e in information.find("BuildInformation") or ()] == ["Branch", "Revision", "Version"]
    assert str(uuid.UUID(information.findtext("InstanceId"))) == information.findtext("InstanceId")
    assert int(information.findtext("Now") or "") > 1_700_000_000_000
    health = pearl.client().get("/_rest_/system_health").xml
    assert health.findtext("MsRequiredToVerifyDataPlannerHealth") == "0"
    assert isinstance(health, ElementTree.Element)
