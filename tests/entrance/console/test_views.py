"""The console's files: open to everybody, revalidated, under a strict policy, other people's as they came."""

from __future__ import annotations

import gzip
import hashlib
import re
from pathlib import Path

import pytest
from factories import Service

from entrance.console.views import load_assets

STATIC = Path(__file__).resolve().parents[3] / "entrance" / "console" / "static"


def test_the_page_comes_without_a_login_under_a_strict_policy(shared_service: Service) -> None:
    nobody = shared_service.http.as_user(None)
    page = nobody.get("/")
    assert page.status == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    policy = page.headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy
    assert page.headers["x-content-type-options"] == "nosniff"


def test_every_file_of_the_page_is_there_and_of_its_kind(shared_service: Service) -> None:
    nobody = shared_service.http.as_user(None)
    found = re.findall(r'(?:href|src)="(/[^"]+)"', nobody.get("/").text)
    assert len(found) >= 4
    kinds = {".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8", ".svg": "image/svg+xml"}
    for path in found:
        answer = nobody.get(path)
        assert answer.status == 200, path
        assert answer.headers["content-type"] == kinds[Path(path).suffix], path


def test_a_file_that_has_not_changed_is_not_sent_again(shared_service: Service) -> None:
    first = shared_service.http.get("/console/app.css")
    assert first.headers["cache-control"] == "no-cache"
    again = shared_service.http.get("/console/app.css", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status, again.body) == (304, b"")


def test_a_file_is_packed_for_those_who_take_it(shared_service: Service) -> None:
    plain = shared_service.http.get("/console/app.css")
    packed = shared_service.http.get("/console/app.css", headers={"Accept-Encoding": "gzip, br"})
    assert packed.headers["content-encoding"] == "gzip"
    assert gzip.decompress(packed.body) == plain.body
    assert packed.headers["etag"] != plain.headers["etag"]


@pytest.mark.parametrize("path", ["/console/", "/console/nothing.js", "/console/../views.py", "/console/%2e%2e/views.py"])
def test_nothing_else_is_served(shared_service: Service, path: str) -> None:
    assert shared_service.http.get(path).status == 404


def test_a_page_of_another_site_cannot_hold_it_in_a_frame(shared_service: Service) -> None:
    page = shared_service.http.get("/")
    assert "frame-ancestors 'none'" in page.headers["content-security-policy"]
    assert page.headers["x-frame-options"] == "DENY"


def test_vendored_files_are_what_their_readme_says() -> None:
    table = (STATIC / "vendor" / "README.md").read_text()
    rows = re.findall(r"^\| `([^`]+)` \|.*\| `([0-9a-f]{64})` \|$", table, re.M)
    assert sorted(name for name, _ in rows) == sorted(
        p.name for p in (STATIC / "vendor").iterdir() if p.suffix in (".js", ".css")
    )
    for name, wanted in rows:
        assert hashlib.sha256((STATIC / "vendor" / name).read_bytes()).hexdigest() == wanted, name


def test_no_file_of_ours_names_an_address_outside() -> None:
    for path in STATIC.rglob("*"):
        if path.suffix in (".js", ".css", ".html") and "vendor" not in path.parts:
            assert not re.search(r"https?://|[\"'(]//", path.read_text()), path


def test_every_text_is_there_in_both_languages_and_every_key_is_known() -> None:
    texts = (STATIC / "js" / "texts.js").read_text()
    pairs = re.findall(r'"([\w.]+)": \["((?:[^"\\]|\\.)*)", "((?:[^"\\]|\\.)*)"\]', texts)
    keys = {key for key, _, _ in pairs}
    assert len(keys) == len(pairs) == texts.count('": [')
    for key, english, chinese in pairs:
        assert english and chinese, key
        assert set(re.findall(r"\{\w+\}", english)) == set(re.findall(r"\{\w+\}", chinese)), key
    for path in STATIC.rglob("js/**/*.js"):
        if path.name == "i18n.js":
            continue  # its comment shows how
        used = set(re.findall(r"\bt\(\s*(?:\w+ (?:===? [^?]+)?\? )?\"([\w.]+)\"", path.read_text()))
        assert used <= keys, f"{path.name}: {used - keys}"


def test_all_assets_are_loaded_with_a_type_and_licences_come_along() -> None:
    assets = load_assets()
    assert {"index.html", "app.css", "js/main.js", "vendor/LICENSE-htm.txt"} <= set(assets)
    assert not any(name.endswith(".md") for name in assets)
