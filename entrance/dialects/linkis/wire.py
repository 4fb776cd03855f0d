"""Linkis' words for what TaskService says. Two total tables: states to words, words to states.

In one sentence: ``Scheduled`` until a worker first had the task, ``Running`` from then on until its end. ``WaitForRetry`` is
never sent, since real clients take it for an unknown end; what a task waits for is told by ``paused`` and ``waitingRetry``.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from common.task import State, Task
from entrance.core.ids import short_id
from entrance.core.model import LogPage, SubmissionRecord, TaskProgress
from executors.launchers.base import Sample

Wire = dict[str, Any]

# ---- states -------------------------------------------------------------------------------------------------------

_WORDS = {  # of a task that a worker has had, and of one that none has had
    State.CREATED: ("Inited", "Inited"),
    State.QUEUED: ("Running", "Scheduled"),
    State.RUNNING: ("Running", "Running"),
    State.PAUSED: ("Running", "Scheduled"),
    State.WAITING_RETRY: ("Running", "Running"),
    State.SUCCEEDED: ("Succeed", "Succeed"),
    State.FAILED: ("Failed", "Failed"),
    State.CANCELLED: ("Cancelled", "Cancelled"),
    State.TIMED_OUT: ("Timeout", "Timeout"),
}

_SELECTS: Mapping[str, tuple[tuple[State, ...], tuple[str, ...]]] = {  # states, and states narrowed by whether it ever ran
    "Inited": ((State.CREATED,), ()),
    "Scheduled": ((), ("never_ran:queued", "never_ran:paused")),
    "Running": ((State.RUNNING, State.WAITING_RETRY), ("ran:queued", "ran:paused")),
    "WaitForRetry": ((State.WAITING_RETRY,), ()),
    "Paused": ((State.PAUSED,), ()),  # ours; only as a word of a filter
    "Succeed": ((State.SUCCEEDED,), ()),
    "Failed": ((State.FAILED,), ()),
    "Cancelled": ((State.CANCELLED,), ()),
    "Timeout": ((State.TIMED_OUT,), ()),
}

UNDONE = "Running,Inited,Scheduled"


def status_word(task: Task) -> str:
    """Return Linkis' word for the state of a task."""
    if task.state is State.PAUSED and task.queued_at is None and not task.ran:
        return "Inited"  # paused before it was queued: resumes to created
    return _WORDS[task.state][0 if task.ran else 1]


def selected(words: Iterable[str]) -> tuple[list[State], list[str]]:
    """Return what the words of a filter select: states, and narrowed states (``Filter.states``, ``Filter.words``).

    Unknown words select nothing.
    """
    states: list[State] = []
    narrowed: list[str] = []
    for word in words:
        more, narrow = _SELECTS.get(word, ((), ()))
        states += [s for s in more if s not in states]
        narrowed += [n for n in narrow if n not in narrowed]
    return states, narrowed


def waits(task: Task) -> Wire:
    """Return what tells a paused or waiting task from one that runs, and, as long as its turn cannot come, why."""
    return {
        **({"waitsBecause": task.reason} if task.state is State.QUEUED and task.reason else {}),
        "paused": task.pause_requested or task.state is State.PAUSED,
        "waitingRetry": task.state is State.WAITING_RETRY,
        "priority": task.priority,
    }


def ids(task: Task, ref: str) -> Wire:
    """Return the ids of an answer about one task: ``taskID``, a text, only when it was asked for by number."""
    data: Wire = {"execID": task.exec_id}
    if ref.isascii() and ref.isdigit():
        data["taskID"] = str(task.id)
    return data


# ---- progress -----------------------------------------------------------------------------------------------------


def progress(report: TaskProgress) -> Wire:
    """Return the data of ``progress``, without ids."""
    numbers = report.progress
    return {
        "progress": report.fraction,
        "progressInfo": [
            {
                "id": f"{stage.name}({stage.target})",
                "succeedTasks": stage.done,
                "failedTasks": stage.failed,
                "runningTasks": stage.running,
                "totalTasks": stage.total,
            }
            for stage in numbers.stages
            if stage.total > 0
        ],
        "bytesDone": numbers.bytes_done,
        "bytesTotal": numbers.bytes_total,
        "filesDone": numbers.files_done,
        "filesTotal": numbers.files_total,
        "bytesPerSecond": report.bytes_per_second,
        "secondsLeft": report.seconds_left,
    }


_JOB_WORDS = {
    State.SUCCEEDED: "COMPLETED",
    State.FAILED: "FAILED",
    State.TIMED_OUT: "FAILED",
    State.CANCELLED: "KILLED",
}


def resources(task: Task, sample: Sample | None, cores: float, *, machine_cores: int, machine_bytes: int) -> Wire:
    """Return the key that ``progressWithResource`` adds: figures of the last sample, ``cores`` in use, or their absence."""
    if sample is None:
        return {"yarnResource": None}
    used = max(1 if task.active else 0, math.ceil(cores))
    core_share = min(1.0, used / machine_cores)
    memory_share = min(1.0, sample.rss / machine_bytes)
    job_status = "RUNNING" if task.active else _JOB_WORDS.get(task.state, "ACCEPTED")
    figures = {
        "applicationId": f"{task.executor}_{task.id}_{task.attempt}",
        "queueMemory": sample.rss,
        "queueCores": used,
        "queueInstances": sample.processes,
        "jobStatus": job_status,
        "queue": task.executor,
    }
    return {
        "yarnMetrics": {
            "yarnResource": [figures],
            "memoryPercent": memory_share,
            "memoryRGB": _colour(memory_share),
            "corePercent": core_share,
            "coreRGB": _colour(core_share),
        }
    }


def _colour(share: float) -> str:
    return "green" if share <= 0.5 else "yellow" if share <= 0.7 else "red"


# ---- logs ---------------------------------------------------------------------------------------------------------


def log_by_level(page: LogPage) -> list[str]:
    """Return [error, warn, info, all]; blank lines are left out."""
    parts: dict[str, list[str]] = {"ERROR": [], "WARN": [], "INFO": [], "ALL": []}
    for line, level in zip(page.lines, page.levels, strict=True):
        if line.strip():
            parts[level].append(line)
            parts["ALL"].append(line)
    return ["\n".join(lines) for lines in parts.values()]


def log_as_text(page: LogPage) -> str:
    """Return the lines as one text."""
    return "\n".join(page.lines)


# ---- history ------------------------------------------------------------------------------------------------------

MAX_COST = 2_147_483_647  # linkis-cli reads 32 bits
ERROR_NUMBERS = {State.FAILED: 20000, State.CANCELLED: 20001, State.TIMED_OUT: 20002}
_SECRET_WORDS = ("password", "passwd", "secret", "token", "credential", "accesskey", "privatekey", "apikey")
MASK = "******"


def history_row(task: Task, record: SubmissionRecord, fraction: float, *, instance: str, now: int) -> Wire:
    """Return a task as the history shows it: all keys, always."""
    ended, errored = task.state.final, task.state in ERROR_NUMBERS
    spent = task.ended_at - task.started_at if task.ended_at is not None and task.started_at is not None else None
    return {
        "taskID": task.id,
        "instance": instance,
        "execId": short_id(task.creator, task.user, task.executor, task.id),
        "strongerExecId": task.exec_id,
        "umUser": task.user,
        "executeUser": task.execute_user,
        "engineInstance": None,
        "executionCode": record.code,
        "progress": decimal(fraction),
        "logPath": log_path(task),
        "resultLocation": result_folder(task),
        "status": status_word(task),
        "createdTime": task.created_at,
        "updatedTime": task.updated_at,
        "engineType": task.executor,
        "errCode": ERROR_NUMBERS[task.state] if errored else None,
        "errDesc": (task.reason or status_word(task)) if errored else None,
        "executeApplicationName": task.executor,
        "requestApplicationName": task.creator,
        "runType": task.run_type,
        "paramsJson": json.dumps(masked(record.settings), ensure_ascii=False),
        "sourceJson": json.dumps(masked(record.source), ensure_ascii=False),
        "sourceTailor": "-".join(_text(v) for v in record.source.values()),
        "costTime": max(0, min(MAX_COST, (task.ended_at if task.ended_at is not None else now) - task.created_at)),
        "engineStartTime": task.started_at,
        "labels": [f"{key}:{value}" for key, value in record.labels],
        "canRetry": ended and errored,
        "observeInfo": None,
        "isReuse": None,
        "subJobs": None,
        "requestStartTime": task.started_at,
        "requestEndTime": task.ended_at,
        "requestSpendTime": spent,
        "metrics": "{}",
        "parentTaskID": task.parent_id,
        **waits(task),
    }


def decimal(fraction: float) -> str:
    """Return a fraction as a decimal text of at most four places, rounded down: "1.0" means the end."""
    return str(math.floor(fraction * 10_000) / 10_000)


def masked(value: Any) -> Any:
    """Return a JSON value in which everything that goes by the name of a secret is hidden."""
    if isinstance(value, Mapping):
        return {k: MASK if v and _names_a_secret(k) else masked(v) for k, v in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [masked(v) for v in value]
    return value


def _names_a_secret(key: str) -> bool:
    plain = key.lower().replace("_", "").replace("-", "").replace(".", "")
    return any(word in plain for word in _SECRET_WORDS)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _day(task: Task) -> str:
    return time.strftime("%Y-%m-%d", time.localtime(task.created_at / 1000))


def log_path(task: Task) -> str:
    """Return the name of the task's log, for openLog."""
    return f"file:///linkis/{task.user}/log/{task.creator}/{_day(task)}/{task.id}.log"


def result_folder(task: Task) -> str:
    """Return the name of the folder of the task's results, for getDirFileTrees."""
    return f"file:///linkis/{task.user}/result/{_day(task)}/{task.creator}/{task.id}"
