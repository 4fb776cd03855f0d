"""What a service says of itself when it cannot run or store, and how it goes on by itself."""

from __future__ import annotations

import resource
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from factories import LINKIS, Service, wait_until

BROKEN = """
import os, sys
with open("/proc/self/cmdline") as file:
    if "forkserver" in file.read() and not os.path.exists({mended!r}):
        {what}
sys.path.remove({folder!r})
del sys.modules["numpy"]
import numpy
"""


def ready(service: Service) -> tuple[int, str]:
    """The status of ``/ready`` and its reasons as one text."""
    answer = service.http.as_user(None).get("/ready")
    told = answer.json()
    assert (answer.status == 200) == (told["status"] == "ready") == ("reasons" not in told)
    return answer.status, "; ".join(told.get("reasons", ()))


def figures(service: Service) -> dict[str, float]:
    lines = [line.rpartition(" ") for line in service.http.get("/metrics").text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in lines}


def row(service: Service, task: int) -> dict[str, Any]:
    found: dict[str, Any] = service.http.get(f"{LINKIS}/jobhistory/{task}/get").data["task"]
    return found


@pytest.mark.parametrize(
    ("what", "told"),
    [
        ("raise ImportError('libopenblas.so: file too short')", "ended before it was ready: numpy cannot be loaded"),
        ("os.kill(os.getpid(), 11)", "ended before it was ready: it was killed by signal 11 (SIGSEGV)"),
    ],
)
def test_tasks_wait_in_the_queue_while_their_fork_server_is_broken_and_run_when_it_is_mended(
    make_service: Callable[..., Service],
    misbehaving: None,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    what: str,
    told: str,
) -> None:
    mended = tmp_path / "mended"
    (tmp_path / "numpy.py").write_text(BROKEN.format(mended=str(mended), folder=str(tmp_path), what=what))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":")
    service = make_service().start()
    wait_until(lambda: ready(service)[0] == 503)
    reasons = ready(service)[1]
    assert told in reasons
    assert "printing" in reasons
    assert "echo" not in reasons
    assert str(tmp_path) not in reasons

    large = service.submit("printing")
    assert service.wait_for(service.submit("echo")) == "Succeed"
    assert service.state(large) == "Scheduled"
    assert told in row(service, large)["waitsBecause"]
    assert told in service.cli("show", str(large)).stdout
    assert told in service.http.get(f"{LINKIS}/service/queue").data["held"]["printing"]
    assert figures(service)['entrance_executor_ready{executor="printing"}'] == 0
    assert figures(service)['entrance_executor_ready{executor="echo"}'] == 1

    mended.touch()
    assert service.wait_for(large) == "Succeed"
    assert ready(service) == (200, "")
    assert figures(service)['entrance_executor_ready{executor="printing"}'] == 1
    assert "waitsBecause" not in row(service, large)
    attempts = service.http.get(f"{LINKIS}/entrance/{large}/attempts").data["attempts"]
    assert [attempt["attempt"] for attempt in attempts] == [1]


def test_a_disk_that_takes_nothing_is_told_until_it_takes_something(service: Service) -> None:
    task = service.submit("sleep", {"seconds": 60, "lines": 600})
    wait_until(lambda: service.state(task) == "Running")
    unlimited = resource.prlimit(service.pid, resource.RLIMIT_FSIZE)
    assert ready(service) == (200, "")

    resource.prlimit(service.pid, resource.RLIMIT_FSIZE, (0, unlimited[1]))  # no byte goes into any file
    wait_until(lambda: "the logs of tasks cannot be written: File too large" in ready(service)[1])
    wait_until(lambda: "the database cannot be written: " in ready(service)[1])
    assert ready(service)[0] == 503
    assert figures(service)["entrance_database_writable"] == 0
    assert figures(service)["entrance_logs_writable"] == 0

    resource.prlimit(service.pid, resource.RLIMIT_FSIZE, unlimited)
    wait_until(lambda: ready(service) == (200, ""))
    assert figures(service)["entrance_database_writable"] == 1
    assert figures(service)["entrance_logs_writable"] == 1


def test_lines_whose_checkpoints_cannot_be_stored_are_not_said_twice_after_a_crash(service: Service) -> None:
    task = service.submit("sleep", {"seconds": 8, "steps": 160})

    def done() -> float:
        return float(service.http.get(f"{LINKIS}/entrance/{task}/progress").data["progress"])

    wait_until(lambda: done() > 0.15)
    resource.prlimit(service.pid, resource.RLIMIT_FSIZE, (30_000, resource.RLIM_INFINITY))  # the log fits, the database not
    wait_until(lambda: done() > 0.75)
    service.kill()
    service.start()
    assert service.wait_for(task) == "Succeed"
    said = Counter(line[24:] for line in service.cli("logs", str(task)).stdout.splitlines() if " step " in line)
    assert len(said) == 160
    assert sum(times > 1 for times in said.values()) <= 40  # two seconds: of a hundred steps that were not stored
