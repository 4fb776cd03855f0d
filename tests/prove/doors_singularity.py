"""Group ``doors``: Singularity's API, as its clients use it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import reference
from singularity import Singularity
from trees import listed, vectors, whole_preparations

from prove import Environment, claim
from prove._singularity_states import check_states, same
from prove._singularity_texts import check_texts

PUBLISHED = {  # the eight calls around jobs and packing, and whether they answer a Job, several, a Car or nothing
    "pause-scan": ("Job", r"POST /preparation/[^/]+/source/[^/]+/pause-scan"),
    "start-scan": ("Job", r"POST /preparation/[^/]+/source/[^/]+/start-scan"),
    "pause-daggen": ("Job", r"POST /preparation/[^/]+/source/[^/]+/pause-daggen"),
    "start-daggen": ("Job", r"POST /preparation/[^/]+/source/[^/]+/start-daggen"),
    "pause-pack": ("Jobs", r"POST /preparation/[^/]+/source/[^/]+/pause-pack/\d+"),
    "start-pack": ("Jobs", r"POST /preparation/[^/]+/source/[^/]+/start-pack/\d+"),
    "pack": ("Car", r"POST /job/\d+/pack"),
    "finalize": ("", r"POST /preparation/[^/]+/source/[^/]+/finalize"),
}
JOB_KEYS = {"attachmentId", "errorMessage", "errorStackTrace", "id", "state", "type"}
CAR_KEYS = {
    "attachmentId", "createdAt", "fileSize", "id", "jobId", "numOfFiles", "pieceCid", "pieceSize", "preparationId",
    "rootCid", "storageId", "storagePath",
}  # fmt: skip
CAR_TYPE = "application/vnd.ipld.car; version=1"


@dataclass
class Counts:
    """What was compared."""

    trees: int = 0
    cars: int = 0
    downloads: int = 0


@claim(
    group="doors",
    name="singularity",
    wanted="the eight published calls, each state row of chapter 3.3, each error text, the batch and push sequences; every "
    "known tree through this API alone: CARs byte for byte, piece CIDs, /piece by v1 and v2 with ranges",
)
def singularity(env: Environment, seed: int) -> str:
    """A service of one slot for the rows; one as it is for the trees. Clients send no credentials."""
    env.scratch.joinpath("trees").mkdir()
    narrow = _open(env, "rows", SCHEDULER__SLOTS="1")
    cells = check_states(narrow)
    texts = check_texts(narrow)
    wide = _open(env, "trees-data")
    pushes = _push_with_workers(wide) + _push_without_workers(wide)
    _check_published(wide)
    made = [name for name, (_, form) in PUBLISHED.items() if any(re.fullmatch(form, c) for c in narrow.called | wide.called)]
    same(made, list(PUBLISHED), "the published calls that were answered")
    counts = Counts()
    for output in (False, True):  # a piece that has a file anywhere is read from there, zeros at its end or not
        for case in whole_preparations():
            _check_tree(wide, case, output, counts)
    return (
        f"{len(made)} of {len(PUBLISHED)} calls, {cells} cells of the state tables, {texts} texts, {pushes} push sequences, "
        f"{counts.trees} trees, {counts.cars} CARs equal byte for byte, {counts.downloads} downloads"
    )


def _open(env: Environment, name: str, **settings: str) -> Singularity:
    service = env.service(name, AUTH__TRUST_LOOPBACK="admin", **settings).start()
    service.cli("storage", "allow", str(env.scratch))
    return Singularity(service, env.scratch / "trees")


# ---- the published calls and the push sequence --------------------------------------------------------------------


def _check_published(api: Singularity) -> None:
    """Each call as the published sample makes it: no body, no headers; the answer has the published keys."""
    prep, source = api.preparation({"a.txt": "x"})
    base = f"/preparation/{prep}/source/{source}"
    file, _ = api.push(prep, source, "a.txt")
    job = api.ok("GET", f"/file/{file['id']}")["fileRanges"][0]["jobId"]
    with api.held():
        answers = {
            "start-scan": api.ok("POST", f"{base}/start-scan"),
            "pause-scan": api.ok("POST", f"{base}/pause-scan"),
            "start-daggen": api.ok("POST", f"{base}/start-daggen"),
            "pause-daggen": api.ok("POST", f"{base}/pause-daggen"),
            "start-pack": api.ok("POST", f"{base}/start-pack/{job}"),
            "pause-pack": api.ok("POST", f"{base}/pause-pack/{job}"),
        }
    answers["pack"] = api.ok("POST", f"/job/{job}/pack")
    done = api.call("POST", f"{base}/finalize")
    same((done.status, done.body), (204, b""), "finalize")
    for name, answer in answers.items():
        kind = PUBLISHED[name][0]
        found = answer[0] if kind == "Jobs" else answer
        missing = (CAR_KEYS if kind == "Car" else JOB_KEYS) - set(found)
        same(missing, set(), f"keys that {name} does not answer")


def _push_with_workers(api: Singularity) -> int:
    """As Motion does: identity, look, make, push file by file; finalize when the number is large enough; workers pack."""
    same(api.call("POST", "/identity", {"identity": "motion"}).status, 204, "identity")
    same(api.ok("GET", "/preparation"), [], "preparations before the first")
    tree: dict[str, Any] = {f"{n:03}/file.bin": {"derivedBuffer": 400_000 + n} for n in range(12)}
    folder = api.tree(tree)
    source = api.storage(folder)
    body = {"name": api.name("prep"), "sourceStorages": [source], "maxSize": "3MB"}
    prep = api.ok("POST", "/preparation", body)["id"]
    finalized = 0
    for path in tree:
        _, estimate = api.push(prep, source, path)
        if estimate > 1_500_000:
            api.ok("POST", f"/preparation/{prep}/source/{source}/finalize")
            finalized += 1
    api.ok("POST", f"/preparation/{prep}/source/{source}/finalize")
    same({j["state"] for j in api.settled(prep)}, {"complete"}, "packs after finalize")
    cars = api.pieces(prep)
    same((finalized, len(cars), sum(c["numOfFiles"] for c in cars)), (3, 3, 12), "finalized, CARs, files")
    _check_jobs(api, prep, source, folder, cars)
    return 1


def _check_jobs(api: Singularity, prep: int, source: str, folder: Path, cars: list[Any]) -> None:
    """The CARs of a push hold the files of their jobs, in the order in which they came."""
    files = [(path, data) for path, data in listed(folder)[0]]
    for number, car in enumerate(sorted(cars, key=lambda c: c["jobId"])):
        part = files[4 * number : 4 * number + 4]
        wanted = reference.prepare(part, [""], max_size=3_000_000, min_piece_size=1 << 20).cars[0]
        same((car["pieceCid"], car["rootCid"]), (wanted.piece_cid, wanted.root), f"CAR {number} of the push")
        body = api.http.get(f"/piece/{car['pieceCid']}").body
        same(body[: len(wanted.data)] == wanted.data, True, f"bytes of CAR {number} of the push")


def _push_without_workers(api: Singularity) -> int:
    """Status, then POST /job/{id}/pack for each job: the public values of Singularity's own test."""
    known = vectors("singularity")["pack"][0]
    prep, source = api.preparation(known["tree"], maxSize="31.5GiB")
    api.push(prep, source, next(iter(known["tree"])))
    (job,) = api.jobs(prep)
    same(job["state"], "created", "a pack that is being filled")
    car = api.ok("POST", f"/job/{job['id']}/pack")
    wanted = known["expected"]["v1"]
    same({key: car[key] for key in wanted}, wanted, "the Car")
    same(api.ok("POST", f"/job/{job['id']}/pack"), car, "the Car once more")
    return 1


# ---- whole preparations -------------------------------------------------------------------------------------------


def _check_tree(api: Singularity, case: Mapping[str, Any], output: bool, counts: Counts) -> None:
    """The batch sequence, and everything that comes of it."""
    name, folder = f"{case['name']}, {'exported' if output else 'inline'}", api.tree(case["tree"])
    sizes = {"maxSize": str(case["maxSize"]), "minPieceSize": str(case["minPieceSize"])}
    prep, source = api.preparation(folder, output=output, **sizes)
    api.run(prep, source, "start-scan")
    same({j["state"] for j in api.run(prep, source, "start-daggen")}, {"complete"}, name)
    files, folders = listed(folder)
    made = reference.prepare(files, folders, max_size=case["maxSize"], min_piece_size=case["minPieceSize"])
    assert made.dag is not None
    found = api.pieces(prep)
    data = sorted((c for c in found if c["pieceType"] == "data"), key=lambda c: c["jobId"])
    dags = [c for c in found if c["pieceType"] == "dag"]
    wanted = [*case["cars"], case["dagCar"]]
    same(len(data) + len(dags), len(wanted), f"{name}: CARs")
    for car, row, second in zip([*data, *dags], wanted, [*made.cars, made.dag], strict=True):
        _check_car(api, prep, car, row, second, output, counts)
    for row in case["directories"]:
        path = row["path"].replace("/", "%2F") or "%2F"
        explored = api.ok("GET", f"/preparation/{prep}/source/{source}/explore/{path}")
        same(explored["cid"], row["cid"], f"{name}: directory {row['path']!r}")
    if "files" in case:
        _check_files(api, prep, source, case, [c["jobId"] for c in data])
    counts.trees += 1


def _check_car(
    api: Singularity, prep: int, car: Any, wanted: Any, second: reference.Car, output: bool, counts: Counts
) -> None:
    what = f"{car['pieceCid']} of preparation {prep}"
    for key in ("pieceCid", "pieceSize", "rootCid"):
        same(car[key], wanted[key], f"{what}: {key}")
    same(car["pieceCidV2"], second.piece_cid_v2, f"{what}: v2")
    sizes = second.exported if output else second.inline
    same((car["fileSize"], car["minPieceSizePadding"]), sizes, f"{what}: sizes")
    same(hashlib.sha256(second.data).hexdigest(), wanted["carSha256"], f"{what}: the reference and the vector")
    body = second.data + bytes(car["fileSize"] - len(second.data))
    if output:
        (view,) = [p for p in api.ok("GET", "/preparation") if p["id"] == prep]
        file = Path(view["outputStorages"][0]["path"]) / f"{car['pieceCid']}.car"
        same(file.read_bytes() == body, True, f"{what}: bytes of {file.name}")
    for cid in (car["pieceCid"], car["pieceCidV2"]):
        _check_download(api, cid, body, counts)
    counts.cars += 1


def _check_download(api: Singularity, cid: str, body: bytes, counts: Counts) -> None:
    path, size = f"/piece/{cid}", len(body)
    head = {
        "content-type": CAR_TYPE,
        "content-disposition": f'attachment; filename="{cid}.car"',
        "etag": f'"{cid}"',
        "accept-ranges": "bytes",
    }
    whole, empty = api.http.get(path), api.http.request("HEAD", path)
    for answer in (whole, empty):
        same((answer.status, answer.headers["content-length"]), (200, str(size)), path)
        same({name: answer.headers[name] for name in head}, head, f"{path}: headers")
    same((whole.body == body, empty.body), (True, b""), f"{path}: bytes")
    last, middle = size - 1, size // 2
    for wanted, begin, end in (
        ("0-0", 0, 0),
        ("58-60", 58, 60),
        (f"{middle}-{min(last, middle + (1 << 20))}", middle, min(last, middle + (1 << 20))),
        (f"{last}-", last, last),
        ("-7", size - 7, last),
        (f"{middle}-{size + 5}", middle, last),
    ):
        part = api.http.get(path, headers={"Range": f"bytes={wanted}"})
        same((part.status, part.headers["content-range"]), (206, f"bytes {begin}-{end}/{size}"), f"{path} {wanted}")
        same(part.body == body[begin : end + 1], True, f"{path} {wanted}: bytes")
    beyond = api.http.get(path, headers={"Range": f"bytes={size}-"})
    same((beyond.status, beyond.headers["content-range"]), (416, f"bytes */{size}"), f"{path} beyond its end")
    counts.downloads += 9


def _check_files(api: Singularity, prep: int, source: str, case: Mapping[str, Any], jobs: list[int]) -> None:
    """Files, their ranges and the jobs that hold them, in the order of the scan."""
    files = []
    for row in case["directories"]:
        path = row["path"].replace("/", "%2F") or "%2F"
        entries = api.ok("GET", f"/preparation/{prep}/source/{source}/explore/{path}")["subEntries"] or []
        for entry in entries:
            files += [api.ok("GET", f"/file/{v['id']}") for v in entry["fileVersions"] or []]
    files.sort(key=lambda f: int(f["id"]))
    told = [{"path": f["path"], "size": f["size"], "cid": f["cid"]} for f in files]
    same(told, [{key: f[key] for key in ("path", "size", "cid")} for f in case["files"]], f"{case['name']}: files")
    ranges = sorted((r for f in files for r in f["fileRanges"]), key=lambda r: int(r["id"]))
    wanted = [(r["offset"], r["length"], r["cid"]) for r in case["fileRanges"]]
    same([(r["offset"], r["length"], r["cid"]) for r in ranges], wanted, f"{case['name']}: ranges")
    number = {r["id"]: n for n, r in enumerate(ranges, 1)}
    by_job = [[number[r["id"]] for r in ranges if r["jobId"] == job] for job in jobs]
    same(by_job, [_expanded(car["fileRangeIds"]) for car in case["cars"]], f"{case['name']}: ranges of the jobs")


def _expanded(ids: list[Any]) -> list[int]:
    """``[1, "...", 4]`` is 1 to 4."""
    if "..." not in ids:
        return ids
    at = ids.index("...")
    return [*ids[:at], *range(ids[at - 1] + 1, ids[at + 1]), *ids[at + 1 :]]
