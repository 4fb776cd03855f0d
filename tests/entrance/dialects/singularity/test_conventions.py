"""Chapter 1 of the contract: content types, errors, path parameters, bodies, who may enter."""

from __future__ import annotations

from typing import Any

import pytest
from factories import Http, Service

JSON = "application/json; charset=UTF-8"


def test_answers_are_json_with_html_characters_escaped(singularity: Any) -> None:
    prep, source = singularity.preparation({"a<b>&c.txt": "x"})
    singularity.run(prep, source, "start-scan")
    answer = singularity.call("GET", f"/preparation/{prep}/source/{source}/explore/%2F")
    assert answer.headers["content-type"] == JSON
    assert b"a\\u003cb\\u003e\\u0026c.txt" in answer.body
    assert answer.json()["subEntries"][0]["path"] == "a<b>&c.txt"


def test_unknown_routes_and_methods(singularity: Any) -> None:
    answer = singularity.call("GET", "/nothing")
    assert (answer.status, answer.json()["message"], answer.headers["content-type"]) == (404, "Not Found", JSON)
    assert "error" in answer.json()
    answer = singularity.call("PUT", "/preparation")
    assert (answer.status, answer.json()["message"]) == (405, "Method Not Allowed")
    assert answer.headers["allow"] == "GET, HEAD, OPTIONS, POST"


def test_what_is_not_ours_says_so(singularity: Any) -> None:
    for method, path in (
        ("GET", "/wallet"),
        ("POST", "/wallet/create"),
        ("DELETE", "/wallet/a/b"),
        ("GET", "/preparation/1/wallet"),
        ("POST", "/preparation/1/wallet/f01"),
        ("GET", "/schedule"),
        ("POST", "/schedule/1/pause"),
        ("POST", "/send_deal"),
        ("POST", "/deal"),
    ):
        singularity.refused(501, "not supported", method, path)


def test_the_identity_is_taken(singularity: Any) -> None:
    answer = singularity.call("POST", "/identity", {"identity": "motion"})
    assert (answer.status, answer.body) == (204, b"")


def test_a_path_parameter_takes_the_rest_and_plus_is_a_space(singularity: Any) -> None:
    tree = {"d e/a+b/c.txt": "x", "d e/plain.txt": "y"}
    prep, source = singularity.preparation(tree)
    singularity.run(prep, source, "start-scan")
    base = f"/preparation/{prep}/source/{source}/explore"
    whole = singularity.ok("GET", f"{base}/d%20e/a%2Bb")
    assert whole["path"] == "d e/a+b"
    for path in ("d+e/a%2Bb", "d%20e%2Fa%2Bb", "/d+e/a%2Bb/"):
        assert singularity.ok("GET", f"{base}/{path}") == whole
    assert singularity.call("GET", f"{base}/d+e/a+b").status == 404
    assert singularity.call("GET", f"{base}/").status == 404
    assert singularity.call("GET", base).status == 404


def test_a_name_of_digits_is_an_id(singularity: Any) -> None:
    prep, _ = singularity.preparation({"a.txt": "x"})
    (view,) = [p for p in singularity.ok("GET", "/preparation") if p["id"] == prep]
    assert singularity.ok("GET", f"/preparation/{view['name']}") == singularity.ok("GET", f"/preparation/{prep}")
    singularity.refused(404, "preparation '4294967295' does not exist: not found", "GET", "/preparation/4294967295")
    singularity.refused(404, "preparation '4294967296' does not exist: not found", "GET", "/preparation/4294967296")


@pytest.mark.parametrize("sent", [b"{", b"[1]", b'"text"', b'{"name": 3}', b'{"maxSize": 3}'])
def test_a_body_that_cannot_be_read(sent: bytes, singularity: Any) -> None:
    body = sent if b"maxSize" not in sent else b'{"name": "x", "maxSize": 3}'
    answer = singularity.call("POST", "/preparation", body)
    assert answer.status == 400
    assert answer.json()["err"].startswith("failed to bind request body: ")


def test_a_body_of_another_type_is_not_read(singularity: Any) -> None:
    for sent in ("text/plain", "application/octet-stream", "application/cbor"):
        answer = singularity.call("POST", "/preparation", b'{"name": "x"}', headers={"Content-Type": sent})
        said = (answer.status, answer.json()["err"])
        assert said == (400, f"failed to bind request body: Unsupported Media Type: {sent}")
    none = singularity.call("POST", "/preparation", b'{"name": "x"}', headers={"Content-Type": ""})
    assert none.json()["err"] == "failed to bind request body: Unsupported Media Type: no Content-Type"
    for sent in ("application/json", "Application/JSON; charset=utf-8", "application/x-www-form-urlencoded"):
        body = b'{"name": "%s"}' % singularity.name("prep").encode()
        assert singularity.call("POST", "/preparation", body, headers={"Content-Type": sent}).status == 200


def test_no_body_is_an_empty_one_and_unknown_fields_are_ignored(singularity: Any) -> None:
    answer = singularity.http.request("POST", "/api/preparation", headers={"Content-Length": "0"})
    assert answer.json()["err"] == "preparation name '' cannot be all digits or empty: invalid parameter"
    name = singularity.name("prep")
    singularity.ok("POST", "/preparation", {"name": name, "unknown": {"a": [1]}})


def test_numbers_in_paths_must_be_numbers(singularity: Any) -> None:
    for method, path in (("POST", "/job/x/pack"), ("GET", "/file/x"), ("POST", "/file/-1/prepare_to_pack")):
        singularity.refused(400, "failed to parse path parameter as number", method, path)


# ---- who may enter


def test_without_trust_credentials_are_needed(shared_service: Service) -> None:
    nobody = Http(shared_service.url)
    answer = nobody.get("/api/preparation")
    assert answer.status == 401
    assert set(answer.json()) == {"err"}
    assert nobody.get("/piece/baga6ea4seaqao7s73y24kcutaosvacpdjgfe5pw76ooefnyqw4ynr3d2y6x2mpq").status == 401
    assert shared_service.http.get("/api/preparation").status == 200


def test_preparations_and_storages_of_others_are_not_there(shared_service: Service, tmp_path: Any) -> None:
    service = shared_service
    alice, bob = service.user("alice-of-singularity"), service.user("bob-of-singularity")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.txt").write_text("x")
    service.cli("storage", "allow", str(tmp_path))
    storage = alice.post("/api/storage/local", {"name": "hers", "path": str(tmp_path / "data")}).json()
    prep = alice.post("/api/preparation", {"name": "hers", "sourceStorages": ["hers"]}).json()
    alice.post("/api/preparation/hers/source/hers/start-scan")

    assert bob.get("/api/preparation").json() == []
    assert bob.get("/api/storage").json() == []
    for method, path, body in (
        ("GET", f"/preparation/{prep['id']}", None),
        ("GET", f"/preparation/{prep['id']}/piece", None),
        ("GET", "/preparation/hers/source/hers/explore/%2F", None),
        ("POST", "/preparation/hers/source/hers/start-scan", {}),
        ("POST", "/preparation/hers/source/hers/pause-scan", {}),
        ("POST", "/preparation/hers/source/hers/start-pack/0", {}),
        ("POST", "/preparation/hers/source/hers/finalize", {}),
        ("POST", "/preparation/hers/source/hers/file", {"path": "a.txt"}),
        ("POST", "/preparation/hers/output/hers", {}),
        ("PATCH", "/preparation/hers/rename", {"name": "his"}),
        ("DELETE", "/preparation/hers", {}),
        ("GET", "/storage/hers/explore/%2F", None),
        ("PATCH", "/storage/hers", {"config": {"copy_links": "true"}}),
        ("PATCH", "/storage/hers/rename", {"name": "his"}),
        ("DELETE", "/storage/hers", {}),
        ("GET", "/file/1", None),
    ):
        assert bob.request(method, f"/api{path}", body).status == 404, path
    answer = bob.post("/api/preparation", {"name": "his", "sourceStorages": ["hers"]})
    assert (answer.status, answer.json()["err"]) == (404, "source storage hers does not exist: not found")
    assert [p["id"] for p in service.http.get("/api/preparation").json() if p["name"] == "hers"] == [prep["id"]]
    assert storage["name"] == "hers"
