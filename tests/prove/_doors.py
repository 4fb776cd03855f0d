"""One task seen through all four APIs at once, held against the table of what each has to show.

``Doors`` asks each API in its own way and as its own clients do: Linkis with a session, Singularity without any credentials
over loopback, BlackPearl with signed requests, SenseCore with its HMAC; the console's page shows what Linkis' list says.
``look`` takes the four answers while the task's state stands still, and raises Miss where one differs from ``TABLE``.
"""

from __future__ import annotations

import base64
import hmac
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import ds3
from browser.stage import session_of
from factories import LINKIS, Http, Service, wait_until
from kept import standing

from prove import Miss

SPACE = "6794a734-54e7-11ed-b7c4-76337673fb0d"  # that of SenseCore's published request
SETTINGS = {"DATASPACES__DEFAULT": SPACE, "AUTH__TRUST_LOOPBACK": "ann", "SCHEDULER__SLOTS": "1"}
JOBS = ("scan", "pack", "daggen")  # executors whose tasks Singularity sees
OPEN = "IN_PROGRESS"
LONG = {"seconds": 3600, "steps": 3600}  # of a sleep that does not end by itself


@dataclass(frozen=True)
class Row:
    """One line of chapter 3 of the table of states: the words of each API. ``flags`` are Linkis' extra fields."""

    linkis: str
    singularity: str
    blackpearl: str
    sensecore: int
    flags: frozenset[str] = frozenset()


_PAUSED, _RETRIES = frozenset({"paused"}), frozenset({"waitingRetry"})
TABLE: Mapping[str, Row] = {
    "created": Row("Inited", "created", OPEN, 0),
    "queued": Row("Scheduled", "ready", OPEN, 0),
    "queued again": Row("Running", "ready", OPEN, 1),
    "running": Row("Running", "processing", OPEN, 1),
    "running, to pause": Row("Running", "paused", OPEN, 1, _PAUSED),
    "paused before it was queued": Row("Inited", "paused", OPEN, 0, _PAUSED),
    "paused before it ran": Row("Scheduled", "paused", OPEN, 0, _PAUSED),
    "paused": Row("Running", "paused", OPEN, 1, _PAUSED),
    "waiting to retry": Row("Running", "ready", OPEN, 1, _RETRIES),
    "succeeded": Row("Succeed", "complete", "COMPLETED", 2),
    "failed": Row("Failed", "error", "CANCELED", 3),
    "cancelled": Row("Cancelled", "error", "CANCELED", 4),
    "timed out": Row("Timeout", "error", "CANCELED", 3),
}


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What the four APIs say of a task; None where its kind is not seen through one."""

    task: int
    executor: str
    state: str  # a key of TABLE
    linkis: str
    flags: frozenset[str]
    singularity: str | None
    blackpearl: str
    priority: str
    sensecore: int | None
    texts: Mapping[str, str]  # the reason, in each API's own place for it

    def __str__(self) -> str:
        flagged = "".join(f", {flag}" for flag in sorted(self.flags))
        job = f"no job: {self.executor} is not of Singularity" if self.singularity is None else self.singularity
        listed = f"not listed: {self.executor} is no transfer" if self.sensecore is None else str(self.sensecore)
        return (
            f"task {self.task} {self.executor} {self.state}: Linkis {self.linkis}{flagged} | Singularity {job} | "
            f"BlackPearl {self.blackpearl} {self.priority} | SenseCore {listed}"
        )


@dataclass
class Doors:
    """The clients of a user ``ann``. ``seen`` collects which rows of the table each API has shown."""

    service: Service
    style: str  # of the SDK that BlackPearl's requests look like
    seen: dict[str, set[str]] = field(default_factory=dict)
    answers: int = 0

    def __post_init__(self) -> None:
        self.service.user("ann")
        access_id, secret = self.service.cli("key", "create", "ann").stdout.split()
        self.url = self.service.url
        self._linkis = Http(self.url)
        self.session = session_of(self.url, "ann")
        self.pearl = ds3.Client(self.url, access_id, secret, ds3.STYLES[self.style])

    # ---- Linkis

    def linkis(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        return self._linkis.request(method, f"{LINKIS}{path}", body, headers={"Cookie": self.session}).data

    def submit(self, executor: str, params: Mapping[str, Any], **labels: str) -> int:
        """Submit through Linkis; return the task's number."""
        body = {
            "executionContent": {"code": json.dumps(dict(params)), "runType": executor},
            "labels": {"engineType": executor, "userCreator": "ann-DOORS", **labels},
        }
        return int(self.linkis("POST", "/entrance/submit", body)["taskID"])

    # ---- Singularity

    def singularity(self, method: str, path: str, body: Any = None) -> Any:
        """Ask as its clients do: no credentials, an answer without envelope."""
        answer = Http(self.url).request(method, f"/api{path}", body)
        if answer.status >= 300:
            raise Miss(f"Singularity's {method} {path}: {answer.status} {answer.text}")
        return json.loads(answer.body) if answer.body else None

    def _job(self, task: int) -> dict[str, Any] | None:
        """The job whose latest task it is."""
        for preparation in self.singularity("GET", "/preparation"):
            for source in self.singularity("GET", f"/preparation/{preparation['id']}"):
                for job in source["jobs"]:
                    if job.get("taskId") == task:
                        found: dict[str, Any] = job
                        return found
        return None

    # ---- SenseCore

    def sensecore(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Send its list request, signed as its gateway's clients do."""
        date = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime())
        digest = hmac.new(self.pearl.secret.encode(), f"x-date: {date}".encode(), "sha256").digest()
        signature = base64.b64encode(digest).decode()
        signed = (
            f'hmac accesskey="{self.pearl.access_id}", algorithm="hmac-sha256", headers="x-date", signature="{signature}"'
        )
        answer = Http(self.url).request(
            "POST",
            f"/aids/aidmp/data/v2/dataSpaces/{SPACE}/task:list",
            body,
            headers={"X-Date": date, "Authorization": signed},
        )
        if answer.status != 200:
            raise Miss(f"SenseCore's list: {answer.status} {answer.text}")
        found: dict[str, Any] = answer.json()
        return found

    # ---- all at once

    def look(self, task: int, *states: str, timeout_seconds: float = 30.0) -> Seen:
        """Wait until the task is in one of the states, take all answers, and compare them. Raises Miss."""
        last = ""

        def once() -> Seen | None:
            nonlocal last
            before = standing(self.linkis, task)
            last = before[0]
            if states and last not in states:
                return None
            seen = self._ask(task, last)
            return seen if standing(self.linkis, task) == before else None

        try:
            seen = wait_until(once, timeout_seconds)
        except AssertionError as error:
            raise Miss(f"task {task} is {last}, not {' or '.join(states)}, after {timeout_seconds:.0f} s") from error
        self._compare(seen)
        return seen

    def _ask(self, task: int, state: str) -> Seen:
        row = self.linkis("GET", f"/jobhistory/{task}/get")["task"]
        status = self.linkis("GET", f"/entrance/{task}/status")
        job = self._job(task)
        whole = self.pearl.get(f"/_rest_/job/{task}")
        uuid = whole.xml.attrib["JobId"]
        active = self.pearl.get(f"/_rest_/active_job/{uuid}")
        canceled = self.pearl.get(f"/_rest_/canceled_job/{uuid}")
        listed = [entry for entry in self._listed() if entry["id"] == uuid]
        if status["status"] != row["status"]:
            raise Miss(f"task {task}: Linkis says {status['status']} and {row['status']}")
        if (active.status == 200) != (whole.xml.attrib["Status"] == OPEN):
            raise Miss(f"task {task}: BlackPearl's active_job answers {active.status} for {whole.xml.attrib['Status']}")
        texts = {"Linkis": row["errDesc"] or ""}
        if job is not None:
            texts["Singularity"] = job["errorMessage"]
        if canceled.status == 200:
            texts["BlackPearl"] = canceled.xml.findtext("ErrorMessage") or ""
            texts["due to timeout"] = canceled.xml.findtext("CanceledDueToTimeout") or ""
        if listed:
            texts["SenseCore"] = listed[0]["err_msg"]
        self.answers += 4
        return Seen(
            task=task,
            executor=row["engineType"],
            state=state,
            linkis=row["status"],
            flags=frozenset(flag for flag in ("paused", "waitingRetry") if status[flag]),
            singularity=None if job is None else job["state"],
            blackpearl=whole.xml.attrib["Status"],
            priority=whole.xml.attrib["Priority"],
            sensecore=listed[0]["task_state"] if listed else None,
            texts=texts,
        )

    def _listed(self) -> list[dict[str, Any]]:
        tasks: list[dict[str, Any]] = self.sensecore({"page_size": 1000})["tasks"]
        return tasks

    def _compare(self, seen: Seen) -> None:
        row = TABLE[seen.state]
        wanted: dict[str, Any] = {
            "Linkis": (row.linkis, row.flags),
            "Singularity": row.singularity if seen.executor in JOBS else None,
            "BlackPearl": row.blackpearl,
            "SenseCore": row.sensecore if seen.executor == "transfer" else None,
        }
        told = {
            "Linkis": (seen.linkis, seen.flags),
            "Singularity": seen.singularity,
            "BlackPearl": seen.blackpearl,
            "SenseCore": seen.sensecore,
        }
        wrong = [f"{door} says {told[door]}, not {wanted[door]}" for door in wanted if told[door] != wanted[door]]
        wrong += _wrong_texts(seen)
        if wrong:
            raise Miss(f"task {seen.task}, {seen.executor}, {seen.state}: {'; '.join(wrong)}")
        for door in [door for door in told if told[door] is not None]:
            self.seen.setdefault(door, set()).add(seen.state)


def _wrong_texts(seen: Seen) -> list[str]:
    """Where an API does not give the reason that chapter 3 asks of it, and the others give."""
    texts = dict(seen.texts)
    due = texts.pop("due to timeout", None)
    wrong = [] if due in (None, str(seen.state == "timed out").lower()) else [f"CanceledDueToTimeout is {due}"]
    said = " ".join(texts.pop("Linkis").split())
    for door, text in texts.items():
        wants = {
            "failed": said,
            "timed out": said,
            "cancelled": "killed by ann" if door == "Singularity" else "",
            "waiting to retry": None,
        }.get(seen.state, "")
        if wants is not None and " ".join(text.split()) != wants:
            wrong.append(f"{door} gives {text!r} as the reason, not {wants!r}")
    if seen.state == "timed out" and not said.startswith("timed out after "):
        wrong.append(f"the reason is {said!r}")
    return wrong
