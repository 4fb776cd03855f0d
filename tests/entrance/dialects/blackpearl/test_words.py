"""The tables between our words and BlackPearl's are total, markup escapes, queries are read as SDKs write them."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.db.shown import KINDS_OF_EXECUTORS, KINDS_OF_WAYS, OTHER_KIND
from common.db.transfers import Way
from common.errors import BadInput
from common.task import FINAL, OPEN, Priority, State
from entrance.dialects.blackpearl import markup, wire
from entrance.dialects.blackpearl.query import Query, date_text


def test_every_state_has_a_status_and_every_status_its_list() -> None:
    assert set(wire.STATUS) == set(State)
    assert set(wire.STATUS.values()) == {"IN_PROGRESS", "COMPLETED", "CANCELED"}
    assert {s for s, word in wire.STATUS.items() if word == "IN_PROGRESS"} == set(OPEN) == set(wire.ACTIVE)
    assert set(wire.COMPLETED) | set(wire.CANCELED) == FINAL
    assert set(wire.CANCELED) == {State.CANCELLED, State.FAILED, State.TIMED_OUT}


def test_every_priority_has_a_word_and_every_word_a_priority() -> None:
    assert set(wire.PRIORITY) == set(Priority)
    assert {wire.LEVELS[word]: word for word in wire.LEVELS} == wire.PRIORITY
    assert set(wire.SETTABLE) == set(wire.LEVELS) - {"CRITICAL", "BACKGROUND"}
    shown = [wire.PRIORITY[Priority.level(n)] for n in (-1, 0, 49, 50, 100, 150, 200, 399, 400, 799, 800, 10**6)]
    assert shown == [
        "BACKGROUND", "BACKGROUND", "BACKGROUND", "LOW", "NORMAL", "NORMAL", "HIGH", "HIGH", "URGENT", "URGENT",
        "CRITICAL", "CRITICAL",
    ]  # fmt: skip


def test_every_kind_of_work_has_a_request_type() -> None:
    assert set(KINDS_OF_WAYS) == set(Way)
    assert {*KINDS_OF_WAYS.values(), *KINDS_OF_EXECUTORS.values(), OTHER_KIND} == set(wire.KINDS)


@given(st.text())
def test_any_text_survives_markup_but_for_what_xml_cannot_hold(text: str) -> None:
    written = markup.element("A", markup.fields({"B": text}), {"c": text})
    root = ElementTree.fromstring(written.encode("utf-8"))
    wanted = markup.text(text)
    assert (root.findtext("B"), root.get("c")) == (wanted, wanted)
    assert all(a == b for a, b in zip(text, wanted, strict=True) if b != "\ufffd")


@given(st.integers(min_value=-62_135_596_800_000, max_value=253_402_300_799_999))
def test_a_date_that_was_written_is_read_to_the_millisecond(at: int) -> None:
    assert Query(f"d={date_text(at)}").date("d") == at


@given(st.text(max_size=60))
def test_no_query_does_more_than_refuse(raw: str) -> None:
    try:
        query = Query(raw.encode("utf-8").decode("latin-1"))
    except (BadInput, UnicodeEncodeError):
        return
    for name in raw.split("&"):
        key = name.partition("=")[0].lower()
        query.flag(key)
        query.text(key)
        for read in (query.date, query.boolean):
            try:
                read(key)
            except BadInput as error:
                assert str(error)


@pytest.mark.parametrize(("raw", "present"), [("force", True), ("force=", True), ("FORCE=false", True), ("forced", False)])
def test_a_flag_is_true_whatever_its_value(raw: str, present: bool) -> None:
    assert Query(raw).flag("force") is present
