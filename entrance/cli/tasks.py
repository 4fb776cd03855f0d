"""``submit``, ``ps``, ``show``: tasks come in and are looked at."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import count
from typing import Any

import click

from entrance.cli.client import Client, Rejected, new_idempotency_key, part
from entrance.cli.frame import Env, duration_text, note, print_line, print_table, size_text, with_env

CREATOR = "CLI"
STATES = {  # Linkis' words -> ours
    "Inited": "created",
    "WaitForRetry": "waiting_retry",
    "Scheduled": "queued",
    "Running": "running",
    "Succeed": "succeeded",
    "Failed": "failed",
    "Cancelled": "cancelled",
    "Timeout": "timed_out",
}
OPEN_WORDS = "Inited,Scheduled,Running"
OPEN_STATES = ("created", "queued", "running", "paused", "waiting_retry")
ENDED_STATES = ("succeeded", "failed", "cancelled", "timed_out")
MOST_LISTED = 5000  # tasks in one answer: the service's limit
PRIORITY_RUNTIME_KEY = "wds.linkis.engine.runtime.priority"


def priority_value(text: str) -> int:
    """Return the priority that a text names: a whole number or a level. Raises click.BadParameter."""
    from common.task import Priority

    if text.strip().upper() in Priority.__members__:
        return int(Priority[text.strip().upper()])
    try:
        return int(text)
    except ValueError:
        raise click.BadParameter(f"{text} is no number and none of {', '.join(Priority.__members__)}") from None


@click.command()
@click.option(
    "--executor", required=True, metavar="NAME", help="Kind of work: echo, sleep, scan, pack, daggen, transfer, ..."
)
@click.option("--params", metavar="JSON", help="Parameters as a JSON object.")
@click.option("--creator", metavar="C", default=CREATOR, show_default=True, help="Name of the program that submits.")
@click.option(
    "--priority",
    type=priority_value,
    metavar="P",
    help="A number (default 100) or BACKGROUND, LOW, NORMAL, HIGH, URGENT, CRITICAL.",
)
@click.option("--wait", is_flag=True, help="Wait for the end; its exit status is that of `wait`.")
@click.argument("pairs", nargs=-1, metavar="[KEY=VALUE]...")
@with_env
@click.pass_context
def submit(
    context: click.Context,
    env: Env,
    executor: str,
    params: str | None,
    creator: str,
    priority: int | None,
    wait: bool,
    pairs: Sequence[str],
) -> None:
    """Submit a task and print `taskID execID`.

    Parameters are KEY=VALUE pairs (a value that is JSON is taken as JSON, anything else as text) or one object in --params;
    a pair counts over the object.
    """
    client = env.client(patient=wait)
    told = submit_task(client, executor, parameters(params, pairs), creator=creator, priority=priority)
    if not env.json:
        print_line(f"{told['taskID']} {told['execID']}")
    elif not wait:
        env.print_json(told)
    if wait:
        from entrance.cli.watch import EXIT_STATUS, wait_for

        end = wait_for(client, [str(told["taskID"])])[0]
        if env.json:
            env.print_json({**told, **end})
        context.exit(EXIT_STATUS[end["status"]])


def parameters(text: str | None, pairs: Sequence[str]) -> dict[str, Any]:
    """Return the parameters out of ``--params`` and ``KEY=VALUE`` pairs. Raises click.UsageError."""
    made: dict[str, Any] = {}
    if text is not None and "=" in text and not text.lstrip().startswith("{"):
        pairs = [text, *pairs]
    elif text is not None:
        try:
            told = json.loads(text)
        except ValueError as error:
            raise click.UsageError(f"--params is no JSON: {error}") from error
        if not isinstance(told, dict):
            raise click.UsageError("--params must be a JSON object")
        made.update(told)
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise click.UsageError(f"{pair} is not KEY=VALUE")
        try:
            made[name] = json.loads(value)
        except ValueError:
            made[name] = value
    return made


def submit_task(
    client: Client, executor: str, params: Mapping[str, Any], *, creator: str = CREATOR, priority: int | None = None
) -> dict[str, Any]:
    """Submit a task; return ``{taskID, execID, jobId}``. Sent twice after a lost connection, it is still one task.

    Uses Linkis' legacy form of the body, which names a creator without naming the user.
    """
    runtime = {} if priority is None else {PRIORITY_RUNTIME_KEY: priority}
    body = {
        "executeApplicationName": executor,
        "requestApplicationName": creator,
        "executionCode": json.dumps(dict(params), ensure_ascii=False),
        "runType": executor,
        "params": {"variable": {}, "configuration": {"runtime": runtime}},
        "labels": {},
    }
    headers = {"Idempotency-Key": new_idempotency_key()}
    return client.linkis("POST", "/entrance/submit", body=body, headers=headers, repeatable=True)


@click.command()
@click.option("-a", "--all", "everything", is_flag=True, help="Ended tasks too.")
@click.option("--all-users", is_flag=True, help="Tasks of all users (administrators).")
@click.option(
    "--state",
    "states",
    multiple=True,
    type=click.Choice(OPEN_STATES + ENDED_STATES),
    help="Only this state; more than once: these.",
)
@click.option("--executor", metavar="NAME", help="Only this kind of work.")
@click.option("--creator", metavar="C", help="Only tasks of this program.")
@click.option("-n", "--limit", type=click.IntRange(1, 5000), default=50, show_default=True, help="Most tasks to list.")
@with_env
def ps(
    env: Env,
    everything: bool,
    all_users: bool,
    states: Sequence[str],
    executor: str | None,
    creator: str | None,
    limit: int,
) -> None:
    """List tasks that have not ended, newest first."""
    client = env.client()
    query = {"executeApplicationName": executor, "creator": creator, "isAdminView": all_users or None}
    if states:
        tasks, total = _in_states(client, states, query, limit)
    else:
        tasks, total = _page(client, {**query, "status": None if everything else OPEN_WORDS}, limit)
    if env.json:
        env.print_json({"tasks": tasks, "total": total})
        return
    now = time.time() * 1000
    rows = [
        (
            task["taskID"],
            state_word(task),
            task["executeApplicationName"],
            task["umUser"],
            task["requestApplicationName"],
            task.get("priority"),
            f"{float(task.get('progress') or 0) * 100:.0f}%",
            duration_text((now - task["createdTime"]) / 1000),
            duration_text(task["costTime"] / 1000),
        )
        for task in tasks
    ]
    columns = ["ID", "STATE", "EXECUTOR", "USER", "CREATOR", "PRIORITY", "DONE", "AGE", "TOOK"]
    print_table(columns, rows, right=["ID", "PRIORITY", "DONE", "AGE", "TOOK"])
    if total > len(tasks):
        note(f"{len(tasks)} of {total} tasks; --limit shows more")


def _page(client: Client, query: Mapping[str, Any], limit: int, page: int = 1) -> tuple[list[dict[str, Any]], int]:
    """Return a page of the list of tasks, newest first, and how many there are in all."""
    data = client.linkis("GET", "/jobhistory/list", query={**query, "pageNow": page, "pageSize": limit})
    tasks = data.get("tasks") or []
    return tasks, int(data.get("totalPage") or len(tasks))


def _in_states(
    client: Client, states: Sequence[str], query: Mapping[str, Any], limit: int
) -> tuple[list[dict[str, Any]], int]:
    """Return the newest tasks in these states and how many there are.

    Linkis has one word for what runs, is paused or waits, so all that have not ended are looked at here.
    """
    found: dict[int, dict[str, Any]] = {}
    ended = [theirs for theirs, ours in STATES.items() if ours in states and ours in ENDED_STATES]
    total = 0
    if ended:
        tasks, total = _page(client, {**query, "status": ",".join(ended)}, limit)
        found.update((task["taskID"], task) for task in tasks)
    if set(states) & set(OPEN_STATES):
        for page in count(1):
            tasks, all_open = _page(client, {**query, "status": OPEN_WORDS}, MOST_LISTED, page)
            chosen = {task["taskID"]: task for task in tasks if state_word(task) in states}
            total += len(chosen.keys() - found.keys())
            found |= chosen
            if page * MOST_LISTED >= all_open:
                break
    return sorted(found.values(), key=lambda task: -int(task["taskID"]))[:limit], total


@click.command()
@click.argument("task_id", metavar="ID")
@with_env
def show(env: Env, task_id: str) -> None:
    """Show all about a task: state, progress, attempts, history, result."""
    client = env.client()
    with about(task_id):
        task = find_task(client, task_id)
    number = part(task["taskID"])
    told = {
        "task": task,
        "progress": client.linkis("GET", f"/entrance/{number}/progress"),
        "attempts": _listed(client, number, "attempts"),
        "history": _listed(client, number, "history"),
        "children": client.children(number),
        "result": result_page(client, task) if task["status"] == "Succeed" else None,
    }
    if env.json:
        env.print_json(told)
    else:
        _print_task(told)


@contextmanager
def about(task_id: str) -> Iterator[None]:
    """Name the task in a refusal of the service."""
    try:
        yield
    except Rejected as error:
        unknown = error.http_status == 404 and isinstance(error.body, dict) and "method" in error.body
        why = "there is no such task, or you may not see it" if unknown else str(error)
        raise Rejected(f"task {task_id}: {why}", error.http_status, error.body) from error


def find_task(client: Client, task_id: str) -> dict[str, Any]:
    """Return the history's record of a task by task id, execution id or UUID. Raises Rejected."""
    if not task_id.isdigit():
        # the record is asked for by number, which ends the execution id
        told = client.linkis("GET", f"/entrance/{part(task_id)}/status")
        task_id = str(told["execID"]).rpartition("_")[2]
    task = client.linkis("GET", f"/jobhistory/{part(task_id)}/get")["task"]
    assert isinstance(task, dict)
    return task


def result_page(client: Client, task: Mapping[str, Any], rows: int = 20) -> dict[str, Any] | None:
    """Return ``{columns, rows}`` with the first rows of a task's result; None when it has none, or none any more."""
    try:
        query = {"path": f"{task['resultLocation']}/_0.dolphin", "page": 1, "pageSize": rows}
        data = client.linkis("GET", "/filesystem/openFile", query=query)
    except Rejected:
        return None
    columns = [column["columnName"] for column in data.get("metadata") or []]
    return {"columns": columns, "rows": data.get("fileContent") or []}


def state_word(task: Mapping[str, Any]) -> str:
    """Return our word for the state in a record or a status answer of Linkis' API."""
    if task.get("paused"):
        return "paused"
    if task.get("waitingRetry"):
        return "waiting_retry"
    return STATES.get(str(task["status"]), str(task["status"]))


def _listed(client: Client, number: str, what: str) -> list[dict[str, Any]]:
    found = client.linkis("GET", f"/entrance/{number}/{what}").get(what)
    return found if isinstance(found, list) else []


def _print_task(told: Mapping[str, Any]) -> None:
    task, progress = told["task"], told["progress"]
    done = f"{float(progress.get('progress') or 0) * 100:.1f}%"
    if progress.get("bytesTotal"):
        done += f", {size_text(progress['bytesDone'])} of {size_text(progress['bytesTotal'])}"
    facts = [
        ("task", task["taskID"]),
        ("execution", task["strongerExecId"]),
        ("state", state_word(task)),
        ("reason", task.get("errDesc") or task.get("waitsBecause")),
        ("executor", task["executeApplicationName"]),
        ("parameters", task.get("executionCode")),
        ("user", task["umUser"]),
        ("creator", task["requestApplicationName"]),
        ("priority", task.get("priority")),
        ("created", moment_text(task["createdTime"])),
        ("started", moment_text(task.get("engineStartTime"))),
        ("ended", moment_text(task.get("requestEndTime"))),
        ("took", duration_text(task["costTime"] / 1000)),
        ("progress", done),
    ]
    for name, value in facts:
        if value not in (None, ""):
            print_line(f"{name:<11} {value}")
    if told["attempts"]:
        print_line()
        rows = [
            (a.get("attempt"), moment_text(a.get("startTime")), moment_text(a.get("endTime")), a.get("end"))
            for a in told["attempts"]
        ]
        print_table(["ATTEMPT", "FROM", "TO", "END"], rows, right=["ATTEMPT"])
    if told["history"]:
        print_line()
        rows = [(moment_text(h.get("time")), h.get("state"), h.get("who"), h.get("reason")) for h in told["history"]]
        print_table(["TIME", "STATE", "WHO", "REASON"], rows)
    if told["children"]:
        print_line()
        print_line(f"{len(told['children'])} children: " + " ".join(str(c.get("taskID")) for c in told["children"][:50]))
    if told["result"] is not None:
        print_line()
        print_table([c.upper() for c in told["result"]["columns"]], told["result"]["rows"])


def moment_text(at: int | None) -> str:
    """Return a time of the API (ms since 1970) in local time, for people."""
    return "" if at is None else time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at / 1000))
