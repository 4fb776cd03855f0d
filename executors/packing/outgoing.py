"""CARs on their way into an object store.

A store takes an object from front to back, and its key, the piece CID, is known at the end only. So a CAR for a store is
made in a folder of the service's own, as any other is in its output, and sent when it is whole, its index first::

    {data folder}/outgoing/.{task}-{attempt}.car.idx.part    ->  {piece CID}.car.idx
    {data folder}/outgoing/.{task}-{attempt}.car.part        ->  {piece CID}.car

Only then are the rows committed that speak of it. What dies before that goes on in another attempt, which finds its upload
in the store and uses the parts that are there, or finds the whole object and sends nothing. An upload that nobody ends is
declared and goes with the end of its task; an object is there whole or not at all.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

from common.content.car import INDEX_SUFFIX
from common.db.transfers import FileFault
from common.errors import ExecutorError, MayPass, StorageNotFound
from common.storage.local import LocalStorage
from common.storage.objects import ObjectStorage
from executors.base import TaskContext
from executors.packing.files import CAR, INDEX, Files
from executors.transferring.book import Book, Outcome, Status
from executors.transferring.copying import Copier
from executors.transferring.desk import Desk, Pool
from executors.transferring.walk import Item

STEP_SECONDS = 0.1
_CLOSE_SECONDS = 0.6
_NOT_AGAIN = (FileFault.FORBIDDEN, FileFault.OTHER)


def send(
    ctx: TaskContext, store: ObjectStorage, files: Files, name: str, since_ms: int, told: Callable[[int, int], None]
) -> None:
    """Bring a CAR and its index, whole and synced, into a store, under ``name``; every checksum is compared.

    ``since_ms``: no upload of this task was begun before. ``told`` is called ten times a second with the bytes that have
    arrived, of how many; what it raises ends the sending, parts that are there stay. Raises ExecutorError when the store
    refuses it, else MayPass.
    """
    stop = threading.Event()
    desk, book = Desk(stop), Book(since_ms=since_ms)
    folder = LocalStorage(files.folder.name, files.folder)
    parts = {path: part.name for path, part in _parts(files, name).items()}
    found = {path: folder.stat(part) for path, part in parts.items()}
    items = [Item(path=path, size=entry.size, modified_ns=entry.modified_ns) for path, entry in found.items()]
    ctx.log(f"{name}: {found[name].size} bytes go to storage {store.name}")
    copier = Copier(
        source=folder,
        target=store,
        from_path=lambda item: parts[item.path],
        to_path=lambda item: item.path,
        overwrite="always",
        verify=True,
        task_id=ctx.task_id,
        first=False,
        stale=(),
        book=book,
        desk=desk,
    )
    pool = Pool(desk, 1, copier.copy)
    try:
        for item in items:
            book.start(item)
            pool.add(item)
        while book.open:
            for outcome in desk.serve(ctx, STEP_SECONDS):
                _check(outcome, store)
                book.settle(outcome)
            told(book.settled.size + book.moving, sum(item.size for item in items))
    finally:
        stop.set()
        pool.close(_CLOSE_SECONDS)


def check_sent(store: ObjectStorage, files: Files, name: str) -> None:
    """Look once more, right before the commit: another preparation may have had the very CAR, and been removed with it.

    Raises MayPass when it or its index is not there any more, or has another size; another attempt sends it again.
    """
    for path, part in _parts(files, name).items():
        try:
            whole = store.stat(path).size == part.stat().st_size
        except StorageNotFound:
            whole = False
        if not whole:
            raise MayPass(f"{path} has gone from storage {store.name} before it was recorded")


def _parts(files: Files, name: str) -> dict[str, Path]:
    """Return what is sent, in this order: paths in the store, and the files."""
    return {f"{name}{INDEX_SUFFIX}": files.part(INDEX), name: files.part(CAR)}


def _check(outcome: Outcome, store: ObjectStorage) -> None:
    if outcome.status is Status.FAILED:
        kind = ExecutorError if outcome.fault in _NOT_AGAIN else MayPass  # an upload that has gone is begun anew
        raise kind(f"{outcome.item.path} could not be put into storage {store.name}: {outcome.message}")
