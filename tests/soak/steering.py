"""Steers tasks at random, through every API that has a word for it."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from soak.doors import ANN, Doors, NoAnswer
from soak.journal import Given, Journal

LEVELS = ("BACKGROUND", "LOW", "NORMAL", "HIGH", "URGENT", "CRITICAL")
_RECENT = 400
_KILLED = "Successfully killed the job"  # by killJobs, which answers an ended task with another text
_REST_SECONDS = 0.04
_VERBS = {"pause": 36, "priority": 30, "kill": 5, "rerun": 4, "preparation": 12, "many": 5, "command": 1}


class Steerer(threading.Thread):
    """What is paused is resumed later, by another door perhaps."""

    def __init__(self, doors: Doors, journal: Journal, chance: random.Random, end: threading.Event) -> None:
        super().__init__(name="steerer", daemon=True)
        self._doors, self._journal, self._chance, self._end = doors, journal, chance, end
        self._line = doors.line(ANN)
        self._paused: list[int] = []

    def run(self) -> None:
        acts: dict[str, Callable[[Given], None]] = {
            "pause": self._pause,
            "priority": self._priority,
            "kill": self._kill,
            "rerun": self._rerun,
            "preparation": self._preparation,
            "many": self._many,
            "command": self._command,
        }
        while not self._end.wait(self._chance.expovariate(1 / _REST_SECONDS)):
            given = self._journal.recent(_RECENT)
            if not given:
                continue
            verb = self._chance.choices(list(_VERBS), list(_VERBS.values()))[0]
            try:
                if len(self._paused) > 20:
                    self._resume()
                acts[verb](self._chance.choice(given))
            except NoAnswer:
                self._journal.counts["calls without an answer"] += 1
            except Exception as error:
                self._journal.fault(f"steering ({verb}) was answered unexpectedly: {type(error).__name__}: {error}")
        self._line.close()

    # ---- one task

    def _said(self, action: str, door: str, task: int, answer: Any) -> None:
        self._journal.say(f"{action} by {door}", task=task, answer=answer)

    def _pause(self, given: Given) -> None:
        answer = self._line.call("GET", f"/entrance/{given.task}/pause")
        self._said("pause", "Linkis", given.task, answer["status"])
        if answer["status"] == 0:
            self._paused.append(given.task)

    def _resume(self) -> None:
        task = self._paused.pop(self._chance.randrange(len(self._paused)))
        if self._chance.random() < 0.5:
            answer = self._line.call("GET", f"/entrance/{task}/resume")
        else:
            answer = self._line.call("POST", "/entrance/actions", {"action": "resume", "ids": [task]})
        self._said("resume", "Linkis", task, answer["status"])

    def _priority(self, given: Given) -> None:
        level = self._chance.choice(LEVELS)
        if self._chance.random() < 0.5:
            status = self._line.call("POST", f"/entrance/{given.task}/priority", {"priority": level})["status"]
            self._said("priority", "Linkis", given.task, status)
        else:
            status = self._doors.pearl("PUT", f"active_job/{given.task}", priority=level).status
            self._said("priority", "BlackPearl", given.task, status)

    def _kill(self, given: Given) -> None:
        if given.wish.kind == "prepare by its jobs":
            return  # its tasks are started again: what ends cancelled is told by its jobs, not by this task
        given.kill_tried = True
        task = given.task
        door = self._chance.choice(("Linkis", "killJobs", "actions", "BlackPearl"))
        self._journal.say("kill tried", task=task, door=door)
        match door:
            case "Linkis":
                yes = self._line.call("GET", f"/entrance/{task}/kill")["status"] == 0
            case "killJobs":
                ref = self._line.data("GET", f"/entrance/{task}/status")["execID"]
                body = {"idList": [ref], "taskIDList": [task]}
                answer = self._line.call("POST", f"/entrance/{ref}/killJobs", body)
                yes = any(item["message"] == _KILLED for item in answer["data"].get("messages", ()))
            case "actions":
                answer = self._line.call("POST", "/entrance/actions", {"action": "kill", "ids": [task]})
                yes = answer["status"] == 0 and all(item["status"] == 0 for item in answer["data"]["items"])
            case _:
                yes = self._doors.pearl("DELETE", f"active_job/{task}", force=None).status == 204
        given.killed = given.killed or yes
        self._said("kill", door, task, "yes" if yes else "no")

    def _rerun(self, given: Given) -> None:
        if given.again or given.wish.executor != "echo":
            return  # a lock is for one at a time
        if self._line.data("GET", f"/entrance/{given.task}/status")["status"] not in ("Succeed", "Failed", "Cancelled"):
            return
        given.again = True
        try:
            answer = self._line.call("POST", "/entrance/actions", {"action": "rerun", "ids": [given.task]})
        except NoAnswer:
            self._journal.lost_answer()
            raise
        self._said("rerun", "Linkis", given.task, answer["status"])
        if answer["status"] == 0 and answer["data"]["items"][0]["status"] == 0:
            again = self._journal.given(int(answer["data"]["items"][0]["taskID"]), "rerun", replace(given.wish))
            again.again = True

    # ---- several

    def _preparation(self, _: Given) -> None:
        """Start or pause jobs of a preparation that was made through Singularity's API."""
        made = [x for x in self._journal.recent(4 * _RECENT) if x.wish.kind == "prepare by its jobs"]
        if not made:
            return
        given = self._chance.choice(made)
        name = given.wish.params["name"]
        verb = self._chance.choice(
            ("pause-pack/0", "start-pack/0", "pause-scan", "start-scan", "start-daggen", "pause-daggen")
        )
        answer = self._doors.singularity("POST", f"/preparation/{name}/source/{name}-in/{verb}")
        assert answer.status in (200, 400, 404, 500, 503), f"{verb}: {answer.status} {answer.text}"
        self._said(verb.partition("/")[0], "Singularity", given.task, answer.status)

    def _many(self, _: Given) -> None:
        """Pause, raise and resume twenty at once."""
        tasks = (
            [x.task for x in self._chance.sample(self._journal.recent(_RECENT), 20)] if self._journal.recent(20)[19:] else []
        )
        if not tasks:
            return
        for action, more in (("pause", {}), ("priority", {"priority": "HIGH"}), ("resume", {})):
            answer = self._line.call("POST", "/entrance/actions", {"action": action, "ids": tasks, **more})
            if answer["status"] == 0:
                items = answer["data"]["items"]
                assert sorted(int(item["id"]) for item in items) == sorted(tasks), f"{action} of many: {items}"
            self._journal.say(f"{action} of many", tasks=tasks, answer=answer["status"])

    def _command(self, given: Given) -> None:
        action = self._chance.choice(("pause", "resume", "priority"))
        more = [self._chance.choice(LEVELS)] if action == "priority" else []
        done = self._doors.cli(action, str(given.task), *more)
        self._said(action, "command line", given.task, done.returncode)
        if action == "pause" and done.returncode == 0:
            self._paused.append(given.task)
