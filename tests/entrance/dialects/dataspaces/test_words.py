"""The tables between our words and the service's are total; what a client may send is read, what it may not is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.db.transfers import FileFault, FileState, Way
from common.errors import BadInput
from common.task import State, Task
from entrance.dialects.dataspaces import asked, words
from entrance.dialects.dataspaces.asked import Asked
from entrance.dialects.dataspaces.words import TaskState, TransferType

TASK = Task(
    id=1, uuid="", exec_id="", user="a", execute_user="a", creator="c", executor="transfer", run_type="transfer", door="x"
)


def test_every_state_has_a_number_and_is_found_under_it_alone() -> None:
    assert set(words.STATES) == set(State)
    for state in State:
        for attempt in (0, 1):
            shown = words.state_of(replace(TASK, state=state, attempt=attempt))
            for number in TaskState:
                hits = [ran for found, ran in words.selected([number]) if found is state]
                assert any(ran in (None, attempt > 0) for ran in hits) == (number is shown)


def test_states_that_we_do_not_have_select_nothing() -> None:
    assert [words.selected([TaskState(n)]) for n in (5, 6, 7, 8)] == [[], [], [], []]
    assert {s for s, _ in words.selected(list(TaskState))} == set(State)


def test_directions_files_and_faults_are_total() -> None:
    assert set(words.TYPES) == set(words.TASK_TYPES) == set(Way)
    assert set(words.FILE_STATES) == set(FileState)
    assert set(words.FILE_FAULTS) == set(FileFault)
    assert words.ways_of(TransferType.TRANSFER_TYPE_UNDEFINED) is None
    assert words.ways_of(TransferType.TRANSFER_TYPE_DOWNLOAD) == [Way.OUT]
    assert words.ways_of(TransferType.TRANSFER_TYPE_UPLOAD) == [Way.IN, Way.WITHIN]


@pytest.mark.parametrize(
    ("body", "wanted"),
    [
        ({}, {}),
        ({"page_no": 1, "page_size": 10, "transfer_type": 2}, {"page_no": 1, "transfer_type": 2}),
        ({"page_size": None, "repo_id": None, "task_states": None, "start_time": None, "transfer_type": None}, {}),
        ({"page_size": 0}, {}),
        ({"page_size": "20", "page_no": 3.0}, {"page_size": 20, "page_no": 3}),
        ({"page_size": 1001}, {"page_size": 1000}),
        ({"pageSize": 5, "pageNo": "2"}, {"page_size": 5, "page_no": 2}),
        ({"pageSize": 5, "page_size": 6}, {"page_size": 6}),
        ({"page_size": None, "pageSize": 5}, {}),
        ({"transferType": "TRANSFER_TYPE_UPLOAD"}, {"transfer_type": 1}),
        ({"transfer_type": "2"}, {"transfer_type": 2}),
        ({"task_states": [0]}, {"states": [0]}),
        ({"task_states": 4}, {"states": [4]}),
        ({"taskStates": ["RUNNING", "2", 3, 3]}, {"states": [1, 2, 3, 3]}),
        ({"repoNameKeyword": "  a%b "}, {"keyword": "a%b"}),
        ({"start_time": "1970-01-01T00:00:00Z"}, {"start": 0}),
        ({"start_time": "1970-01-01T00:00:00.000000001Z"}, {"start": 1}),
        ({"end_time": "1970-01-01T00:00:00.001999999Z"}, {"end": 1}),
        ({"end_time": "1970-01-01T01:00:00+01:00"}, {"end": 0}),
        ({"end_time": "1970-01-01T00:00:02.5"}, {"end": 2500}),
        ({"end_time": "", "startTime": ""}, {}),
        ({"colour": "blue", "x": {"y": [1]}}, {}),
    ],
)
def test_what_is_read(body: dict[str, Any], wanted: dict[str, Any]) -> None:
    shown = asked.read(body)
    assert replace(shown, states=list(shown.states)) == replace(Asked(states=[]), **wanted)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"page_size": -1}, "page_size"),
        ({"page_no": -1}, "page_no"),
        ({"page_size": True}, "page_size"),
        ({"page_size": 1.5}, "page_size"),
        ({"page_size": float("inf")}, "page_size"),
        ({"page_size": "ten"}, "page_size"),
        ({"page_size": []}, "page_size"),
        ({"page_no": 1 << 31}, "page_no"),
        ({"repo_id": 17}, "repo_id"),
        ({"repo_name_keyword": "x" * 257}, "repo_name_keyword"),
        ({"transfer_type": 3}, "transfer_type"),
        ({"transfer_type": "DOWN"}, "transfer_type"),
        ({"transfer_type": False}, "transfer_type"),
        ({"transfer_type": ""}, "transfer_type"),
        ({"task_states": [9]}, "task_states"),
        ({"task_states": [None]}, "task_states"),
        ({"task_states": {"a": 1}}, "task_states"),
        ({"start_time": "yesterday"}, "start_time"),
        ({"start_time": 5}, "start_time"),
        ({"end_time": "2023-02-29T00:00:00Z"}, "end_time"),
        ({"end_time": "2023-02-28T00:00:00+99:00"}, "end_time"),
        ({"start_time": "2023-12-05T00:00:00.000000002Z", "end_time": "2023-12-05T00:00:00.000000001Z"}, "start_time"),
    ],
)
def test_what_is_refused_names_the_field(body: dict[str, Any], field: str) -> None:
    with pytest.raises(BadInput, match=f"^{field}: "):
        asked.read(body)


_JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20), st.lists, max_leaves=5)
_NAMES = st.sampled_from(["page_size", "pageNo", "task_states", "transfer_type", "start_time", "repo_id", "x"])


@given(st.dictionaries(_NAMES, _JSON))
def test_no_body_does_more_than_refuse(body: dict[str, Any]) -> None:
    try:
        read = asked.read(body)
    except BadInput as error:
        assert ": " in str(error)
    else:
        assert 1 <= read.page_size <= 1000
        assert read.page_no >= 0
