"""What the contracts say of one change of one task, as plain tables (contracts: states, chapters 2, 3, 6).

Written from the pages, not from the code under test: ``decide`` is held against these.
"""

from __future__ import annotations

from common.task import (
    ChildrenEnded,
    Dropped,
    Event,
    Failed,
    Hopeless,
    Kill,
    Lost,
    Pause,
    Picked,
    Ready,
    Resume,
    RetryDue,
    State,
    Stopped,
    Succeeded,
    Task,
    TimedOut,
)

FINAL = {"succeeded", "failed", "cancelled", "timed_out"}
OF_AN_ATTEMPT = (Succeeded, Failed, Stopped, Lost)

LADDER_MS = (5_000, 30_000, 120_000)  # between the tries, unless the task says otherwise

# Chapter 3, the Linkis column: the word of a task that a worker has had, and of one that none has had.
LINKIS_WORDS = {
    "created": ("Inited", "Inited"),
    "queued": ("Running", "Scheduled"),
    "running": ("Running", "Running"),
    "paused": ("Running", "Scheduled"),
    "waiting_retry": ("Running", "Running"),
    "succeeded": ("Succeed", "Succeed"),
    "failed": ("Failed", "Failed"),
    "cancelled": ("Cancelled", "Cancelled"),
    "timed_out": ("Timeout", "Timeout"),
}
LINKIS_NUMBERS = {
    "Inited": 0,
    "WaitForRetry": 1,
    "Scheduled": 2,
    "Running": 3,
    "Succeed": 4,
    "Failed": 5,
    "Cancelled": 6,
    "Timeout": 7,
}

# Chapter 2: what each event may make of each state; what is not here is refused. ``waits`` is a running parent without
# an attempt, ``flag`` a running task that was asked to pause, ``waits_paused`` a paused parent without an attempt.
MAY: dict[tuple[type, str], set[str]] = {
    (Ready, "created"): {"queued"},
    (Hopeless, "created"): {"failed"},
    (Hopeless, "paused"): {"failed"},
    (Picked, "queued"): {"running"},
    (Pause, "created"): {"paused"},
    (Pause, "queued"): {"paused"},
    (Pause, "running"): {"flag"},
    (Pause, "waits"): {"waits_paused"},
    (Pause, "waiting_retry"): {"paused"},
    (Resume, "created"): {"queued"},
    (Resume, "flag"): {"running"},
    (Resume, "paused"): {"queued", "created"},
    (Resume, "waits_paused"): {"waits"},
    (Resume, "waiting_retry"): {"queued"},
    (Succeeded, "running"): {"succeeded", "failed", "waits"},
    (Succeeded, "flag"): {"succeeded", "failed", "waits_paused"},
    (ChildrenEnded, "waits"): {"succeeded", "failed"},
    (Failed, "running"): {"waiting_retry", "failed"},
    (Failed, "flag"): {"paused", "failed"},
    (RetryDue, "waiting_retry"): {"queued"},
    (Lost, "running"): {"waiting_retry"},
    (Lost, "flag"): {"paused"},
    (Stopped, "running"): {"waiting_retry"},
    (Stopped, "flag"): {"paused"},
}
for _state in ("created", "queued", "running", "flag", "waits", "paused", "waits_paused", "waiting_retry"):
    MAY[Kill, _state] = MAY[Dropped, _state] = {"cancelled"}
    if "paused" not in _state:
        MAY[TimedOut, _state] = {"timed_out"}


_NAMES = {state: str(state.value) for state in State}


def kind(task: Task) -> str:
    """The row of the table that a task stands in."""
    state = task.state
    if state is State.RUNNING:
        return "waits" if task.waits else "flag" if task.pause_requested else "running"
    if state is State.PAUSED:
        return "waits_paused" if task.waits else "paused"
    return _NAMES[state]


def linkis_word(task: Task) -> str:
    """Linkis' word for a task, read off the table."""
    if task.state is State.PAUSED and task.queued_at is None and not task.attempt:
        return "Inited"  # chapter 2: "Paused from created shows Inited"
    return LINKIS_WORDS[_NAMES[task.state]][0 if task.attempt else 1]


class Broken(AssertionError):
    """An invariant does not hold."""


def hold(true: object, what: str) -> None:
    """Raise Broken unless ``true``."""
    if not true:
        raise Broken(what)


def check_limit(task: Task, event: TimedOut, was: str) -> None:
    """A limit is that of the wait for the first attempt, or of the attempt that is current or was the last to run."""
    hold(event.attempt == task.attempt, "the limit of another attempt")
    if event.attempt == 0:
        since = task.created_at if task.queued_at is None else task.queued_at
        hold(event.since == since, "the limit of another wait")
    else:
        hold(was != "queued", "a task in the queue ends by the limit of an attempt that is over")


def check_change(before: Task, event: Event, after: Task, now: int) -> None:
    """Raise Broken unless the contracts allow this change."""
    was, becomes = kind(before), kind(after)
    hold(was not in FINAL, f"a final state changed: {was} -> {becomes}")
    hold(becomes in MAY.get((type(event), was), ()), f"{type(event).__name__}: {was} -> {becomes}")
    if isinstance(event, OF_AN_ATTEMPT):
        hold(event.attempt == before.attempt and was in ("running", "flag"), f"attempt {event.attempt} does not count")
    hold(after.attempt == before.attempt + (type(event) is Picked), "the number of the attempt")
    if after.errors != before.errors:
        hold(type(event) is Failed and event.may_pass and after.errors == before.errors + 1, "counted errors")
    hold(after.errors <= before.max_retries, "more retries than allowed")
    hold((after.ended_at is not None) == (becomes in FINAL), "the time of the end")
    hold((after.retry_at is not None) == (becomes == "waiting_retry"), "the time of the retry")
    hold(not (after.pause_requested and becomes != "flag"), "the flag outlives the attempt")
    hold(before.started_at is None or after.started_at == before.started_at, "the first start")
    hold((after.started_at is None) == (after.attempt == 0), "a start without attempt")
    if becomes in ("succeeded", "failed") and isinstance(event, Succeeded | ChildrenEnded):
        failed = event.failed_children if isinstance(event, Succeeded) else event.failed
        hold((becomes == "failed") == bool(failed), f"{failed} children failed, and the parent {becomes}")
    if type(event) is Failed and becomes == "waiting_retry":
        delay = before.retry_delay_ms
        delay = LADDER_MS[min(before.errors, len(LADDER_MS) - 1)] if delay is None else delay
        hold(after.retry_at == now + delay, "the delay of the retry")
    if type(event) is Resume and was == "paused":
        hold(becomes == ("created" if before.queued_at is None else "queued"), "it resumes to where it was paused")
    hold(after.id == before.id and after.priority == before.priority and after.created_at == before.created_at, "the rest")
    if type(event) is Hopeless:
        hold(before.queued_at is None, "a task that was ready fails as hopeless")
    if type(event) is TimedOut:
        check_limit(before, event, was)
    if type(event) in (Lost, Stopped) and becomes == "waiting_retry":
        hold(after.retry_at == now, "what is no fault of the task waits for nothing")
