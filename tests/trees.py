"""Folders of files for tests: those of the golden vectors, made on disk, and looking at folders as a whole."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

VECTORS = Path(__file__).resolve().parent / "data" / "vectors"


@cache
def vectors(name: str) -> Any:
    """Return a file of golden vectors."""
    return json.loads((VECTORS / f"{name}.json").read_text(encoding="utf-8"))


def whole_preparations() -> Sequence[Mapping[str, Any]]:
    """Return the cases of both files of whole preparations."""
    return [*vectors("derived_e2e")["cases"], *vectors("extra_e2e")["cases"]]


def derived(size: int) -> bytes:
    """Return the first bytes of the generator of commp.json: a chain of SHA-512."""
    return _chain(max(size, 1).bit_length())[:size]


@cache
def _chain(power: int) -> bytes:
    out = bytearray()
    while len(out) < 1 << power:
        out += hashlib.sha512(bytes(out[-64:])).digest()
    return bytes(out)


def make_tree(folder: Path, tree: Mapping[str, Any]) -> Path:
    """Make the tree of a vector (text, ``{"text"}``, ``{"derivedBuffer"}``, ``count`` copies, None: a folder); return it."""
    folder.mkdir(parents=True, exist_ok=True)
    for path, value in tree.items():
        if value is None:
            (folder / path).mkdir(parents=True, exist_ok=True)
            continue
        if isinstance(value, (str, bytes)):
            value = {"data": value.encode() if isinstance(value, str) else value}
        data = value.get("data")
        if data is None:
            data = value["text"].encode() if "text" in value else derived(value["derivedBuffer"])
        for name in [path % n for n in range(value["count"])] if "count" in value else [path]:
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
    return folder


def contents(folder: Path) -> dict[str, str | None]:
    """Return the hash of each file below a folder by its path, None for each folder; hidden leftovers included."""
    found: dict[str, str | None] = {}
    for root, folders, files in os.walk(folder):
        for name in folders:
            found[os.path.relpath(os.path.join(root, name), folder)] = None
        for name in files:
            path = Path(root, name)
            found[os.path.relpath(path, folder)] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def parts_left(folder: Path) -> list[str]:
    """Return what is left below a folder under temporary names."""
    return sorted(path for path in contents(folder) if ".part" in path)


def listed(root: Path) -> tuple[list[tuple[str, bytes]], list[str]]:
    """Files with their contents and folders, in the order of a scan: breadth first, by name."""
    files, folders, queue = [], [""], [""]
    while queue:
        path = queue.pop(0)
        for entry in sorted((root / path).iterdir(), key=lambda p: p.name.encode()):
            below = f"{path}/{entry.name}" if path else entry.name
            if entry.is_dir():
                folders.append(below)
                queue.append(below)
            else:
                files.append((below, entry.read_bytes()))
    return files, folders
