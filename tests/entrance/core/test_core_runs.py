"""The core with real executors in threads of this process: the launcher for unit tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from factories import wait_until

from common.config import load
from common.task import State
from entrance.core.folder import Folder
from entrance.core.hooks import NoHooks
from entrance.core.lifecycle import Core, PlainRuntime
from entrance.core.model import Caller, Submission
from executors.launchers.inline import InlineLauncher

ANN = Caller(name="ann")


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[], Core]]:
    made: list[tuple[Core, Folder]] = []
    failures: list[BaseException] = []

    def begin() -> Core:
        folder = Folder(tmp_path / "data")
        core = Core(
            load(environ={}, overrides={"scheduler.slots": 4, "retry.ladder_seconds": (0,)}),
            folder,
            runtime=PlainRuntime(),
            launcher=InlineLauncher(),
            hooks=NoHooks(),
            failed=failures.append,
        )
        core.start()
        made.append((core, folder))
        return core

    def end() -> None:
        while made:
            core, folder = made.pop()
            core.stop()
            folder.release()

    begin.end = end  # type: ignore[attr-defined]
    yield begin
    end()
    assert failures == []


def submit(core: Core, executor: str = "echo", **params: Any) -> int:
    wanted = Submission(executor=executor, params=params, creator="IDE", door="linkis")
    return core.tasks.accept.submit(ANN, wanted).id


def until(core: Core, task: int, *states: State) -> None:
    wait_until(lambda: core.tasks.look.get(ANN, task).state in states, what=f"{states}")


def lines(core: Core, task: int) -> list[str]:
    return [x[24:] for x in core.tasks.look.log(ANN, task, 0, 100_000).lines]


def test_every_line_of_many_tasks_is_in_its_log_once_and_in_order(start: Callable[[], Core]) -> None:
    core = start()
    tasks = [submit(core, lines=200 + n) for n in range(20)]
    for n, task in enumerate(tasks):
        until(core, task, State.SUCCEEDED)
        said = [x for x in lines(core, task) if x.startswith("INFO line ")]
        assert said == [f"INFO line {i} of {200 + n}" for i in range(1, 201 + n)]
        assert core.tasks.look.progress(ANN, task).fraction == 1.0
    wait_until(lambda: core.scheduler.used == 0 and core.intake.live == {}, what="nothing of the attempts is kept")


def test_a_task_goes_on_after_a_pause_and_after_a_restart_and_does_no_step_twice(start: Any) -> None:
    core = start()
    task = submit(core, seconds=2.0, steps=40)
    wait_until(lambda: any("step 5 of" in x for x in lines(core, task)))
    core.tasks.steer.pause(ANN, task)
    until(core, task, State.PAUSED)
    core.tasks.steer.resume(ANN, task)
    wait_until(lambda: any("step 12 of" in x for x in lines(core, task)))
    start.end()
    core = start()
    until(core, task, State.SUCCEEDED)
    steps = [x for x in lines(core, task) if x.startswith("INFO step ")]
    assert steps == [f"INFO step {i} of 40" for i in range(1, 41)]
    assert [a.ending for a in core.tasks.look.attempts(ANN, task)] == ["stopped", "stopped", "succeeded"]


def test_a_failure_and_a_kill_end_as_they_should(start: Callable[[], Core]) -> None:
    core = start()
    failing, killed = submit(core, fail="no luck"), submit(core, "sleep")
    until(core, failing, State.FAILED)
    assert core.tasks.look.get(ANN, failing).reason == "no luck"
    until(core, killed, State.RUNNING)
    assert core.tasks.steer.kill(ANN, killed).state is State.CANCELLED
    wait_until(lambda: core.scheduler.used == 0)
