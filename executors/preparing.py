"""What scan, pack, daggen and verify share: their parameters' fields, finding what is named, rows that were just given."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from marshmallow import ValidationError, fields

from common.content import cid as cids
from common.db.catalogue import Attachment, Car, Catalogue, JobRange, Preparation, StorageRecord
from common.errors import ExecutorError, MayPass
from executors.base import Column

if TYPE_CHECKING:
    from common.content.kernel import Kernel

T = TypeVar("T")

KERNELS = "kernels"
"""Name of the folder of compiled kernels in the service's data folder."""
MERGE_SECONDS = 60.0
_FIRST_WAIT_SECONDS, _LONGEST_WAIT_SECONDS = 0.002, 0.1

CAR_COLUMNS = (
    Column(name="pieceCid", comment="piece CID (v1)"),
    Column(name="pieceSize", type="bigint", comment="padded bytes"),
    Column(name="rootCid", comment="root in the CAR's header"),
    Column(name="fileSize", type="bigint", comment="bytes of the CAR, zeros at the end included"),
    Column(name="storagePath", comment="file name in the output storage; empty: no file (inline)"),
    Column(name="numOfFiles", type="bigint", comment="files that end in this CAR"),
)


class Ref(fields.Raw):
    """A name or an id: whole numbers, also as text, are ids."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> int | str:
        if isinstance(value, str) and value:
            return int(value) if value.isascii() and value.isdigit() else value
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            return value
        raise ValidationError("must be a name or an id")


def find_preparation(catalogue: Catalogue, ref: int | str) -> Preparation:
    """Raises ExecutorError when there is none."""
    found = catalogue.preparation(ref)
    if found is None:
        raise ExecutorError(f"preparation {ref} does not exist")
    return found


def find_source(
    catalogue: Catalogue, preparation: int | str, source: int | str
) -> tuple[Preparation, Attachment, StorageRecord]:
    """Return a preparation and one of its sources. Raises ExecutorError when there is no such thing."""
    prepared = find_preparation(catalogue, preparation)
    storage = catalogue.storage(source)
    attachment = catalogue.attachment_of(prepared.id, storage.id) if storage else None
    if storage is None or attachment is None:
        raise ExecutorError(f"{source} is no source of preparation {prepared.name}")
    return prepared, attachment, storage


def when_stored(look: Callable[[], T | None], what: str) -> T:
    """Return what ``look`` finds once the rows given before are stored. Raises MayPass when they are not for a minute."""
    end = time.monotonic() + MERGE_SECONDS
    wait = _FIRST_WAIT_SECONDS
    while (found := look()) is None:
        if time.monotonic() > end:
            raise MayPass(f"{what} did not get into the catalogue")
        time.sleep(wait)
        wait = min(2 * wait, _LONGEST_WAIT_SECONDS)
    return found


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def load_kernel(catalogue: Catalogue) -> Kernel:
    """Return the fastest hashing kernel that the service has compiled (at its start, into its data folder)."""
    from common.content import kernel as kernels  # here: brings numpy, and the service wants of this module other things

    return kernels.load(None if catalogue.data_folder is None else catalogue.data_folder / KERNELS)


def car_row(made: Car) -> tuple[str, int, str, int, str, int]:
    """Return the result row of a CAR, in the order of ``CAR_COLUMNS``."""
    return (
        cids.to_text(made.piece_cid),
        made.piece_size,
        cids.to_text(made.root_cid),
        made.file_size,
        made.storage_path,
        made.files,
    )


def path_of(part: JobRange) -> str:
    """Return the file's path as its storage knows it."""
    if part.raw_name is None and part.directory_raw_path is None:
        return part.path
    name = part.name if part.raw_name is None else os.fsdecode(part.raw_name)
    if not part.directory_path:
        return name
    folder = part.directory_path if part.directory_raw_path is None else os.fsdecode(part.directory_raw_path)
    return f"{folder}/{name}"
