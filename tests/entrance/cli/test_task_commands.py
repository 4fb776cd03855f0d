"""Commands on tasks, against a real service."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable

import pytest
from factories import Service, wait_until


def submitted(service: Service, *arguments: str) -> str:
    """Submit with the command line and return the task id."""
    task_id, exec_id = service.cli("submit", *arguments).stdout.split()
    assert exec_id.startswith("exec_id")
    return task_id


def test_submit_prints_the_two_ids_and_waits_for_the_end(shared_service: Service) -> None:
    done = shared_service.cli("submit", "--executor", "echo", "lines=2", "--wait")
    task_id, exec_id = done.stdout.split()
    assert shared_service.state(task_id) == "Succeed"
    assert exec_id.endswith(f"_{task_id}")
    assert shared_service.state(exec_id) == "Succeed"


def test_a_failure_is_status_1_with_its_reason(shared_service: Service) -> None:
    done = shared_service.cli("submit", "--executor", "echo", "fail=no luck", "--wait", "--json", check=False)
    assert done.returncode == 1
    told = json.loads(done.stdout)
    assert (told["status"], told["reason"]) == ("Failed", "no luck")
    assert told["jobId"]


def test_waiting_for_several_gives_the_first_end_that_is_no_success(shared_service: Service) -> None:
    good = submitted(shared_service, "--executor", "echo")
    killed = submitted(shared_service, "--executor", "sleep", "seconds=60")
    shared_service.cli("kill", killed)
    assert shared_service.cli("wait", good).returncode == 0
    assert shared_service.cli("wait", good, killed, check=False).returncode == 3
    assert shared_service.cli("wait", "999999", check=False).returncode == 1


def test_refused_parameters_are_all_told_and_nothing_is_printed(shared_service: Service) -> None:
    done = shared_service.cli("submit", "--executor", "echo", "seconds=x", "colour=red", check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert "seconds" in done.stderr
    assert "colour" in done.stderr


def test_a_task_is_paused_resumed_reprioritised_and_killed(shared_service: Service) -> None:
    task = submitted(shared_service, "--executor", "sleep", "seconds=60", "--priority", "low")
    shared_service.cli("pause", task)

    def state() -> str:
        tasks = json.loads(shared_service.cli("ps", "--json").stdout)["tasks"]
        (found,) = [t for t in tasks if str(t["taskID"]) == task]
        return "paused" if found["paused"] else found["status"]

    wait_until(lambda: state() == "paused", 10)
    listed = shared_service.cli("ps").stdout
    assert [line.split()[:2] for line in listed.splitlines() if line.split()[0] == task] == [[task, "paused"]]
    shared_service.cli("resume", task)
    wait_until(lambda: state() == "Running", 10)
    shared_service.cli("priority", task, "URGENT")
    assert json.loads(shared_service.cli("show", task, "--json").stdout)["task"]["priority"] == 400
    shared_service.cli("kill", task)
    assert shared_service.state(task) == "Cancelled"
    assert task not in [line.split()[0] for line in shared_service.cli("ps").stdout.splitlines()]


def test_tasks_are_listed_by_the_state_that_is_shown(shared_service: Service) -> None:
    creator = ("--creator", "states")
    paused = submitted(shared_service, "--executor", "sleep", "seconds=60", *creator)
    waits = submitted(shared_service, "--executor", "echo", "crash=9", *creator)
    failed = submitted(shared_service, "--executor", "echo", "fail=x", *creator)
    shared_service.cli("pause", paused)

    def listed(*states: str) -> list[str]:
        options = [part for state in states for part in ("--state", state)]
        told = json.loads(shared_service.cli("ps", *creator, *options, "--json").stdout)
        assert told["total"] == len(told["tasks"])
        return [str(task["taskID"]) for task in told["tasks"]]

    wait_until(lambda: listed("waiting_retry") == [waits], 10)
    wait_until(lambda: listed("failed") == [failed], 10)
    assert listed("paused") == [paused]
    assert listed("running", "queued") == []
    assert listed("failed", "paused") == [failed, paused]
    shared_service.cli("kill", paused, waits)
    assert listed("paused", "waiting_retry") == []


def test_an_id_that_no_task_has_is_named(shared_service: Service) -> None:
    for command in (["show"], ["logs"], ["logs", "-f"], ["progress"], ["wait"]):
        for task in ("999999", "nonsense", "a/b", ""):
            done = shared_service.cli(*command, task, check=False)
            assert (done.returncode, done.stdout) == (1, ""), command
            assert done.stderr == f"entrance: task {task}: there is no such task, or you may not see it\n", command


def test_one_refusal_does_not_keep_the_others_from_it(shared_service: Service) -> None:
    ended = submitted(shared_service, "--executor", "echo", "--wait")
    runs = submitted(shared_service, "--executor", "sleep", "seconds=60")
    done = shared_service.cli("kill", ended, "999999", runs, check=False)
    assert done.returncode == 1
    assert done.stderr.count("entrance: task ") == 2
    assert shared_service.state(runs) == "Cancelled"


def test_a_rerun_is_a_new_task_with_the_same_parameters(shared_service: Service) -> None:
    first = submitted(shared_service, "--executor", "echo", "lines=3", "--wait")
    second, exec_id = shared_service.cli("rerun", first).stdout.split()
    assert int(second) > int(first)
    assert exec_id.endswith(f"_{second}")
    assert shared_service.wait_for(second) == "Succeed"
    assert shared_service.cli("logs", second).stdout.count("line ") == 3


def test_show_tells_attempts_and_history_for_every_form_of_the_id(shared_service: Service) -> None:
    told = json.loads(shared_service.cli("submit", "--executor", "echo", "--wait", "--json").stdout)
    for form in (str(told["taskID"]), told["execID"], told["jobId"]):
        shown = json.loads(shared_service.cli("show", form, "--json").stdout)
        assert shown["task"]["taskID"] == told["taskID"]
        assert [attempt["end"] for attempt in shown["attempts"]] == ["succeeded"]
        assert [change["state"] for change in shown["history"]][-1] == "succeeded"
    assert "succeeded" in shared_service.cli("show", str(told["taskID"])).stdout


def test_a_followed_log_holds_every_line_once_and_ends_with_the_task(shared_service: Service) -> None:
    task = submitted(shared_service, "--executor", "echo", "seconds=2", "lines=500")
    text = shared_service.cli("logs", "-f", task).stdout
    numbers = [int(line.split("line ")[1].split()[0]) for line in text.splitlines() if " INFO line " in line]
    assert numbers == list(range(1, 501))
    assert "Your job completed with status Success" in text.splitlines()[-1]
    assert shared_service.cli("logs", task).stdout == text
    tail = shared_service.cli("logs", task, "--from", "3").stdout
    assert tail == "".join(text.splitlines(keepends=True)[3:])


def test_followed_progress_ends_at_all_with_the_status_of_the_task(shared_service: Service) -> None:
    task = submitted(shared_service, "--executor", "sleep", "seconds=2")
    done = shared_service.cli("progress", "-f", task, "--json")
    shares = [json.loads(line)["progress"] for line in done.stdout.splitlines()]
    assert shares == sorted(shares)
    assert shares[-1] == 1


def test_another_users_task_is_refused(shared_service: Service) -> None:
    task = submitted(shared_service, "--executor", "echo", "--wait")
    shared_service.user("mallory")
    token = shared_service.cli("token", "create", "mallory").stdout.strip()
    for command in (["kill", task], ["logs", task], ["progress", task], ["wait", task]):
        done = shared_service.cli(*command, "--url", shared_service.url, "--token", token, check=False)
        assert done.returncode == 1, command
        assert done.stderr, command
        assert done.stdout == "", command


def test_a_wrong_token_is_one_sentence(shared_service: Service) -> None:
    done = shared_service.cli("ps", "--url", shared_service.url, "--token", "nonsense", check=False)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1


@pytest.mark.slow
def test_waiting_and_following_outlast_a_crash_and_a_new_port(make_service: Callable[..., Service]) -> None:
    service = make_service().start()
    task = submitted(service, "--executor", "sleep", "seconds=4", "lines=40")
    program = [sys.executable, "-P", "-m", "entrance.cli"]
    wait = subprocess.Popen([*program, "wait", task, "--data", str(service.data)], stderr=subprocess.DEVNULL)
    logs = subprocess.Popen([*program, "logs", "-f", task, "--data", str(service.data)], stdout=subprocess.PIPE, text=True)
    service.wait_for(task, "Running")
    wait_until(lambda: float(service.http.get(f"/api/rest_j/v1/entrance/{task}/progress").data["progress"]) > 0.2, 20)
    service.kill()
    service.port = 0
    service.start()
    assert wait.wait(60) == 0
    text = logs.communicate(timeout=30)[0]
    assert logs.returncode == 0
    assert text == service.cli("logs", task).stdout
