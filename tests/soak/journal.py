"""What was acknowledged and what was done, as it happened: the judge's ground, and the story of a run that went wrong."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from soak.work import Wish


@dataclass(kw_only=True)
class Given:
    """A task that the service has acknowledged."""

    task: int
    door: str
    wish: Wish
    uuid: str = ""
    kill_tried: bool = False  # whether it was heard or not
    killed: bool = False  # the service has said yes
    again: bool = False  # it was asked to run again

    @property
    def allowed(self) -> set[str]:
        """The ends, in Linkis' words, that it may have."""
        if self.killed:
            return {"Cancelled"}
        return {self.wish.wanted, *({"Cancelled"} if self.kill_tried else ())}


class Journal:
    """Kept by many threads. Every entry is a line of JSON in ``path``, with the seconds since the begin."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.tasks: dict[int, Given] = {}
        self.counts: Counter[str] = Counter()
        self.unanswered = 0  # calls that may have made a task nobody knows of
        self.faults: list[str] = []  # what was seen to be wrong on the way
        self._begin = time.monotonic()
        self._lock = threading.Lock()
        self._file = path.open("a", encoding="utf-8")

    def say(self, what: str, **facts: Any) -> None:
        """Write an entry, and count it by its first words."""
        line = json.dumps({"t": round(time.monotonic() - self._begin, 3), "what": what, **facts})
        with self._lock:
            self.counts[what] += 1
            self._file.write(line + "\n")
            self._file.flush()

    def given(self, task: int, door: str, wish: Wish, uuid: str = "") -> Given:
        """A task was acknowledged."""
        made = Given(task=task, door=door, wish=wish, uuid=uuid)
        with self._lock:
            if task in self.tasks:
                self.faults.append(f"task {task} was given twice, as {self.tasks[task].wish.kind} and as {wish.kind}")
            self.tasks[task] = made
        self.say("accepted", task=task, door=door, kind=wish.kind, number=wish.number)
        return made

    def lost_answer(self) -> None:
        with self._lock:
            self.unanswered += 1

    def fault(self, text: str) -> None:
        """Something was wrong while it went on."""
        with self._lock:
            self.faults.append(text)
        self.say("fault", text=text)

    def recent(self, many: int) -> list[Given]:
        """Return the tasks acknowledged last."""
        with self._lock:
            return [self.tasks[task] for task in list(self.tasks)[-many:]]

    def story(self, task: int, most: int = 12) -> list[str]:
        """Return the last entries about a task."""
        mark = f'"task": {task},'
        with self.path.open(encoding="utf-8") as file:
            return [line.strip() for line in file if mark in line or f'"task": {task}}}' in line][-most:]

    def close(self) -> None:
        self._file.close()
