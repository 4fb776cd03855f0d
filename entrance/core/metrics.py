"""The resource series of a task: a ring of at most 720 points. When it is full every second one is dropped."""

from __future__ import annotations

import struct
from dataclasses import astuple

from entrance.core.model import Metric
from executors.launchers.base import Sample

MOST = 720
_POINT = struct.Struct("<qqdqqd")


class Ring:
    """Points of one task, over all its attempts."""

    def __init__(self, points: list[Metric] | None = None) -> None:
        self.points = points or []
        self.last: Sample | None = None
        self._last_bytes = 0
        self._every = 1
        self._skipped = 0

    def add(self, sample: Sample, bytes_done: int) -> None:
        """Take in a sample of the running attempt; ``bytes_done`` is its progress at that moment."""
        before, self.last = self.last, sample
        moved, self._last_bytes = max(0, bytes_done - self._last_bytes), bytes_done
        seconds = (sample.at - before.at) / 1000 if before else 0.0
        self._skipped += 1
        if self._skipped < self._every:
            return
        self._skipped = 0
        self.points.append(
            Metric(
                t=sample.at,
                rss=sample.rss,
                cpu=max(0.0, sample.cpu_seconds - before.cpu_seconds) / seconds if before and seconds > 0 else 0.0,
                read_bytes=sample.read_bytes,
                written_bytes=sample.written_bytes,
                rate=moved / seconds if seconds > 0 else 0.0,
            )
        )
        if len(self.points) > MOST:
            self.points = self.points[::2]
            self._every *= 2

    def pack(self) -> bytes:
        """Return the points as bytes, 48 each."""
        return b"".join(_POINT.pack(*astuple(p)) for p in self.points)


def unpack(body: bytes | None) -> list[Metric]:
    """Return the points that ``pack`` wrote."""
    names = ("t", "rss", "cpu", "read_bytes", "written_bytes", "rate")
    return [Metric(**dict(zip(names, p, strict=True))) for p in _POINT.iter_unpack(body or b"")]
