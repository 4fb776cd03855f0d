"""Group ``packing``: a daggen that is paused, killed and restarted goes on where it was."""

from __future__ import annotations

import os
import random
import signal
from pathlib import Path
from typing import Any

from factories import wait_until

from prove import Environment, Miss, claim
from prove._client import Client
from prove.packing_files import World, light_folder, make_folders

FOLDERS = 100_000
MOST_AGAIN = 2.0  # processor seconds of work that one interruption may cost, the start of a process included


@claim(
    group="packing",
    name="daggen-interrupted",
    wanted=f"a tree of {FOLDERS:,} folders: its daggen paused, its process and its service killed (-9) at random places: "
    f"the same CAR, at most {MOST_AGAIN:g} CPU seconds again for each",
    timeout_seconds=600,
)
def daggen_interrupted(env: Environment, seed: int) -> str:
    """One preparation without interruption, and one of the same tree with a pause, a killed process, a killed service."""
    chance = random.Random(seed)
    with light_folder(env, 2 * FOLDERS) as folder:
        make_folders(folder / "tree", FOLDERS)
        world = World(env.service(RETRY__LADDER_SECONDS="0"), folder)
        undisturbed = _Daggen(world, folder, "undisturbed")
        undisturbed.wait()
        cpu = undisturbed.cpu_seconds()
        disturbed = _Daggen(world, folder, "disturbed")
        places = [chance.uniform(least, least + 0.2) for least in (0.1, 0.4, 0.7)]
        seen = []
        for place, disturb in zip(places, chance.sample((_pause, _kill_task, _kill_service), 3), strict=True):
            seen.append(f"{disturb.__name__.strip('_')} at {100 * disturbed.reach(place):.0f} %")
            disturb(world, disturbed.task)
        disturbed.wait()
        again = disturbed.cpu_seconds() - cpu
        ours, theirs = disturbed.car(), undisturbed.car()
        attempts = len(disturbed.attempts())
    went_on = sum("going on" in line for line in world.client.log(disturbed.task))
    figure = (
        f"{', '.join(seen)}: {attempts} attempts, {again:.1f} CPU s more than the {cpu:.1f} s without; "
        f"{'the same CAR' if ours == theirs else f'{ours} and {theirs}'}"
    )
    if ours != theirs or went_on < len(seen) or again > MOST_AGAIN * len(seen):
        raise Miss(figure)
    return figure


class _Daggen:
    """A daggen of a preparation that is packed for it."""

    def __init__(self, world: World, folder: Path, name: str) -> None:
        self._world = world
        world.prepare(folder / "tree", name, folder / f"out-{name}", ("pack",))
        found = world.service.http.get("/api/preparation").json()
        source = next(p["sourceStorages"][0]["name"] for p in found if p["name"] == name)
        self.task = world.client.submit("daggen", {"preparation": name, "source": source})

    def reach(self, place: float) -> float:
        """Wait until so much of the work is done; return how much is."""
        progress = 0.0

        def there() -> bool:
            nonlocal progress
            progress = float(self._world.client.data("GET", f"/entrance/{self.task}/progress")["progress"])
            return progress >= place

        wait_until(there, 120, every_seconds=0.01)
        return progress

    def wait(self) -> None:
        wait_until(lambda: self._world.client.status(self.task) in ("Succeed", "Failed"), 120)
        if self._world.client.status(self.task) != "Succeed":
            raise Miss(f"the daggen failed: {self._world.client.log(self.task)[-3:]}")

    def attempts(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._world.client.data("GET", f"/entrance/{self.task}/attempts")["attempts"]
        return found

    def cpu_seconds(self) -> float:
        return sum(float(attempt["cpuSeconds"] or 0) for attempt in self.attempts())

    def car(self) -> tuple[str, ...]:
        """Piece CID and other columns of its result."""
        rows = self._world.rows(f"SELECT hex(piece_cid), car_size, blocks FROM cars WHERE task_id = {self.task}")
        return tuple(str(value) for row in rows for value in row)


def _pause(world: World, task: int) -> None:
    begun = world.client.data("GET", f"/entrance/{task}/attempts")["attempts"]
    world.client.data("GET", f"/entrance/{task}/pause")
    wait_until(lambda: _all_ended(world, task, len(begun)), 10, every_seconds=0.01)
    world.client.data("GET", f"/entrance/{task}/resume")


def _kill_task(world: World, task: int) -> None:
    begun = world.client.data("GET", f"/entrance/{task}/attempts")["attempts"]
    for process in world.service.task_processes():
        os.kill(process, signal.SIGKILL)
    wait_until(lambda: _all_ended(world, task, len(begun)), 10, every_seconds=0.01)


def _kill_service(world: World, task: int) -> None:
    world.service.kill()
    world.service.start()
    world.client = Client(world.service)


def _all_ended(world: World, task: int, count: int) -> bool:
    attempts = world.client.data("GET", f"/entrance/{task}/attempts")["attempts"]
    return all(attempt["endTime"] for attempt in attempts[:count])
