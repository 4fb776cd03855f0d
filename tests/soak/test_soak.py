"""The tormentor in short: thirty tasks, a few torments. ``bin/soak`` and the claim ``storm`` do it at length."""

from __future__ import annotations

import random
from pathlib import Path

from factories import Service

from soak import storm


def test_tasks_under_kills_and_steering_are_neither_lost_nor_doubled(tmp_path: Path) -> None:
    seed = random.randrange(1 << 32)
    service = Service(data=tmp_path / "data", watched=False)
    report = storm.run(tmp_path, service, storm.Size(tasks=30, seconds=12.0, pause_seconds=0.3, storages=False), seed)
    assert not report.problems, f"seed {seed}: {report.problems[:10]}; {report.stories}"
    assert report.submitted, f"seed {seed}: {report.figure}"
