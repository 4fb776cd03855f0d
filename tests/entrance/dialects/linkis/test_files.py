"""entrance.dialects.linkis.files beyond its golden files: long logs, cells, odd paths."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from fake_service import FakeCore
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from common.config import load
from common.task import Line, Task
from entrance.app import create_app
from entrance.core.model import Caller, ResultPage, Submission
from entrance.dialects.linkis import wire
from executors.base import Column

FILES = "/api/rest_j/v1/filesystem"


@pytest.fixture(scope="module")
def core(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeCore]:
    folder: Path = tmp_path_factory.mktemp("files")
    made = FakeCore(folder, load(environ={}, overrides={"service.data": str(folder)}))
    yield made
    made.close()


@pytest.fixture(scope="module")
def ask(core: FakeCore) -> Any:
    client: FlaskClient = create_app(core).test_client()
    headers = {"Authorization": f"Bearer {core.token('alice')}"}

    def get(endpoint: str, path: str, **query: Any) -> Any:
        return client.get(f"{FILES}/{endpoint}", query_string={"path": path, **query}, headers=headers)

    return get


@pytest.fixture
def task(core: FakeCore) -> Task:
    alice = Caller(name="alice")
    made = core.tasks.accept.submit(alice, Submission(executor="echo", params={}, creator="IDE", door="linkis"))
    return core.tasks.succeed(core.tasks.run(made))


def test_of_a_long_log_the_head_and_the_tail_are_shown_with_a_line_between(core: FakeCore, ask: Any, task: Task) -> None:
    entry = core.tasks.entries[task.id]
    entry.lines = [Line(level="INFO", text=f"{n:04d}" + "x" * 65_000) for n in range(700)]
    log = ask("openLog", wire.log_path(task)).json["data"]["log"]
    lines = log[3].splitlines()
    assert sum(map(len, lines)) < 31 << 20
    warning = next(n for n, line in enumerate(lines) if " WARN " in line)
    assert log[1].splitlines() == [lines[warning]]
    left_out = 700 - (len(lines) - 1)
    assert f"{left_out} lines are left out here" in lines[warning]
    numbers = [int(line[:4]) for line in lines[:warning] + lines[warning + 1 :]]
    assert numbers == [*range(warning), *range(warning + left_out, 700)]


def test_cells_are_texts(core: FakeCore, ask: Any, task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    page = ResultPage(
        columns=[Column(name="a", type="bigint"), Column(name="b", type="boolean"), Column(name="c"), Column(name="d")],
        rows=[[1 << 60, True, None, "x"], [0.5, False, "ü", ""]],
        total=2,
    )
    monkeypatch.setattr(core.tasks.look, "result", lambda *_: page)
    path = f"{wire.result_folder(task)}/_0.dolphin"
    data = ask("openFile", path).json["data"]
    assert data["fileContent"] == [["1152921504606846976", "true", "NULL", "x"], ["0.5", "false", "ü", ""]]
    assert [m["dataType"] for m in data["metadata"]] == ["bigint", "boolean", "string", "string"]
    data = ask("openFile", path, nullValue="LINKIS_NULL", columnPage=2, columnPageSize=2).json["data"]
    assert data["fileContent"] == [["LINKIS_NULL", "x"], ["ü", ""]]
    assert [m["columnName"] for m in data["metadata"]] == ["c", "d"]
    assert data["totalColumn"] == 4


def test_a_log_that_retention_removed_is_told(core: FakeCore, ask: Any, task: Task) -> None:
    core.tasks.entries[task.id].log_gone = True
    response = ask("openLog", wire.log_path(task))
    assert (response.status_code, response.json["status"]) == (400, 1)


pieces = st.sampled_from(
    [
        "file://",
        "/",
        "//",
        "..",
        ".",
        "%2e%2e",
        "linkis",
        "alice",
        "bob",
        "result",
        "log",
        "IDE",
        "2026-01-01",
        "1",
        "1.log",
        "_0.dolphin",
        "\0",
    ]
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(path=st.lists(pieces, max_size=12).map("/".join) | st.text(max_size=60), encoded=st.booleans())
def test_no_path_breaks_anything_or_leads_to_others(ask: Any, path: str, encoded: bool) -> None:
    for endpoint in ("getDirFileTrees", "openFile", "openLog"):
        response = ask(endpoint, quote(path) if encoded else path)
        assert response.status_code in (200, 400, 403, 404), path
