"""``kill``, ``pause``, ``resume``, ``priority``, ``rerun``: tasks are steered while they run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from entrance.cli.frame import EXIT_FAILED, Env, note, print_line, with_env
from entrance.cli.tasks import priority_value

MOST_AT_ONCE = 1000  # ids in one request: the service's limit


@click.command()
@click.argument("task_ids", metavar="ID...", nargs=-1, required=True)
@with_env
@click.pass_context
def kill(context: click.Context, env: Env, task_ids: Sequence[str]) -> None:
    """End tasks, now and for ever. Returns when their processes are gone."""
    _act(context, env, "kill", task_ids)


@click.command()
@click.argument("task_ids", metavar="ID...", nargs=-1, required=True)
@with_env
@click.pass_context
def pause(context: click.Context, env: Env, task_ids: Sequence[str]) -> None:
    """Pause tasks. They keep the work done and use no process until `resume`."""
    _act(context, env, "pause", task_ids)


@click.command()
@click.argument("task_ids", metavar="ID...", nargs=-1, required=True)
@with_env
@click.pass_context
def resume(context: click.Context, env: Env, task_ids: Sequence[str]) -> None:
    """Let paused tasks go on from where they stood."""
    _act(context, env, "resume", task_ids)


@click.command()
@click.argument("task_ids", metavar="ID...", nargs=-1, required=True)
@click.argument("level", metavar="PRIORITY", type=priority_value)
@with_env
@click.pass_context
def priority(context: click.Context, env: Env, task_ids: Sequence[str], level: int) -> None:
    """Give tasks another PRIORITY: a number, or BACKGROUND, LOW, NORMAL, HIGH, URGENT, CRITICAL."""
    _act(context, env, "priority", task_ids, priority=level)


@click.command()
@click.argument("task_ids", metavar="ID...", nargs=-1, required=True)
@with_env
@click.pass_context
def rerun(context: click.Context, env: Env, task_ids: Sequence[str]) -> None:
    """Submit the work of ended tasks again, as new tasks; prints `taskID execID` of each."""
    _act(context, env, "rerun", task_ids)


def _act(context: click.Context, env: Env, action: str, task_ids: Sequence[str], **more: Any) -> None:
    """Do it to each task; one's refusal does not keep the others from it. Exit status 1 when one was refused."""
    client = env.client()
    items: list[dict[str, Any]] = []
    for begin in range(0, len(task_ids), MOST_AT_ONCE):
        body = {"action": action, "ids": list(task_ids[begin : begin + MOST_AT_ONCE]), **more}
        # all but rerun have the same effect when they are sent twice
        items += client.linkis("POST", "/entrance/actions", body=body, repeatable=action != "rerun")["items"]
    if env.json:
        env.print_json(items)
    for item in items:
        if item["status"] != 0:
            note(f"entrance: task {item['id']}: {item['message']}")
        elif action == "rerun" and not env.json:
            print_line(f"{item['taskID']} {item['execID']}")
    if any(item["status"] != 0 for item in items):
        context.exit(EXIT_FAILED)
