"""The command line: which commands there are and where they live.

A command's module is imported only when the command is called, so that ``entrance submit`` does not pay for the others.
To add one, write a ``click`` command in a module of this package and give it a line in ``COMMANDS``.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Mapping

import click

from common.errors import EntranceError

COMMANDS: Mapping[str, tuple[str, str]] = {  # name -> (module:attribute, help in one line)
    "serve": ("entrance.cli.service:serve", "Run the service in the foreground."),
    "start": ("entrance.cli.service:start", "Start the service and return when it answers."),
    "stop": ("entrance.cli.service:stop", "Stop the service; running tasks keep the work done."),
    "status": ("entrance.cli.service:status", "Say whether the service runs."),
    "prepare": ("entrance.cli.prepare:prepare", "Turn a folder into CAR files with piece CIDs."),
    "pieces": ("entrance.cli.packed:pieces", "List the pieces of a preparation."),
    "extract": ("entrance.cli.packed:extract", "Get files back out of CARs."),
    "verify": ("entrance.cli.packed:verify", "Check CARs: every block, the structure, the piece CID."),
    "submit": ("entrance.cli.tasks:submit", "Submit a task."),
    "wait": ("entrance.cli.watch:wait", "Wait for the end of tasks."),
    "ps": ("entrance.cli.tasks:ps", "List tasks."),
    "show": ("entrance.cli.tasks:show", "Show all about a task."),
    "logs": ("entrance.cli.watch:logs", "Print a task's log."),
    "progress": ("entrance.cli.watch:progress", "Print how far a task is."),
    "kill": ("entrance.cli.steer:kill", "End tasks, now and for ever."),
    "pause": ("entrance.cli.steer:pause", "Pause tasks; the work done is kept."),
    "resume": ("entrance.cli.steer:resume", "Let paused tasks go on."),
    "priority": ("entrance.cli.steer:priority", "Change a task's priority."),
    "rerun": ("entrance.cli.steer:rerun", "Submit the work of ended tasks again."),
    "storage": ("entrance.cli.storage:storage", "Say where data may lie; make, list and check storages."),
    "user": ("entrance.cli.accounts:user", "Users and their passwords."),
    "token": ("entrance.cli.accounts:token", "Tokens for programs."),
    "key": ("entrance.cli.accounts:key", "Access keys for signed requests."),
    "db": ("entrance.cli.database:db", "The database of the data folder."),
    "doctor": ("entrance.cli.doctor:doctor", "Check this machine and the data folder."),
}


class LazyGroup(click.Group):
    """A group whose commands are imported when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        place = COMMANDS.get(cmd_name)
        if place is None:
            return None
        module, _, attribute = place[0].partition(":")
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="entrance-dataprep", prog_name="entrance")
def cli() -> None:
    """Entrance takes tasks that prepare data, runs them, and lets you steer them while they run.

    Every command accepts --data, --url, --token and --json. Exit status: 0 success, 1 failure, 2 wrong usage; of
    commands that wait also 3 cancelled, 4 timed out.
    """


def main() -> None:
    """Run the command line and end the process with its exit status."""
    _fill_closed_streams()
    try:
        status = cli.main(prog_name="entrance", standalone_mode=False)
        sys.stdout.flush()
    except click.exceptions.Exit as error:
        status = error.exit_code
    except click.ClickException as error:
        error.show()
        status = error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("entrance: interrupted", err=True)
        status = 130
    except EntranceError as error:
        click.echo(f"entrance: {error}", err=True)
        status = 1
    except BrokenPipeError:
        # the reader of our output has gone; nothing more can be told to anyone
        _drop_output()
        status = 141
    except OSError as error:
        # the disk that our output goes to is full, most often
        click.echo(f"entrance: {error}", err=True)
        _drop_output()
        status = 1
    sys.exit(status if isinstance(status, int) else 0)


def _fill_closed_streams() -> None:
    """Let what the caller closed lead nowhere, so that no file that is opened later takes its number."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDWR), "r" if number == 0 else "w"))


def _drop_output() -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
