"""The one door to tasks: everything that can be asked of one goes through here, whatever API it came by.

Its three parts are in modules of their own; a dialect takes the whole and turns its words into calls of them.
"""

from __future__ import annotations

from dataclasses import dataclass

from entrance.core.accepting import AcceptService
from entrance.core.looking import LookService
from entrance.core.steering import SteerService


@dataclass(kw_only=True)
class TaskService:
    """What can be asked of tasks; all of it checks who asks (``core/access.py``)."""

    accept: AcceptService  # take a new one in
    look: LookService  # see one or many: state, progress, log, result
    steer: SteerService  # kill, pause, resume, change the priority, run again
