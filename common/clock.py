"""Wall-clock time in milliseconds since 1970 (UTC), and a clock that tests can set.

Times in the database and on every seam are integers of milliseconds. Durations are measured with
``time.monotonic`` by those who need them.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Protocol


class Clock(Protocol):
    """Where the time comes from."""

    def now(self) -> int:
        """Return milliseconds since 1970."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> int:
        return time.time_ns() // 1_000_000


@dataclass
class ManualClock:
    """A clock that moves only when told, for simulations and tests."""

    at: int = 1_700_000_000_000

    def now(self) -> int:
        return self.at

    def advance(self, milliseconds: int) -> None:
        self.at += milliseconds
