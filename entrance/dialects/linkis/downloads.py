"""``/filesystem/resultsetToExcel``: a result table as a file, sent while it is read. Errors are plain text."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import quote_plus

from flask import Response, request

from common.errors import EntranceError
from common.task import Task
from entrance.core.looking import LookService
from entrance.core.model import Caller
from entrance.dialects.linkis import query
from entrance.dialects.linkis.blueprint import LinkisBlueprint
from entrance.dialects.linkis.errors import LinkisError, in_linkis_words
from entrance.dialects.linkis.files import MOST_COLUMNS, the_path, the_place
from entrance.dialects.linkis.spreadsheet import Form, csv_file, workbook
from entrance.web.dialect import the_caller
from entrance.web.state import the_core
from executors.base import Column

blueprint = LinkisBlueprint("downloads", "Results as files to keep")

PAGE_ROWS = 5_000
DEFAULT_NAME = "downloadResultset"
SEPARATORS = (",", "\t", " ", "|", ";")
CHARSETS = ("utf-8", "utf8", "gbk", "gb18030", "gb2312", "big5", "iso-8859-1", "us-ascii")
XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"


@blueprint.on(
    "/filesystem/resultsetToExcel",
    query={
        "path": "string",
        "outputFileType": "string: csv, the default, or xlsx",
        "outputFileName": f"string: without its ending; {DEFAULT_NAME} when missing",
        "charset": "string: of a CSV file, utf-8 when missing",
        "csvSeparator": "string: comma, tab, blank, | or ;",
        "quoteRetouchEnable": "boolean: quote all cells of a CSV file",
        "keepNewline": "boolean: keep line ends within cells; else each becomes a blank",
        "nullValue": "string: NULL when missing, BLANK for nothing",
        "sheetName": "string: result when missing",
        "limit": "integer: rows, 0 is all",
        "columnPage": "integer: from 1",
        "columnPageSize": "integer: 500 when missing",
    },
)
def resultset_to_excel() -> Response:
    """A result table as a CSV file or a workbook."""
    try:
        return _file()
    except EntranceError as error:
        told = in_linkis_words(error) or error
        return Response(f"{told}\n", told.http_status, content_type="text/plain; charset=utf-8")


def _file() -> Response:
    path, kind = the_path(), (query.text("outputFileType") or "csv").lower()
    if kind not in ("csv", "xlsx"):
        raise LinkisError("outputFileType must be csv or xlsx")
    separator = request.args.get("csvSeparator") or request.args.get("csvSeperator") or ","
    if separator not in SEPARATORS:
        raise LinkisError("csvSeparator must be a comma, a tab, a blank, | or ;")
    charset = (query.text("charset") or "utf-8").lower()
    if charset not in CHARSETS:
        raise LinkisError(f"charset must be one of {', '.join(CHARSETS)}")
    column_page, column_size = max(1, query.integer("columnPage", 1)), query.integer("columnPageSize", MOST_COLUMNS)
    if not 0 < column_size <= MOST_COLUMNS:
        raise LinkisError(f"The number of columns of a page must be 1 to {MOST_COLUMNS}", errno=80036)
    shown = slice((column_page - 1) * column_size, column_page * column_size)
    limit = max(0, query.integer("limit", 0))
    task = _table(path)
    columns, pages = _read(the_core().tasks.look, the_caller(), task, limit, shown)
    null = request.args.get("nullValue") or "NULL"
    form = Form(null="" if null.upper() == "BLANK" else null, newlines=query.flag("keepNewline"))
    if kind == "xlsx":
        body = workbook(columns, pages, form, sheet=query.text("sheetName") or "result")
        content_type = XLSX
    else:
        body = csv_file(
            columns, pages, form, separator=separator, quote_all=query.flag("quoteRetouchEnable"), charset=charset
        )
        content_type = f"text/csv; charset={charset}"
    response = Response(body, content_type=content_type)
    name = quote_plus(query.text("outputFileName") or DEFAULT_NAME)
    response.headers["Content-Disposition"] = f"attachment;filename={name}.{kind}"
    return response


def _table(path: str) -> Task:
    place = the_place(path)
    if place is None or place.kind == "folder":
        raise LinkisError(f"There is no file {path}", http=404)
    if place.kind != "table":
        raise LinkisError(f"The file {path} is no result table")
    return place.task


def _read(
    look: LookService, caller: Caller, task: Task, limit: int, shown: slice
) -> tuple[Sequence[Column], Iterator[list[Sequence[Any]]]]:
    """Return the columns and the pages of a table; the first page is read now, so that what is missing is still an error."""
    first = look.result(caller, task.id, 0, min(limit or PAGE_ROWS, PAGE_ROWS))
    if not first.columns:
        raise LinkisError("The task has no result", http=404)
    rows = min(limit or first.total, first.total)

    def pages() -> Iterator[list[Sequence[Any]]]:
        page, at = first, 0
        while page.rows:
            yield [row[shown] for row in page.rows]
            at += len(page.rows)
            if at >= rows:
                return
            time.sleep(0)  # a turn for everybody else
            page = look.result(caller, task.id, at, min(rows - at, PAGE_ROWS), page.rows[-1])

    return first.columns[shown], pages()
