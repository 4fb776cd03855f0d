"""The steps of a scenario, printed with all answers; what several doors can do goes through one that is drawn."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from browser.stage import Tab
from factories import Service, wait_until

from prove import Miss
from prove._doors import Doors, Seen

BADGES = {  # of the console's page of tasks, where it is not "Paused"
    "created": "Created",
    "queued": "Queued",
    "queued again": "Running",
    "running": "Running",
    "waiting to retry": "Waiting to retry",
    "succeeded": "Succeeded",
    "failed": "Failed",
    "cancelled": "Cancelled",
    "timed out": "Timed out",
}


@dataclass
class Day:
    """What the parts of the scenario share."""

    service: Service
    doors: Doors
    chance: random.Random
    tab: Tab | None  # the console's page of tasks, open all day
    steps: int = 0

    def step(self, told: str, *looked: Seen) -> None:
        """Print a step with the four answers about each task that it is about; the console's page must show the same."""
        self.steps += 1
        print(f"  {self.steps}. {told}", file=sys.stderr)
        for seen in looked:
            print(f"     {seen} | console {self._shown(seen)}", file=sys.stderr, flush=True)

    def _shown(self, seen: Seen) -> str:
        if self.tab is None:
            return "not looked at: no chromium"
        wanted = BADGES.get(seen.state, "Paused")
        row = self.tab.page.locator("table.tasks tr", has=self.tab.page.locator(f'a.id:text-is("{seen.task}")'))
        badge = row.locator(".badge")
        shown = ""

        def right() -> bool:
            nonlocal shown
            shown = badge.inner_text() if badge.count() else "no such row"
            return shown == wanted

        try:
            wait_until(right, 10)
        except AssertionError as error:
            raise Miss(f"the console shows task {seen.task} as {shown!r}, not {wanted!r}") from error
        return shown

    # ---- what can be done through more than one door: the seed says through which

    def kill(self, task: int) -> str:
        """Cancel a task; return the door."""
        doors = self.doors
        uuid = doors.pearl.get(f"/_rest_/job/{task}").xml.attrib["JobId"]
        ways: dict[str, Callable[[], Any]] = {
            "Linkis' kill": lambda: doors.linkis("GET", f"/entrance/{task}/kill"),
            "Linkis' killJobs": lambda: doors.linkis(
                "POST", f"/entrance/{self._exec(task)}/killJobs", {"idList": [self._exec(task)], "taskIDList": [task]}
            ),
            "BlackPearl's cancel": lambda: expect(doors.pearl.delete(f"/_rest_/active_job/{uuid}", force=None).status, 204),
            "BlackPearl's older cancel": lambda: expect(doors.pearl.delete(f"/_rest_/job/{uuid}", force=None).status, 204),
            "the console": lambda: self._act("kill", task),
        }
        return self._through(ways, task)

    def pause(self, task: int) -> str:
        ways = {
            "Linkis": lambda: self.doors.linkis("GET", f"/entrance/{task}/pause"),
            "the console": lambda: self._act("pause", task),
        }
        return self._through(ways, task)

    def resume(self, task: int) -> str:
        ways = {
            "Linkis": lambda: self.doors.linkis("GET", f"/entrance/{task}/resume"),
            "the console": lambda: self._act("resume", task),
        }
        return self._through(ways, task)

    def _through(self, ways: dict[str, Callable[[], Any]], task: int) -> str:
        door = self.chance.choice(list(ways))
        ways[door]()
        return door

    def _exec(self, task: int) -> str:
        return str(self.doors.linkis("GET", f"/entrance/{task}/status")["execID"])

    def _act(self, action: str, task: int) -> None:
        """Press a button of the console's page; without a browser, send what it sends."""
        if self.tab is None:
            (item,) = self.doors.linkis("POST", "/entrance/actions", {"action": action, "ids": [task]})["items"]
            expect(item["status"], 0)
            return
        page = self.tab.page
        page.get_by_role("button", name=f"{action.capitalize()} task {task}", exact=True).click()
        if action == "kill":
            dialog = page.get_by_role("dialog")
            dialog.get_by_role("button", name="Kill (1)").click()
            dialog.get_by_text("1 done").wait_for()
            dialog.get_by_role("button", name="Close").last.click()

    def priority(self, task: int, level: str) -> None:
        """Change a priority through BlackPearl."""
        uuid = self.doors.pearl.get(f"/_rest_/job/{task}").xml.attrib["JobId"]
        answer = self.doors.pearl.put(f"/_rest_/active_job/{uuid}", priority=level)
        expect(answer.status, 200)
        expect(answer.xml.attrib["Priority"], level)


def expect(told: Any, wanted: Any) -> None:
    if told != wanted:
        raise Miss(f"the answer was {told}, not {wanted}")
