"""The service's own log: one JSON object a line, constant events, values as fields."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest

from common.logging import get_log, set_up


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    made = io.StringIO()
    set_up("info", made)
    yield made
    logging.captureWarnings(False)
    root.handlers[:] = before
    root.setLevel(level)


def test_a_line_carries_event_fields_and_what_was_bound(stream: io.StringIO) -> None:
    get_log("entrance.test").bind(task_id=7).info("100% done", rows=3)
    line = json.loads(stream.getvalue())
    assert line["event"] == "100% done"
    assert (line["task_id"], line["rows"], line["level"], line["logger"]) == (7, 3, "info", "entrance.test")
    assert line["time"].endswith("Z")


def test_a_line_stays_one_line_whatever_is_in_it(stream: io.StringIO) -> None:
    get_log("entrance.test").warning("odd value", text="a\nb", other=object())
    assert stream.getvalue().count("\n") == 1


def test_an_error_keeps_its_traceback(stream: io.StringIO) -> None:
    try:
        raise ValueError("why")
    except ValueError as error:
        get_log("entrance.test").exception("it broke", error)
    assert "ValueError: why" in json.loads(stream.getvalue())["traceback"]


def test_lines_below_the_level_are_not_written(stream: io.StringIO) -> None:
    get_log("entrance.test").debug("detail")
    assert stream.getvalue() == ""
