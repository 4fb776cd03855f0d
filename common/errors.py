"""Every error that we expect, in one tree.

    EntranceError                   anything that has a sentence for the caller
     +- BadInput            400     what was sent cannot be right
     |   +- InvalidParams           the executor's schema refuses them: every fault, by path
     |   +- UnknownExecutor         no such kind of work
     +- NotLoggedIn         401
     +- Forbidden           403     it exists, and is not yours
     +- NotFound            404
     |   +- TaskNotFound, LogGone
     +- Conflict            409     the state does not allow it
     |   +- TaskEnded               final states never change
     |   +- Refused                 the event has no place in this state
     |   +- AlreadyExists
     +- TooLarge            413
     +- QueueFull           429     the waiting room of the group is full
     +- NotStored           500     the database or the disk could not take it; nothing half-done stays
     +- Draining            503     the service takes no new tasks
     +- Closing             503     the service is stopping
     +- ExecutorError       500     what can go wrong outside while a task runs; ends the task in these words
     |   +- MayPass                 worth another attempt
     |   |   +- StorageUnavailable
     |   +- StorageNotFound
     |   +- StorageForbidden
     +- ContentError        400     bytes that are not what they should be (see ``common.content``)
     +- LaunchFailed        500     an attempt could not be started
     +- Unreachable         500     a process tree could not be ended in time
     +- StartRefused        500     the service cannot start here (one sentence, exit status 1)

A dialect turns them into its own words; the runner turns them into the end of a task. ``str(error)`` is a sentence for
the client: it names no secret and no path of the server that the client did not send.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


class EntranceError(Exception):
    """The request could not be carried out."""

    code = "error"
    http_status = 500

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (type(self).__doc__ or "").strip().splitlines()[0])


class BadInput(EntranceError):
    """The request is not valid."""

    code = "bad_input"
    http_status = 400


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One thing that is wrong with parameters: where (dotted path, "" for the whole) and what."""

    path: str
    what: str


class InvalidParams(BadInput):
    """The parameters are not what the executor asks for."""

    code = "invalid_params"

    def __init__(self, faults: Sequence[Fault]) -> None:
        self.faults = tuple(faults)
        super().__init__("\n".join(f"{f.path}: {f.what}" if f.path else f.what for f in self.faults))


class UnknownExecutor(BadInput):
    """There is no such executor."""

    code = "unknown_executor"

    def __init__(self, name: str, known: Sequence[str]) -> None:
        self.name, self.known = name, tuple(known)
        super().__init__(f"no executor {name}; there are: {', '.join(self.known)}")


class NotLoggedIn(EntranceError):
    """You are not logged in, please login first!"""

    code = "not_logged_in"
    http_status = 401


class Forbidden(EntranceError):
    """You have no permission to do this."""

    code = "forbidden"
    http_status = 403

    def __init__(self, message: str | None = None, *, owner: str = "") -> None:
        self.owner = owner
        super().__init__(message)


class NotFound(EntranceError):
    """There is no such thing."""

    code = "not_found"
    http_status = 404


class Conflict(EntranceError):
    """The present state does not allow this."""

    code = "conflict"
    http_status = 409


class TaskEnded(Conflict):
    """The task has already ended."""

    code = "task_ended"

    def __init__(self, state: str) -> None:
        self.state = state
        super().__init__(f"the task has already ended: {state}")


class Refused(Conflict):
    """The event has no place in this state."""

    code = "refused"


class AlreadyExists(Conflict):
    """There is one of this name already."""

    code = "already_exists"


class TooLarge(EntranceError):
    """The request is larger than allowed."""

    code = "too_large"
    http_status = 413


class QueueFull(EntranceError):
    """The queue is full."""

    code = "queue_full"
    http_status = 429


class NotStored(EntranceError):
    """The service could not store this; nothing was changed."""

    code = "not_stored"
    http_status = 500


class Draining(EntranceError):
    """The service takes no new tasks at the moment."""

    code = "draining"
    http_status = 503


class Closing(EntranceError):
    """The service is stopping."""

    code = "closing"
    http_status = 503


class ExecutorError(EntranceError):
    """The work could not be done."""

    code = "executor"


class MayPass(ExecutorError):
    """The work could not be done now; another attempt may succeed."""

    code = "may_pass"


class StorageUnavailable(MayPass):
    """The storage does not answer."""

    code = "storage_unavailable"


class StorageNotFound(ExecutorError):
    """There is no such object in the storage."""

    code = "storage_not_found"


class StorageForbidden(ExecutorError):
    """The storage refuses access."""

    code = "storage_forbidden"


class ContentError(EntranceError):
    """The bytes are not what they should be."""

    code = "content"
    http_status = 400


class LaunchFailed(EntranceError):
    """The attempt could not be started."""

    code = "launch_failed"


class Unreachable(EntranceError):
    """The processes of the attempt could not be ended in time."""

    code = "unreachable"


class StartRefused(EntranceError):
    """The service cannot start here."""

    code = "start_refused"


class TaskNotFound(NotFound):
    """There is no such task."""

    code = "task_not_found"


class LogGone(NotFound):
    """The log was removed by retention."""

    code = "log_gone"
