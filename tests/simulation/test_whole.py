"""The whole service on fibers, and proof that what its shell must hold to is held."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from simulation.__main__ import WHOLE_SHARE
from simulation.whole import WholeFailed, run_whole, wholes

from entrance.core.dispatch import Dispatcher
from entrance.core.intake import Intake
from entrance.core.janitor import Janitor
from entrance.core.logs import Logs
from entrance.core.scheduler import Scheduler

EVENTS = int(os.environ.get("SIM_EVENTS", "1000000")) // WHOLE_SHARE


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_whole_service_keeps_what_it_promised(sim_seed: str) -> None:
    seen: Counter[str] = Counter()
    for name, events in wholes(sim_seed, EVENTS):
        seen += run_whole(name, events)
    assert all(seen[what] for what in ("crash", "kill -9", "NotStored", "second service", "kill", "pause", "resume"))


def test_the_same_seed_is_the_same_life() -> None:
    first: list[str] = []
    second: list[str] = []
    for trail in (first, second):
        run_whole("again", 1_500, trail.append)
    assert first == second and len(first) > 50


# ---- broken shells: each fault must be found ----------------------------------------------------------------------


def _said_too_early(self: Intake, task_id: int) -> bool:
    return True  # checkpoints are stored, whatever has become of the lines before them


def _sealed_for_ever(self: Logs, task_id: int) -> None:
    return None


def _kills_nobody(self: Dispatcher, done: Any) -> None:
    return None


def _leaks_slots(self: Dispatcher, key: Any) -> None:
    if key.task_id % 5:
        with self._lock:
            self.scheduler.finished(key.task_id)


def _forgets_what_was_picked(self: Scheduler, task_id: int, now: int) -> None:
    self.finished(task_id)


def _leaves_files(self: Janitor, *_: Any) -> None:
    return None


_BROKEN: tuple[tuple[type, str, Callable[..., Any]], ...] = (
    (Intake, "_said", _said_too_early),
    (Logs, "unseal", _sealed_for_ever),
    (Dispatcher, "enforce", _kills_nobody),
    (Dispatcher, "gone", _leaks_slots),
    (Scheduler, "put_back", _forgets_what_was_picked),
    (Janitor, "_remove", _leaves_files),
)


@pytest.mark.parametrize(("owner", "name", "broken"), _BROKEN, ids=[f"{o.__name__}.{n}" for o, n, _ in _BROKEN])
def test_a_broken_shell_is_found(
    owner: type, name: str, broken: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(owner, name, broken)
    with pytest.raises(WholeFailed):
        for number in range(40):
            run_whole(f"broken.{number}", 2_000)
