"""Group ``doors``: BlackPearl's job requests, signed as its SDKs sign."""

from __future__ import annotations

import uuid
from itertools import groupby

import ds3
from ds3 import STYLES, Answer
from servers.seaweedfs import SeaweedFS
from sqlalchemy import insert

from common.db import tables
from common.db.database import short_write
from common.db.peek import FILE_NAME
from common.db.sql import Sql
from common.storage.secrets import Secrets
from prove import Environment, Miss, _blackpearl_lists, _blackpearl_rows, claim
from prove._blackpearl_world import LARGE, RESOURCES, ROWS, SMALL, UNKNOWN, World, make_list, make_world, row, run, same

ACCESS_ID, SECRET, DATE = "AKEXAMPLE01", "Kx9vSecretExample", "Sat, 21 Nov 2026 20:50:00 -0000"
OBJECT = {
    "Content-MD5": "1B2M2Y8AsgTpgAmY7PhCfg==",
    "Content-Type": "application/octet-stream",
    "x-amz-meta-b": "2",
    "x-amz-meta-a": "1,3",
}
JOB = f"/_rest_/active_job/{UNKNOWN}"
VECTORS: tuple[tuple[str, str, dict[str, str], str], ...] = (  # chapter 12
    ("GET", JOB, {}, "2T6LkDMhZfDeW+jwao7LV3c0Gjc="),
    ("PUT", f"{JOB}?priority=URGENT&name=a%20b", {}, "/jtagKZBHSd+jDU0Nsz4I+kliIc="),
    ("PUT", f"{JOB}?priority=URGENT&name=a%20b", {"Content-Type": "application/xml"}, "JUORHzXU8/+oXJHgcPBFYPSV9G0="),
    ("PUT", f"/bucket1/dir%20one/%C3%A9%2B%26%3B.txt?job={UNKNOWN}&offset=0", OBJECT, "QjYL84sVXBkCK/faXeUaMub2mQs="),
    ("GET", "/bucket1?versions&prefix=x", {}, "wTh9Et6s7YAr2qltPG4prxgTViU="),
    ("GET", "/bucket1?versions=False&prefix=x", {}, "nxelPd8Uzov/RvsHlZgthtdJPiw="),
)
SIGNED = (
    "PUT\n1B2M2Y8AsgTpgAmY7PhCfg==\napplication/octet-stream\nSat, 21 Nov 2026 20:50:00 -0000\nx-amz-meta-a:1,3\n"
    "x-amz-meta-b:2\n/bucket1/dir%20one/%C3%A9%2B%26%3B.txt"
)
_ATTRIBUTES = (  # 5.1
    "Aggregating BucketName CachedSizeInBytes ChunkClientProcessingOrderGuarantee CompletedSizeInBytes JobId Naked Name "
    "OriginalSizeInBytes Priority RequestType StartDate Status UserId UserName"
)
_ELEMENTS = (  # 5.3
    "Aggregating BucketId CachedSizeInBytes ChunkClientProcessingOrderGuarantee CompletedSizeInBytes CreatedAt "
    "DeadJobCleanupAllowed ErrorMessage Id ImplicitJobIdResolution MinimizeSpanningAcrossMedia Naked Name "
    "OriginalSizeInBytes Priority Protected Rechunked Replicating RequestType Restore Truncated TruncatedDueToTimeout "
    "UserId VerifyAfterWrite"
)
ATTRIBUTES, ELEMENTS = frozenset(_ATTRIBUTES.split()), frozenset(_ELEMENTS.split())


@claim(
    group="doors",
    name="blackpearl",
    wanted="the signature vectors and every row of chapters 6 and 11 of the contract, each with requests signed as the "
    "Python, Java and Go SDKs do",
)
def blackpearl(env: Environment, seed: int) -> str:
    """Real jobs, two of them to and from an S3 server; the signatures are made apart from the product."""
    assert _blackpearl_rows.BAD and _blackpearl_lists.FILTERS, "the rows of chapter 6 register themselves"
    figures, wrong = [_vectors(env)], []
    server = SeaweedFS(env.scratch / "seaweedfs")
    try:
        service = env.service(SCHEDULER__SLOTS="1", STORAGE__ALLOWED_ENDPOINTS="127.0.0.1")
        folder = env.scratch / "storages"
        folder.mkdir()
        world = make_world(service, folder, server.start())
        moving = [r for r in ROWS if r.chapter.endswith("moves")]
        held = {"6": 0, "11": 0}
        held["6"], faults = run(world, moving)
        wrong += faults
        make_list(world)
        still = sorted((r for r in ROWS if r not in moving), key=lambda r: r.chapter.partition(".")[0])
        for chapter, rows in groupby(still, key=lambda r: r.chapter.partition(".")[0]):
            count, faults = run(world, list(rows))
            held[chapter] += count
            wrong += faults
    finally:
        server.stop()
    for chapter, count in held.items():
        rows = [r for r in ROWS if r.chapter.partition(".")[0] == chapter]
        figures.append(f"chapter {chapter}: {count} of {len(rows)} rows")
    figure = f"{', '.join(figures)}, each as {len(STYLES)} SDKs"
    if wrong:
        raise Miss(f"{figure}; {len(wrong)} wrong: {'; '.join(wrong[:5])}")
    return figure


def _vectors(env: Environment) -> str:
    """The published signatures are those that are made here, and open the door; changed ones do not."""
    service = env.service("vectors", AUTH__SIGNATURE_SKEW_SECONDS="0").start()
    secret = Secrets.of_folder(service.data).encrypt(SECRET)
    key = {"access_id": ACCESS_ID, "secret": secret, "user": "admin", "created_at": 0}
    with short_write(service.data / FILE_NAME) as tx:
        tx.run(Sql(insert(tables.keys).values(key)))
    for method, target, headers, wanted in VECTORS:
        told = {"Date": DATE, **headers}
        same(ds3.sign(SECRET, method, target, told), wanted, f"the signature of {method} {target}")
        answer = ds3.send(service.url, method, target, told | {"Authorization": f"AWS {ACCESS_ID}:{wanted}"})
        let_in = "NotFound" if target.startswith("/_rest_/") else "NotImplemented"  # no such job; no buckets here
        same(answer.error, let_in, f"{method} {target}")
        other = ds3.sign(SECRET + "x", method, target, told)
        answer = ds3.send(service.url, method, target, told | {"Authorization": f"AWS {ACCESS_ID}:{other}"})
        same((answer.status, answer.error), (403, "SignatureDoesNotMatch"), f"{method} {target}")
    method, target, headers, _ = VECTORS[3]
    same(ds3.string_to_sign(method, target, {"Date": DATE, **headers}), SIGNED, "what is signed")
    service.stop()
    return f"chapter 12: {len(VECTORS)} of {len(VECTORS)} signatures"


# ---- chapter 11: what breaks real clients -------------------------------------------------------------------------


@row("11", "Nodes in MasterObjectList and in each Job")
def _nodes(world: World) -> None:
    with world.job() as ref:
        answers = [world.client.put(f"/_rest_/{r}/{ref}") for r in RESOURCES] + [world.client.get(f"/_rest_/job/{ref}")]
        for root in (*(a.xml for a in answers), *world.client.get("/_rest_/job", full_details=None).xml):
            node = root.find("Nodes/Node")
            same(node is not None and bool(node.get("EndPoint")), True, f"Nodes of {root.attrib}")


def _errors(world: World) -> list[Answer]:
    """One error of each kind, the framework's own among them."""
    client = world.client
    wanted = {
        ("GET", f"/_rest_/active_job/{UNKNOWN}"): 404,
        ("GET", "/_rest_/"): 404,
        ("GET", "/_rest_/nothing"): 404,
        ("POST", "/_rest_/active_job"): 405,
        ("OPTIONS", "/_rest_/job"): 405,
        ("GET", "/_rest_/tape"): 501,
        ("PUT", "/_rest_/bucket/b1?operation=start_bulk_put"): 501,
        ("GET", "/b1/o1"): 501,
        ("GET", "/_rest_/active_job?priority=x"): 400,
        ("GET", f"/_rest_/job/{world.listed['one']['jobId']}"): 403,
    }
    answers = []
    for (method, path), status in wanted.items():
        answers.append(client.request(method, path, raw=True))
        same(answers[-1].status, status, f"{method} {path}")
    answers.append(ds3.send(client.url, "PUT", "/_rest_/job", {"Content-Length": str(1 << 40)}))
    same(answers[-1].status, 413, "a body of a TiB")
    answers.append(ds3.send(client.url, "GET", "/_rest_/job", {}))
    same(answers[-1].status, 403, "unsigned")
    return answers


@row("11", "errors are XML with a numeric HttpErrorCode")
def _xml_errors(world: World) -> None:
    for answer in _errors(world):
        same(answer.headers["content-type"], "text/xml;charset=UTF-8", f"{answer.status}")
        same(answer.xml.findtext("HttpErrorCode"), str(answer.status), f"{answer.status}")


@row("11", "ResourceId is a number")
def _resource_ids(world: World) -> None:
    for answer in _errors(world):
        number = answer.xml.findtext("ResourceId") or ""
        same((number.isdigit(), 0 < int(number) < 1 << 63), (True, True), f"{answer.status}: {number}")
        same(answer.headers["x-amz-request-id"], number, f"{answer.status}")


@row("11", "no redirect for a trailing slash")
def _slashes(world: World) -> None:
    with world.job() as ref:
        for path in (*(f"/_rest_/{r}/" for r in RESOURCES), *(f"/_rest_/{r}/{ref}/" for r in RESOURCES)):
            same(world.client.get(path).status, 200, path)
        same(world.client.put(f"/_rest_/active_job/{ref}/", priority="LOW").status, 200, "PUT")
        same(world.client.delete(f"/_rest_/job/{ref}/", force=None).status, 204, "DELETE")


@row("11", "403 and not 401; 200 and 204 exactly")
def _codes(world: World) -> None:
    client = world.client
    broken = ds3.Client(client.url, client.access_id, client.secret + "x", client.style)
    stranger = ds3.Client(client.url, "nobody", client.secret, client.style)
    late = ds3.Client(client.url, client.access_id, client.secret, client.style, offset=-1000)
    for who, code in (
        (broken, "SignatureDoesNotMatch"),
        (stranger, "InvalidAccessKeyId"),
        (late, "RequestTimeTooSkewed"),
    ):
        answer = who.get("/_rest_/job")
        same((answer.status, answer.error), (403, code), code)
        same("www-authenticate" in answer.headers, False, code)
    with world.job() as ref:
        codes = [client.put(f"/_rest_/{r}/{ref}", name="x").status for r in RESOURCES]
        codes += [client.get(f"/_rest_/{r}{below}").status for r in RESOURCES for below in ("", f"/{ref}")]
        same(codes, [200] * 6, "modify, get, list")
        same(client.delete(f"/_rest_/active_job/{ref}", force=None).status, 204, "cancel")


@row("11", "active_job is elements, job is a MasterObjectList")
def _shapes(world: World) -> None:
    with world.job() as ref:
        active = world.client.get(f"/_rest_/active_job/{ref}").xml
        same((active.tag, dict(active.attrib)), ("Data", {}), "active_job")
        whole = world.client.get(f"/_rest_/job/{ref}").xml
        same((whole.tag, whole.get("JobId")), ("MasterObjectList", ref), "job")


@row("11", "Jobs without Data, Job in active_job")
def _wrappers(world: World) -> None:
    jobs, active = (world.as_user("carol").get(f"/_rest_/{r}").xml for r in ("job", "active_job"))
    same((jobs.tag, {e.tag for e in jobs}), ("Jobs", {"Job"}), "job")
    same((active.tag, {e.tag for e in active}), ("Data", {"Job"}), "active_job")


@row("11", "every attribute and element, CANCELED with one L")
def _complete(world: World) -> None:
    client = world.as_user("carol")
    for names in world.listed.values():
        whole = client.get(f"/_rest_/job/{names['jobId']}").xml
        same({n for n in ATTRIBUTES if not whole.get(n)}, set(), f"attributes that job {names['jobId']} lacks")
        active = client.get(f"/_rest_/active_job/{names['jobId']}").xml
        same({e.tag for e in active}, set(ELEMENTS), f"elements of {names['jobId']}")
        same({e.tag for e in active if not e.text} - {"ErrorMessage", "Rechunked"}, set(), "empty elements")
    for job in (*client.get("/_rest_/job").xml, *world.client.get("/_rest_/job", full_details=None).xml):
        same({n for n in ATTRIBUTES if not job.get(n)}, set(), "attributes that a listed job lacks")
        same(job.get("Status") in ("IN_PROGRESS", "COMPLETED", "CANCELED"), True, str(job.get("Status")))
    for entry in client.get("/_rest_/active_job").xml:
        same({e.tag for e in entry}, set(ELEMENTS), "elements of a listed job")


@row("11", "ids are UUIDs")
def _uuids(world: World) -> None:
    client, ref = world.as_user("carol"), world.listed["up"]["jobId"]
    whole, active = client.get(f"/_rest_/job/{ref}").xml, client.get(f"/_rest_/active_job/{ref}").xml
    found = [whole.get("JobId"), whole.get("UserId"), *(active.findtext(n) for n in ("Id", "UserId", "BucketId"))]
    found += [e.get("Id") for e in whole.iter("Node")] + [e.get("ChunkId") for e in whole.iter("Objects")]
    found += [e.get(n) for e in whole.iter("Object") for n in ("Id", "VersionId")]
    same([str(uuid.UUID(i)) for i in found if i], found, "ids")


@row("11", "job_chunk, which would need Retry-After, is refused as not served")
def _chunks(world: World) -> None:
    answer = world.client.get("/_rest_/job_chunk", job=world.listed["up"]["jobId"])
    same((answer.status, answer.error), (501, "NotImplemented"), "job_chunk")


@row("11", "InCache on every object")
def _in_cache(world: World) -> None:
    objects = list(world.as_user("carol").get(f"/_rest_/job/{world.listed['up']['jobId']}").xml.iter("Object"))
    shown = {o.get("Name"): o.get("InCache") for o in objects}
    same(shown, {LARGE: "false", **dict.fromkeys(SMALL, "true")}, "objects")
    wanted = {"Id", "InCache", "Latest", "Length", "Name", "Offset", "Version", "VersionId"}
    same({frozenset(o.attrib) for o in objects}, {frozenset(wanted)}, "attributes of objects")


@row("11", "HTTP/1.1")
def _version(world: World) -> None:
    same(world.client.get("/_rest_/job").version, 11, "a list")
    same({a.version for a in _errors(world)}, {11}, "errors")


@row("11", "signed over the path and Content-Type as they came")
def _raw(world: World) -> None:
    task = world.pearl.submit(seconds=3600)
    client, ref = world.client, f"/_rest_/job/{task['execID']}"  # with colons, which SDKs escape or do not
    same(client.get(ref).status, 200, ref)
    same(client.get(f"/_rest_/active_job/é + & ; {task['taskID']}").error, "NotFound", "blanks and letters")
    for path in ("/_rest_/dir%20one/%C3%A9%2B%26%3B.txt", "/_rest_/a!$'()*,&=@:b", "/_rest_/%7Ea%2fb?uploads&priority=LOW"):
        same(client.request("GET", path, raw=True).error, "NotFound", path)
    for kind in ("", "application/octet-stream", "application/xml", "x"):
        sent = {"Content-Type": kind, "Content-MD5": "1B2M2Y8AsgTpgAmY7PhCfg==", "x-amz-meta-a": "1,3"}
        same(client.request("PUT", ref, headers=sent, body=b"<Objects/>").status, 200, f"Content-Type {kind!r}")
    same(client.delete(ref, force=None).status, 204, "cancel")
