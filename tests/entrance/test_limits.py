"""Limits of single tasks, asked for with a submission: who breaks one fails alone, and says why at every door."""

from __future__ import annotations

import json
from typing import Any

import pytest
from factories import LINKIS, Service

LABELS = {"engineType": "echo"}


def submit(service: Service, params: dict[str, Any], *, runtime: bool = False, **limits: str) -> int:
    """Submit an echo with limits as labels, or among the runtime settings."""
    body = {
        "executionContent": {"code": json.dumps(params), "runType": "echo"},
        "labels": LABELS if runtime else {**LABELS, **limits},
        "params": {"configuration": {"runtime": limits if runtime else {}}},
    }
    return int(service.http.post(f"{LINKIS}/entrance/submit", body).data["taskID"])


def told(service: Service, task: int) -> set[str]:
    """What each place says of why a task ended."""
    base = f"{LINKIS}/entrance/{task}"
    log, at = "", -1
    while (page := service.http.get(f"{base}/log?fromLine={max(0, at)}&size=1000000&distinctLevel=false").data)[
        "fromLine"
    ] > at:
        log, at = log[-1000:] + page["log"], page["fromLine"]
    return {
        log.split(" failed with reason: ")[1].split("\n")[0],
        service.http.get(f"{LINKIS}/jobhistory/{task}/get").data["task"]["errDesc"],
        service.http.get(f"{base}/history").data["history"][-1]["reason"],
        service.http.get(f"{base}/attempts").data["attempts"][-1]["reason"],
    }


@pytest.mark.parametrize(
    ("params", "limits", "reason"),
    [
        ({"memory": "200MiB"}, {"jobMemoryLimit": "64MiB"}, "it used more than 64 MiB of memory"),
        ({"lines": 10**9}, {"jobCpuLimit": "1"}, "it used more than 1 s of processor time"),
        ({"stubborn": True}, {"jobOpenFilesLimit": "4"}, "it had more than 4 files open"),
    ],
)
@pytest.mark.parametrize("runtime", [False, True])
def test_a_task_that_breaks_its_limit_fails_at_once_and_says_so_everywhere(
    shared_service: Service, params: dict[str, Any], limits: dict[str, str], reason: str, runtime: bool
) -> None:
    if runtime and "lines" in params:
        pytest.skip("once is enough: it takes a second of processor time")
    task = submit(shared_service, params, runtime=runtime, **limits)
    neighbour = shared_service.submit("echo", {"seconds": 0.1, "lines": 3})
    assert shared_service.wait_for(task) == "Failed"
    assert told(shared_service, task) == {reason}
    assert shared_service.wait_for(neighbour) == "Succeed"


def test_a_task_that_keeps_killing_its_process_fails_after_its_attempts(shared_service: Service) -> None:
    task = submit(shared_service, {"crash": 9}, jobRetryCount="2", jobRetryTimeout="10")
    assert shared_service.wait_for(task) == "Failed"
    attempts = shared_service.http.get(f"{LINKIS}/entrance/{task}/attempts").data["attempts"]
    assert len(attempts) == 3
    assert told(shared_service, task) == {"the process was killed by signal 9 (SIGKILL)"}


def test_a_time_limit_ends_a_task_as_timed_out(shared_service: Service) -> None:
    task = submit(shared_service, {"seconds": 60}, runtime=True, jobRunningTimeout="1")
    assert shared_service.wait_for(task) == "Timeout"
    row = shared_service.http.get(f"{LINKIS}/jobhistory/{task}/get").data["task"]
    assert row["errDesc"] == "timed out after 1 s"


@pytest.mark.parametrize("limits", [{"jobMemoryLimit": "much"}, {"jobCpuLimit": "0"}, {"jobOpenFilesLimit": "-1"}])
def test_a_limit_that_is_none_is_refused(shared_service: Service, limits: dict[str, str]) -> None:
    body = {"executionContent": {"code": "{}", "runType": "echo"}, "labels": {**LABELS, **limits}}
    envelope = shared_service.http.post(f"{LINKIS}/entrance/submit", body).json()
    assert envelope["status"] == 1 and next(iter(limits)) in envelope["message"]
