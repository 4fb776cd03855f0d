"""The rows of the BlackPearl contract's chapter 6: modify, get, cancel. Lists are in ``_blackpearl_lists``."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from xml.etree.ElementTree import Element

from factories import LINKIS, wait_until

from prove._blackpearl_world import (
    LARGE,
    NEVER,
    RESOURCES,
    UNKNOWN,
    World,
    carols_transfer,
    empty,
    fill,
    ids,
    row,
    same,
)

BAD = (
    {"priority": "CRITICAL"},
    {"priority": "BACKGROUND"},
    {"priority": "HIGHEST"},
    {"priority": ""},
    {"name": ""},
    {"name": "x" * 1025},
    {"created_at": "Samstag, 21. November 2026"},
    {"created_at": "2026-13-21T20:50:00Z"},
    {"created_at": ""},
    {"protected": "maybe"},
    {"dead_job_cleanup_allowed": "1"},
)


# ---- 6.1 modify ---------------------------------------------------------------------------------------------------


def _modify(world: World, uuid: str, resource: str, shown: dict[str, str], **query: str) -> Element:
    """Modify; the answer and a get that follows must show the values."""
    answer = world.client.put(f"/_rest_/{resource}/{uuid}", **query)
    same((answer.status, answer.xml.tag), (200, "MasterObjectList"), f"PUT {resource} {query}")
    later = world.client.get(f"/_rest_/job/{uuid}").xml
    for name, value in shown.items():
        same((answer.xml.get(name), later.get(name)), (value, value), f"PUT {resource} {query}: {name}")
    return world.client.get(f"/_rest_/active_job/{uuid}").xml


@row("6.1", "priority")
def _priority(world: World) -> None:
    with world.job() as uuid:
        for resource in RESOURCES:
            for word in ("URGENT", "high", "Normal", "LOW"):
                active = _modify(world, uuid, resource, {"Priority": word.upper()}, priority=word)
                same(active.findtext("Priority"), word.upper(), resource)


@row("6.1", "name")
def _name(world: World) -> None:
    with world.job() as uuid:
        for resource in RESOURCES:
            for name in ("nightly", "é+&; \"<%~!$>'()*,=@:/ x", "y" * 1024):
                active = _modify(world, uuid, resource, {"Name": name}, name=name)
                same(active.findtext("Name"), name, resource)


@row("6.1", "created_at")
def _created_at(world: World) -> None:
    with world.job() as uuid:
        for resource in RESOURCES:
            for given, date in (
                (NEVER, NEVER),
                ("2026-11-21T20:50:00.5+02:00", "2026-11-21T18:50:00.500Z"),
                ("1795294200", NEVER),
                ("1795294200123", "2026-11-21T20:50:00.123Z"),
            ):
                active = _modify(world, uuid, resource, {"StartDate": date}, created_at=given)
                same(active.findtext("CreatedAt"), date, resource)


@row("6.1", "dead_job_cleanup_allowed")
def _cleanup(world: World) -> None:
    with world.job() as uuid:
        for resource, truth in zip(RESOURCES, (False, True), strict=True):
            active = _modify(world, uuid, resource, {}, dead_job_cleanup_allowed=world.yes(truth))
            same(active.findtext("DeadJobCleanupAllowed"), str(truth).lower(), resource)


@row("6.1", "protected")
def _protected(world: World) -> None:
    with world.job() as uuid:
        for resource, truth in zip(RESOURCES, (True, False), strict=True):
            active = _modify(world, uuid, resource, {}, protected=world.yes(truth))
            same(active.findtext("Protected"), str(truth).lower(), resource)


@row("6.1", "any mix, and all or nothing")
def _atomic(world: World) -> None:
    good = {"priority": "URGENT", "name": "other", "created_at": NEVER, "protected": world.yes()}
    with world.job() as uuid:
        before = world.client.get(f"/_rest_/active_job/{uuid}").body
        for resource in RESOURCES:
            for bad in BAD:
                answer = world.client.put(f"/_rest_/{resource}/{uuid}", **(good | bad))
                same((answer.status, answer.error), (400, "BadRequest"), f"{resource} {bad}")
        same(world.client.get(f"/_rest_/active_job/{uuid}").body, before, "after bad values")
        _modify(world, uuid, "job", {"Priority": "URGENT", "Name": "other", "StartDate": NEVER}, **good)


@row("6.1", "no parameter changes nothing")
def _nothing(world: World) -> None:
    with world.job() as uuid:
        before = world.client.get(f"/_rest_/job/{uuid}").body
        for resource in RESOURCES:
            same(world.client.put(f"/_rest_/{resource}/{uuid}").body, before, resource)
            same(world.client.put(f"/_rest_/{resource}/{uuid}", colour="blue").body, before, f"{resource}: unknown names")
        closed = world.client.put(f"/_rest_/job/{uuid}", close_aggregating_job=None)
        same((closed.status, closed.xml.get("Aggregating")), (200, "false"), "close_aggregating_job")


@row("6.1", "403 for another user's job")
def _others(world: World) -> None:
    with world.job() as uuid:
        for resource in RESOURCES:
            for method in ("GET", "PUT", "DELETE"):
                refused = world.as_user("bob").request(method, f"/_rest_/{resource}/{uuid}", {"force": None})
                same((refused.status, refused.error), (403, "AccessDenied"), f"{method} {resource}")


@row("6.1", "404 for an unknown job, and for one that has ended")
def _gone(world: World) -> None:
    for uuid in (UNKNOWN, *(names["jobId"] for names in world.ended.values())):
        for resource in RESOURCES:
            refused = world.client.put(f"/_rest_/{resource}/{uuid}", priority="LOW")
            same((refused.status, refused.error), (404, "NotFound"), f"{resource} {uuid}")


@row("6.1 moves", "a changed priority decides which job starts next")
def _next(world: World) -> None:
    with ExitStack() as stack:
        running = [stack.enter_context(world.job()) for _ in range(4)]
        wait_until(lambda: all(_state(world, uuid) == "Running" for uuid in running), 20, what="the slot is taken")
        first, second = stack.enter_context(world.job()), stack.enter_context(world.job())
        same(world.client.put(f"/_rest_/active_job/{second}", priority="URGENT").status, 200, "URGENT")
        same(world.client.delete(f"/_rest_/active_job/{running[0]}", force=None).status, 204, "cancel")
        wait_until(lambda: _state(world, second) == "Running", 20, what="the urgent one runs")
        same(_state(world, first), "Scheduled", "the other")


def _state(world: World, uuid: str) -> str:
    return str(world.pearl.linkis["alice"].get(f"{LINKIS}/entrance/{uuid}/status").data["status"])


# ---- 6.2 get ------------------------------------------------------------------------------------------------------


@row("6.2", "active_job/{id}")
def _get_active(world: World) -> None:
    with world.job() as uuid:
        answer = world.client.get(f"/_rest_/active_job/{uuid}")
        same((answer.status, answer.xml.tag, answer.xml.findtext("Id")), (200, "Data", uuid), "in progress")
    for gone in (uuid, UNKNOWN, *(names["jobId"] for names in world.ended.values())):
        answer = world.client.get(f"/_rest_/active_job/{gone}")
        same((answer.status, answer.error), (404, "NotFound"), gone)


@row("6.2", "job/{id}")
def _get_job(world: World) -> None:
    words = {"Succeed": "COMPLETED", "Failed": "CANCELED", "Timeout": "CANCELED", "Cancelled": "CANCELED"}
    with world.job() as uuid:
        shown = {uuid: "IN_PROGRESS", **{names["jobId"]: words[word] for word, names in world.ended.items()}}
        for found, status in shown.items():
            answer = world.client.get(f"/_rest_/job/{found}")
            same((answer.status, answer.xml.tag), (200, "MasterObjectList"), found)
            same((answer.xml.get("JobId"), answer.xml.get("Status")), (found, status), found)
    refused = world.client.get(f"/_rest_/job/{UNKNOWN}")
    same((refused.status, refused.error), (404, "NotFound"), "unknown")


# ---- 6.4 cancel ---------------------------------------------------------------------------------------------------


@row("6.4", "204, and gone from active jobs at once")
def _cancel(world: World) -> None:
    client = world.client
    for resource in RESOURCES:
        with world.job() as uuid:
            answer = client.delete(f"/_rest_/{resource}/{uuid}", force=None)
            same((answer.status, answer.body), (204, b""), resource)
            same(client.get(f"/_rest_/active_job/{uuid}").status, 404, "active_job")
            same(client.get(f"/_rest_/job/{uuid}").xml.get("Status"), "CANCELED", "job")
            for plain in RESOURCES:
                same(uuid in ids(client.get(f"/_rest_/{plain}")), False, f"list of {plain}")
            same(uuid in ids(client.get("/_rest_/job", full_details=None)), True, "full_details")
            same(uuid in ids(client.get("/_rest_/canceled_job")), True, "canceled_job")
            for again in RESOURCES:
                same(client.delete(f"/_rest_/{again}/{uuid}", force=None).error, "NotFound", "a second cancel")
        same(client.delete(f"/_rest_/{resource}/{UNKNOWN}", force=None).error, "NotFound", "unknown")


@row("6.4 moves", "no more data moves; what is whole stays, what is not goes")
def _cancel_moving(world: World) -> None:
    source = world.folder / "disk" / "moving"
    if not source.exists():
        fill(source)
    for resource in RESOURCES:
        _cancel_one(world, resource, source, world.folder / "away" / "moving")


def _cancel_one(world: World, resource: str, source: Path, target: Path) -> None:
    empty(target)
    linkis = world.pearl.linkis["carol"]
    task = carols_transfer(world, "disk", source.name, "away", target.name)
    small = {name: size for name, size in _sizes(source).items() if name != LARGE}
    done = f"{LINKIS}/entrance/{task['taskID']}/progress"
    begun = sum(small.values())
    wait_until(lambda: linkis.get(done).data["bytesDone"] > begun, 60, what="the large file is on its way")
    answer = world.as_user("carol").delete(f"/_rest_/{resource}/{task['jobId']}", force=None)
    same(answer.status, 204, resource)
    wait_until(lambda: _sizes(target) == small, 10, what="whole files alone are left")


def _sizes(folder: Path) -> dict[str, int]:
    return {str(f.relative_to(folder)): f.stat().st_size for f in folder.rglob("*") if f.is_file()}
