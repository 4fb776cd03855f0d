"""What the web side needs of the running service; ``entrance.__main__`` provides it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from common.clock import Clock
from common.config import Settings
from common.db.database import Readers
from common.db.writer import Writer
from entrance.core.events import Bus
from entrance.core.lag import HubLag
from entrance.core.service import TaskService

T = TypeVar("T")


class Core(Protocol):
    """One running service: its verbs, its database, its clock and its loop."""

    @property
    def service(self) -> TaskService: ...

    @property
    def readers(self) -> Readers: ...

    @property
    def writer(self) -> Writer: ...

    @property
    def settings(self) -> Settings: ...

    @property
    def clock(self) -> Clock: ...

    @property
    def instance(self) -> str:
        """Name of this service in execution ids, ``host:port`` as a rule."""
        ...

    @property
    def events(self) -> Bus: ...

    def offload(self, function: Callable[..., T], /, *arguments: Any) -> T:
        """Run what computes or blocks in a native thread and wait for it without holding up anybody else."""
        ...

    def hub_lag(self) -> HubLag:
        """Return how late the event loop came, since the start."""
        ...
