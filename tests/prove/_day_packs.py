"""Scenes of the four-doors scenario around a preparation: its jobs are started and paused through Singularity."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from factories import wait_until

from prove._day import Day, expect
from prove._doors import Doors

SOURCE = "/preparation/day/source/raw"
_GIB, _MIB = 1 << 30, 1 << 20


def preparation(day: Day, folder: Path, holder: int) -> tuple[int, int]:
    """A scan waits and is paused, packs are paused, resumed, cancelled and started again, all through Singularity.

    Returns the two pack jobs, which are paused then."""
    doors, chance = day.doors, day.chance
    folder.mkdir()
    for name in ("one.raw", "two.raw"):
        with (folder / name).open("wb") as file:
            file.truncate(6 * _GIB + chance.randint(0, _MIB))  # sparse: the bytes are zeros, the work is real
    day.service.cli("storage", "allow", str(folder))
    doors.singularity("POST", "/storage/local", {"name": "raw", "path": str(folder)})
    doors.singularity("POST", "/preparation", {"name": "day", "sourceStorages": ["raw"], "maxSize": "7GiB"})
    scan = doors.singularity("POST", f"{SOURCE}/start-scan")["taskId"]
    day.step("Singularity starts a scan, which needs the whole slot", doors.look(scan, "queued"))
    expect(doors.singularity("POST", f"{SOURCE}/pause-scan")["state"], "paused")
    day.step("Singularity pauses the scan", doors.look(scan, "paused before it ran"))
    expect(doors.singularity("POST", f"{SOURCE}/start-scan")["state"], "ready")
    day.step("Singularity starts it again", doors.look(scan, "queued"))
    daggen = doors.submit("daggen", {"preparation": "day", "source": "raw", "wait": True})
    day.step("Linkis submits a daggen that waits for all packs", doors.look(daggen, "created"))
    day.step(f"{day.pause(daggen)} pauses it", doors.look(daggen, "paused before it was queued"))
    day.step(f"{day.resume(daggen)} lets it go on", doors.look(daggen, "created"))
    day.step(f"{day.kill(holder)} cancels the last sleep: the scan runs", doors.look(scan, "succeeded"))

    wait_until(lambda: sorted(state for _, state in packs(doors).values()) == ["processing", "ready"], 30)
    (first, (one, _)), (second, (other, _)) = sorted(packs(doors).items(), key=lambda item: item[1][1])
    day.step("it has left two packs", doors.look(one, "running"), doors.look(other, "queued"))
    wait_until(lambda: doors.linkis("GET", f"/entrance/{one}/progress")["bytesDone"] > 0, 30)
    expect(doors.singularity("POST", f"{SOURCE}/pause-pack/{first}")[0]["state"], "paused")
    at_once = doors.look(one, "running, to pause", "paused")
    day.step("Singularity pauses the pack that runs", at_once)
    day.step("the other starts", doors.look(one, "paused"), doors.look(other, "running"))
    expect(doors.singularity("POST", f"{SOURCE}/start-pack/{first}")[0]["state"], "ready")
    day.priority(one, "HIGH")
    day.step("Singularity starts it again, BlackPearl sets it HIGH", doors.look(one, "queued again"))
    told = f"{day.kill(other)} cancels the other"
    day.step(told, doors.look(other, "cancelled"), doors.look(one, "running"))
    day.step("so the daggen cannot get what it waits for", doors.look(daggen, "failed"))
    again = doors.singularity("POST", f"{SOURCE}/start-pack/{second}")[0]["taskId"]
    expect(again != other, True)
    day.step("Singularity starts that job again, as a new task", doors.look(again, "queued"))
    expect(doors.linkis("GET", f"/entrance/{other}/status")["status"], "Cancelled")

    os.kill(chance.choice(day.service.task_processes()), signal.SIGKILL)
    day.step("kill -9 of the process that packs", doors.look(one, "waiting to retry"), doors.look(again, "running"))
    changed = doors.singularity("POST", f"{SOURCE}/pause-pack/0")
    expect({job["id"] for job in changed}, {first, second})
    day.step("Singularity pauses all packs", doors.look(one, "paused"), doors.look(again, "paused"))
    return first, second


def done(day: Day, first: int, second: int) -> None:
    """The preparation is done, after a pack that had no time."""
    doors = day.doors
    hasty = doors.submit("pack", {"job": second}, jobRunningTimeout="1")
    day.step("Linkis submits a pack with a second to run", doors.look(hasty, "timed out"))
    changed = {job["id"]: job["taskId"] for job in doors.singularity("POST", f"{SOURCE}/start-pack/0")}
    expect(set(changed), {first, second})
    done = [doors.look(task, "succeeded", timeout_seconds=240) for task in changed.values()]
    day.step("Singularity starts all packs", *done)
    daggen = doors.singularity("POST", f"{SOURCE}/start-daggen")["taskId"]
    day.step("Singularity starts the daggen", doors.look(daggen, "succeeded", timeout_seconds=60))
    failing = doors.submit("echo", {"seconds": 0.1, "fail": "asked to"})
    day.step("Linkis submits an echo that fails", doors.look(failing, "failed"))


def packs(doors: Doors) -> dict[int, tuple[int, str]]:
    """The pack jobs of the preparation: task and state of each."""
    (status,) = doors.singularity("GET", "/preparation/day")
    return {job["id"]: (job["taskId"], job["state"]) for job in status["jobs"] if job["type"] == "pack"}
