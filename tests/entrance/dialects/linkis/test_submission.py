"""entrance.dialects.linkis.submission and .variables: bodies to submissions, without a service."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from fake_service import PASSWORDS, FakeCore
from hypothesis import given
from hypothesis import strategies as st

from common.config import load
from common.errors import EntranceError, NotStored
from entrance.app import create_app
from entrance.core.model import Caller, Submission
from entrance.core.variables import substituted
from entrance.dialects.linkis.submission import read

ALICE = Caller(name="alice")
TODAY = date(2026, 3, 1)


def submission(code: Any = "{}", labels: dict[str, Any] | None = None, **more: Any) -> Submission:
    body = {
        "executionContent": {"code": code, "runType": "echo"},
        "labels": {"engineType": "echo-1.0-x", **(labels or {})},
        **more,
    }
    return read(body, ALICE, address="192.0.2.1", today=TODAY)


def test_a_submission_keeps_what_was_sent_and_what_it_means() -> None:
    made = submission(
        '{"lines": 3}',
        {"userCreator": "Alice-My-App", "jobRunningTimeout": "60", "jobQueuingTimeout": 5, "jobRetryCount": "99"},
        params={"configuration": {"runtime": {"wds.linkis.engine.runtime.priority": 250, "x": True}}},
        source={"scriptPath": "a.json"},
    )
    assert (made.executor, made.creator, made.run_type, made.priority) == ("echo", "My-App", "echo", 250)
    assert (made.running_timeout_s, made.queuing_timeout_s, made.max_retries) == (60, 5, 10)
    assert made.params == {"lines": 3}
    assert made.code == '{"lines": 3}'
    assert made.source == {"scriptPath": "a.json", "requestIP": "192.0.2.1"}
    assert made.labels[:2] == (("engineType", "echo-1.0-x"), ("userCreator", "Alice-My-App"))
    assert made.settings["configuration"]["runtime"]["x"] is True


def test_limits_that_are_not_given_or_nought_are_the_services_own() -> None:
    made = submission(labels={"jobRunningTimeout": "0", "jobQueuingTimeout": ""})
    assert (made.running_timeout_s, made.queuing_timeout_s, made.max_retries, made.retry_delay_ms) == (None,) * 4
    assert submission(labels={"jobRetryCount": "0", "jobRetryTimeout": 0}).max_retries == 0


def test_labels_of_all_kinds_become_texts_in_their_order() -> None:
    made = submission(labels={"b": ["x", 1, True], "a": False, "n": 1.5, "gone": None})
    assert made.labels == (
        ("engineType", "echo-1.0-x"),
        ("b", "x,1,true"),
        ("a", "false"),
        ("n", "1.5"),
        ("userCreator", "alice-IDE"),
    )


@pytest.mark.parametrize("creator", ["a/b", "a%b", "a?b", "x" * 65, "a\x00b", "a\nb"])
def test_a_creator_that_would_break_addresses_is_refused(creator: str) -> None:
    with pytest.raises(EntranceError):
        submission(labels={"userCreator": f"alice-{creator}"})


@pytest.mark.parametrize("priority", [0, "0", 1, "100", 800])
def test_priorities_are_taken_as_they_are(priority: Any) -> None:
    runtime = {"wds.linkis.engine.runtime.priority": priority}
    assert submission(params={"configuration": {"runtime": runtime}}).priority == int(priority)


@pytest.mark.parametrize("priority", [-1, 801, "high", 1.5, True, [1]])
def test_priorities_out_of_range_are_refused(priority: Any) -> None:
    runtime = {"wds.linkis.engine.runtime.priority": priority}
    with pytest.raises(EntranceError, match="must be an integer"):
        submission(params={"configuration": {"runtime": runtime}})


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=20), inner, max_size=4),
        max_leaves=10,
    ),
    st.sampled_from(
        ["executionContent", "labels", "params", "source", "executionCode", "executeApplicationName", "runType"]
    ),
)
def test_no_body_breaks_the_reader(value: Any, key: str) -> None:
    body: dict[str, Any] = {
        "executionContent": {"code": "{}", "runType": "echo"},
        "labels": {"engineType": "echo"},
        "params": {},
        "source": {},
    }
    for form in ({**body, key: value}, {"executionCode": "{}", "executeApplicationName": "echo", key: value}):
        try:
            assert isinstance(read(form, ALICE, address="").executor, str)
        except EntranceError as error:
            assert error.http_status == 400


# ---- variables ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "made"),
    [
        ("/data/${day}/x", "/data/mon/x"),
        ("${day}${day}", "monmon"),
        ("${n}", "5"),
        ("${yes}", "true"),
        ("${unknown}", "${unknown}"),
        ("$day {day} ${", "$day {day} ${"),
        ("${run_date}", "20260228"),
        ("${run_date_std}", "2026-02-28"),
        ("${run_date+1}", "20260301"),
        ("${run_date - 28}", "20260131"),
        ("${run_date_std-59}", "2025-12-31"),
        ("${run_date-99999}", "17520516"),
        ("${day-1}", "${day-1}"),
    ],
)
def test_references_are_replaced(text: str, made: str) -> None:
    variables = {"day": "mon", "n": 5, "yes": True}
    assert substituted({"k": [text]}, variables, today=TODAY) == {"k": [made]}


def test_the_day_may_be_given() -> None:
    assert substituted("${run_date_std-1}", {"run_date": "20240301"}, today=TODAY) == "2024-02-29"


def test_a_value_cannot_break_the_json() -> None:
    made = submission(json.dumps({"path": "${x}", "${x}": 1}), params={"variable": {"x": '", "evil": "${day}'}})
    assert made.params == {"path": '", "evil": "${day}', "${x}": 1}
    assert made.code == '{"path": "${x}", "${x}": 1}', "the history shows what was sent"


def test_what_cannot_be_stored_is_told_in_linkis_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    core = FakeCore(tmp_path, load(environ={}, overrides={"service.data": str(tmp_path)}))

    def full(*_: Any) -> Any:
        raise NotStored("the disk is full")

    monkeypatch.setattr(core.tasks.accept, "submit", full)
    client = create_app(core).test_client()
    client.post("/api/rest_j/v1/user/login", json={"userName": "alice", "password": PASSWORDS["alice"]})
    body = {"executionContent": {"code": "{}", "runType": "echo"}, "labels": {"engineType": "echo"}}
    answer = client.post("/api/rest_j/v1/entrance/submit", json=body)
    core.close()
    assert answer.status_code == 500 and answer.json is not None
    assert answer.json["message"] == "error code: 20052, error message: Persist jobRequest error, please submit again later."
