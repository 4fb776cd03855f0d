"""Group ``doors``: one day on a service with one slot, steered through all four APIs, which agree at every step."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import needs
from browser.stage import Tab, chromium, log_in, open_tab
from factories import Service
from servers.seaweedfs import SeaweedFS

from prove import Environment, _day_packs, _day_transfers, claim
from prove._day import Day, expect
from prove._doors import LONG, SETTINGS, TABLE, Doors


@claim(
    group="doors",
    name="four-doors",
    wanted="one scenario with one slot through Linkis, Singularity, BlackPearl, SenseCore and the console: what BlackPearl "
    "sets URGENT overtakes; at each step all of them show what the table of states says",
    timeout_seconds=600,
)
def four_doors(env: Environment, seed: int) -> str:
    """The steps go to standard error. Which task, which door and which SDK's signature: the seed says."""
    chance = random.Random(seed)
    settings = {**SETTINGS, "RETRY__LADDER_SECONDS": "3600", "STORAGE__ALLOWED_ENDPOINTS": "127.0.0.1"}
    service = env.service(**settings).start()
    doors = Doors(service, chance.choice(["python", "java", "go"]))
    server = SeaweedFS(env.scratch / "seaweedfs")
    try:
        server.start().bucket("day")
        with _console(service, doors) as tab:
            day = Day(service=service, doors=doors, chance=chance, tab=tab)
            holder = _queue(day)
            first, second = _day_packs.preparation(day, env.scratch / "raw", holder)
            with _day_transfers.storages(day, env.scratch / "exports", server):
                _day_transfers.one_after_another(day, first, second)
                _day_transfers.transfers(day, first)
            _day_packs.done(day, first, second)
            _lists(day)
        if tab is not None:
            tab.check()
    finally:
        server.stop()
    rows = ", ".join(f"{door} {len(doors.seen[door])}" for door in sorted(doors.seen))
    shown = "no chromium" if tab is None else "its page"
    return (
        f"{day.steps} steps, {doors.answers} answers compared, none differs; rows of the table's {len(TABLE)} seen through "
        f"{rows}; signed as the {doors.style} SDK; console: {shown}"
    )


@contextmanager
def _console(service: Service, doors: Doors) -> Iterator[Tab | None]:
    """The console's page of tasks, as ann sees it; None where there is no browser."""
    if not needs.present("chromium"):
        yield None
        return
    with chromium() as browser:
        context = browser.new_context(viewport={"width": 1280, "height": 2400}, locale="en-GB")
        context.set_default_timeout(15_000)
        log_in(context, service.url, "ann", doors.session)
        tab = open_tab(context, service.url)
        tab.go("tasks?size=100")
        yield tab
        context.close()


def _queue(day: Day) -> int:
    """Sleeps fill the slot, others wait; BlackPearl raises one of these, which starts first. Returns one that runs."""
    doors, chance = day.doors, day.chance
    running = [doors.submit("sleep", LONG) for _ in range(4)]  # a quarter of a core each
    day.step("Linkis submits four sleeps, which fill the slot", *[doors.look(task, "running") for task in running])
    waiting = [doors.submit("sleep", LONG) for _ in range(chance.randint(3, 6))]
    day.step(f"Linkis submits {len(waiting)} more, which wait", *[doors.look(task, "queued") for task in waiting])

    active = [job.findtext("Id") for job in doors.pearl.get("/_rest_/active_job").xml]
    expect(len(active), len(running) + len(waiting))
    raised = chance.choice(waiting[1:])
    day.priority(raised, "URGENT")
    day.step(f"BlackPearl lists {len(active)} jobs in progress and sets task {raised} URGENT", doors.look(raised, "queued"))
    expect(doors.linkis("GET", f"/entrance/{raised}/status")["priority"], 400)

    ended = running.pop(chance.randrange(len(running)))
    others = [task for task in waiting if task != raised]
    told = f"{day.kill(ended)} cancels task {ended}: task {raised} overtakes {waiting.index(raised)} older"
    first = doors.look(raised, "running")
    day.step(told, doors.look(ended, "cancelled"), first, *[doors.look(task, "queued") for task in others])

    held = chance.choice(others)
    day.step(f"{day.pause(held)} pauses task {held}, which never ran", doors.look(held, "paused before it ran"))
    day.step(f"{day.resume(held)} lets it go on", doors.look(held, "queued"))
    for task in others:
        day.step(f"{day.kill(task)} cancels task {task}, which waits", doors.look(task, "cancelled"))
    for task in (*running[1:], raised):
        day.step(f"{day.kill(task)} cancels task {task}, which runs", doors.look(task, "cancelled"))
    return running[0]


def _lists(day: Day) -> None:
    """At the end every API's lists hold the same tasks."""
    doors = day.doors

    def of_linkis(words: str) -> set[int]:
        query = f"/jobhistory/list?pageSize=1000&status={words}"
        return {row["taskID"] for row in doors.linkis("GET", query)["tasks"]}

    def of_pearl(resource: str) -> set[int]:
        found = doors.pearl.get(f"/_rest_/{resource}").xml
        return {_task_of(doors, job.findtext("Id") or "") for job in found}

    ended = {
        "Succeed": "completed_job",
        "Failed,Cancelled,Timeout": "canceled_job",
        "Running,Scheduled,Inited": "active_job",
    }
    counts = []
    for words, resource in ended.items():
        expect(of_pearl(resource), of_linkis(words))
        counts.append(f"{len(of_linkis(words))} {words}")
    for number, words in {2: "Succeed", 3: "Failed,Timeout", 4: "Cancelled", 1: "Running"}.items():
        transfers = doors.sensecore({"task_states": [number], "page_size": 1000})["tasks"]
        wanted = of_linkis(f"{words}&executeApplicationName=transfer")
        expect({_task_of(doors, entry["id"]) for entry in transfers}, wanted)
        counts.append(f"SenseCore's state {number}: {len(wanted)}")
    day.step(f"the lists of Linkis, BlackPearl and SenseCore hold the same: {', '.join(counts)}")


def _task_of(doors: Doors, uuid: str) -> int:
    return int(doors.linkis("GET", f"/entrance/{uuid}/status")["execID"].rpartition("_")[2])
