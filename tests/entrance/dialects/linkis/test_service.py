"""The Linkis dialect over a real service: what golden files cannot say."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit

import pytest
from factories import LINKIS, Service, wait_until


@pytest.fixture(scope="module")
def tight(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service with room for one running and two waiting tasks of a group."""
    settings = {"SCHEDULER__RUNNING_PER_GROUP": "1", "SCHEDULER__WAITING_PER_GROUP": "2"}
    service = Service(data=tmp_path_factory.mktemp("tight") / "data", settings=settings).start()
    yield service
    service.cli("stop", check=False)


def submit(service: Service, creator: str, executor: str = "sleep", params: Any = None, **labels: str) -> Any:
    body = {
        "executionContent": {"code": json.dumps(params or {"seconds": 60}), "runType": executor},
        "labels": {"engineType": executor, "userCreator": f"admin-{creator}", **labels},
    }
    return service.http.post(f"{LINKIS}/entrance/submit", body)


def test_a_full_queue_refuses_with_12001_and_only_its_own_group(tight: Service) -> None:
    first = submit(tight, "full").data["taskID"]
    tight.wait_for(first, "Running")
    for _ in range(2):
        assert submit(tight, "full").status == 200
    refused = submit(tight, "full")
    assert refused.status == 400
    assert refused.json()["message"] == "error code: 12001, error message: The submission job failed and the queue is full!."
    assert refused.json()["data"]["errorMsg"]["errCode"] == 12001
    assert submit(tight, "other").status == 200
    assert tight.http.get(f"{LINKIS}/jobhistory/list", query={"creator": "full"}).data["totalPage"] == 3


def test_the_same_idempotency_key_gives_the_first_answer_again(tight: Service) -> None:
    body = {"executionContent": {"code": "{}", "runType": "echo"}, "labels": {"engineType": "echo"}}
    headers = {"Idempotency-Key": "k1"}
    first, second = (tight.http.post(f"{LINKIS}/entrance/submit", body, headers=headers).data for _ in range(2))
    assert first == second
    bob = tight.user("bob")
    assert bob.post(f"{LINKIS}/entrance/submit", body, headers=headers).data != first


def test_a_rerun_fills_in_the_variables_again(tight: Service) -> None:
    body = {
        "executionContent": {"code": '{"fail": "${why}"}', "runType": "echo"},
        "labels": {"engineType": "echo", "userCreator": "admin-again"},
        "params": {"variable": {"why": "no reason"}},
    }
    task = tight.http.post(f"{LINKIS}/entrance/submit", body).data["taskID"]
    tight.wait_for(task, "Failed")
    asked = tight.http.post(f"{LINKIS}/entrance/actions", {"action": "rerun", "ids": [task]}).data
    again = asked["items"][0]["taskID"]
    tight.wait_for(again, "Failed")
    reasons = [tight.http.get(f"{LINKIS}/jobhistory/{n}/get").data["task"]["errDesc"] for n in (task, again)]
    assert again != task
    assert reasons == ["no reason", "no reason"]


def test_a_reader_that_sends_back_from_line_gets_every_line_once_and_in_order(tight: Service) -> None:
    task = submit(tight, "reader", "echo", {"lines": 3000, "seconds": 1.5}).data["taskID"]
    lines: list[str] = []
    sizes = iter([1, 7, 0, 100, 999] * 1000)
    position = 0

    def all_read() -> bool:
        nonlocal position
        ended = tight.state(task) == "Succeed"
        query = {"fromLine": position, "size": next(sizes), "distinctLevel": "false"}
        data = tight.http.get(f"{LINKIS}/entrance/{task}/log", query=query).data
        got = data["log"].split("\n") if data["log"] else []
        assert data["fromLine"] == position + len(got)
        lines.extend(got)
        position = data["fromLine"]
        return ended and not got and query["size"] != 0

    wait_until(all_read, 30, every_seconds=0.0)
    said = [line.rpartition("INFO ")[2] for line in lines if " INFO line " in line]
    assert said == [f"line {n} of 3000" for n in range(1, 3001)]
    levels = tight.http.get(f"{LINKIS}/entrance/{task}/log", query={"fromLine": 0, "size": -1}).data
    assert levels["fromLine"] == position == len(lines)
    assert levels["log"][3].split("\n") == lines


def test_two_kills_at_once_and_a_finishing_task_have_one_end(tight: Service) -> None:
    for seconds in (0.0, 0.05, 0.1, 0.2):
        task = submit(tight, "race", "echo", {"seconds": seconds}).data["taskID"]
        answers: list[int] = []

        def kill(task: int = task, answers: list[int] = answers) -> None:
            answers.append(tight.http.get(f"{LINKIS}/entrance/{task}/kill").status)

        threads = [threading.Thread(target=kill) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        end = tight.wait_for(task)
        assert end == ("Cancelled" if answers == [200, 200] else "Succeed"), answers
        assert tight.http.get(f"{LINKIS}/jobhistory/{task}/get").data["task"]["status"] == end
        log = tight.http.get(f"{LINKIS}/entrance/{task}/log", query={"distinctLevel": "false", "size": -1}).data["log"]
        assert log.count("was kill by user successfully") + log.count("Congratulations") == 1


def test_ids_cookies_and_the_queue_survive_kill_9(make_service: Callable[..., Service]) -> None:
    service = make_service(SCHEDULER__RUNNING_PER_GROUP="1").start()
    password = (service.data / "admin-password").read_text().strip()
    login = service.http.as_user(None).post(f"{LINKIS}/user/login", {"userName": "admin", "password": password})
    cookie = {"Cookie": login.headers["set-cookie"].partition(";")[0]}
    made = [submit(service, "keep").data for _ in range(4)]
    service.wait_for(made[0]["taskID"], "Running")
    service.kill()
    service.start()
    nobody = service.http.as_user(None)
    listed = nobody.get(f"{LINKIS}/jobhistory/list", query={"creator": "keep"}, headers=cookie).data["tasks"]
    assert [t["strongerExecId"] for t in reversed(listed)] == [m["execID"] for m in made]
    service.wait_for(made[0]["execID"], "Running")
    assert [service.state(m["execID"]) for m in made] == ["Running", "Scheduled", "Scheduled", "Scheduled"]


def test_the_event_stream_tells_of_own_tasks_and_of_the_logs_asked_for(tight: Service) -> None:
    carol = tight.user("carol")
    task = submit(tight, "stream", "echo", {"lines": 5, "seconds": 0.5}).data
    parts = urlsplit(tight.url)
    connection = HTTPConnection(parts.hostname or "", parts.port, timeout=20)
    try:
        path = f"{LINKIS}/events?log={task['taskID']}:0"
        connection.request("GET", path, headers={"Authorization": f"Bearer {tight.http.token}"})
        response = connection.getresponse()
        assert response.headers["Content-Type"].startswith("text/event-stream")
        foreign = carol.post(
            f"{LINKIS}/entrance/submit",
            {"executionContent": {"code": "{}", "runType": "echo"}, "labels": {"engineType": "echo"}},
        ).data["taskID"]
        lines, states, numbers = [], [], []
        for kind, number, data in events(response):
            numbers.append(number)
            if kind == "log":
                lines += data["lines"]
            elif kind == "tasks":
                states += [t["status"] for t in data if t["taskID"] == task["taskID"]]
            elif kind == "logEnd":
                break
        assert numbers == list(range(1, len(numbers) + 1))
        assert states[-1:] == ["Succeed"]
        assert sum(" INFO line " in line for line in lines) == 5
        assert lines[-1].endswith("Congratulations. Your job completed with status Success.")
        assert carol.get(f"{LINKIS}/events", query={"log": f"{task['taskID']}:0"}).status == 403
        assert foreign
    finally:
        connection.close()


def events(response: Any) -> Iterator[tuple[str, int, Any]]:
    """Yield (kind, id, data) of a stream of server-sent events."""
    kind, number = "", 0
    for raw in response:
        line = raw.decode().rstrip("\n")
        if line.startswith("event: "):
            kind = line[7:]
        elif line.startswith("id: "):
            number = int(line[4:])
        elif line.startswith("data: "):
            yield kind, number, json.loads(line[6:])
