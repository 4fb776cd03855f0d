"""The command line as a whole: every command is there, takes the common options, and answers with the right status."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from entrance.cli.main import COMMANDS, cli
from entrance.cli.tasks import parameters, priority_value


def leaves(name: str) -> list[click.Command]:
    """The commands under one name that do something."""
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    return list(command.commands.values()) if isinstance(command, click.Group) else [command]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_takes_the_common_options_and_explains_itself(name: str) -> None:
    for command in leaves(name):
        options = {option for param in command.params for option in param.opts}
        assert {"--data", "--url", "--token", "--json"} <= options, command.name
        assert command.help, command.name
        assert all(param.help for param in command.params if isinstance(param, click.Option)), command.name


def run(*arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", "-m", "entrance.cli", *arguments],
        capture_output=True,
        text=True,
        input=stdin,
        timeout=60,
        check=False,
    )


def test_help_lists_the_commands_without_importing_them() -> None:
    told = CliRunner().invoke(cli, ["--help"])
    assert told.exit_code == 0
    assert all(name in told.output for name in COMMANDS)


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["submit"],
        ["submit", "--executor", "echo", "novalue"],
        ["submit", "--executor", "echo", "--params", "{"],
        ["submit", "--executor", "echo", "--params", "[]"],
        ["wait"],
        ["priority", "1", "SOON"],
        ["storage", "allow"],
        ["user", "add", "bob", "--password-file", "/nonexistent"],
        ["status", "--data", ""],
    ],
)
def test_wrong_usage_is_status_2_and_says_what(arguments: list[str], tmp_path: Path) -> None:
    done = (
        run(*arguments) if arguments == ["nonsense"] or "--data" in arguments else run(*arguments, "--data", str(tmp_path))
    )
    assert done.returncode == 2
    assert "Error: " in done.stderr
    assert done.stdout == ""


def test_without_a_service_a_command_says_so_in_one_sentence(tmp_path: Path) -> None:
    done = run("ps", "--data", str(tmp_path))
    assert done.returncode == 1
    assert done.stderr == f"entrance: no service runs with the data folder {tmp_path}; `entrance start` starts one\n"


def test_output_that_a_full_disk_does_not_take_is_one_sentence(tmp_path: Path) -> None:
    command = [sys.executable, "-P", "-m", "entrance.cli", "status", "--data", str(tmp_path)]
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "No space left" in done.stderr


def test_a_closed_output_harms_nothing(tmp_path: Path) -> None:
    command = f'"{sys.executable}" -P -m entrance.cli user list --data "{tmp_path}" >&-'
    done = subprocess.run(["bash", "-c", command], stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_an_address_without_a_token_is_refused_so_that_the_owners_token_stays_at_home(tmp_path: Path) -> None:
    done = run("ps", "--url", "http://127.0.0.1:9", "--data", str(tmp_path))
    assert done.returncode == 1
    assert "needs a token" in done.stderr


def test_pairs_are_json_where_they_can_be_and_count_over_the_object() -> None:
    assert parameters('{"a": 1, "b": 2}', ["b=3", "c=text", "d=[1]", "e=x=y", "f="]) == {
        "a": 1,
        "b": 3,
        "c": "text",
        "d": [1],
        "e": "x=y",
        "f": "",
    }
    assert parameters("seconds=2", ["lines=1"]) == {"seconds": 2, "lines": 1}


def test_priorities_are_numbers_or_levels() -> None:
    assert [priority_value(text) for text in ("150", "high", "BACKGROUND")] == [150, 200, 0]


def test_a_module_of_that_name_where_it_is_called_does_no_harm(tmp_path: Path) -> None:
    for name in ("common", "entrance", "click"):
        (tmp_path / f"{name}.py").write_text("raise RuntimeError('the wrong one')")
    done = subprocess.run(
        [sys.executable, "-P", "-m", "entrance.cli", "status", "--json", "--data", str(tmp_path / "data")],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 3, done.stderr
    assert json.loads(done.stdout)["state"] == "stopped"
