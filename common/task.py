"""Task, its states and the one function that changes them. Pure: no clock, no database, no process.

A task is one request for work and ends once, for ever; an attempt is one run of it in one process tree, and only the
latest counts. ``decide`` is the whole life of a task (contracts: states, chapters 2 and 4): it takes the task as it is, an
event and the time, and returns the task as it becomes with what must be said and done about it, or raises ``TaskEnded`` or
``Refused``. The writer calls it inside the transaction that stores the outcome; nobody else does.

    created -> queued -> running -> succeeded | failed | cancelled | timed_out
                  ^         |
                  +- paused, waiting_retry
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, StrEnum

from common.errors import Refused, TaskEnded
from common.records import but


class State(StrEnum):
    """Where a task stands. Each dialect has a total table from these to its own words."""

    CREATED = "created"  # stored; something it needs is missing, or it is not yet queued
    QUEUED = "queued"  # may be picked
    RUNNING = "running"  # an attempt is current, or the task waits for its children
    PAUSED = "paused"  # must not be picked; no process; goes on from its last checkpoint
    WAITING_RETRY = "waiting_retry"  # failed in a way that may pass; queued again at ``retry_at``
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"  # killed by a user, or dropped: nobody needs it any more
    TIMED_OUT = "timed_out"

    @property
    def final(self) -> bool:
        """Whether the task has ended."""
        return self in FINAL


FINAL = frozenset({State.SUCCEEDED, State.FAILED, State.CANCELLED, State.TIMED_OUT})
OPEN = tuple(s for s in State if s not in FINAL)


class Priority(IntEnum):
    """The six levels. A task's priority is any integer; its level is the highest at or below it."""

    BACKGROUND = 0
    LOW = 50
    NORMAL = 100
    HIGH = 200
    URGENT = 400
    CRITICAL = 800

    @classmethod
    def level(cls, priority: int) -> Priority:
        """Return the level of an integer priority; below zero is BACKGROUND."""
        return max((p for p in cls if p <= priority), default=cls.BACKGROUND)


@dataclass(frozen=True, kw_only=True)
class Task:
    """One request for work, as stored. Times are milliseconds since 1970, None when it has not happened."""

    id: int
    uuid: str
    exec_id: str
    user: str  # who submitted it
    execute_user: str  # in whose name it runs; both own it
    creator: str  # name of the client program
    executor: str
    run_type: str
    door: str  # the dialect it came through
    priority: int = int(Priority.NORMAL)
    cores: float = 1.0
    state: State = State.CREATED
    pause_requested: bool = False
    waits: bool = False  # its own work is done; it ends with its last child
    attempt: int = 0  # number of the latest attempt, 0 before the first
    errors: int = 0  # counted failures so far
    max_retries: int = 3
    retry_delay_ms: int | None = None  # None: the service's own ladder
    retry_at: int | None = None
    running_timeout_s: int | None = None
    queuing_timeout_s: int | None = None
    parent_id: int | None = None
    child_key: str | None = None
    job_id: int | None = None
    created_at: int = 0
    queued_at: int | None = None  # last time it entered the queue; None = never
    started_at: int | None = None  # when a worker first had it
    ended_at: int | None = None
    updated_at: int = 0
    reason: str | None = None  # why it stands where it stands, for people

    @property
    def group(self) -> str:
        """The queue it waits in: ``{creator}_{user}_{executor}``."""
        return f"{self.creator}_{self.user}_{self.executor}"

    @property
    def waiting_to_be_ready(self) -> bool:
        """Whether it was accepted before what it needs was there, and has not been queued since."""
        return self.queued_at is None

    @property
    def waits_since(self) -> int:
        """When its wait for a worker began: as it was queued or, before that, made."""
        return self.created_at if self.queued_at is None else self.queued_at

    @property
    def ran(self) -> bool:
        """Whether a worker ever had it."""
        return self.attempt > 0

    @property
    def active(self) -> bool:
        """Whether an attempt of it is current (a parent that only waits has none)."""
        return self.state is State.RUNNING and not self.waits


# ---- events -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Ready:
    """What the task waited for is there: it may be queued."""


@dataclass(frozen=True, kw_only=True)
class Picked:
    """A worker takes the task: a new attempt begins."""


@dataclass(frozen=True, kw_only=True)
class Pause:
    """``by`` wants it to stop, keeping the work done."""

    by: str


@dataclass(frozen=True, kw_only=True)
class Resume:
    """``by`` wants it to go on."""

    by: str


@dataclass(frozen=True, kw_only=True)
class Kill:
    """``by`` wants it to end, now and for ever."""

    by: str


@dataclass(frozen=True, kw_only=True)
class Succeeded:
    """The attempt did its work. ``children`` unfinished ones make the task wait, ``failed`` ones make it fail."""

    attempt: int
    open_children: int = 0
    failed_children: int = 0
    children: int = 0
    failure: str = ""  # the first failed child, in words


@dataclass(frozen=True, kw_only=True)
class ChildrenEnded:
    """The last child of a task that waits has ended."""

    failed: int
    children: int
    failure: str = ""


@dataclass(frozen=True, kw_only=True)
class Failed:
    """The attempt ended with an error (``may_pass``: worth another try), or its process died."""

    attempt: int
    reason: str
    may_pass: bool


@dataclass(frozen=True, kw_only=True)
class Stopped:
    """The attempt's processes ended because we asked them to (pause, orderly stop)."""

    attempt: int


@dataclass(frozen=True, kw_only=True)
class Lost:
    """The attempt went with its service, fork server, worker or lease; no fault of the task."""

    attempt: int
    reason: str


@dataclass(frozen=True, kw_only=True)
class TimedOut:
    """A time limit passed: that of attempt number ``attempt``; 0 = the wait for the first, which began at ``since``."""

    seconds: int
    attempt: int
    since: int = 0


@dataclass(frozen=True, kw_only=True)
class RetryDue:
    """``retry_at`` has come."""


@dataclass(frozen=True, kw_only=True)
class Hopeless:
    """What the task waits for will not come: it fails without having run."""

    reason: str


@dataclass(frozen=True, kw_only=True)
class Dropped:
    """Nobody needs the task any more: the one that asked for it did not succeed, or its client has gone."""

    reason: str


Event = (
    Ready
    | Hopeless
    | Picked
    | Pause
    | Resume
    | Kill
    | Succeeded
    | ChildrenEnded
    | Failed
    | Stopped
    | Lost
    | TimedOut
    | RetryDue
    | Dropped
)


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line for the task's own log: level (INFO, WARN, ERROR) and text."""

    level: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What an event makes of a task.

    ``task`` is the task as it becomes (the same object when nothing changes). ``stop_now`` asks for the process tree of
    ``task.attempt`` to be ended at once, ``ask_stop`` for the attempt to end at its next step. ``who`` goes into the
    history.
    """

    task: Task
    lines: tuple[Line, ...] = ()
    stop_now: bool = False
    ask_stop: bool = False
    who: str = ""

    def changed(self, before: Task) -> bool:
        return self.task is not before


DEFAULT_RETRY_LADDER_MS = (5_000, 30_000, 120_000)

_SCHEDULED = Line(level="INFO", text="Your job is Scheduled. Please wait it to run.")
_RUNNING = Line(level="INFO", text="Your job is Running now. Please wait it to complete.")
_SUCCESS = Line(level="INFO", text="Congratulations. Your job completed with status Success.")


def _last_line(word: str) -> Line:
    return Line(level="INFO", text=f"Sorry. Your job completed with a status {word}. You can view logs for the reason.")


def _failed_line(reason: str) -> Line:
    return Line(level="ERROR", text=f"Sorry, your job executed failed with reason: {reason}")


def _end(
    task: Task, state: State, now: int, reason: str | None, *lines: Line, who: str = "", stop: bool = False
) -> Decision:
    ended = but(
        task,
        state=state,
        ended_at=now,
        updated_at=now,
        pause_requested=False,
        waits=False,
        retry_at=None,
        reason=reason,
    )
    return Decision(task=ended, lines=lines, stop_now=stop, who=who)


def _queue(task: Task, now: int, *lines: Line, who: str = "") -> Decision:
    queued = but(
        task,
        state=State.QUEUED,
        queued_at=now,
        updated_at=now,
        retry_at=None,
        pause_requested=False,
        reason=None,
    )
    return Decision(task=queued, lines=(*lines, _SCHEDULED), who=who)


def _again(task: Task, now: int, reason: str) -> Decision:
    """The attempt is gone through no fault of the task: paused if that was asked for, else back to the queue at once."""
    if task.pause_requested:
        return Decision(task=but(task, state=State.PAUSED, pause_requested=False, updated_at=now))
    waiting = but(task, state=State.WAITING_RETRY, retry_at=now, updated_at=now, reason=reason)
    return Decision(task=waiting, lines=(Line(level="INFO", text=f"{reason}. Your job will go on."),))


def orphaned(parent: Task) -> Dropped:
    """What happens to the unfinished children of a task that has ended without success by itself."""
    why = {State.FAILED: "failed", State.TIMED_OUT: "timed out"}.get(parent.state, "was cancelled")
    return Dropped(reason=f"cancelled because its parent, task {parent.id}, {why}")


def _children_done(task: Task, now: int, failed: int, children: int, failure: str) -> Decision:
    if failed:
        reason = f"{failed} of {children} children failed: {failure}"
        return _end(task, State.FAILED, now, reason, _failed_line(reason))
    return _end(task, State.SUCCEEDED, now, None, _SUCCESS)


def _current(task: Task, attempt: int) -> None:
    """The fence: only the latest attempt of a running task may speak."""
    if not task.active or attempt != task.attempt:
        raise Refused(f"attempt {attempt} of task {task.id} does not count any more")


def _limit_counts(task: Task, event: TimedOut) -> bool:
    """The clock stands still while a task is paused, and starts anew when it is queued again."""
    if task.state is State.PAUSED or event.attempt != task.attempt:
        return False
    if event.attempt:
        return task.state is not State.QUEUED  # that attempt is over, the next one has a limit of its own
    return event.since == task.waits_since


def _pause(task: Task, by: str, now: int) -> Decision:
    said = Line(level="INFO", text=f"Your job is paused by {by}.")
    if task.state is State.PAUSED or task.pause_requested:
        return Decision(task=task)
    if task.active:
        asked = but(task, pause_requested=True, updated_at=now)
        return Decision(task=asked, lines=(said,), ask_stop=True, who=by)
    paused = but(task, state=State.PAUSED, retry_at=None, updated_at=now, reason=f"paused by {by}")
    return Decision(task=paused, lines=(said,), who=by)


def _resume(task: Task, by: str, now: int) -> Decision:
    said = Line(level="INFO", text=f"Your job is resumed by {by}.")
    if task.pause_requested:
        return Decision(task=but(task, pause_requested=False, updated_at=now, reason=None), lines=(said,), who=by)
    if task.state is State.PAUSED:
        if task.waits:
            running = but(task, state=State.RUNNING, updated_at=now, reason=None)
            return Decision(task=running, lines=(said,), who=by)
        if task.queued_at is None:
            return Decision(task=but(task, state=State.CREATED, updated_at=now, reason=None), lines=(said,), who=by)
        return _queue(task, now, said, who=by)
    if task.state in (State.CREATED, State.WAITING_RETRY):
        return _queue(task, now, said, who=by)
    return Decision(task=task)


def _failure(task: Task, event: Failed, now: int, ladder_ms: tuple[int, ...]) -> Decision:
    if not event.may_pass or task.errors >= task.max_retries:
        return _end(task, State.FAILED, now, event.reason, _failed_line(event.reason))
    delay = task.retry_delay_ms
    if delay is None:
        delay = ladder_ms[min(task.errors, len(ladder_ms) - 1)]
    waiting = but(
        task,
        state=State.PAUSED if task.pause_requested else State.WAITING_RETRY,
        pause_requested=False,
        errors=task.errors + 1,
        retry_at=None if task.pause_requested else now + delay,
        updated_at=now,
        reason=event.reason,
    )
    text = (
        f"Your job is turn to retry, attempt {task.errors + 1} of {task.max_retries}, "
        f"next try in {delay / 1000:g} s. Reason: {event.reason}"
    )
    return Decision(task=waiting, lines=(Line(level="WARN", text=text),))


def decide(task: Task, event: Event, now: int, *, ladder_ms: tuple[int, ...] = DEFAULT_RETRY_LADDER_MS) -> Decision:
    """Return what ``event`` makes of ``task`` at ``now``.

    Raises:
        TaskEnded: a user wants something of a task that has ended (a second kill of a cancelled one is no error).
        Refused: the event belongs to an attempt that does not count, or has no place in this state.
    """
    if task.state.final:
        if isinstance(event, Kill) and task.state is State.CANCELLED:
            return Decision(task=task)
        raise TaskEnded(task.state)
    match event:
        case Kill(by=by):
            return _end(
                task,
                State.CANCELLED,
                now,
                f"killed by {by}",
                Line(level="ERROR", text="Job is killed by user!"),
                Line(level="INFO", text=f"Job {task.id} was kill by user successfully"),
                who=by,
                stop=task.active,
            )
        case Pause(by=by):
            return _pause(task, by, now)
        case Resume(by=by):
            return _resume(task, by, now)
        case TimedOut(seconds=seconds):
            if not _limit_counts(task, event):
                raise Refused("this limit does not count any more")
            reason = f"timed out after {seconds} s"
            said = Line(level="ERROR", text=reason)
            return _end(task, State.TIMED_OUT, now, reason, said, _last_line("Timeout"), stop=task.active)
        case Dropped(reason=reason):
            said = Line(level="ERROR", text=reason)
            return _end(task, State.CANCELLED, now, reason, said, _last_line("Cancelled"), stop=task.active)
        case Ready() if task.state is State.CREATED:
            return _queue(task, now)
        case Hopeless(reason=reason) if task.waiting_to_be_ready and task.state in (State.CREATED, State.PAUSED):
            return _end(task, State.FAILED, now, reason, _failed_line(reason))
        case RetryDue() if task.state is State.WAITING_RETRY:
            return _queue(task, now)
        case Picked() if task.state is State.QUEUED:
            running = but(
                task,
                state=State.RUNNING,
                attempt=task.attempt + 1,
                started_at=task.started_at if task.started_at is not None else now,
                updated_at=now,
                reason=None,
            )
            return Decision(task=running, lines=(_RUNNING,))
        case Succeeded():
            _current(task, event.attempt)
            if not event.open_children:
                return _children_done(task, now, event.failed_children, event.children, event.failure)
            waiting = but(
                task,
                waits=True,
                state=State.PAUSED if task.pause_requested else State.RUNNING,
                pause_requested=False,
                updated_at=now,
                reason="waits for its children",
            )
            return Decision(task=waiting)
        case ChildrenEnded() if task.state is State.RUNNING and task.waits:
            return _children_done(task, now, event.failed, event.children, event.failure)
        case Failed():
            _current(task, event.attempt)
            return _failure(task, event, now, ladder_ms)
        case Stopped():
            _current(task, event.attempt)
            return _again(task, now, "The attempt was stopped")
        case Lost():
            _current(task, event.attempt)
            return _again(task, now, event.reason)
        case _:
            raise Refused(f"{type(event).__name__} has no place in state {task.state}")
