"""Who may enter where: every route of the application x {nobody, another user, the owner, an administrator}.

The declared table is ``tests/data/routes.json``. A route that is not in it fails the test, so a new one enters with its row.
What is asked is in ``routes``; ``bin/prove routes`` asks a running service.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from factories import wait_until
from flask import Flask
from routes import ROLES, TABLE, Things, differences, request_of

from common.clock import SystemClock
from common.config import load
from common.db.accounts import Accounts
from common.db.database import short_write
from common.db.migrate import upgrade
from common.db.peek import FILE_NAME
from common.storage.secrets import Secrets
from common.task import State
from entrance.app import create_app
from entrance.core.folder import Folder
from entrance.core.lifecycle import Core, PlainRuntime
from entrance.core.model import Caller, Submission
from entrance.core.preparations import Preparations
from entrance.dialects.linkis import wire
from executors.launchers.base import Attempt, AttemptKey, End, Ending, Sink

SOURCE = Path(__file__).resolve().parent  # any folder with files
PROJECT_ROOT = Path(__file__).resolve().parents[3]


def routes(app: Flask) -> Iterator[tuple[str, str]]:
    """Yield (rule, method) of every route, without HEAD and OPTIONS."""
    for rule in app.url_map.iter_rules():
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
            yield rule.rule, method


class Lasting:
    """A launcher whose attempts last until they are ended."""

    def open(self, sink: Sink) -> None:
        self._sink, self._alive = sink, set[AttemptKey]()

    def reconcile(self) -> None:
        return None

    def start(self, attempt: Attempt) -> None:
        self._alive.add(attempt.key)

    def unable(self, executor: str) -> str:
        return ""

    def ask_stop(self, key: AttemptKey) -> None:
        self.kill([key])

    def kill(self, keys: Sequence[AttemptKey], timeout_seconds: float = 2.0) -> Sequence[AttemptKey]:
        for key in self._alive.intersection(keys):
            self._alive.discard(key)
            self._sink.ended(key, End(ending=Ending.STOPPED))
        return []

    def cores(self, key: AttemptKey, cores: int) -> None:
        return None

    def merged(self, key: AttemptKey, number: int) -> None:
        return None

    def running(self) -> Sequence[AttemptKey]:
        return list(self._alive)

    def close(self, timeout_seconds: float) -> None:
        self.kill(list(self._alive))


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Mapping[str, str]]:
    """A data folder with alice, bob and the administrator admin, and a token of each."""
    folder = tmp_path_factory.mktemp("template")
    upgrade(folder / FILE_NAME)
    tokens = {}
    with short_write(folder / FILE_NAME) as tx:
        accounts = Accounts(tx)
        accounts.allow(str(SOURCE), now=1)
        for name in ("alice", "bob", "admin"):
            accounts.add_user(name, "", admin=name == "admin", now=1)
            tokens[name] = accounts.add_token(name, now=1)[1]
    return folder, tokens


@contextmanager
def running(template: Path, folder: Path) -> Iterator[Core]:
    """A core on a copy of the template, without event loop and without processes."""
    shutil.copytree(template, folder)
    locked = Folder(folder)
    core = Core(
        load(environ={}, overrides={"service.data": str(folder)}),
        locked,
        runtime=PlainRuntime(),
        launcher=Lasting(),
        hooks=Preparations(SystemClock(), Secrets.of_folder(folder)),
        failed=lambda error: None,
    )
    core.start()
    try:
        yield core
    finally:
        core.stop()
        locked.release()


def answers(core: Core, tokens: Mapping[str, str], rule: str, method: str) -> dict[str, int]:
    """Ask for a route in each role, strangers first, and return the HTTP codes."""
    alice = Caller(name="alice")
    task = core.tasks.accept.submit(alice, Submission(executor="sleep", params={}, creator="IDE", door="linkis"))
    wait_until(lambda: core.tasks.look.get(alice, task.id).state is State.RUNNING)
    app, codes = create_app(core), {}
    mine = {"headers": {"Authorization": f"Bearer {tokens['alice']}"}}
    for name in ("src", "out"):
        made = app.test_client().post("/api/storage/local", json={"name": name, "path": str(SOURCE)}, **mine)
        assert made.status_code == 200, made.text
    made = app.test_client().post("/api/preparation", json={"name": "prep", "sourceStorages": ["src"]}, **mine)
    assert made.status_code == 200, made.text
    things = Things(
        task=task.id,
        results=wire.result_folder(task),
        log=wire.log_path(task),
        source="src",
        output="out",
        preparation=1,
        preparation_name="prep",
        job="1",
        file="1",
        user="bob",
        newcomer="dave",
        token="1",
    )
    path, body, query = request_of(rule, things)
    for role, user in ROLES.items():
        headers = {"Authorization": f"Bearer {tokens[user]}"} if user else {}
        response = app.test_client().open(path, method=method, headers=headers, json=body, query_string=query)
        response.close()
        codes[role] = response.status_code
    return codes


@pytest.fixture(scope="module")
def found(
    template: tuple[Path, Mapping[str, str]], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, dict[str, dict[str, int]]]:
    """What each role gets, by rule and method."""
    data, tokens = template
    place = tmp_path_factory.mktemp("routes")
    with running(data, place / "first") as core:
        every = list(routes(create_app(core)))
    table: dict[str, dict[str, dict[str, int]]] = {}
    for number, (rule, method) in enumerate(every):
        with running(data, place / str(number)) as core:
            table.setdefault(rule, {})[method] = answers(core, tokens, rule, method)
    return table


def test_every_route_lets_in_whom_the_table_says_and_nobody_else(found: dict[str, dict[str, dict[str, int]]]) -> None:
    wrong = differences(found, json.loads((PROJECT_ROOT / TABLE).read_text()))
    assert not wrong, "\n".join(wrong)


def test_a_route_that_is_not_in_the_table_is_told() -> None:
    row = {"GET": {"nobody": 200}}
    assert differences({"/new": row}, {}) == ["no row for /new"]
    assert differences({}, {"/old": row}) == ["no route for /old"]
    wrong = differences({"/a": {**row, "POST": {"nobody": 200}}}, {"/a": row})
    assert wrong == ["POST /a: {'nobody': 200}, wanted None"]


@pytest.mark.parametrize("role", ["nobody", "other"])
def test_the_table_itself_lets_no_stranger_near_a_task(role: str) -> None:
    table = json.loads((PROJECT_ROOT / TABLE).read_text())
    for rule, methods in table.items():
        for method, codes in methods.items():
            if "<ref>" in rule:
                assert codes[role] in (401, 403, 404), f"{method} {rule}"
