"""``wait``, ``logs``, ``progress``: commands that follow tasks. They outlast 30 s without the service."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import click

from entrance.cli.client import Client, part
from entrance.cli.frame import (
    EXIT_CANCELLED,
    EXIT_FAILED,
    EXIT_TIMED_OUT,
    Env,
    duration_text,
    note,
    print_line,
    size_text,
    with_env,
)
from entrance.cli.tasks import about, find_task, state_word

EXIT_STATUS = {"Succeed": 0, "Failed": EXIT_FAILED, "Cancelled": EXIT_CANCELLED, "Timeout": EXIT_TIMED_OUT}
FIRST_POLL_SECONDS = 0.05
LONGEST_POLL_SECONDS = 1.0
LOG_LINES = 10_000  # most lines that one answer brings
_LEVEL = re.compile(r"^[0-9-]{10} [0-9:.]{8,12} (?:SYSTEM-)?(ERROR|WARN|INFO) ")


@click.command()
@click.argument("task_ids", metavar="ID...", nargs=-1, required=True)
@with_env
@click.pass_context
def wait(context: click.Context, env: Env, task_ids: Sequence[str]) -> None:
    """Wait for the end of tasks.

    Exit status: 0 all succeeded; otherwise that of the first in the list that did not: 1 failed, 3 cancelled, 4 timed out.
    """
    ends = wait_for(env.client(patient=True), task_ids)
    if env.json:
        env.print_json(ends)
    context.exit(next((EXIT_STATUS[end["status"]] for end in ends if EXIT_STATUS[end["status"]]), 0))


def wait_for(client: Client, task_ids: Sequence[str]) -> list[dict[str, Any]]:
    """Return ``{id, taskID, status, reason}`` of each task after its end, in the order given; tells people what happens.

    Raises Rejected for an unknown task, NoAnswer when the service is away for too long.
    """
    ends: dict[str, dict[str, Any]] = {}
    line = _StatusLine()
    for told in _changes(client, task_ids):
        task_id = told["id"]
        if told["status"] not in EXIT_STATUS:
            line.show(f"task {task_id} {state_word(told)}{_done_text(told)}")
            continue
        task = find_task(client, task_id)
        ends[task_id] = {
            "id": task_id,
            "taskID": task["taskID"],
            "status": told["status"],
            "reason": task.get("errDesc"),
        }
        reason = f": {task['errDesc']}" if task.get("errDesc") and told["status"] != "Succeed" else ""
        line.clear()
        note(f"task {task_id} {state_word(told)}{reason}")
    line.clear()
    return [ends[task_id] for task_id in task_ids]


def _changes(client: Client, task_ids: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Yield the status of each task whenever one has been asked for, until all have ended."""
    pending = list(dict.fromkeys(task_ids))
    pause = FIRST_POLL_SECONDS
    while pending:
        for task_id in list(pending):
            with about(task_id):
                told = client.linkis("GET", f"/entrance/{part(task_id)}/status")
            if told["status"] in EXIT_STATUS:
                pending.remove(task_id)
            elif sys.stderr.isatty():
                told |= client.linkis("GET", f"/entrance/{part(task_id)}/progress")
            yield {**told, "id": task_id}
        if pending:
            time.sleep(pause)
            pause = min(pause * 1.5, LONGEST_POLL_SECONDS)


@click.command()
@click.argument("task_id", metavar="ID")
@click.option("-f", "--follow", is_flag=True, help="Go on until the task has ended.")
@click.option("--from", "first", type=click.IntRange(0), default=0, show_default=True, help="First line (0 is the first).")
@with_env
def logs(env: Env, task_id: str, follow: bool, first: int) -> None:
    """Print a task's log, every line once and in order.

    With --json one object for each answer of the service: {"lines": [...], "fromLine": N}, N being the line to ask for next.
    """
    client = env.client(patient=follow)
    for text, next_line in log_text(client, task_id, first, follow=follow):
        if env.json:
            env.print_json({"lines": text.split("\n"), "fromLine": next_line})
        elif sys.stdout.isatty():
            print_line("\n".join(_coloured(line) for line in text.split("\n")))
        else:
            print_line(text)


def log_text(client: Client, task_id: str, first: int = 0, *, follow: bool = False) -> Iterator[tuple[str, int]]:
    """Yield pieces of a log, whole lines without the last newline, each with the number of the line that follows it.

    With ``follow`` it goes on until the task has ended and its last line was read.
    """
    path = f"/entrance/{part(task_id)}"
    pause = FIRST_POLL_SECONDS
    at = first
    while True:
        # asked before the log: a final state shows only when the log can be read whole
        with about(task_id):
            ended = follow and client.linkis("GET", f"{path}/status")["status"] in EXIT_STATUS
        begin = at
        while True:
            query = {"fromLine": at, "size": LOG_LINES, "distinctLevel": False}
            with about(task_id):
                data = client.linkis("GET", f"{path}/log", query=query)
            if data["fromLine"] == at:
                break
            at = data["fromLine"]
            yield data["log"], at
        if ended or not follow:
            return
        pause = FIRST_POLL_SECONDS if at != begin else min(pause * 1.5, LONGEST_POLL_SECONDS)
        time.sleep(pause)


@click.command()
@click.argument("task_id", metavar="ID")
@click.option("-f", "--follow", is_flag=True, help="Go on until the task has ended; exit status as `wait`.")
@with_env
@click.pass_context
def progress(context: click.Context, env: Env, task_id: str, follow: bool) -> None:
    """Print how far a task is: bytes, files, rate and time left. With --json one object for each report."""
    client = env.client(patient=follow)
    path = f"/entrance/{part(task_id)}"
    line = _StatusLine()
    last: dict[str, Any] | None = None
    while True:
        with about(task_id):
            told = client.linkis("GET", f"{path}/status")
        told |= client.linkis("GET", f"{path}/progress")
        ended = told["status"] in EXIT_STATUS
        text = f"task {task_id} {state_word(told)}{_done_text(told)}"
        if env.json:
            if told != last:
                env.print_json(told)
        elif follow and not ended and sys.stderr.isatty():
            line.show(text)
        elif told != last:
            line.clear()
            print_line(text)
        last = told
        if ended or not follow:
            break
        time.sleep(LONGEST_POLL_SECONDS)
    if follow:
        context.exit(EXIT_STATUS[told["status"]])


class _StatusLine:
    """One line on the terminal that is written over and over; nothing when standard error is no terminal."""

    def __init__(self) -> None:
        self._terminal = sys.stderr.isatty()

    def show(self, text: str) -> None:
        if self._terminal:
            sys.stderr.write(f"\r\x1b[2K{text}")
            sys.stderr.flush()

    def clear(self) -> None:
        self.show("")


def _done_text(told: Mapping[str, Any]) -> str:
    """What a progress answer says, for people: bar, share, bytes, files, rate, time left."""
    if "progress" not in told:
        return ""
    share = float(told["progress"] or 0)
    filled = int(share * 24)
    parts = [f" [{'#' * filled}{'-' * (24 - filled)}] {share * 100:.1f}%"]
    if told.get("bytesTotal"):
        parts.append(f"{size_text(told.get('bytesDone') or 0)} of {size_text(told['bytesTotal'])}")
    if told.get("filesTotal"):
        parts.append(f"{told.get('filesDone') or 0} of {told['filesTotal']} files")
    if told.get("bytesPerSecond"):
        parts.append(f"{size_text(told['bytesPerSecond'])}/s")
    if told.get("secondsLeft") is not None and told["status"] not in EXIT_STATUS:
        parts.append(f"{duration_text(told['secondsLeft'])} left")
    return ", ".join(parts)


def _coloured(line: str) -> str:
    match = _LEVEL.match(line)
    colour = {"ERROR": "red", "WARN": "yellow"}.get(match[1]) if match else None
    return click.style(line, fg=colour) if colour else line
