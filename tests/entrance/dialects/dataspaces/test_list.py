"""``task:list`` over real HTTP: the published curl line, the six checks of the contract's chapter 10, errors, who sees what.

Most transfers are rows made through the stores beside a running service (``transfer_rows``): the list reads the database
alone, and what it says of running ones is what their last report says.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from factories import Http, Response, Service
from transfer_rows import add_files, add_storage, add_transfer

GOLDEN = Path(__file__).resolve().parents[3] / "data" / "golden" / "dataspaces"
SPACE = "6794a734-54e7-11ed-b7c4-76337673fb0d"
PATHS = (f"/v2/dataSpaces/{SPACE}/task:list", f"/aids/aidmp/data/v2/dataSpaces/{SPACE}/task:list")
ACCESS_KEY, SECRET_KEY = "AKIAKEYOFTHESTORE", "secretofthestore/0123456789"
LARGE = (1 << 53) + 1
T0 = 1_701_763_598_526  # 2023-12-05T08:06:38.526Z
COUNTERS = [f"{a}_file_{b}" for a in ("total", "succeed", "successed", "failed") for b in ("size", "count")]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A service whose loopback clients act as alice, with transfers in every state, of two data sets and two users."""
    service = Service(data=tmp_path_factory.mktemp("spaces") / "data", settings={"AUTH__TRUST_LOOPBACK": "alice"})
    service.start()
    service.user("alice")
    service.user("bob")
    add_storage(service.data, "disk", "local", "/nowhere/of/yours")
    add_storage(
        service.data,
        "store",
        "s3",
        "b1/prefix",
        config={
            "endpoint": f"https://{ACCESS_KEY}:x@objects.example.org/?a=b",
            "access_key_id": ACCESS_KEY,
            "force_path_style": "false",
        },
        client_config={"insecureSkipVerify": True},
        secrets={"secret_access_key": SECRET_KEY},
    )
    clock = count()

    def put(source: str, target: str, **more: Any) -> Any:
        known = {"dataSpaceId": SPACE, "at": T0 + next(clock) * 1000}
        return add_transfer(service.data, source=source, target=target, **known | more)

    weather = {"repoId": "17", "repoName": "Weather-2023 100%_*"}
    service.tasks = {
        "queued": put("disk", "store", state="queued", **weather),
        "running": put("disk", "store", state="running", bytes_done=LARGE, bytes_total=LARGE + 2, **weather),
        "paused": put("store", "disk", state="paused", attempt=0),
        "resumed": put("store", "disk", state="queued", attempt=1),
        "done": put("store", "disk", state="succeeded", files_done=2, files_total=3, bytes_done=5, bytes_total=9),
        "failed": put(
            "store",
            "disk",
            state="failed",
            reason=f"the store said:\n403 {ACCESS_KEY} Signature=signedONE X-Amz-Signature=signedTWO&x "
            "Authorization: AWS id:signedTHREE",
            files_done=3,
            files_total=3,
            bytes_done=30,
            bytes_total=30,
            repoName="Große Daten",
        ),
        "timed_out": put("disk", "disk", state="timed_out", reason="timed out after 5 s"),
        "cancelled": put("disk", "store", state="cancelled", commitMsg="nightly"),
    }
    service.bobs = put("disk", "store", user="bob", state="running")
    failed = service.tasks["failed"].id
    add_files(
        service.data, failed, [("b", 10, "failed", "forbidden"), ("c", 10, "failed", "store"), ("a", 10, "succeeded", "")]
    )
    yield service
    service.cli("stop", check=False)


@pytest.fixture
def http(service: Any) -> Http:
    return Http(service.url)


def listed(http: Http, body: Any = None, path: str = PATHS[0], **more: Any) -> dict[str, Any]:
    answer = http.request("POST", path, body, **more)
    assert answer.status == 200, answer.text
    assert answer.headers["content-type"].startswith("application/json")
    found: dict[str, Any] = answer.json()
    assert set(found) == {"tasks", "total"}
    return found


def names(service: Any, found: dict[str, Any]) -> list[str]:
    by_uuid = {task.uuid: name for name, task in service.tasks.items()} | {service.bobs.uuid: "bobs"}
    return [by_uuid[task["id"]] for task in found["tasks"]]


NEWEST_FIRST = ["cancelled", "timed_out", "failed", "done", "resumed", "paused", "running", "queued"]

# ---- chapter 10, check 1 ------------------------------------------------------------------------------------------


def test_the_published_curl_line_as_printed_returns_only_downloads(service: Any) -> None:
    host = service.url.removeprefix("http://")
    line = (
        f"curl 'http://{host}/aids/aidmp/data/v2/dataSpaces/6794a734-54e7-11ed-b7c4-76337673fb0d/task:list' "
        """--data-raw '{"page_no":1,"page_size":10,"transfer_type":2}'"""
    )
    done = subprocess.run(["/bin/sh", "-c", line], capture_output=True, check=True, timeout=30)
    found = json.loads(done.stdout)
    assert names(service, found) == ["cancelled", "running", "queued"]
    assert found["total"] == 3
    assert {task["transfer_type"] for task in found["tasks"]} == {2}


# ---- check 2 ------------------------------------------------------------------------------------------------------


def test_no_body_an_empty_one_and_the_first_page_in_every_spelling_are_one_answer(service: Any, http: Http) -> None:
    bodies: list[Any] = [{}, b"", None, b"null", {"page_no": 0}, {"page_no": 1}, {"pageNo": "1"}, {"page_size": 10}]
    answers = [listed(http, body, path) for body in bodies for path in PATHS]
    assert all(answer == answers[0] for answer in answers)
    assert names(service, answers[0]) == NEWEST_FIRST
    assert answers[0]["total"] == 8


@pytest.mark.parametrize("content_type", ["application/json", "application/x-www-form-urlencoded", "text/plain", "", "x"])
def test_the_body_is_json_whatever_the_content_type_says(service: Any, http: Http, content_type: str) -> None:
    found = listed(http, b'{"transfer_type": 2}', headers={"Content-Type": content_type})
    assert names(service, found) == ["cancelled", "running", "queued"]


# ---- check 3 ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "wanted"),
    [
        ({"transfer_type": 0}, NEWEST_FIRST),
        ({"transfer_type": 1}, ["timed_out", "failed", "done", "resumed", "paused"]),
        ({"transfer_type": "TRANSFER_TYPE_DOWNLOAD"}, ["cancelled", "running", "queued"]),
        ({"task_states": []}, NEWEST_FIRST),
        ({"task_states": [0]}, ["paused", "queued"]),
        ({"task_states": 1}, ["resumed", "running"]),
        ({"task_states": [2]}, ["done"]),
        ({"task_states": ["ERROR"]}, ["timed_out", "failed"]),
        ({"task_states": [4, 4, 2]}, ["cancelled", "done"]),
        ({"task_states": [5]}, []),
        ({"task_states": [5, 6, 7, 8]}, []),
        ({"repo_id": "17"}, ["running", "queued"]),
        ({"repo_id": "1"}, []),
        ({"repo_name_keyword": " weather-2023 "}, ["running", "queued"]),
        ({"repo_name_keyword": "100%_*"}, ["running", "queued"]),
        ({"repo_name_keyword": "%"}, ["running", "queued"]),
        ({"repo_name_keyword": "2_2"}, []),
        ({"repo_name_keyword": "GROSSE"}, ["failed"]),
        ({"start_time": "2023-12-05T08:06:43.526Z"}, ["cancelled", "timed_out", "failed"]),
        ({"start_time": "2023-12-05T08:06:43.526000001Z"}, ["cancelled", "timed_out"]),
        ({"end_time": "2023-12-05T09:06:39.526+01:00"}, ["running", "queued"]),
        ({"end_time": "2023-12-05T08:06:39.525999999"}, ["queued"]),
        ({"start_time": "2023-12-05T08:06:39.526Z", "end_time": "2023-12-05T08:06:39.526Z"}, ["running"]),
        ({"transfer_type": 2, "task_states": [1]}, ["running"]),
        ({"repo_id": "17", "task_states": [0, 4]}, ["queued"]),
        ({"transfer_type": 1, "repo_name_keyword": "daten"}, ["failed"]),
        ({"data_space_id": SPACE, "unknown": {"a": 1}, "task_states": [4]}, ["cancelled"]),
    ],
)
def test_filters_alone_and_together(service: Any, http: Http, body: dict[str, Any], wanted: list[str]) -> None:
    found = listed(http, body)
    assert (names(service, found), found["total"]) == (wanted, len(wanted))


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"task_states": [9]}, "task_states"),
        ({"transfer_type": 3}, "transfer_type"),
        ({"page_size": -1}, "page_size"),
        ({"page_no": "-1"}, "page_no"),
        ({"page_size": True}, "page_size"),
        ({"start_time": "x"}, "start_time"),
        ({"start_time": "2024-01-01T00:00:00Z", "end_time": "2023-01-01T00:00:00Z"}, "start_time"),
        ({"data_space_id": "another"}, "data_space_id"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(http: Http, body: dict[str, Any], field: str) -> None:
    refused(http.post(PATHS[0], body), 400, 3, f"{field}: ")


# ---- check 4 ------------------------------------------------------------------------------------------------------


def test_counters_are_texts_both_spellings_agree_and_totals_do(http: Http) -> None:
    for task in listed(http)["tasks"]:
        assert all(isinstance(task[name], str) and task[name].isdigit() for name in COUNTERS)
        for what in ("size", "count"):
            assert task[f"succeed_file_{what}"] == task[f"successed_file_{what}"]
            total, parts = (
                int(task[f"total_file_{what}"]),
                int(task[f"succeed_file_{what}"]) + int(task[f"failed_file_{what}"]),
            )
            assert parts <= total or total == 0


def test_keys_of_the_store_are_nowhere(service: Any, http: Http) -> None:
    answer = http.post(PATHS[0], {"page_size": 1000})
    for task in answer.json()["tasks"]:
        assert (task["oss_config"]["access_key"], task["oss_config"]["secret_key"]) == ("", "")
    for secret in (ACCESS_KEY, SECRET_KEY, "signedONE", "signedTWO", "signedTHREE"):
        assert secret.encode() not in answer.body
        assert secret not in service.log()
    assert SECRET_KEY.encode() not in (service.data / "entrance.db").read_bytes()
    assert b"nowhere/of/yours" not in answer.body


# ---- checks 5 and 6 -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 3, 10, 1000])
def test_walking_all_pages_yields_every_task_once(service: Any, http: Http, size: int) -> None:
    seen: list[str] = []
    for number in count(1):
        found = listed(http, {"page_no": number, "page_size": size})
        assert found["total"] == 8
        seen += names(service, found)
        if not found["tasks"]:
            break
        assert len(found["tasks"]) == size or len(seen) == 8
    assert seen == NEWEST_FIRST


def test_a_page_size_above_the_largest_is_the_largest(service: Any, http: Http) -> None:
    assert len(listed(http, {"page_size": 2_000_000_000})["tasks"]) == 8


def test_a_size_above_what_a_double_holds_survives_to_the_last_digit(service: Any, http: Http) -> None:
    (task,) = listed(http, {"task_states": [1], "transfer_type": 2})["tasks"]
    assert (task["succeed_file_size"], task["total_file_size"]) == (str(LARGE), str(LARGE + 2))


# ---- the shape ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["cancelled", "failed", "running", "done"])
def test_an_entry_is_the_golden_one_key_for_key(service: Any, http: Http, name: str) -> None:
    (task,) = [t for t in listed(http)["tasks"] if t["id"] == service.tasks[name].uuid]
    text = json.dumps(task | {"id": "{uuid}"}, indent=2, ensure_ascii=False) + "\n"
    assert text == (GOLDEN / f"{name}.json").read_text(encoding="utf-8")


def test_times_have_three_decimals_and_the_end_is_null_until_there_is_one(http: Http) -> None:
    for task in listed(http)["tasks"]:
        times = [task["create_time"], *([task["finish_time"]] if task["task_state"] in (2, 3, 4) else [])]
        assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", t) for t in times)
        assert (task["finish_time"] is None) == (task["task_state"] in (0, 1))


# ---- addresses, methods, errors -----------------------------------------------------------------------------------


def refused(answer: Response, status: int, code: int, text: str = "") -> None:
    assert answer.status == status, answer.text
    body = answer.json()
    assert list(body) == ["code", "message", "details"]
    assert (body["code"], body["details"]) == (code, [])
    assert body["message"].startswith(text)
    assert body["message"]


@pytest.mark.parametrize("path", PATHS)
def test_the_colon_may_be_escaped_and_a_slash_may_follow(service: Any, http: Http, path: str) -> None:
    for spelled in (path.replace(":", "%3A"), path.replace(":", "%3a"), path + "/"):
        assert listed(http, {}, spelled)["total"] == 8


def test_errors_are_statuses_the_frameworks_own_too(service: Any, http: Http) -> None:
    for method in ("GET", "PUT", "DELETE", "PATCH", "OPTIONS"):
        answer = http.request(method, PATHS[0])
        refused(answer, 405, 12)
        assert answer.headers["allow"] == "POST"
    for body in (b"not json", b"[1]", b'"text"', b"\xff", b'{"page_no": NaN}', b"1"):
        refused(http.post(PATHS[0], body), 400, 3)
    refused(http.post("/v2/dataSpaces/unknown/task:list"), 404, 5)
    refused(http.post("/v2/dataSpaces/a%20b/task:list"), 404, 5)
    refused(http.post(f"/v2/dataSpaces/{'x' * 129}/task:list"), 404, 5)
    refused(http.post(f"/v2/dataSpaces/{SPACE}/task:other"), 404, 5)
    refused(http.post("/v2/dataSpaces"), 404, 5)
    refused(http.post(PATHS[0], headers={"Origin": "https://elsewhere.example"}), 403, 7)
    assert http.post(PATHS[0].replace("dataSpaces", "dataspaces")).status == 404


def test_a_body_above_a_mebibyte_is_413_in_one_piece_and_in_chunks(service: Any, http: Http) -> None:
    fits = b'{"x": "' + b"y" * ((1 << 20) - 9) + b'"}'
    assert len(fits) == 1 << 20
    assert listed(http, fits)["total"] == 8
    refused(http.post(PATHS[0], fits + b" "), 413, 3)
    host, _, port = service.url.removeprefix("http://").partition(":")
    head = f"POST {PATHS[0]} HTTP/1.1\r\nHost: {host}:{port}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall(head + b"%x\r\n%b\r\n0\r\n\r\n" % (len(fits) + 1, fits + b" "))
        assert connection.makefile("rb").readline().split()[1] == b"413"


def test_the_default_data_space_exists_and_holds_what_names_none(service: Any, http: Http) -> None:
    assert listed(http, {}, "/v2/dataSpaces/default/task:list") == {"tasks": [], "total": 0}
    other = add_transfer(service.data, source="disk", target="store")
    found = listed(http, {}, "/v2/dataSpaces/default/task:list")
    assert [task["id"] for task in found["tasks"]] == [other.uuid]


def test_data_spaces_and_the_first_page_can_be_configured(make_service: Callable[..., Service]) -> None:
    service = make_service(DATASPACES__KNOWN="a.b,c", DATASPACES__DEFAULT="main", DATASPACES__PAGE_BASE="0").start()
    add_storage(service.data, "disk", "local", "/nowhere")
    for second in range(3):
        add_transfer(service.data, source="disk", target="disk", user="admin", at=T0 + second, dataSpaceId="c")
    for space, status in (("a.b", 200), ("main", 200), ("default", 404)):
        assert service.http.post(f"/v2/dataSpaces/{space}/task:list").status == status
    pages = [service.http.post("/v2/dataSpaces/c/task:list", {"page_no": n, "page_size": 2}).json() for n in (0, 1, 2)]
    assert [len(page["tasks"]) for page in pages] == [2, 1, 0]


# ---- who sees what ------------------------------------------------------------------------------------------------


def test_users_see_their_own_administrators_all(service: Any) -> None:
    bob = Http(service.url, service.cli("token", "create", "bob").stdout.strip())
    assert names(service, listed(bob)) == ["bobs"]
    found = listed(service.http)
    assert (names(service, found), found["total"]) == (["bobs", *NEWEST_FIRST], 9)


def signed(access_id: str, secret: str, *, date: str | None = None, **changed: str) -> dict[str, str]:
    date = date or time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime())
    made = base64.b64encode(hmac.new(secret.encode(), f"x-date: {date}".encode(), hashlib.sha256).digest()).decode()
    parts = {"accesskey": access_id, "algorithm": "hmac-sha256", "headers": "x-date", "signature": made} | changed
    return {"X-Date": date, "Authorization": "hmac " + ", ".join(f'{k}="{v}"' for k, v in parts.items())}


def test_keys_sign_and_what_is_wrong_with_a_signature_is_401(service: Any, http: Http) -> None:
    access_id, secret = service.cli("key", "create", "bob").stdout.split()
    assert names(service, listed(http, {}, headers=signed(access_id, secret))) == ["bobs"]
    old = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() - 920))
    wrong: list[dict[str, str]] = [
        signed(access_id, secret + "x"),
        signed("unknown", secret),
        signed(access_id, secret, date=old),
        signed(access_id, secret, date="today"),
        signed(access_id, secret, algorithm="hmac-sha1"),
        signed(access_id, secret, headers="date"),
        signed(access_id, secret, signature=""),
        {"Authorization": "hmac"},
        {**signed(access_id, secret), "X-Date": "Sat, 21 Nov 2026 20:50:00 GMT"},
        {"Authorization": "Bearer nobodys"},
        {"Authorization": "Basic eDp5"},
        {"X-Forwarded-For": "192.0.2.1"},
    ]
    for headers in wrong:
        refused(http.post(PATHS[0], headers=headers), 401, 16)


def test_nobody_comes_in_without_credentials_unless_loopback_is_trusted(make_service: Callable[..., Service]) -> None:
    service = make_service().start()
    refused(Http(service.url).post("/v2/dataSpaces/default/task:list"), 401, 16)
    refused(Http(service.url).get("/v2/dataSpaces/nothing/at:all"), 401, 16)
    assert service.http.post("/v2/dataSpaces/default/task:list").json() == {"tasks": [], "total": 0}


def test_a_transfer_that_was_really_done_is_listed_with_its_files(
    make_service: Callable[..., Service], tmp_path: Path
) -> None:
    service = make_service()
    service.cli("storage", "allow", str(tmp_path))
    for name in ("source", "target"):
        (tmp_path / name).mkdir()
        add_storage(service.data, name, "local", str(tmp_path / name))
    for number in range(3):
        (tmp_path / "source" / f"f{number}").write_bytes(b"x" * (1000 + number))
    service.start()
    ends = {"from": {"storage": "source"}, "to": {"storage": "target", "path": "sub"}}
    task = service.submit("transfer", {**ends, "dataSpaceId": "made.here", "repoName": "Mine", "commitMsg": "first"})
    assert service.wait_for(task) == "Succeed"
    (found,) = service.http.post("/v2/dataSpaces/made.here/task:list").json()["tasks"]
    assert (found["task_state"], found["transfer_type"], found["source_path"], found["target_path"]) == (2, 1, "/", "sub")
    assert (found["total_file_size"], found["succeed_file_size"], found["succeed_file_count"]) == ("3003", "3003", "3")
    assert (found["repo_display_name"], found["commit_msg"]) == ("Mine", "first")
    assert [(f["path"], f["state"], f["size"]) for f in found["files"]] == [
        ("f0", 1, "1000"),
        ("f1", 1, "1001"),
        ("f2", 1, "1002"),
    ]
