"""``kill``, ``pause``, ``resume``, ``priority``, ``rerun``: tasks are steered while they run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import click

from entrance.cli.client import Client, Rejected, part
from entrance.cli.frame import EXIT_FAILED, Env, note, print_line, with_env
from entrance.cli.tasks import priority_value


@click.command()
@click.argument("task_ids", metavar="ID...", nargs=-1, required=True)
@with_env
@click.pass_context
def kill(context: click.Context, env: Env, task_ids: Sequence[str]) -> None:
    """End tasks, now and for ever. Returns when their processes are gone."""
    _each(context, env, task_ids, lambda client, task_id: _post(client, task_id, "kill"))


@click.command()
@click.argument("task_ids", metavar="ID...", nargs=-1, required=True)
@with_env
@click.pass_context
def pause(context: click.Context, env: Env, task_ids: Sequence[str]) -> None:
    """Pause tasks. They keep the work done and use no process until `resume`."""
    _each(context, env, task_ids, lambda client, task_id: _post(client, task_id, "pause"))


@click.command()
@click.argument("task_ids", metavar="ID...", nargs=-1, required=True)
@with_env
@click.pass_context
def resume(context: click.Context, env: Env, task_ids: Sequence[str]) -> None:
    """Let paused tasks go on from where they stood."""
    _each(context, env, task_ids, lambda client, task_id: _post(client, task_id, "resume"))


@click.command()
@click.argument("task_ids", metavar="ID...", nargs=-1, required=True)
@click.argument("level", metavar="PRIORITY", type=priority_value)
@with_env
@click.pass_context
def priority(context: click.Context, env: Env, task_ids: Sequence[str], level: int) -> None:
    """Give tasks another PRIORITY: a number, or BACKGROUND, LOW, NORMAL, HIGH, URGENT, CRITICAL."""
    _each(context, env, task_ids, lambda client, task_id: _post(client, task_id, "priority", {"priority": level}))


@click.command()
@click.argument("task_ids", metavar="ID...", nargs=-1, required=True)
@with_env
@click.pass_context
def rerun(context: click.Context, env: Env, task_ids: Sequence[str]) -> None:
    """Submit the work of ended tasks again, as new tasks; prints `taskID execID` of each."""
    _each(context, env, task_ids, _rerun, show=lambda told: f"{told['taskID']} {told['execID']}")


def _post(client: Client, task_id: str, verb: str, body: Any = None) -> dict[str, Any]:
    # sent again it does no harm: every verb of these has the same effect twice
    return client.linkis("POST", f"/entrance/{part(task_id)}/{verb}", body=body or {}, repeatable=True)


def _rerun(client: Client, task_id: str) -> dict[str, Any]:
    data = client.linkis("POST", "/entrance/actions", body={"action": "rerun", "ids": [task_id]})
    item: dict[str, Any] = data["items"][0]
    if item.get("status"):
        raise Rejected(str(item.get("message") or ""), 400, item)
    return item


def _each(
    context: click.Context,
    env: Env,
    task_ids: Sequence[str],
    act: Callable[[Client, str], dict[str, Any]],
    show: Callable[[dict[str, Any]], str] | None = None,
) -> None:
    """Do it to each task; one's refusal does not keep the others from it. Exit status 1 when one was refused."""
    client = env.client()
    items: list[dict[str, Any]] = []
    for task_id in task_ids:
        try:
            told = act(client, task_id)
        except Rejected as error:
            items.append({"id": task_id, "ok": False, "message": str(error)})
            note(f"entrance: task {task_id}: {error}")
            continue
        items.append({"id": task_id, "ok": True, **told})
        if show is not None and not env.json:
            print_line(show(told))
    if env.json:
        env.print_json(items)
    if not all(item["ok"] for item in items):
        context.exit(EXIT_FAILED)
