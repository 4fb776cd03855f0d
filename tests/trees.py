"""Source trees of the golden vectors, and what a harness has recorded of them, in the vectors' own words."""

from __future__ import annotations

import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any

from harness import Harness

from common.content import cid as cids
from common.db.catalogue import Catalogue

VECTORS = Path(__file__).parent / "data" / "vectors"


@cache
def vectors(name: str) -> Any:
    return json.loads((VECTORS / f"{name}.json").read_text(encoding="utf-8"))


@cache
def _derived(power: int) -> bytes:
    out = bytearray()
    while len(out) < 1 << power:
        out += hashlib.sha512(bytes(out[-64:])).digest()
    return bytes(out)


def derived(size: int) -> bytes:
    """The generator of commp.json: a chain of SHA-512, cut to size."""
    return _derived(max(size, 1).bit_length())[:size]


def content(value: Any) -> bytes:
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, int):
        return derived(value)
    return value["text"].encode() if "text" in value else derived(value["derivedBuffer"])


def make_tree(folder: Path, tree: dict[str, Any]) -> Path:
    """Write the tree of a vector; names that end in a slash are empty folders, ``count`` repeats a pattern."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in tree.items():
        if value is None:
            (folder / name).mkdir(parents=True, exist_ok=True)
            continue
        count = value.get("count", 1) if isinstance(value, dict) else 1
        for number in range(count):
            path = folder / (name % number if count > 1 else name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content(value))
    return folder


def recorded(harness: Harness) -> dict[str, Any]:
    """What the catalogue knows, in the form of the vectors."""
    query = harness.connection.execute
    catalogue: Catalogue = harness.catalogue
    text = cids.to_text
    files = query(
        "SELECT f.id, CASE d.path WHEN '' THEN f.name ELSE d.path || '/' || f.name END, f.size FROM files f"
        " JOIN directories d ON d.id = f.directory_id ORDER BY f.id"
    ).fetchall()
    ranges = query(
        "SELECT r.id, r.file_id, r.offset, r.length, c.cid FROM ranges r LEFT JOIN range_cids c ON c.range_id = r.id"
        " ORDER BY r.id"
    ).fetchall()
    directories = query("SELECT id, path, parent_id FROM directories ORDER BY id").fetchall()
    nodes = {d: catalogue.directory_node(d) for d, _, _ in directories}
    return {
        "files": [{"id": i, "path": p, "size": s, "cid": text(catalogue.file_cid(i) or b"")} for i, p, s in files],
        "fileRanges": [{"id": i, "fileId": f, "offset": o, "length": n, "cid": text(c or b"")} for i, f, o, n, c in ranges],
        "directories": [
            {"id": i, "path": p, "parentId": a, "cid": text(nodes[i][0]) if nodes[i] else ""} for i, p, a in directories
        ],
    }
