"""Group ``doors``: who may enter where, for every route of a running service."""

from __future__ import annotations

import http.client
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from factories import LINKIS, Http, Service, wait_until
from routes import ROLES, TABLE, Things, differences, request_of

from prove import Environment, Miss, claim

EVERY_ROUTE = """
import json
import sys
sys.path.insert(0, sys.argv[1])
from types import SimpleNamespace
from common.config import load
from entrance.app import create_app
rules = create_app(SimpleNamespace(settings=load(environ={}, overrides={}))).url_map.iter_rules()
found = {}
for rule in rules:
    found.setdefault(rule.rule, set()).update((rule.methods or set()) - {"HEAD", "OPTIONS"})
print(json.dumps({rule: sorted(methods) for rule, methods in found.items()}))
"""
STREAM = f"{LINKIS}/events"  # never ends by itself
OFFLINE = "/markoffline"


@claim(
    group="doors",
    name="routes",
    wanted="every route that the clone's application has, in each of four roles, answers as tests/data/routes.json says",
)
def routes(env: Environment, seed: int) -> str:
    """One service; for each route new things of the owner's. A route without a row is a miss."""
    service = env.service(SCHEDULER__SLOTS="1", LIMITS__LOGIN_TRIES="1000", SCHEDULER__RUNNING_PER_GROUP="1000").start()
    folder = env.scratch / "folder"
    folder.mkdir()
    (folder / "a.txt").write_text("x")
    service.cli("storage", "allow", str(folder))
    every = json.loads(env.run(env.root / ".venv" / "bin" / "python", "-P", "-c", EVERY_ROUTE, env.root).stdout)
    declared = json.loads((env.root / TABLE).read_text())
    asker = Asker(service, folder)
    found: dict[str, dict[str, dict[str, int]]] = {}
    for rule, methods in every.items():
        for method in methods:
            found.setdefault(rule, {})[method] = asker.ask(rule, method)
    wrong = differences(found, declared)
    if wrong:
        raise Miss(f"{len(wrong)} differences: {'; '.join(wrong[:5])}")
    _check_the_check(found, declared)
    asked = [codes for methods in found.values() for codes in methods.values()]
    return f"{len(found)} routes, {len(asked)} with their methods; " + "; ".join(_figure(role, asked) for role in ROLES)


def _check_the_check(found: Mapping[str, Any], declared: Mapping[str, Any]) -> None:
    """Each route would be missed if its row were not there."""
    unseen = [rule for rule in declared if f"no row for {rule}" not in differences(found, _without(declared, rule))]
    if unseen:
        raise Miss(f"routes without a row go unseen: {unseen[:3]}")


def _without(table: Mapping[str, Any], rule: str) -> dict[str, Any]:
    return {other: row for other, row in table.items() if other != rule}


def _figure(role: str, asked: list[dict[str, int]]) -> str:
    kinds = {401: "refused", 403: "refused", 404: "not there"}
    counts = Counter(kinds.get(codes[role], "let in") for codes in asked)
    return f"{role} {', '.join(f'{n} {kind}' for kind, n in sorted(counts.items()))}"


@dataclass
class Asker:
    """Asks routes of one service in every role. A task of the administrator's takes a part of the one slot, so that small
    tasks run and jobs of preparations, which want a whole one, wait."""

    service: Service
    folder: Path
    tokens: dict[str, str] = field(default_factory=dict)
    numbers: count[int] = field(default_factory=count)

    def __post_init__(self) -> None:
        self.admin = self.service.http
        self.alice, self.bob = self.service.user("alice"), self.service.user("bob")
        self.tokens = {"bob": self.bob.token or "", "alice": self.alice.token or "", "admin": self.admin.token or ""}
        self._running(self.service.submit("sleep", {"seconds": 3600}))

    def ask(self, rule: str, method: str) -> dict[str, int]:
        """Return the HTTP codes by role."""
        things = self._things(rule)
        path, body, query = request_of(rule, things)
        codes = {role: self._code(method, path, body, query, self.tokens.get(user or "")) for role, user in ROLES.items()}
        self._tidy(rule)
        return codes

    def _things(self, rule: str) -> Things:
        number = next(self.numbers)
        name = f"thing-{number}"
        task = self.service.submit("sleep", {"seconds": 3600}, self.alice)
        self._running(task)
        row = self.alice.get(f"{LINKIS}/jobhistory/{task}/get").data["task"]
        for storage in (f"{name}-in", f"{name}-out"):
            self._ok(self.alice.post("/api/storage/local", {"name": storage, "path": str(self.folder)}))
        made = self._ok(self.alice.post("/api/preparation", {"name": name, "sourceStorages": [f"{name}-in"]}))
        job = ""
        if rule.startswith("/api/job/"):
            job = str(self._ok(self.alice.post(f"/api/preparation/{name}/source/{name}-in/start-scan"))["id"])
        if rule.endswith("/users/<name>"):
            self._ok(self.admin.post(f"{LINKIS}/users", {"name": f"user-{number}"}))
        token = self.admin.post(f"{LINKIS}/tokens", {"user": "bob"}).data if "<int:number>" in rule else {}
        return Things(
            task=task,
            results=row["resultLocation"],
            log=row["logPath"],
            source=f"{name}-in",
            output=f"{name}-out",
            preparation=made["id"],
            preparation_name=name,
            job=job,
            file="999999",
            user=f"user-{number}",
            newcomer=f"newcomer-{number}",
            token=str(token.get("id", "")),
        )

    def _code(self, method: str, path: str, body: Any, query: Mapping[str, str], token: str | None) -> int:
        if path != STREAM:
            return Http(self.service.url, token).request(method, path, body, query=query).status
        parts = urlsplit(self.service.url)
        assert parts.hostname is not None
        connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=30)
        try:
            headers = {"Authorization": f"Bearer {token}"} if token else {}
            connection.request(method, f"{path}?{urlencode(query)}", headers=headers)
            return connection.getresponse().status
        finally:
            connection.close()

    def _tidy(self, rule: str) -> None:
        """Undo what would stand in the way of the next route."""
        if rule.endswith(OFFLINE):
            self._ok(self.admin.get(f"{LINKIS}/entrance/operation/label/backonline"))
        for which in ({"user": "alice"}, {"user": "admin", "executor": "scan"}, {"user": "admin", "executor": "daggen"}):
            body = {"action": "kill", "filter": {**which, "isAdminView": True, "status": "Inited,Scheduled,Running"}}
            self._ok(self.admin.post(f"{LINKIS}/entrance/actions", body))

    def _running(self, task: int) -> None:
        wait_until(lambda: self.service.state(task) == "Running", 30, what=f"task {task} runs")

    @staticmethod
    def _ok(answer: Any) -> Any:
        if answer.status != 200:
            raise Miss(f"{answer.status} {answer.text}")
        return answer.json()
