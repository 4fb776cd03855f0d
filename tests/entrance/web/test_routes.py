"""Who may enter where: every route of the application x {nobody, another user, the owner, an administrator}.

The declared table is ``tests/data/routes.json``: HTTP codes by rule, method and role. A route that is not in it fails the
test, so a new one enters with its row. The routes with ``<ref>`` are asked about a running task of the owner.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_service import FakeCore
from flask import Flask

from entrance.app import create_app
from entrance.core.model import Caller, Submission

TABLE = Path(__file__).resolve().parents[2] / "data" / "routes.json"
ROLES = {"nobody": None, "other": "bob", "owner": "alice", "admin": "admin"}
SUBMIT = {
    "executionContent": {"code": "{}", "runType": "echo"},
    "labels": {"engineType": "echo-1"},
}
BODIES: dict[str, Any] = {  # what makes a request right, by the end of its rule
    "/submit": SUBMIT,
    "/execute": SUBMIT,
    "/killJobs": {"idList": ["1"], "taskIDList": [1]},
    "/priority": {"priority": 1},
    "/actions": {"action": "kill", "ids": [1]},
    "/user/login": {"userName": "", "password": ""},
    "/users": {"name": "dave"},
    "/tokens": {"user": "bob"},
    "/keys": {"user": "bob"},
    "/users/<name>": {"admin": False},
}
VALUES = {"ref": "1", "name": "bob", "number": "1", "access_id": "x"}


def routes(app: Flask) -> Iterator[tuple[str, str]]:
    """Yield (rule, method) of every route, without HEAD and OPTIONS."""
    for rule in app.url_map.iter_rules():
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
            yield rule.rule, method


def answers(core: FakeCore, rule: str, method: str) -> dict[str, int]:
    """Ask for a route in each role, strangers first, and return the HTTP codes."""
    task = core.service.submit(Caller(name="alice"), Submission(executor="echo", params={}, creator="IDE", door="linkis"))
    core.service.run(task)
    path = rule
    for name, value in VALUES.items():
        for form in (f"<{name}>", f"<int:{name}>"):
            path = path.replace(form, "linkis" if rule.startswith("/openapi") else value)
    body = next((b for end, b in BODIES.items() if rule.endswith(end)), None)
    query = {"taskID": "1"} if rule.endswith("list-taskids") else None
    app, codes = create_app(core), {}
    for role, user in ROLES.items():
        headers = {"Authorization": f"Bearer {core.token(user)}"} if user else {}
        response = app.test_client().open(path, method=method, headers=headers, json=body, query_string=query)
        response.close()
        codes[role] = response.status_code
    return codes


def test_every_route_lets_in_whom_the_table_says_and_nobody_else(make_core: Any) -> None:
    declared = json.loads(TABLE.read_text())
    found: dict[str, dict[str, dict[str, int]]] = {}
    for rule, method in routes(create_app(make_core())):
        found.setdefault(rule, {})[method] = answers(make_core(), rule, method)
    unknown = sorted(set(found) - set(declared))
    assert not unknown, f"routes without a row in {TABLE.name}: {unknown}"
    assert not sorted(set(declared) - set(found)), "rows without a route"
    for rule, methods in found.items():
        assert methods == declared[rule], rule


@pytest.mark.parametrize("role", ["nobody", "other"])
def test_the_table_itself_lets_no_stranger_near_a_task(role: str) -> None:
    table = json.loads(TABLE.read_text())
    for rule, methods in table.items():
        for method, codes in methods.items():
            if "<ref>" in rule:
                assert codes[role] in (401, 403, 404), f"{method} {rule}"
