"""The rows of the BlackPearl contract's chapter 6.3: lists, their filters and pages, of jobs of every kind."""

from __future__ import annotations

from prove._blackpearl_world import BUCKET, NEVER, UNKNOWN, World, counted, ids, row, same

EVERY = "up down within scan one two last"
FILTERS: dict[str, tuple[tuple[dict[str, str], str], ...]] = {  # carol's jobs by the keys of ``World.listed``
    "aggregating": (({"aggregating": "false"}, EVERY), ({"aggregating": "True"}, "")),
    "bucket_id": (({"bucket_id": BUCKET}, "up down"), ({"bucket_id": "away"}, "within"), ({"bucket_id": UNKNOWN}, "")),
    "chunk_client_processing_order_guarantee": (
        ({"chunk_client_processing_order_guarantee": "in_order"}, EVERY),
        ({"chunk_client_processing_order_guarantee": "NONE"}, ""),
    ),
    "name": (
        ({"name": "nightly_1"}, "one"),
        ({"name": "nightly%"}, "one two"),
        ({"name": "%X1"}, "two"),
        ({"name": "GET by carol"}, "down"),
        ({"name": "nobody"}, ""),
    ),
    "priority": (
        ({"priority": "CRITICAL"}, "last"),
        ({"priority": "URGENT"}, ""),
        ({"priority": "HIGH"}, ""),
        ({"priority": "normal"}, "up down within"),
        ({"priority": "LOW"}, "one two"),
        ({"priority": "BACKGROUND"}, "scan"),
    ),
    "rechunked": (({"rechunked": NEVER}, ""),),
    "request_type": (
        ({"request_type": "put"}, "up within one two last"),
        ({"request_type": "GET"}, "down"),
        ({"request_type": "VERIFY"}, "scan"),
    ),
    "truncated": (({"truncated": "false"}, EVERY), ({"truncated": "TRUE"}, "")),
    "user_id": (({"user_id": "carol"}, EVERY), ({"user_id": "alice"}, "")),
    "two together": (
        ({"priority": "LOW", "name": "%_1"}, "one"),
        ({"request_type": "PUT", "bucket_id": BUCKET}, "up"),
        ({"request_type": "GET", "priority": "LOW"}, ""),
    ),
}


def _filter(name: str) -> None:
    @row("6.3", name)
    def check(world: World) -> None:
        client = world.as_user("carol")
        for query, keys in FILTERS[name]:
            same(ids(client.get("/_rest_/active_job", **query)), world.chosen(keys), f"active_job {query}")
        for bad in ({name: "x"},) if name not in ("name", "bucket_id", "user_id", "two together") else ():
            same(client.get("/_rest_/active_job", **bad).error, "BadRequest", f"active_job {bad}")
        if name in ("bucket_id", "user_id"):
            _by_uuid(world, name)


for _each in FILTERS:
    _filter(_each)


def _by_uuid(world: World, name: str) -> None:
    """A bucket and a user can be given by UUID, in any case; administrators see others' jobs by user."""
    carol, admin = world.as_user("carol"), world.as_user("admin")
    up = carol.get(f"/_rest_/active_job/{world.listed['up']['jobId']}").xml
    uuid = up.findtext("BucketId" if name == "bucket_id" else "UserId") or ""
    keys = "up down" if name == "bucket_id" else EVERY
    for given in (uuid, uuid.upper()):
        for who in (carol, admin):
            same(ids(who.get("/_rest_/active_job", **{name: given})), world.chosen(keys), f"{name} {given}")
    if name == "bucket_id":
        for given in (uuid, BUCKET):
            same(ids(carol.get("/_rest_/job", bucket_id=given)), world.chosen(keys), f"job by {given}")


@row("6.3", "job: newest first, full_details")
def _jobs(world: World) -> None:
    same(ids(world.as_user("carol").get("/_rest_/job")), world.uuids(), "carol's")
    ended = {names["jobId"] for names in world.ended.values()}
    same(set(ids(world.client.get("/_rest_/job"))) & ended, set(), "ended ones")
    same(set(ids(world.client.get("/_rest_/job", full_details=None))) >= ended, True, "full_details")


@row("6.3", "active_job: newest first, in progress only")
def _active_jobs(world: World) -> None:
    same(ids(world.as_user("carol").get("/_rest_/active_job")), world.uuids(), "carol's")
    ended = {names["jobId"] for names in world.ended.values()}
    same(set(ids(world.client.get("/_rest_/active_job"))) & ended, set(), "ended ones")


@row("6.3", "page_length, page_offset")
def _pages(world: World) -> None:
    client, every = world.as_user("carol"), world.uuids()
    same(counted(client.get("/_rest_/active_job")), (7, 0), "the whole list")
    for offset in (0, 3, 6, 9):
        page = client.get("/_rest_/active_job", page_length="3", page_offset=str(offset))
        same((ids(page), counted(page)), (every[offset : offset + 3], (7, max(0, 4 - offset))), f"from {offset}")
    for bad in ({"page_length": "0"}, {"page_length": "10001"}, {"page_length": "x"}, {"page_offset": "-1"}):
        same(client.get("/_rest_/active_job", **bad).error, "BadRequest", str(bad))


@row("6.3", "page_start_marker")
def _marker(world: World) -> None:
    client, every = world.as_user("carol"), world.uuids()
    page = client.get("/_rest_/active_job", page_length="3", page_start_marker=every[1])
    same((ids(page), counted(page)), (every[2:5], (7, 2)), "after the second")
    both = client.get("/_rest_/active_job", page_offset="0", page_start_marker=every[0])
    same((both.status, both.error), (400, "BadRequest"), "offset and marker")


@row("6.3", "last_page")
def _last_page(world: World) -> None:
    page = world.as_user("carol").get("/_rest_/active_job", page_length="3", last_page=None)
    same((ids(page), counted(page)), (world.uuids()[6:], (7, 0)), "the last page")
