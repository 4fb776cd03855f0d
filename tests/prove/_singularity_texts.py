"""Every error text of the Singularity contract's chapters 1 and 3, exactly; those of a lower error by their beginning."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Any, NamedTuple

from singularity import Singularity

from prove import Miss
from prove._singularity_states import same

INVALID, MISSING, DUPLICATE = ": invalid parameter", ": not found", ": duplicate record"
UNKNOWN_PIECE = "baga6ea4seaqao7s73y24kcutaosvacpdjgfe5pw76ooefnyqw4ynr3d2y6x2mpq"


class Text(NamedTuple):
    """A request and what it must be answered. ``text`` with ``*`` at its end is the beginning."""

    status: int
    text: str
    method: str
    path: str
    body: Any = None


def check_texts(api: Singularity) -> int:
    """Check every text and return how many there were. Raises Miss."""
    count = 0
    for wanted in chain(_preparations(api), _storages(api), _jobs(api), _files(api), _pieces(api), _conventions()):
        answer = api.call(wanted.method, wanted.path, wanted.body)
        said = answer.json().get("err", "")
        fits = said.startswith(wanted.text[:-1]) if wanted.text.endswith("*") else said == wanted.text
        if answer.status != wanted.status or not fits:
            raise Miss(f"{wanted.method} {wanted.path} {wanted.body}: {answer.status} {said!r}, wanted {wanted[:2]}")
        count += 1
    return count + _plain(api) + _frames(api)


def _preparations(api: Singularity) -> Iterator[Text]:
    path, name = "/preparation", api.name("prep")
    yield Text(400, f"preparation name '' cannot be all digits or empty{INVALID}", "POST", path, {"maxSize": "much"})
    yield Text(400, f"preparation name '77' cannot be all digits or empty{INVALID}", "POST", path, {"name": "77"})
    for key in ("maxSize", "pieceSize", "minPieceSize"):
        yield Text(400, f"invalid parameter\ninvalid value for {key}: *", "POST", path, {"name": name, key: "much"})
    for body, text in (
        ({"pieceSize": "3MiB", "minPieceSize": "much"}, "pieceSize must be a power of two"),
        ({"maxSize": "65GiB"}, "pieceSize cannot be larger than 64 GiB"),
        ({"maxSize": "1GiB"}, "maxSize needs to be reduced to leave space for padding"),
        ({"maxSize": "1MB", "minPieceSize": "2MiB"}, "minPieceSize cannot be larger than pieceSize"),
        ({"minPieceSize": "3MiB"}, "minPieceSize must be a power of two"),
        ({"deleteAfterExport": True}, "deleteAfterExport cannot be set without output storages"),
        ({"noInline": True}, "inline preparation cannot be disabled without output storages"),
    ):
        yield Text(400, text + INVALID, "POST", path, {"name": name, **body})
    for kind in ("source", "output"):
        body = {"name": name, f"{kind}Storages": ["nobody"]}
        yield Text(404, f"{kind} storage nobody does not exist{MISSING}", "POST", path, body)
    prep, source = api.preparation({"d/a.txt": "x"}, output=True, noInline=True)
    (view,) = [p for p in api.ok("GET", path) if p["id"] == prep]
    output = view["outputStorages"][0]["name"]
    yield Text(409, f"preparation with name {view['name']} already exists{DUPLICATE}", "POST", path, {"name": view["name"]})
    yield Text(404, f"preparation '999999' does not exist{MISSING}", "GET", "/preparation/999999")
    yield Text(404, f"preparation 'nobody' does not exist{MISSING}", "GET", "/preparation/nobody/schedules")
    for kind, attached in (("source", source), ("output", output)):
        text = f"{kind} storage 'nobody' does not exist{MISSING}"
        yield Text(404, text, "POST", f"/preparation/{prep}/{kind}/nobody")
        yield Text(404, f"preparation '999999' does not exist{MISSING}", "POST", f"/preparation/999999/{kind}/{attached}")
        text = f"{kind} storage '{attached}' is already attached to preparation {prep}{DUPLICATE}"
        yield Text(409, text, "POST", f"/preparation/{prep}/{kind}/{attached}")
    text = f"inline preparation cannot be disabled without output storages{INVALID}"
    yield Text(400, text, "DELETE", f"/preparation/{prep}/output/{output}")
    text = f"output storage '{source}' is not attached to preparation {prep}{MISSING}"
    yield Text(404, text, "DELETE", f"/preparation/{prep}/output/{source}")
    explore = f"/preparation/{prep}/source"
    yield Text(404, f"directory 'no/where' does not exist{MISSING}", "GET", f"{explore}/{source}/explore/no/where")
    text = f"sourceAttachment '{output}' is not attached to preparation {prep}{MISSING}"
    yield Text(404, text, "GET", f"{explore}/{output}/explore/%2F")
    text = f"preparation name '9' cannot be all digits or empty{INVALID}"
    yield Text(400, text, "PATCH", f"/preparation/{prep}/rename", {"name": "9"})
    yield Text(404, f"preparation 'nobody' does not exist{MISSING}", "DELETE", "/preparation/nobody")
    busy, held = api.preparation({"f%05d": {"text": "x", "count": 20_000}})
    api.ok("POST", f"/preparation/{busy}/source/{held}/start-scan")
    api.freeze(busy, "scan")
    yield Text(400, f"preparation {busy} has 1 active jobs{INVALID}", "DELETE", f"/preparation/{busy}")
    api.ok("POST", f"/preparation/{busy}/source/{held}/pause-scan")
    api.ok("DELETE", f"/preparation/{busy}")


def _storages(api: Singularity) -> Iterator[Text]:
    folder, name = str(api.tree({})), api.name("storage")
    made = api.storage(api.tree({}))
    for bad in ("", "12"):
        text = f"storage name {bad} cannot be all digits or empty{INVALID}"
        yield Text(400, text, "POST", "/storage/local", {"name": bad, "path": folder})
    yield Text(400, f"storage type tape is not supported{INVALID}", "POST", "/storage/tape", {"name": name, "path": folder})
    yield Text(
        400, f"provider 'nobody' is not supported{INVALID}", "POST", "/storage/s3/nobody", {"name": name, "path": "b1"}
    )
    text = f"storage with name {made} already exists{DUPLICATE}"
    yield Text(409, text, "POST", "/storage/local", {"name": made, "path": folder})
    refused = {"name": name, "path": "bucket", "config": {"endpoint": "http://127.0.0.1:1"}}
    yield Text(400, "invalid parameter\ncreating rclone handler failed*", "POST", "/storage/s3/minio", refused)
    nowhere = {"name": name, "path": "bucket", "config": {"endpoint": "http://localhost.invalid"}, "clientConfig": {}}
    nowhere["clientConfig"] = {"lowlevelRetries": 0, "connectTimeout": 1_000_000_000}
    yield Text(400, "invalid parameter\n*", "POST", "/storage/s3", nowhere)
    yield Text(404, f"storage 'nobody' does not exist{MISSING}", "GET", "/storage/nobody/explore/%2F")
    yield Text(404, f"storage 'nobody' does not exist{MISSING}", "PATCH", "/storage/nobody", {})
    text = f"storage name 7 cannot be all digits or empty{INVALID}"
    yield Text(400, text, "PATCH", f"/storage/{made}/rename", {"name": "7"})
    api.ok("POST", "/preparation", {"name": api.name("prep"), "sourceStorages": [made]})
    yield Text(400, f"storage {made} is still in use{INVALID}", "DELETE", f"/storage/{made}")


def _jobs(api: Singularity) -> Iterator[Text]:
    """``POST /job/{id}/pack`` and finalize; the others' texts are in the tables of states."""
    prep, source = api.preparation({"a.txt": "x"})
    api.run(prep, source, "start-scan")
    scan, pack = (j["id"] for j in api.jobs(prep))
    yield Text(404, f"pack job 999999 does not exist{MISSING}", "POST", "/job/999999/pack")
    yield Text(400, f"job {scan} is a scan job, not a pack job{INVALID}", "POST", f"/job/{scan}/pack")
    (car,) = api.pieces(prep)
    api.ok("DELETE", f"/preparation/{prep}/piece/{car['pieceCid']}")
    yield Text(500, "no content to pack", "POST", f"/job/{pack}/pack")
    yield Text(404, f"source 'nobody' does not exist{MISSING}", "POST", f"/preparation/{prep}/source/nobody/finalize")
    yield Text(404, f"source '{source}' does not exist{MISSING}", "POST", f"/preparation/999999/source/{source}/finalize")


def _files(api: Singularity) -> Iterator[Text]:
    prep, source = api.preparation({"a.txt": "x"})
    path = f"/preparation/{prep}/source/{source}/file"
    api.ok("POST", path, {"path": "a.txt"})
    yield Text(409, f"file 'a.txt' already exists{DUPLICATE}", "POST", path, {"path": "a.txt"})
    for missing in ("nothing.txt", "", "../a.txt"):
        yield Text(400, f"invalid parameter\nfailed to check file '{missing}'*", "POST", path, {"path": missing})
    for method, below in (("GET", ""), ("GET", "/deals"), ("GET", "/retrieve"), ("POST", "/prepare_to_pack")):
        yield Text(404, f"file '999999' does not exist{MISSING}", method, f"/file/999999{below}")


def _pieces(api: Singularity) -> Iterator[Text]:
    alone = api.ok("POST", "/preparation", {"name": api.name("prep")})["id"]
    path = f"/preparation/{alone}/piece"
    yield Text(404, f"preparation '{alone}' has no source{MISSING}", "GET", path)
    text = f"pieceSize is required when the piece is not known{INVALID}"
    yield Text(400, text, "POST", path, {"pieceCid": UNKNOWN_PIECE})
    text = f"piece size must be a power of 2{INVALID}"
    yield Text(400, text, "POST", path, {"pieceCid": UNKNOWN_PIECE, "pieceSize": "3MiB"})
    yield Text(400, "invalid parameter\ninvalid piece CID nonsense: *", "POST", path, {"pieceCid": "nonsense"})
    raw = "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku"
    yield Text(400, f"piece CID must be commp{INVALID}", "DELETE", f"{path}/{raw}")
    yield Text(404, f"piece is not part of preparation '{alone}'{MISSING}", "DELETE", f"{path}/{UNKNOWN_PIECE}")


def _conventions() -> Iterator[Text]:
    for method, path in (("POST", "/job/x/pack"), ("GET", "/file/x"), ("POST", "/preparation/a/source/b/start-pack/x")):
        yield Text(400, "failed to parse path parameter as number", method, path)
    for body in (b"{", b"[1]", b'{"name": 3}', b'{"name": "x", "maxSize": 3}'):
        yield Text(400, "failed to bind request body: *", "POST", "/preparation", body)
    for method, path in (
        ("GET", "/wallet"),
        ("POST", "/wallet/create"),
        ("POST", "/preparation/1/wallet/f01"),
        ("GET", "/schedule"),
        ("POST", "/schedule/1/pause"),
        ("POST", "/send_deal"),
        ("POST", "/deal"),
    ):
        yield Text(501, "not supported", method, path)


def _plain(api: Singularity) -> int:
    """Texts that are sent as text."""
    rows = (
        ("/piece/nonsense", 400, "CID is not a commp"),
        (f"/piece/{UNKNOWN_PIECE}", 404, "piece not found"),
        (f"/piece/metadata/{UNKNOWN_PIECE}", 404, "piece not found"),
        (f"/api/piece/{UNKNOWN_PIECE}/metadata", 404, "piece not found"),
        ("/api/piece/nonsense/metadata", 400, "failed to parse piece CID: "),
        ("/piece/metadata/nonsense", 400, "failed to parse piece CID: "),
    )
    for path, status, text in rows:
        answer = api.http.get(path)
        same((answer.status, answer.text[: len(text)]), (status, text), path)
        same(answer.headers["content-type"], "text/plain; charset=UTF-8", path)
    return len(rows)


def _frames(api: Singularity) -> int:
    """Addresses, methods and types of bodies that there are not."""
    for method, path, status, text in (
        ("GET", "/nothing", 404, "Not Found"),
        ("PUT", "/preparation", 405, "Method Not Allowed"),
    ):
        answer = api.call(method, path)
        same((answer.status, answer.json()["message"], "error" in answer.json()), (status, text, True), path)
    plain = api.call("POST", "/preparation", b'{"name": "x"}', headers={"Content-Type": "text/plain"})
    text = "failed to bind request body: "
    same((plain.status, plain.json()["err"][: len(text)]), (400, text), "a body of another type")
    return 3
