"""``/filesystem/*``: results and logs under the names that the history gives out.

    file:///linkis/{user}/log/{creator}/{yyyy-MM-dd}/{taskID}.log
    file:///linkis/{user}/result/{yyyy-MM-dd}/{creator}/{taskID}            a folder
    file:///linkis/{user}/result/{yyyy-MM-dd}/{creator}/{taskID}/_0.dolphin its only table

They look like files and are names: what they say is compared with the task that they lead to, and no path of the machine is
ever opened. A path is normalised first (``..``, ``//``, ``%2e``) and compared afterwards.
"""

from __future__ import annotations

import posixpath
import re
import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from flask import Response, request

from common.errors import Forbidden, LogGone, TaskNotFound
from common.task import Task
from entrance.core.model import LogPage
from entrance.dialects.linkis import query, wire
from entrance.dialects.linkis.blueprint import LinkisBlueprint
from entrance.dialects.linkis.envelope import answer, encode
from entrance.dialects.linkis.errors import LinkisError
from entrance.dialects.linkis.views import LOG_IS_GONE
from entrance.web.dialect import the_caller
from entrance.web.state import the_core

blueprint = LinkisBlueprint("filesystem", "Results and logs as files")

TABLE = "_0.dolphin"
DEFAULT_ROWS = 5000
MOST_ROWS = 100_000
MOST_COLUMNS = 500
HALF_LOG_BYTES = 15 << 20  # of a log that is too long: so much of its head and of its tail
_WHOLE_LOGS = threading.BoundedSemaphore(2)  # put together at a time: each takes up to 200 MiB
_CHUNK_LINES = 10_000
_CHUNK_BYTES = 1 << 20

_ROOT = "/linkis/"
_LOG = re.compile(r"/linkis/([^/]+)/log/([^/]+)/\d{4}-\d\d-\d\d/(\d{1,18})\.log")
_RESULT = re.compile(r"/linkis/([^/]+)/result/\d{4}-\d\d-\d\d/([^/]+)/(\d{1,18})(/_0\.dolphin)?")


@dataclass(frozen=True, kw_only=True)
class Place:
    """What a path leads to."""

    task: Task
    kind: str  # log, folder, table


def the_path() -> str:
    """Return the path that is asked about. Raises LinkisError 80004."""
    path = request.args.get("path", "").strip()
    if not path:
        raise LinkisError(f"The path:{path} is empty!", errno=80004)
    return path


def the_place(path: str) -> Place | None:
    """Return what a path names; None = nothing, under a name that the caller might own.

    Raises LinkisError 80010 for everything that is not the caller's.
    """
    caller = the_caller()
    refused = LinkisError(
        f"The user: {caller.name} has no permission to view the contents of the directory:{path}.", errno=80010, http=403
    )
    plain = posixpath.normpath("/" + unquote(path.removeprefix("file://")).lstrip("/"))
    if "\0" in plain or not plain.startswith(_ROOT):
        raise refused
    match = _LOG.fullmatch(plain)
    kind = "log" if match else ""
    if match is None:
        match = _RESULT.fullmatch(plain)
        kind = "table" if match is not None and match[4] else "folder"
    mine = caller.admin or plain.removeprefix(_ROOT).partition("/")[0] == caller.name
    if match is None:
        if mine:
            return None
        raise refused
    try:
        task = the_core().tasks.look.get(caller, int(match[3]))
    except (TaskNotFound, Forbidden) as error:
        if mine and isinstance(error, TaskNotFound):
            return None
        raise refused from error
    if (match[1], match[2]) != (task.user, task.creator):
        raise refused
    return Place(task=task, kind=kind)


def _not_found(path: str) -> LinkisError:
    return LinkisError(f"There is no file {path}", http=404)


@blueprint.on("/filesystem/getDirFileTrees", query={"path": "string"}, data={"dirFileTrees": "object: or null"})
def get_dir_file_trees() -> Response:
    """The result folder of a task."""
    path = the_path()
    place = the_place(path)
    if place is None or place.kind != "folder":
        return answer({"dirFileTrees": None})
    task = place.task
    folder = wire.result_folder(task)
    tree = {
        "name": str(task.id),
        "path": folder,
        "properties": None,
        "children": _children(task, folder),
        "isLeaf": False,
        "parentPath": None,
    }
    return answer({"dirFileTrees": tree})


def _children(task: Task, folder: str) -> list[dict[str, Any]]:
    first = the_core().tasks.look.result(the_caller(), task.id, 0, 100)
    if not first.columns:
        return []
    known = len(encode([list(row) for row in first.rows]).encode("utf-8", "replace"))
    size = known * first.total // len(first.rows) if first.rows else known  # of many rows an estimate
    return [
        {
            "name": TABLE,
            "path": f"{folder}/{TABLE}",
            "properties": {"size": str(size), "modifytime": str(task.ended_at or task.updated_at)},
            "children": None,
            "isLeaf": True,
            "parentPath": folder,
        }
    ]


@blueprint.on(
    "/filesystem/openFile",
    query={
        "path": "string",
        "page": "integer: from 1",
        "pageSize": "integer: 5000 when missing",
        "nullValue": "string: NULL when missing",
        "columnPage": "integer: from 1",
        "columnPageSize": "integer: 500 when missing",
    },
    data={
        "metadata": "array: columns",
        "fileContent": "array: rows of texts",
        "type": "string: 2 table, 1 text",
        "totalLine": "integer: rows in this answer",
        "page": "integer",
        "totalPage": "integer",
        "totalColumn": "integer",
    },
)
def open_file() -> Response:
    """A page of a result table, or of a log."""
    path = the_path()
    page, size = max(1, query.integer("page", 1)), query.integer("pageSize", DEFAULT_ROWS)
    if not 0 < size <= MOST_ROWS:
        raise LinkisError(f"The page size must be 1 to {MOST_ROWS}", errno=80034)
    column_page, column_size = max(1, query.integer("columnPage", 1)), query.integer("columnPageSize", MOST_COLUMNS)
    if not 0 < column_size <= MOST_COLUMNS:
        raise LinkisError(f"The number of columns of a page must be 1 to {MOST_COLUMNS}", errno=80036)
    place = the_place(path)
    if place is None or place.kind == "folder":
        raise _not_found(path)
    if place.kind == "log":
        return _text_page(place.task, page, size)
    found = the_core().tasks.look.result(the_caller(), place.task.id, (page - 1) * size, size)
    if not found.columns:
        raise _not_found(path)
    shown = slice((column_page - 1) * column_size, column_page * column_size)
    null = request.args.get("nullValue") or "NULL"
    metadata = [{"columnName": c.name, "comment": c.comment, "dataType": c.type} for c in found.columns[shown]]
    rows = [[_cell(value, null) for value in row[shown]] for row in found.rows]
    return answer(
        {
            "metadata": metadata,
            "fileContent": rows,
            "type": "2",
            "totalLine": len(rows),
            "page": page,
            "totalPage": 0,
            "totalColumn": len(found.columns),
        }
    )


def _cell(value: Any, null: str) -> str:
    if value is None:
        return null
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else str(value)


def _text_page(task: Task, page: int, size: int) -> Response:
    limit = the_core().settings.limits.log_answer_bytes
    lines = _log(task, (page - 1) * size, size, limit).lines
    return answer(
        {
            "metadata": None,
            "fileContent": [[line] for line in lines],
            "type": "1",
            "totalLine": len(lines),
            "page": page,
            "totalPage": 0,
            "totalColumn": 1,
        }
    )


# ---- logs ---------------------------------------------------------------------------------------------------------


@blueprint.on(
    "/filesystem/openLog",
    query={"path": "string", "proxyUser": "string: ignored, the path names the task"},
    data={"log": "array: [error, warn, info, all], each line ended"},
)
def open_log() -> Response:
    """The whole log of a task; of one over 30 MiB its head and its tail."""
    path = the_path()
    place = the_place(path)
    if place is None or place.kind != "log":
        raise _not_found(path)
    parts: dict[str, list[str]] = {"ERROR": [], "WARN": [], "INFO": [], "ALL": []}
    with _WHOLE_LOGS:
        for line, level in _whole(place.task):
            parts[level].append(line)
            parts["ALL"].append(line)
        return answer({"log": ["".join(f"{line}\n" for line in lines) for lines in parts.values()]})


def _whole(task: Task) -> Iterator[tuple[str, str]]:
    """Yield (line, level) of a log; in the middle of a long one a line that says what is left out.

    Holds no more than twice ``HALF_LOG_BYTES``; others get their turn between chunks.
    """
    room = HALF_LOG_BYTES
    tail: deque[tuple[str, str]] = deque()
    tail_bytes = left_out = 0
    for page in _pages(task):
        for line, level in zip(page.lines, page.levels, strict=True):
            size = len(line.encode("utf-8", "replace")) + 1
            if room > 0:
                room -= size
                yield line, level
                continue
            tail.append((line, level))
            tail_bytes += size
            while tail_bytes > HALF_LOG_BYTES:
                gone, _ = tail.popleft()
                tail_bytes -= len(gone.encode("utf-8", "replace")) + 1
                left_out += 1
    if left_out:
        yield _head(f"{left_out} lines are left out here; read them with the log endpoint"), "WARN"
    yield from tail


def _head(text: str) -> str:
    return f"{time.strftime('%Y-%m-%d %H:%M:%S')}.000 WARN {text}"


def _pages(task: Task) -> Iterator[LogPage]:
    position = 0
    while True:
        page = _log(task, position, _CHUNK_LINES, _CHUNK_BYTES)
        if not page.lines:
            return
        yield page
        position = page.next_line
        time.sleep(0)


def _log(task: Task, first: int, size: int, limit_bytes: int) -> LogPage:
    try:
        return the_core().tasks.look.log(the_caller(), task.id, first, size, limit_bytes)
    except LogGone as error:
        raise LinkisError(LOG_IS_GONE) from error
