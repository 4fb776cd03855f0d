"""Wall-clock time in milliseconds since 1970 (UTC), a clock beside it that nobody sets, and one that tests move.

Times in the database and on every seam are integers of milliseconds. What is due after a while in one life of the service
(limits, retries) is measured by ``monotonic``, so that a jump of the wall clock neither hastens nor delays it.
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

    def monotonic(self) -> int:
        """Return milliseconds since some moment; they never jump."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic(self) -> int:
        return time.monotonic_ns() // 1_000_000


@dataclass
class ManualClock:
    """A clock that moves only when told, for simulations and tests."""

    at: int = 1_700_000_000_000
    jumped: int = 0

    def now(self) -> int:
        return self.at + self.jumped

    def monotonic(self) -> int:
        return self.at

    def advance(self, milliseconds: int) -> None:
        """Let time pass."""
        self.at += milliseconds

    def jump(self, milliseconds: int) -> None:
        """Set the wall clock ahead or back."""
        self.jumped += milliseconds
