"""The load: users who submit, each through the door that the task is for, and one who looks at everything meanwhile."""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from factories import LINKIS
from kept import standing
from prove._doors import TABLE

from soak.doors import ANN, USERS, Doors, Line, NoAnswer
from soak.journal import Journal
from soak.work import Wish, Work

MOST_WAITING = 300  # then the users hold back
FULL = "the queue is full"
_BY_CLI = 0.012  # of the tasks that are for Linkis: a process for each


class Office:
    """Hands out what is to be submitted until there is enough."""

    def __init__(self, work: Work, most: int) -> None:
        self._work, self._left = work, most
        self.handed_out = 0
        self._lock = threading.Lock()
        self.enough = threading.Event()
        self.waiting = 0  # in the service's queue, as last seen

    def next(self) -> Wish | None:
        with self._lock:
            if self._left <= 0 or self.enough.is_set():
                self.enough.set()
                return None
            self._left -= 1
            self.handed_out += 1
            return self._work.next()


class User(threading.Thread):
    """Submits one task after the other, and repeats (with the same key) until there is an answer."""

    def __init__(self, name: str, doors: Doors, office: Office, journal: Journal, chance: random.Random) -> None:
        super().__init__(name=name, daemon=True)
        self._user, self._doors, self._office, self._journal, self._chance = name, doors, office, journal, chance
        self._line = doors.line(name)
        self._hers = doors.line(ANN)  # whose the storages are

    def run(self) -> None:
        while (wish := self._office.next()) is not None:
            while self._office.waiting > MOST_WAITING and not self._office.enough.wait(0.2):
                pass
            try:
                if wish.executor == "scan":
                    self._make_folder(Path(wish.params["output"]))
                if wish.kind == "prepare by its jobs":
                    self._prepare(wish)
                elif wish.executor in ("echo", "sleep") and self._chance.random() < _BY_CLI:
                    self._by_command(wish)
                else:
                    self._submit(wish)
            except Exception as error:
                self._journal.fault(f"a submission was answered unexpectedly: {type(error).__name__}: {error}")
        self._line.close()
        self._hers.close()

    def _make_folder(self, path: Path) -> None:
        while True:
            try:
                path.mkdir(exist_ok=True)
                return
            except OSError:  # the disk is full
                self._office.enough.wait(0.2)

    def _patiently(self, ask: Any) -> Any:
        """Ask until the service is there."""
        while True:
            try:
                return ask()
            except NoAnswer:
                self._journal.counts["calls without an answer"] += 1
                self._office.enough.wait(0.05)

    def _submit(self, wish: Wish) -> None:
        user, line = (ANN, self._hers) if wish.executor == "transfer" else (self._user, self._line)
        labels = {"engineType": wish.executor, "userCreator": f"{user}-SOAK{wish.number % 3}", **wish.labels}
        code = json.dumps(dict(wish.params))
        body = {"executionContent": {"code": code, "runType": wish.executor}, "labels": labels}
        key = {"Idempotency-Key": f"soak-{wish.number}"}
        while True:
            status, envelope = self._patiently(lambda: line.request("POST", f"{LINKIS}/entrance/submit", body, key))
            if envelope["status"] == 0:
                self._journal.given(int(envelope["data"]["taskID"]), "linkis", wish, envelope["data"]["jobId"])
                return
            said = envelope["message"]
            self._journal.say("refused", number=wish.number, message=said[:200])
            if status < 500 and FULL not in said:  # else of the moment: going down, or the disk is full
                self._journal.fault(f"submission {wish.number} ({wish.kind}) was refused: {said[:300]}")
                return
            self._office.enough.wait(0.3)

    def _by_command(self, wish: Wish) -> None:
        told = [f"{key}={value}" for key, value in wish.labels.items()]
        try:
            done = self._doors.cli("submit", "--executor", wish.executor, "--params", json.dumps(dict(wish.params)))
        except NoAnswer:
            self._journal.lost_answer()
            return
        if done.returncode == 0:
            self._journal.given(int(done.stdout.split()[0]), "cli", wish)
        else:  # what a command cannot say for sure it says in words
            self._journal.lost_answer()
            self._journal.say("refused", number=wish.number, message=done.stderr[-200:], labels=told)

    def _prepare(self, wish: Wish) -> None:
        """Storages, a preparation and the start of its scan, through Singularity's API."""
        params: Mapping[str, Any] = wish.params
        name, out = str(params["name"]), str(params["output"])
        steps: list[tuple[str, Any]] = [
            ("/storage/local", {"name": f"{name}-in", "path": params["path"]}),
            ("/storage/local", {"name": f"{name}-out", "path": out}),
            (
                "/preparation",
                {
                    "name": name,
                    "sourceStorages": [f"{name}-in"],
                    "outputStorages": [f"{name}-out"],
                    "maxSize": params["maxSize"],
                },
            ),
            (f"/preparation/{name}/source/{name}-in/start-scan", None),
        ]
        for path, body in steps:
            unsure = False  # whether an earlier try may have been carried out
            while True:
                try:
                    answer = self._doors.singularity("POST", path, body)
                except NoAnswer:
                    self._journal.counts["calls without an answer"] += 1
                    unsure = True
                    self._office.enough.wait(0.05)
                    continue
                if answer.status < 300 or (unsure and answer.status < 500):
                    break
                if answer.status < 500:
                    self._journal.fault(f"Singularity's {path} was answered {answer.status} {answer.text[:200]}")
                    return
                self._office.enough.wait(0.3)
        if answer.status < 300:
            self._journal.given(int(answer.json()["taskId"]), "singularity", wish)
        else:
            self._journal.say("prepared", number=wish.number, name=name)


class Observer(threading.Thread):
    """Looks at lists and tasks through every API; what they say of one task at one time must agree."""

    def __init__(self, doors: Doors, office: Office, journal: Journal, chance: random.Random, end: threading.Event) -> None:
        super().__init__(name="observer", daemon=True)
        self._doors, self._office, self._journal, self._chance, self._end = doors, office, journal, chance, end
        self._line = doors.line(ANN)
        self.compared = 0

    def run(self) -> None:
        looks = (self._queue, self._one, self._one, self._one, self._lists)
        turn = 0
        while not self._end.wait(0.15):
            turn += 1
            try:
                self._queue() if turn % 3 == 0 else self._chance.choice(looks)()
            except NoAnswer:
                self._journal.counts["calls without an answer"] += 1
            except AssertionError as error:
                self._journal.fault(f"a look was answered unexpectedly: {error}")
            except Exception as error:
                self._journal.fault(f"a look failed: {type(error).__name__}: {error}")
        self._line.close()

    def _queue(self) -> None:
        self._office.waiting = int(self._line.data("GET", "/service/queue")["waiting"])

    def _lists(self) -> None:
        status, _ = self._line.request("GET", "/api/rest_j/v1/jobhistory/list?pageSize=50&isAdminView=true")
        answers = {
            "Linkis' list": status,
            "BlackPearl's list": self._doors.pearl("GET", "active_job", page_length="100").status,
            "SenseCore's list": self._doors.sensecore({"page_size": 50}).status,
            "Singularity's list": self._doors.singularity("GET", "/preparation").status,
        }
        wrong = {name: status for name, status in answers.items() if status != 200}
        assert not wrong, wrong

    def _one(self) -> None:
        given = self._journal.recent(200)
        if given:
            task = self._chance.choice(given).task
            wrong = differences(self._doors, self._line, task)
            if wrong is not None:
                self.compared += 1
                if wrong:
                    self._journal.fault(f"task {task}: {wrong}")


def differences(doors: Doors, line: Line, task: int) -> str | None:
    """Return where Linkis and BlackPearl do not show what the table says; None when the task changed meanwhile."""
    before = standing(line.data, task)
    status = line.data("GET", f"/entrance/{task}/status")
    shown = doors.pearl("GET", f"job/{task}")
    assert shown.status == 200, f"BlackPearl's job/{task}: {shown.status}"
    if standing(line.data, task) != before:
        return None
    row = TABLE[before[0]]
    flags = frozenset({flag for flag in ("paused", "waitingRetry") if status[flag]})
    wrong = []
    if (status["status"], flags) != (row.linkis, row.flags):
        wrong.append(f"Linkis says {status['status']} {sorted(flags)}")
    if shown.xml.attrib["Status"] != row.blackpearl:
        wrong.append(f"BlackPearl says {shown.xml.attrib['Status']}")
    return f"{before[0]}: {'; '.join(wrong)}" if wrong else ""


def start(doors: Doors, office: Office, journal: Journal, seed: int) -> list[User]:
    """Start the users; some are the same person at two terminals."""
    users = [
        User(name, doors, office, journal, random.Random(seed * 31 + n)) for n, name in enumerate((*USERS, *USERS, ANN))
    ]
    for user in users:
        user.start()
    return users
