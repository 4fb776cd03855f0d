"""The manifest of a preparation: one row for each CAR, as ``manifest.csv`` and ``manifest.json`` beside the CARs.

Columns: ``piece_cid, piece_cid_v2, piece_size, car_size, root_cid, path``; sizes in bytes, ``path`` relative to the folder,
data CARs in the order of their jobs, then DAG CARs. The JSON file is a list of objects with the same keys.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from common.errors import BadInput

COLUMNS = ("piece_cid", "piece_cid_v2", "piece_size", "car_size", "root_cid", "path")
CSV_NAME, JSON_NAME = "manifest.csv", "manifest.json"


def row(piece: Mapping[str, Any]) -> dict[str, Any]:
    """Return the manifest's row of a Car object of the API."""
    return {
        "piece_cid": piece["pieceCid"],
        "piece_cid_v2": piece["pieceCidV2"],
        "piece_size": piece["pieceSize"],
        "car_size": piece["fileSize"],
        "root_cid": piece["rootCid"],
        "path": piece["storagePath"],
    }


def csv_text(pieces: Sequence[Mapping[str, Any]]) -> str:
    """Return the manifest as CSV (RFC 4180, lines end with a newline alone)."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(map(row, pieces))
    return text.getvalue()


def check(folder: Path) -> None:
    """Raises BadInput when a manifest would replace a file that is none of ours."""
    for name, is_ours in ((CSV_NAME, _is_csv), (JSON_NAME, _is_json)):
        path = folder / name
        try:
            with path.open("rb") as file:
                head = file.read(4096)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise BadInput(f"{path}: {error.strerror}") from error
        if not is_ours(head):
            raise BadInput(f"{path} is there already and is no manifest; move it away or choose another folder")


def write(folder: Path, pieces: Sequence[Mapping[str, Any]]) -> None:
    """Write both files, each all or nothing. Raises BadInput when they cannot be written."""
    rows = [row(piece) for piece in pieces]
    _replace(folder / CSV_NAME, csv_text(pieces))
    _replace(folder / JSON_NAME, json.dumps(rows, indent=2, ensure_ascii=False) + "\n")


def _is_csv(head: bytes) -> bool:
    return not head or head.startswith(",".join(COLUMNS).encode())


def _is_json(head: bytes) -> bool:
    text = head.lstrip()
    return not text or text.startswith(b'[\n  {\n    "piece_cid"') or text.rstrip() == b"[]"


def _replace(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise BadInput(f"{path} cannot be written: {error.strerror}") from error
