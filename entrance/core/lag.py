"""How late the event loop comes: a histogram that tells what a caller would have seen, counted all the time.

The loop asks to be woken every ``TICK_SECONDS``. A loop that is held up for a second misses a hundred wakes, and each of
them counts with the lateness that it would have had: a single late wake would make a long hold-up look like a rare one.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from itertools import accumulate

TICK_SECONDS = 0.01
BOUNDS = (0.001, 0.0025, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075, 0.1, 0.2, 0.5, 1.0, 2.5, 5.0, 10.0)
_WORST_SECONDS = 1.0


class HubLag:
    """Seconds by which wakes came late, since the start."""

    def __init__(self) -> None:
        self._counts = [0] * (len(BOUNDS) + 1)
        self.total = 0.0  # of all wakes
        self._worst = self._last_worst = 0.0
        self._since = time.monotonic()

    @property
    def worst(self) -> float:
        """The latest wake of the last second or two."""
        return max(self._worst, self._last_worst)

    def woke(self, due: float, now: float) -> None:
        """A wake that was due at ``due`` came at ``now`` (of one clock)."""
        late = max(0.0, now - due)
        self._worst = max(self._worst, late)
        if now - self._since >= _WORST_SECONDS:
            self._last_worst, self._worst, self._since = self._worst, 0.0, now
        while late >= 0:
            self._counts[bisect_left(BOUNDS, late)] += 1
            self.total += late
            late -= TICK_SECONDS

    def buckets(self) -> list[tuple[str, float]]:
        """Return (upper bound, wakes at most so late), as Prometheus counts them."""
        names = [*map(str, BOUNDS), "+Inf"]
        return [(name, float(count)) for name, count in zip(names, accumulate(self._counts), strict=True)]
