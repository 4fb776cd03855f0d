"""What the catalogue knows of a packed preparation, in the words of ``common.storage.prepared``.

A preparation of one source is that source's tree; one of several has a folder for each, by the name of its storage.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from common.db.catalogue import Car, Catalogue, Directory, Preparation
from common.db.catalogue.store import pages
from common.db.contents import Contents, PlacedFile
from common.errors import ExecutorError
from common.storage.base import Entry, Report, Storage
from common.storage.local import shown
from common.storage.prepared import PREFIX, Blocks, CarBlocks, Part, PreparedStorage
from executors.packing.inline_blocks import InlineBlocks
from executors.packing.trees import load_tops


def open_prepared(
    catalogue: Catalogue, preparation: Preparation, storage_of: Callable[[str], Storage], workdir: Path
) -> PreparedStorage:
    """Return a packed preparation as a storage. ``storage_of`` opens its outputs by name."""
    return PreparedStorage(f"{PREFIX}{preparation.name}", Packing(catalogue, preparation, storage_of, workdir))


class Packing:
    """Implements ``common.storage.prepared.Packed``."""

    def __init__(
        self, catalogue: Catalogue, preparation: Preparation, storage_of: Callable[[str], Storage], workdir: Path
    ) -> None:
        self._catalogue, self._contents = catalogue, Contents(catalogue.tx)
        self._storage_of, self._workdir = storage_of, workdir
        attachments = catalogue.attachments(preparation.id)
        self._several = len(attachments) != 1
        self._last: tuple[str | None, Directory | None] = (None, None)  # most files are asked for folder by folder
        self._roots: dict[str, Directory] = {}
        for attachment in attachments:
            storage, root = catalogue.storage(attachment.storage_id), catalogue.root(attachment.id)
            if storage is not None and root is not None:
                self._roots[storage.name if self._several else ""] = root

    # ---- what there is

    def entry(self, path: str) -> Entry | None:
        """See ``Packed``."""
        file = self._file(path) if path else None
        if file is not None:
            return Entry(path=path, size=file.size, modified_ns=file.modified_ns)
        if path and self._folder(path) is None:
            return None
        return Entry(path=path, size=-1, modified_ns=0, is_dir=True)

    def folders(self, path: str) -> Iterator[Entry]:
        """See ``Packed``."""
        if self._several and not path:
            for label in self._roots:
                yield Entry(path=label, size=-1, modified_ns=0, is_dir=True)
            return
        folder = self._folder(path)
        if folder is None:
            return
        at = folder.id
        for child in pages(lambda a, n: self._catalogue.children(at, a, n), "", lambda c: c.name):
            below = self._catalogue.directory(child.id)
            if below is not None:
                name = os.fsdecode((below.raw_path or below.path.encode()).rpartition(b"/")[2])
                yield Entry(path=_join(path, name), size=-1, modified_ns=0, is_dir=True)

    def files(self, path: str, report: Report) -> Iterator[Entry]:
        """See ``Packed``."""
        folder = self._folder(path)
        if folder is None:
            return
        at = folder.id
        packed: PlacedFile | None = None
        last: PlacedFile | None = None
        for file in pages(lambda a, n: self._contents.files(at, a, n), ("", 0), lambda f: (f.name, f.id)):
            if last is not None and last.name != file.name:
                yield from _settled(path, packed, last, report)
                packed = None
            packed = file if file.cid is not None else packed
            last = file
        if last is not None:
            yield from _settled(path, packed, last, report)

    def parts(self, path: str) -> Sequence[Part]:
        """See ``Packed``."""
        file = self._file(path)
        return self.parts_of(file.id, path) if file is not None else []

    def parts_of(self, file_id: int, path: str) -> list[Part]:
        """Return the parts of a version of a file, by offset. Raises ExecutorError when one is not packed."""
        found: list[Part] = []
        for part in pages(lambda a, n: self._contents.ranges(file_id, a, n), -1, lambda r: r.offset):
            if part.cid is None or part.car_id is None:
                raise ExecutorError(f"{shown(path)}: the part at {part.offset} is not packed")
            if part.cid:
                found.append(Part(part.offset, part.length, part.cid, part.car_id))
                continue
            offset = part.offset
            for top in load_tops(part.tops or b""):
                found.append(Part(offset, top.child.content_size, top.child.cid, part.car_id))
                offset += top.child.content_size
        return found

    def blocks(self, car_id: int) -> Blocks:
        """See ``Packed``."""
        car = self._catalogue.car(car_id)
        if car is None:
            raise ExecutorError(f"CAR {car_id} is not known any more")
        if car.storage_id is None:
            return self._inline_blocks(car)
        storage = self._catalogue.storage(car.storage_id)
        if storage is None:
            raise ExecutorError(f"the storage of {car.storage_path} does not exist any more")
        return CarBlocks(self._storage_of(storage.name), car.storage_path, self._workdir)

    def _inline_blocks(self, car: Car) -> Blocks:
        attachment = self._catalogue.attachment(car.attachment_id or 0)
        source = self._catalogue.storage(attachment.storage_id) if attachment is not None else None
        folder = self._catalogue.data_folder
        if source is None or folder is None:
            raise ExecutorError("the CAR has no file, and its source does not exist any more")
        return InlineBlocks(self._catalogue, car, self._storage_of(source.name), folder, self._workdir)

    # ---- the way down

    def _folder(self, path: str) -> Directory | None:
        if path != self._last[0]:
            self._last = (path, self._find_folder(path))
        return self._last[1]

    def _find_folder(self, path: str) -> Directory | None:
        label, rest = "", path
        if self._several:
            label, _, rest = path.partition("/")
        folder = self._roots.get(label)
        for name in shown(rest).split("/") if rest else ():
            folder = self._catalogue.subdirectory(folder.id, name) if folder is not None else None
        return folder

    def _file(self, path: str) -> PlacedFile | None:
        head, _, name = path.rpartition("/")
        folder = self._folder(head)
        return self._contents.file(folder.id, shown(name)) if folder is not None else None


def _settled(path: str, packed: PlacedFile | None, last: PlacedFile, report: Report) -> Iterator[Entry]:
    """Yield the version of a file that counts, the latest packed one, and report when it is not the latest."""
    name = os.fsdecode(last.raw_name) if last.raw_name is not None else last.name
    where = _join(path, name)
    if packed is None:
        report(where, "it is not packed yet")
        return
    if packed.id != last.id:
        report(where, "its latest version is not packed yet; an older one counts")
    yield Entry(path=where, size=packed.size, modified_ns=packed.modified_ns)


def _join(path: str, name: str) -> str:
    return f"{path}/{name}" if path else name
