"""Every route with a request that is right for it: for the table of who may enter where (``tests/data/routes.json``).

The table holds HTTP codes by rule, method and role. Roles ask in order, strangers first, about things of the owner's: a
task, storages ``source`` and ``output``, a preparation that has the source.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TABLE = Path("tests") / "data" / "routes.json"
ROLES = {"nobody": None, "other": "bob", "owner": "alice", "admin": "admin"}
UNKNOWN_PIECE = "baga6ea4seaqao7s73y24kcutaosvacpdjgfe5pw76ooefnyqw4ynr3d2y6x2mpq"
SUBMIT = {"executionContent": {"code": "{}", "runType": "echo"}, "labels": {"engineType": "echo-1"}}
FIXED = {  # what stands for a parameter that names nothing of anybody's
    "access_id": "x",
    "file": "app.css",
    "job_id": "0",
    "type": "local",
    "provider": "x",
    "piece_cid": UNKNOWN_PIECE,
    "path": "x",
    "rest": "x",
    "data_space_id": "nowhere",
}


@dataclass(frozen=True, kw_only=True)
class Things:
    """What routes are asked about."""

    task: int
    results: str  # folder of the task's result, and its log, as Linkis names them
    log: str
    source: str
    output: str
    preparation: int
    preparation_name: str
    job: str  # of the preparation, not a pack
    file: str  # an id that no file has
    user: str  # who may be changed
    newcomer: str  # a name that nobody has
    token: str  # a number of a token that may go


def request_of(rule: str, things: Things) -> tuple[str, Any, Mapping[str, str]]:
    """Return the path, the body (None: none) and the query of a request for a route."""
    path = rule
    named = (
        ("/api/preparation/<name>", things.preparation_name),
        ("/output/<name>", things.output),
        ("/source/<name>", things.source),
        ("/api/storage/<name>", things.source),
        ("/openapi/<name>", "linkis"),
        ("/users/<name>", things.user),
        ("/api/job/<id>", things.job),
        ("/api/file/<id>", things.file),
        ("/api/piece/<id>", "1"),
        ("<id>", str(things.preparation)),
        ("<ref>", str(things.task)),
        ("<int:number>", things.token),
    )
    for part, value in named:
        path = path.replace(part, part[: part.index("<")] + value)
    for name, value in FIXED.items():
        for form in (f"<{name}>", f"<path:{name}>", f"<rest:{name}>"):
            path = path.replace(form, value)
    body = next((body for end, body in _bodies(things) if rule.endswith(end)), None)
    query = next((query for end, query in _queries(things) if rule.endswith(end)), {})
    return path, body, query


def _bodies(things: Things) -> Iterator[tuple[str, Any]]:
    """What makes a request right, by the end of its rule."""
    yield "/submit", SUBMIT
    yield "/execute", SUBMIT
    yield "/killJobs", {"idList": [str(things.task)], "taskIDList": [things.task]}
    yield "/priority", {"priority": 1}
    yield "/actions", {"action": "kill", "ids": [things.task]}
    yield "/user/login", {"userName": "", "password": ""}
    yield "/users", {"name": things.newcomer}
    yield "/tokens", {"user": "bob"}
    yield "/keys", {"user": "bob"}
    yield "/users/<name>", {"admin": False}


def _queries(things: Things) -> Iterator[tuple[str, Mapping[str, str]]]:
    yield "/list-taskids", {"taskID": str(things.task)}
    yield "/getDirFileTrees", {"path": things.results}
    yield "/openFile", {"path": things.log}
    yield "/openLog", {"path": things.log}
    yield "/resultsetToExcel", {"path": f"{things.results}/_0.dolphin"}


def differences(found: Mapping[str, Any], declared: Mapping[str, Any]) -> list[str]:
    """Return every way in which what the roles got differs from the table; routes without a row come first."""
    unknown = [f"no row for {rule}" for rule in sorted(set(found) - set(declared))]
    gone = [f"no route for {rule}" for rule in sorted(set(declared) - set(found))]
    wrong = [
        f"{method} {rule}: {found[rule].get(method)}, wanted {declared[rule].get(method)}"
        for rule in found
        if rule in declared
        for method in sorted(set(found[rule]) | set(declared[rule]))
        if found[rule].get(method) != declared[rule].get(method)
    ]
    return [*unknown, *gone, *wrong]
