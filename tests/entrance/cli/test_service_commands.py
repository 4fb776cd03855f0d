"""``start``, ``stop``, ``status`` and the scripts in ``bin``: the service as an operator meets it."""

from __future__ import annotations

import json
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from factories import PROJECT_ROOT, Service, wait_until

from common.errors import StartRefused
from entrance.cli.folder import DataFolder

MakeService = Callable[..., Service]


def test_a_start_prints_the_address_makes_an_administrator_once_and_shows_the_folder(make_service: MakeService) -> None:
    service = make_service()
    done = service.cli("start", "--port", "0")
    assert done.stdout == f"{service.url}\n"
    password_file = service.data / "admin-password"
    password = password_file.read_text().strip()
    assert stat.S_IMODE(password_file.stat().st_mode) == 0o600
    assert done.stderr.count(password) == 1
    login = service.http.as_user(None).post("/api/rest_j/v1/user/login", {"userName": "admin", "password": password})
    assert login.data["isAdmin"] is True
    for name in ("service.json", "cli-token", "service.log"):
        assert stat.S_IMODE((service.data / name).stat().st_mode) == 0o600
    for pid in service.processes():
        assert f"--data\0{service.data}\0".encode() in Path(f"/proc/{pid}/cmdline").read_bytes()
    service.stop()
    again = service.cli("start", "--port", "0")
    assert password not in again.stderr
    assert password not in service.log()


def test_status_is_0_while_it_runs_and_3_when_it_does_not(make_service: MakeService) -> None:
    service = make_service()
    assert service.cli("status", check=False).returncode == 3
    service.start()
    told = json.loads(service.cli("status", "--json").stdout)
    assert (told["state"], told["url"], told["pid"]) == ("running", service.url, service.pid)
    url = service.url
    by_address = [sys.executable, "-P", "-m", "entrance.cli", "status", "--url", url]
    assert subprocess.run(by_address, capture_output=True, text=True, check=True).stdout == f"running at {url}\n"
    service.stop()
    assert subprocess.run(by_address, capture_output=True, check=False).returncode == 3
    assert service.cli("status", check=False).returncode == 3
    assert service.processes() == []
    service.cli("stop")


def test_a_folder_that_is_not_ours_to_read_is_not_taken_for_one_without_a_service(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> str:
        raise PermissionError

    monkeypatch.setattr(Path, "read_text", refuse)
    with pytest.raises(StartRefused, match="belongs to another user"):
        DataFolder(tmp_path).service()


def test_without_the_owners_token_the_command_line_says_where_it_should_be(service: Service) -> None:
    (service.data / "cli-token").unlink()
    done = service.cli("ps", check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert f"there is no {service.data}/cli-token" in done.stderr


def test_a_second_start_on_one_folder_is_one_sentence_and_leaves_the_first_alone(service: Service) -> None:
    pid = service.pid
    second = service.cli("start", "--port", "0", check=False)
    assert (second.returncode, second.stdout) == (1, "")
    assert second.stderr.count("\n") == 1
    assert service.url in second.stderr
    foreground = service.cli("serve", "--port", "0", check=False)
    assert (foreground.returncode, foreground.stderr) == (1, second.stderr)
    assert service.pid == pid
    service.cli("status")


def test_a_taken_port_is_one_sentence(make_service: MakeService) -> None:
    service = make_service()
    service.cli("db", "upgrade")
    service.cli("user", "add", "root", "--admin", "--no-password")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = service.cli("start", "--port", str(port), check=False)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert str(port) in done.stderr


@pytest.mark.parametrize("option", [["--conf", "/nonexistent.toml"], ["--host", "256.1.1.1"]])
def test_settings_that_cannot_be_are_one_sentence(make_service: MakeService, option: list[str]) -> None:
    service = make_service()
    service.cli("user", "add", "root", "--admin", "--no-password")
    done = service.cli("start", "--port", "0", *option, check=False)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert service.processes() == []


def test_after_a_crash_the_next_start_goes_on_with_the_tasks(service: Service) -> None:
    task = service.submit("sleep", {"seconds": 3})
    service.wait_for(task, "Running")
    service.kill()
    assert service.cli("status", check=False).returncode == 3
    service.start()
    assert service.wait_for(task) == "Succeed"


def test_an_orderly_stop_is_quick_and_loses_no_task(service: Service) -> None:
    tasks = [service.submit("sleep", {"seconds": 2}) for _ in range(10)]
    service.wait_for(tasks[0], "Running")
    begin = time.monotonic()
    service.stop()
    assert time.monotonic() - begin < 15
    assert service.processes() == []
    service.start()
    assert {service.wait_for(task) for task in tasks} == {"Succeed"}


def test_the_foreground_service_ends_in_good_order_on_sigterm(make_service: MakeService) -> None:
    service = make_service()
    command = [sys.executable, "-P", "-m", "entrance.cli", "serve", "--port", "0", "--data", str(service.data)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        wait_until(lambda: (service.data / "service.json").exists() or process.poll(), 30, what="the service answers")
        assert service.pid == process.pid
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    assert not (service.data / "service.json").exists()


def test_a_service_that_hangs_is_said_not_to_answer_and_a_stop_ends_it(service: Service) -> None:
    pid = service.pid
    service.kill(signal.SIGSTOP)
    assert service.cli("status", check=False).returncode == 4
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import entrance.cli.service as module; module.STOP_SECONDS = 0.5; module.stop()",
            "--data",
            str(service.data),
            "--json",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout) == {"wasRunning": True, "killed": True}
    assert not service.running(pid)
    assert service.cli("status", check=False).returncode == 3


def test_the_scripts_work_from_any_folder_and_through_a_symlink(tmp_path: Path) -> None:
    link = tmp_path / "status"
    link.symlink_to(PROJECT_ROOT / "bin" / "status-entrance.sh")
    data = tmp_path / "data"
    done = subprocess.run([link, "--data", "data"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 3, done.stderr
    assert done.stdout == f"stopped (data folder {data})\n"
    done = subprocess.run(
        [PROJECT_ROOT / "bin" / "stop-entrance.sh", "--data", data], cwd=tmp_path, capture_output=True, check=False
    )
    assert done.returncode == 0


def test_a_command_waits_for_a_first_start_that_has_not_made_the_database(make_service: MakeService) -> None:
    service = make_service()
    service.data.mkdir()
    command = [*service.program, "start", "--port", "0", "--data", str(service.data)]
    starting = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=service.environment)
    wait_until(service.processes, what="the service is there")
    assert "admin" in service.cli("user", "list").stdout
    assert starting.wait(30) == 0
