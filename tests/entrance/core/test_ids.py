"""entrance.core.ids: the three names of a task, built and read."""

from __future__ import annotations

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entrance.core.ids import TaskRef, build_exec_id, parse_ref

names = st.text(min_size=1, max_size=40)
numbers = st.integers(min_value=1, max_value=(1 << 63) - 1)


def test_an_execution_id_is_the_example_of_the_contract() -> None:
    made = build_exec_id("IDE", "alice", "scan", 2, "localhost:9104")
    assert made == "exec_id018014linkis-cg-entrancelocalhost:9104IDE_alice_scan_2"


@given(names, names, names, numbers, names)
def test_what_was_built_is_read_back_whatever_the_names_hold(
    creator: str, user: str, executor: str, number: int, host: str
) -> None:
    made = build_exec_id(creator, user, executor, number, host)
    assert parse_ref(made) == TaskRef(task_id=number, exec_id=made)


@given(numbers, names, st.data())
def test_a_cut_id_names_nothing_or_a_number_with_its_own_text(number: int, name: str, data: st.DataObject) -> None:
    made = build_exec_id(name, name, name, number, "h:1")
    cut = made[: data.draw(st.integers(min_value=0, max_value=len(made)))]
    found = parse_ref(cut)
    assert found is None or found.exec_id == cut


@given(st.text())
def test_no_text_breaks_the_reader(text: str) -> None:
    for attempt in (text, f"exec_id{text}", f"exec_id018014{text}"):
        found = parse_ref(attempt)
        assert found is None or found.uuid or found.task_id


@given(numbers)
def test_a_number_is_read_as_number_and_as_digits(number: int) -> None:
    assert parse_ref(number) == parse_ref(str(number)) == TaskRef(task_id=number)


@given(st.uuids())
def test_a_uuid_is_read_in_either_letter_case(value: uuid.UUID) -> None:
    assert parse_ref(str(value).upper()) == TaskRef(uuid=str(value))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0",
        "-1",
        "１",  # digits of another script
        "9" * 20,
        "exec_id",
        "exec_id018014",
        "exec_id999999x_1",
        "exec_id0180a4linkis-cg-entrancelocalhost:9104IDE_alice_scan_2",
        "exec_id018014linkis-cg-entrancelocalhost:9104IDE_alice_scan_",
        "030418IDEhivebdpdwc010004:10087IDE_hadoop_21",
    ],
)
def test_what_cannot_be_an_id_names_nothing(text: str) -> None:
    assert parse_ref(text) is None


def test_numbers_that_no_row_can_have_name_nothing() -> None:
    assert parse_ref(0) is None
    assert parse_ref(-5) is None
    assert parse_ref(1 << 63) is None
