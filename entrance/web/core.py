"""What the web side needs of the running service; ``entrance.serving`` provides it."""

from __future__ import annotations

from typing import Protocol

from entrance.core.lag import HubLag
from entrance.core.setup import Parts


class Core(Parts, Protocol):
    """One running service: its verbs, its database, its clock and its loop."""

    @property
    def instance(self) -> str:
        """Name of this service in execution ids, ``host:port`` as a rule."""
        ...

    def hub_lag(self) -> HubLag:
        """Return how late the event loop came, since the start."""
        ...
