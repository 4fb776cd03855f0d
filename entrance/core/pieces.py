"""Pieces that were made elsewhere: noted by their CIDs, with the file that holds them if there is one."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path

from sqlalchemy import bindparam, insert

from common.content import cid as cids
from common.content import piececid
from common.content.car import CarReader
from common.content.piececid import PieceCid
from common.db import tables as t
from common.db.catalogue import Car, Catalogue
from common.db.sql import Sql, Tx
from common.errors import BadInput, ContentError
from entrance.core.data import DataService, Ref, find_preparation, may
from entrance.core.making import checked_folder
from entrance.core.model import Caller

_ADD = Sql(insert(t.cars).values({c.name: bindparam(c.name) for c in t.cars.c}))


@dataclass(frozen=True, kw_only=True)
class NewPiece:
    """A request to note a piece. Sizes in bytes, 0 = not said; ``file_path`` absolute, "" = none."""

    piece: PieceCid
    piece_size: int = 0
    root_cid: bytes | None = None
    file_size: int = 0
    file_path: str = ""


class PieceService:
    """See the module."""

    def __init__(self, *, data: DataService) -> None:
        self._data = data

    def add(self, caller: Caller, preparation: Ref, wanted: NewPiece) -> Car:
        """Note a piece; what is known of it elsewhere is copied, what the request says wins. Raises NotFound, BadInput."""
        root, size = wanted.root_cid, wanted.file_size
        path = ""
        if wanted.file_path:
            path = self._data.read(lambda c: _checked_file(c, caller, wanted.file_path))
            found_root, found_size = self._data.offload(_look_at, path)
            root, size = root or found_root, size or found_size
        now = self._data.now()

        def change(tx: Tx) -> Car:
            catalogue = Catalogue(tx)
            found = find_preparation(catalogue, caller, preparation)
            known = _known(catalogue, caller, wanted.piece)
            piece_size = wanted.piece_size or wanted.piece.piece_size or (known.piece_size if known else 0)
            if not piece_size:
                raise BadInput("pieceSize is required when the piece is not known")
            if piece_size & (piece_size - 1) or piece_size < 128:
                raise BadInput("piece size must be a power of 2")
            file_size = size or (known.file_size if known else 0)
            payload = min(file_size or piece_size // 128 * 127, piece_size // 128 * 127)
            car = Car(
                id=catalogue.take_ids("cars"),
                type=known.type if known else "data",
                piece_cid=wanted.piece.to_v1(),
                piece_cid_v2=piececid.encode_v2(wanted.piece.root, piece_size, payload),
                piece_size=piece_size,
                root_cid=root or (known.root_cid if known else cids.EMPTY_RAW),
                car_size=file_size,
                file_size=file_size,
                virtual_padding=0,
                storage_id=known.storage_id if known and not path else None,
                storage_path=path or (known.storage_path if known else ""),
                files=known.files if known else 0,
                blocks=known.blocks if known else 0,
                preparation_id=found.id,
                attachment_id=None,
                job_id=None,
                task_id=None,
                created_at=now,
            )
            tx.run(_ADD, **asdict(car))
            return car

        return self._data.change(change)


def _known(catalogue: Catalogue, caller: Caller, piece: PieceCid) -> Car | None:
    """Return a CAR of the piece that the caller may read: a piece CID is no secret and opens nobody else's storage."""
    for car in catalogue.cars_of_piece(piece.to_v1()):
        preparation = catalogue.preparation(car.preparation_id)
        if preparation is not None and may(caller, preparation):
            return car
    return None


def _checked_file(catalogue: Catalogue, caller: Caller, path: str) -> str:
    """Return the path of a file in an allowed folder, without links and dots. Raises BadInput."""
    real = os.path.realpath(path) if path.startswith("/") else path
    checked_folder(catalogue.tx, os.path.dirname(real) or path, caller.name)  # noqa: PTH120 - a text, not a Path
    return real


def _look_at(path: str) -> tuple[bytes | None, int]:
    """Return the root in the header of a CAR file, and its size. Raises BadInput."""
    try:
        with Path(path).open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            roots = CarReader(file).roots
    except OSError as error:
        raise BadInput(f"failed to open file {path}: {error.strerror}") from error
    except ContentError as error:
        raise BadInput(f"failed to read the CAR header of {path}: {error}") from error
    return (roots[0] if roots else None), size
