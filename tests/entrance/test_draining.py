"""Taking a service out of use and back (contracts: linkis, chapter 8): what runs ends, what waits stays, nothing new."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from factories import LINKIS, Response, Service

LABEL = f"{LINKIS}/entrance/operation/label"


def submit(service: Service, **headers: str) -> Response:
    body = {"executionContent": {"code": "{}", "runType": "echo"}, "labels": {"engineType": "echo"}}
    return service.http.post(f"{LINKIS}/entrance/submit", body, headers=headers)


def test_a_drained_service_ends_what_runs_and_keeps_what_waits_for_the_next_start(
    make_service: Callable[..., Service],
) -> None:
    service = make_service(SCHEDULER__SLOTS="1", SCHEDULER__RUNNING_PER_GROUP="1").start()
    keyed = {"Idempotency-Key": "first"}
    first: dict[str, Any] = submit(service, **keyed).data
    assert service.wait_for(first["taskID"]) == "Succeed"
    running = service.submit("echo", {"seconds": 1.5})
    waiting = [service.submit() for _ in range(2)]
    service.wait_for(running, "Running")
    service.http.get(f"{LABEL}/markoffline")
    assert service.http.get(f"{LABEL}/isOnline").data["isOnline"] is False
    assert service.http.get("/ready").status == 503

    refused = submit(service)
    assert refused.status == 503 and "the service is going offline" in refused.json()["message"]
    assert submit(service, **keyed).data == first
    assert service.wait_for(running) == "Succeed"
    assert service.http.get(f"{LINKIS}/entrance/operation/metrics/runningtask").data["runningTaskNumber"] == 2
    assert {service.state(task) for task in waiting} == {"Scheduled"}

    service.http.get(f"{LABEL}/backonline")
    assert service.wait_for(waiting[0]) == "Succeed"
    service.http.get(f"{LABEL}/markoffline")
    later = waiting[1]
    service.stop()
    service.start()
    assert service.http.get(f"{LABEL}/isOnline").data["isOnline"] is True
    assert service.wait_for(later) == "Succeed" and submit(service).data["taskID"] > later
