"""The same piece with two owners: what one knows or removes must not touch what the other has."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from factories import Http, Service, wait_until
from trees import make_tree


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("shared")
    made = Service(data=folder / "data").start()
    made.cli("storage", "allow", str(folder))
    yield made
    made.cli("stop", check=False)


def packed(user: Http, name: str, tree: Path, output: str = "") -> str:
    """Scan and pack a folder as a preparation of this name; return its only piece CID."""
    made = user.post("/api/storage/local", {"name": f"{name}-in", "path": str(tree)})
    assert made.status == 200, made.text
    body: dict[str, Any] = {"name": name, "sourceStorages": [f"{name}-in"], "maxSize": "3MB"}
    body["outputStorages"] = [output] if output else []
    assert user.post("/api/preparation", body).status == 200
    user.post(f"/api/preparation/{name}/source/{name}-in/start-scan")

    def pieces() -> Any:
        return user.get(f"/api/preparation/{name}/piece").json()[0]["pieces"]

    return str(wait_until(pieces, 30, what="the folder is packed")[0]["pieceCid"])


def test_who_knows_a_piece_cid_cannot_open_somebody_elses_piece_with_it(service: Service, tmp_path: Path) -> None:
    ann, bob = service.user("ann"), service.user("bob")
    service.cli("storage", "allow", str(tmp_path))
    piece = packed(ann, "secret", make_tree(tmp_path / "a", {"a.txt": "for ann alone"}))
    assert ann.get(f"/piece/{piece}").status == 200
    assert bob.post("/api/preparation", {"name": "bobs", "maxSize": "3MB"}).status == 200
    unknown = bob.post("/api/preparation/bobs/piece", {"pieceCid": piece})
    assert unknown.status == 400, unknown.text
    noted = bob.post("/api/preparation/bobs/piece", {"pieceCid": piece, "pieceSize": "4194304"})
    assert noted.status == 200 and noted.json()["storagePath"] == "" and noted.json()["numOfFiles"] == 0
    answer = bob.get(f"/piece/{piece}")
    assert answer.status == 500 and "no file of it is known" in answer.text


def test_a_file_that_another_preparation_has_too_stays_when_one_is_removed(service: Service, tmp_path: Path) -> None:
    service.cli("storage", "allow", str(tmp_path))
    cy = service.user("cy")
    tree = make_tree(tmp_path / "a", {"a.txt": "the same bytes"})
    (tmp_path / "out").mkdir()
    assert cy.post("/api/storage/local", {"name": "cars", "path": str(tmp_path / "out")}).status == 200
    for kind, output in (("inline", ""), ("stored", "cars")):
        first, second = (packed(cy, f"{kind}{n}", tree, output) for n in (1, 2))
        assert first == second
        removed = cy.request("DELETE", f"/api/preparation/{kind}1", {"removeCars": True})
        assert removed.status == 204, removed.text
        assert cy.get(f"/piece/{second}").status == 200, kind
