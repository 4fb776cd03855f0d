"""entrance.dialects.linkis.downloads and spreadsheet: tables as CSV files and workbooks."""

from __future__ import annotations

import csv
import io
import re
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from fake_service import FakeCore
from flask.testing import FlaskClient
from hypothesis import example, given
from hypothesis import strategies as st

from common.config import load
from common.task import Task
from entrance.app import create_app
from entrance.core.model import Caller, ResultPage, Submission
from entrance.dialects.linkis import spreadsheet, wire
from entrance.dialects.linkis.spreadsheet import Form, csv_file, workbook
from executors.base import Column

URL = "/api/rest_j/v1/filesystem/resultsetToExcel"
NAMES = {"m": "http://schemas.openxmlformats.org/spreadsheetml/2006/main"}
COLUMNS = (Column(name="path"), Column(name="size", type="bigint"), Column(name="good", type="boolean"))


@pytest.fixture(scope="module")
def core(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeCore]:
    folder: Path = tmp_path_factory.mktemp("downloads")
    made = FakeCore(folder, load(environ={}, overrides={"service.data": str(folder)}))
    yield made
    made.close()


@pytest.fixture
def task(core: FakeCore) -> Task:
    alice = Caller(name="alice")
    made = core.tasks.accept.submit(alice, Submission(executor="echo", params={}, creator="IDE", door="linkis"))
    return core.tasks.succeed(core.tasks.run(made))


@pytest.fixture
def ask(core: FakeCore, task: Task) -> Any:
    client: FlaskClient = create_app(core).test_client()

    def get(path: str | None = None, user: str = "alice", **query: Any) -> Any:
        place = f"{wire.result_folder(task)}/_0.dolphin" if path is None else path
        headers = {"Authorization": f"Bearer {core.token(user)}"}
        return client.get(URL, query_string={"path": place, **query}, headers=headers)

    return get


def has(core: FakeCore, monkeypatch: pytest.MonkeyPatch, rows: Sequence[Sequence[Any]]) -> list[tuple[int, int]]:
    """Give every task these rows; return the list that (offset, limit) of each page is noted in."""
    asked: list[tuple[int, int]] = []

    def result(caller: Caller, ref: Any, offset: int = 0, limit: int = 5000, last: Any = None) -> ResultPage:
        assert last == (rows[offset - 1] if offset else None)
        asked.append((offset, limit))
        return ResultPage(columns=COLUMNS, rows=rows[offset : offset + limit], total=len(rows))

    monkeypatch.setattr(core.tasks.look, "result", result)
    return asked


def sheets(body: bytes) -> Mapping[str, list[list[tuple[str, str]]]]:
    """Read a workbook: (kind, text) of each cell, by sheet."""
    archive = zipfile.ZipFile(io.BytesIO(body))
    assert archive.testzip() is None
    names = [s.attrib["name"] for s in ElementTree.fromstring(archive.read("xl/workbook.xml")).iterfind(".//m:sheet", NAMES)]
    found = {}
    for number, name in enumerate(names, 1):
        root = ElementTree.fromstring(archive.read(f"xl/worksheets/sheet{number}.xml"))
        found[name] = [[_cell(cell) for cell in row] for row in root.iterfind(".//m:row", NAMES)]
    return found


def _cell(cell: ElementTree.Element) -> tuple[str, str]:
    text = cell.findtext("m:v", None, NAMES) if cell.find("m:is", NAMES) is None else cell.findtext("m:is/m:t", "", NAMES)
    return cell.attrib.get("t", "n"), text or ""


def test_a_table_becomes_a_csv_file_with_the_names_of_its_columns(
    core: FakeCore, ask: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    has(core, monkeypatch, [["a,b", 5, True], ['say "x"', None, False], ["two\nlines", 1 << 60, None]])
    answer = ask()
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert answer.headers["Content-Disposition"] == "attachment;filename=downloadResultset.csv"
    assert answer.text == ('path,size,good\n"a,b",5,true\n"say ""x""",NULL,false\ntwo lines,1152921504606846976,NULL\n')


def test_what_a_client_asks_for_of_a_csv_file_it_gets(core: FakeCore, ask: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    has(core, monkeypatch, [["é\n数", 5, True], ["b", 6, False]])
    answer = ask(
        csvSeparator="\t", quoteRetouchEnable="true", keepNewline="true", nullValue="-", limit=1, charset="gbk",
        outputFileName="一 /\r\nx", columnPage=1, columnPageSize=2,
    )  # fmt: skip
    assert answer.data.decode("gbk") == '"path"\t"size"\n"é\n数"\t"5"\n'
    assert answer.headers["Content-Disposition"] == "attachment;filename=%E4%B8%80+%2F%0D%0Ax.csv"
    for separator in (" ", "|", ";"):
        assert ask(csvSeparator=separator).text.splitlines()[0] == f"path{separator}size{separator}good"
    has(core, monkeypatch, [[None, None, None]])
    assert ask(nullValue="BLANK").text.splitlines()[1] == ",,"
    assert ask(csvSeperator="|").text.splitlines()[0] == "path|size|good"


def test_a_table_becomes_a_workbook_that_no_program_takes_for_formulas(
    core: FakeCore, ask: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    has(core, monkeypatch, [["=1+1", -5, True], ["@x", 1 << 60, None], ["<&>\x00 _x0041_", None, False]])
    answer = ask(outputFileType="xlsx", sheetName="a/b")
    assert answer.headers["Content-Type"] == "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
    assert answer.headers["Content-Disposition"].endswith(".xlsx")
    assert sheets(answer.data) == {
        "ab": [
            [("inlineStr", "path"), ("inlineStr", "size"), ("inlineStr", "good")],
            [("inlineStr", "'=1+1"), ("n", "-5"), ("b", "1")],
            [("inlineStr", "'@x"), ("inlineStr", "1152921504606846976"), ("inlineStr", "NULL")],
            [("inlineStr", "<&>\ufffd _x005F_x0041_"), ("inlineStr", "NULL"), ("b", "0")],
        ]
    }


def test_a_long_table_is_read_by_page_and_a_limit_is_kept(core: FakeCore, ask: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = has(core, monkeypatch, [[f"{n}", n, None] for n in range(12_000)])
    assert len(ask().text.splitlines()) == 12_001
    assert asked == [(0, 5000), (5000, 5000), (10_000, 2000)]
    asked.clear()
    assert ask(limit=5001).text.splitlines()[-1].startswith("5000,")
    assert asked == [(0, 5000), (5000, 1)]
    (rows,) = sheets(ask(outputFileType="xlsx").data).values()
    assert len(rows) == 12_001


def test_a_table_without_rows_has_its_names(core: FakeCore, ask: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    has(core, monkeypatch, [])
    assert ask().text == "path,size,good\n"
    assert sheets(ask(outputFileType="xlsx").data)["result"] == [
        [("inlineStr", "path"), ("inlineStr", "size"), ("inlineStr", "good")]
    ]


def test_what_cannot_be_is_told_in_plain_text(core: FakeCore, ask: Any, task: Task) -> None:
    table = f"{wire.result_folder(task)}/_0.dolphin"
    refusals = {
        400: [{"outputFileType": "pdf"}, {"csvSeparator": "ab"}, {"charset": "x"}, {"path": ""}, {"columnPageSize": 501}],
        403: [{"path": "file:///etc/passwd"}, {"user": "bob"}],
        404: [{"path": table.replace("_0", "_1")}, {"path": wire.result_folder(task)}],
    }
    for status, queries in refusals.items():
        for query in queries:
            answer = ask(**query)
            assert (answer.status_code, answer.headers["Content-Type"]) == (status, "text/plain; charset=utf-8"), query
            assert answer.text.count("\n") == 1
    assert ask(path=wire.log_path(task)).status_code == 400


def test_a_workbook_goes_on_with_another_sheet_where_one_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spreadsheet, "SHEET_ROWS", 4)
    pages = [[[f"{n}", n, None] for n in range(start, start + 2)] for start in range(0, 8, 2)]
    found = sheets(b"".join(workbook(COLUMNS, pages, Form(), sheet="x" * 40)))
    assert list(found) == ["x" * 31, "x" * 29 + "_2", "x" * 29 + "_3"]
    assert [row[1][1] for rows in found.values() for row in rows] == [
        "size",
        "0",
        "1",
        "2",
        "size",
        "3",
        "4",
        "5",
        "size",
        "6",
        "7",
    ]


cells = st.none() | st.booleans() | st.integers() | st.floats() | st.text()


@given(rows=st.lists(st.tuples(cells, cells, cells), max_size=20), newlines=st.booleans())
@example(rows=[("\r", "a", "\r\n"), ("a\rb", None, "\r")], newlines=True)
def test_whatever_the_cells_are_both_files_can_be_read(rows: list[tuple[Any, ...]], newlines: bool) -> None:
    form = Form(newlines=newlines)
    (read,) = sheets(b"".join(workbook(COLUMNS, [rows], form))).values()
    assert len(read) == len(rows) + 1
    text = b"".join(csv_file(COLUMNS, [rows], form)).decode()
    again = list(csv.reader(io.StringIO(text, newline=""), strict=True))[1:]
    wanted = [[form.text(v).encode("utf-8", "replace").decode() for v in row] for row in rows]
    assert [[re.sub(r"\r", "\n", c) for c in row] for row in again] == [
        [re.sub(r"\r", "\n", c) for c in row] for row in wanted
    ]
