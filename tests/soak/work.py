"""What the users submit: kinds of tasks by weight, what each does, and what must become of it."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

WEIGHTS: Mapping[str, float] = {  # of 100 tasks
    "echo": 56,
    "sleep": 16,
    "stubborn": 6,
    "failing": 8,
    "crashing": 6,
    "prepare": 2.5,
    "prepare by its jobs": 1.0,
    "transfer out": 3.0,
    "transfer in": 1.5,
}
LINES = 1000  # of an echo
PATIENT = {"jobRetryCount": "10", "jobRetryTimeout": "1000"}  # random kills and full disks must not use it up
_TREES, _FOLDERS = 10, 6
_KIB = 1 << 10


@dataclass(frozen=True, kw_only=True)
class Wish:
    """One task to submit. ``wanted`` is its end in Linkis' words unless it is killed."""

    number: int
    kind: str
    executor: str
    params: Mapping[str, Any]
    labels: Mapping[str, str] = field(default_factory=dict)
    wanted: str = "Succeed"
    reason: str = ""  # part of what must be told of a failure
    lines: int = 0
    steps: int = 0


@dataclass(frozen=True, kw_only=True)
class Places:
    """Folders that tasks read and write; ``out`` and ``imports`` are on the disk that fills up."""

    trees: Path
    exports: Path
    out: Path
    imports: Path

    def make(self, chance: random.Random) -> None:
        """Make the folders, and what is read from them."""
        for path in (self.trees, self.exports, self.out, self.imports):
            path.mkdir(parents=True, exist_ok=True)
        for n in range(_TREES):
            for name in ("a", "b/c", "b/d", "e/f/g", "h")[: chance.randint(2, 5)]:
                path = self.trees / str(n) / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(chance.randbytes(chance.choice([0, 1, 500, 100 * _KIB, 700 * _KIB, 1100 * _KIB])))
        for n in range(_FOLDERS):
            folder = self.exports / str(n)
            folder.mkdir(exist_ok=True)
            for m in range(chance.randint(1, 4)):
                (folder / f"{m}.bin").write_bytes(chance.randbytes(chance.randint(0, 300 * _KIB)))
        (self.exports / "0" / "large.bin").write_bytes(chance.randbytes(17 << 20))  # in parts


class Work:
    """Draws one wish after the other. Without ``storages`` there are no transfers."""

    def __init__(self, seed: int, places: Places, *, storages: bool, name: str) -> None:
        self._chance, self._places, self._name = random.Random(seed), places, name
        self._weights = {k: w for k, w in WEIGHTS.items() if storages or not k.startswith("transfer")}
        self._number = 0

    def next(self) -> Wish:
        self._number += 1
        kind = self._chance.choices(list(self._weights), list(self._weights.values()))[0]
        return self._make(kind, self._number)

    def _make(self, kind: str, number: int) -> Wish:
        chance = self._chance
        lock = {"lock": f"{self._name}-{number}"}
        match kind:
            case "echo":
                params: dict[str, Any] = {"lines": LINES, "seconds": round(chance.choice([0, 0, 0.3, 1.0]), 2), **lock}
                return Wish(number=number, kind=kind, executor="echo", params=params, labels=PATIENT, lines=LINES)
            case "sleep" | "stubborn":
                steps = chance.randint(1, 20)
                params = {"seconds": round(chance.uniform(0.1, 1.5), 2), "steps": steps, "lines": 5, **lock}
                params |= {"stubborn": True} if kind == "stubborn" else {}
                return Wish(number=number, kind=kind, executor="sleep", params=params, labels=PATIENT, lines=5, steps=steps)
            case "failing":
                text = f"asked to fail, {number}"
                params = {"lines": 20, "fail": text, **lock}
                more: dict[str, Any] = {"labels": PATIENT, "wanted": "Failed", "reason": text, "lines": 20}
                return Wish(number=number, kind=kind, executor="echo", params=params, **more)
            case "crashing":
                params = {"lines": 20, "crash": chance.choice([6, 9, 11]), **lock}
                labels = {"jobRetryCount": str(chance.randint(0, 2)), "jobRetryTimeout": "100"}
                more = {"labels": labels, "wanted": "Failed", "reason": "the process was killed by signal", "lines": 20}
                return Wish(number=number, kind=kind, executor="echo", params=params, **more)
            case "prepare" | "prepare by its jobs":
                return self._preparation(kind, number)
            case _:
                return self._transfer(kind, number)

    def _preparation(self, kind: str, number: int) -> Wish:
        tree, out = self._places.trees / str(self._chance.randrange(_TREES)), self._places.out / f"prep-{number}"
        params = {"path": str(tree), "output": str(out), "name": out.name, "maxSize": "1MB", "follow": ["pack", "daggen"]}
        return Wish(number=number, kind=kind, executor="scan", params=params, labels=PATIENT)

    def _transfer(self, kind: str, number: int) -> Wish:
        path = str(self._chance.randrange(_FOLDERS))
        one, other = ("exports", "bucket") if kind == "transfer out" else ("given", "imports")
        params = {"from": {"storage": one, "path": path}, "to": {"storage": other, "path": f"n{number}"}}
        return Wish(number=number, kind=kind, executor="transfer", params=params, labels=PATIENT)
