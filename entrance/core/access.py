"""Who may do what: the one policy for every dialect.

A task belongs to who submitted it and to in whose name it runs; they and administrators may see and steer it. Everybody
else is refused and learns the owner's name, nothing more. Accounts, other users' lists and the service itself are for
administrators.
"""

from __future__ import annotations

from common.errors import Forbidden
from common.task import Task
from entrance.core.model import Caller


class NotYours(Forbidden):
    """The task belongs to somebody else. ``verb`` is what the caller wanted, ``owner`` whose it is."""

    def __init__(self, verb: str, owner: str) -> None:
        self.verb = verb
        super().__init__(f"You have no permission to {verb} this job, it belongs to {owner}", owner=owner)


def may(caller: Caller, task: Task) -> bool:
    """Whether the caller may see and steer the task."""
    return caller.admin or caller.name in (task.user, task.execute_user)


def check(caller: Caller, task: Task, verb: str = "view") -> None:
    """Raises NotYours, which names the owner, when the caller may not ``verb`` the task."""
    if not may(caller, task):
        raise NotYours(verb, task.user)


def check_admin(caller: Caller, message: str = "only administrators may do this") -> None:
    """Raises Forbidden unless the caller is an administrator."""
    if not caller.admin:
        raise Forbidden(message)
