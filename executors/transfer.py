"""``transfer``: copies files between storages, local folders and buckets, either way.

A listing runs ahead, some threads copy, the main thread speaks to the service: it declares and publishes for all of them,
hands over rows and checkpoints, and stops within a second. How one file is copied is in ``transferring.copying``, what
survives a crash in ``transferring.book``.

A file that cannot be copied does not hold up the others: it is told in the log and in its row, and the task fails when all
others are done. A store that does not answer ends the attempt for now.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from marshmallow import ValidationError, fields, validate, validates_schema

from common.db.transfers import FileState
from common.errors import ExecutorError, MayPass, StorageNotFound
from common.storage.base import Storage
from common.storage.local import is_inside, shown
from executors.base import Column, Stage, TaskContext
from executors.params import Params
from executors.transferring.book import MOST_AGAIN, Book, Counts, Outcome, Status, file_row, result_row
from executors.transferring.copying import Copier, join, resolved
from executors.transferring.desk import Desk, Pool
from executors.transferring.walk import Item, Listing, Patterns, walk

THREADS = 6
"""Files that are copied at the same time; each holds one part (8 MiB) in memory at most."""

RESULT_ROWS = 10_000
SHOWN_PENDING = 100
_STEP_SECONDS = 0.1
_SAVE_SECONDS = 0.5
_ROWS_HELD = 500
_MOST_WARNINGS = 1_000
_CLOSE_SECONDS = 0.6


class PlaceParams(Params):
    """A place in a storage."""

    storage = fields.String(
        required=True,
        validate=validate.Length(min=1),
        metadata={"title": "Storage", "description": "Its name.", "examples": ["archive"]},
    )
    path = fields.String(
        load_default="",
        metadata={"title": "Path", "description": "A folder or file in it; empty is all of it.", "examples": ["2026/raw"]},
    )


def _place(name: str, title: str, description: str) -> Any:
    about = {"title": title, "description": description}
    return fields.Nested(PlaceParams, required=True, data_key=name, attribute=name, metadata=about)


def _patterns(title: str, description: str, examples: Sequence[Sequence[str]]) -> Any:
    return fields.List(
        fields.String(validate=validate.Length(min=1, max=1000)),
        load_default=list,
        validate=validate.Length(max=1000),
        metadata={"title": title, "description": description, "examples": [list(e) for e in examples]},
    )


def _text(title: str, description: str, limit: int, pattern: str = "") -> Any:
    rules: list[Any] = [validate.Length(max=limit)]
    if pattern:
        rules.append(validate.Regexp(pattern))
    return fields.String(validate=rules, metadata={"title": title, "description": description})


class TransferParams(Params):
    """What is copied, where to, and how."""

    from_ = _place("from", "From", "Where the files are.")
    to = _place(
        "to", "To", "Where they shall be. A single file goes into this folder, or becomes this file if there is none."
    )
    include = _patterns("Include", "Only files that fit one of these patterns.", [["*.csv", "2026/**"]])
    exclude = _patterns("Exclude", "No files that fit one of these patterns.", [["*.tmp", ".git/"]])
    overwrite = fields.String(
        load_default="changed",
        validate=validate.OneOf(["never", "changed", "always"]),
        metadata={"title": "Overwrite", "description": "What is done about files that are there already."},
    )
    verify = fields.Boolean(
        load_default=True,
        metadata={"title": "Verify", "description": "Compare checksums on both sides."},
    )
    dataSpaceId = _text("Data space", "The data space that the transfer is listed in.", 128, r"\A[A-Za-z0-9._-]+\Z")  # noqa: N815
    repoId = _text("Data set id", "The data set that it belongs to.", 128)  # noqa: N815
    repoName = _text("Data set name", "Its name.", 256)  # noqa: N815
    commitMsg = _text("Remark", "A remark.", 1000)  # noqa: N815

    @validates_schema
    def _two_places(self, data: Mapping[str, Any], **_: Any) -> None:
        for side in ("from", "to"):
            parts = data[side]["path"].strip("/").split("/")
            if parts != [""] and any(part in ("", ".", "..") for part in parts):
                raise ValidationError("must not hold empty parts or dots", f"{side}.path")
        one, other = (f"{data[side]['path'].strip('/')}/".lstrip("/") for side in ("from", "to"))
        if data["from"]["storage"] == data["to"]["storage"] and (one.startswith(other) or other.startswith(one)):
            raise ValidationError("must not lie in the place that is copied from, nor hold it", "to")


class Transfer:
    """Copies files between storages."""

    name = "transfer"
    summary = "Copy files between folders and buckets"
    params = TransferParams
    columns = (
        Column(name="object", comment="path below the place copied from"),
        Column(name="size", type="bigint", comment="bytes"),
        Column(name="status", comment="copied, unchanged, failed"),
        Column(name="message", comment="why"),
    )
    cores = 0.25

    def run(self, ctx: TaskContext) -> Sequence[Sequence[Any]] | None:
        return _Run(ctx).run()


class _Run:
    """One attempt."""

    def __init__(self, ctx: TaskContext) -> None:
        self._ctx = ctx
        params = ctx.params
        self._source: Storage = ctx.storage(params["from"]["storage"])
        self._target: Storage = ctx.storage(params["to"]["storage"])
        self._from, self._to = params["from"]["path"].strip("/"), params["to"]["path"].strip("/")
        self._wanted = Patterns(params["include"], params["exclude"])
        self._stop = threading.Event()
        self._desk = Desk(self._stop)
        self._book, self._first_items = Book.load(ctx.checkpoint)
        self._book.open.update({item.path: item for item in self._first_items})  # also in its first checkpoint
        self._warned: list[tuple[str, str]] = []  # by the listing's thread
        self._warnings = 0
        self._rows: list[Sequence[Any]] = []
        self._pending = SHOWN_PENDING if ctx.checkpoint is None else 0
        self._results: list[Sequence[Any]] = []
        self._saved = 0.0
        self._listing: Listing | None = None
        self._running = 0
        settled = self._book.settled
        self._before = Counts(  # what the listing of this attempt does not hold
            settled.files + len(self._first_items), settled.size + sum(item.size for item in self._first_items)
        )

    def run(self) -> Sequence[Sequence[Any]]:
        self._refuse_nested()
        self._step(force=True)  # the time of the task's beginning is stored before anything is created
        begin = time.monotonic()
        names = _Names(self._source, self._target, self._from, self._to)
        listing = self._listing = Listing(lambda: self._items(names), self._ctx.workdir / "listing", self._stop)
        copier = Copier(
            source=self._source,
            target=self._target,
            from_path=names.source,
            to_path=names.target,
            overwrite=self._ctx.params["overwrite"],
            verify=self._ctx.params["verify"],
            task_id=self._ctx.task_id,
            first=self._ctx.attempt == 1,
            stale=[item.path for item in self._first_items],
            book=self._book,
            desk=self._desk,
        )
        pool = Pool(self._desk, THREADS, copier.copy)
        try:
            self._copy_all(listing, pool, names)
        finally:
            self._stop.set()
            pool.close(_CLOSE_SECONDS)
            listing.close(_CLOSE_SECONDS / 4)
        self._say_end(time.monotonic() - begin)
        return self._result()

    def _items(self, names: _Names) -> Iterator[Item]:
        """Yield what is to be copied; runs in the listing's thread."""
        after, workdir = self._book.after, self._ctx.workdir
        single = names.find()
        if single is None:
            yield from walk(self._source, self._from, self._wanted, after=after, report=self._report, spill_folder=workdir)
        elif after is None and self._wanted.want(single.path):
            yield single

    def _report(self, path: str, why: str) -> None:
        self._warned.append((path, f"left out: {why}"))

    def _copy_all(self, listing: Listing, pool: Pool, names: _Names) -> None:
        ctx, book = self._ctx, self._book
        waiting = list(self._first_items)
        stepped = 0.0
        while True:
            ended = listing.ended
            item: Item | None = None
            while self._running < pool.size and (names.found.is_set() or ended):
                item = waiting.pop(0) if waiting and names.found.is_set() else self._next(listing)
                if item is None:
                    break
                book.start(item)
                self._running += 1
                pool.add(item)
            if ended and item is None and not self._running:
                break
            for outcome in self._desk.serve(ctx, _STEP_SECONDS):
                self._running -= 1
                self._settle(outcome)
            if time.monotonic() - stepped >= _STEP_SECONDS:
                stepped = time.monotonic()
                self._step()
            if len(book.again) >= MOST_AGAIN:
                self._step(force=True)
                raise MayPass(f"the store does not serve files at the moment: {book.why_again}")
        self._step(force=True)
        if book.again:
            raise MayPass(f"{len(book.again)} files could not be copied now: {book.why_again}")
        if book.failed.files:
            raise ExecutorError(
                f"{book.failed.files} of {book.settled.files} files could not be copied; the first: {book.first_failure}"
            )

    def _next(self, listing: Listing) -> Item | None:
        item = listing.take()
        if item is None:
            return None
        if self._pending:
            self._pending -= 1
            self._rows.append((self._ctx.task_id, item.shown, item.size, FileState.PENDING.value, ""))
        self._book.after = item.path
        return item

    def _settle(self, outcome: Outcome) -> None:
        self._before.size += outcome.item.size - self._book.open[outcome.item.path].size  # it may have changed
        self._book.settle(outcome)
        self._rows.append(file_row(self._ctx.task_id, outcome))
        if len(self._results) < RESULT_ROWS:
            item = outcome.item
            self._results.append((item.shown, item.size, outcome.status.value, outcome.message))
        if outcome.status is Status.FAILED:
            self._warn(outcome.item.path, outcome.message)
        if len(self._rows) >= _ROWS_HELD:
            self._step(force=True)

    # ---- what is said

    def _step(self, *, force: bool = False) -> None:
        book, listing = self._book, self._listing
        while self._warned:
            self._warn(*self._warned.pop(0))
        good, settled = book.good, book.settled
        before = self._before
        files = before.files + (listing.files if listing else 0)
        size = before.size + (listing.size if listing else 0)
        bytes_done = min(good.size + book.moving, size)
        state = None
        if force or time.monotonic() - self._saved >= _SAVE_SECONDS:
            self._saved = time.monotonic()
            if self._rows:
                self._ctx.rows("transfer_files", self._rows)
                self._rows = []
            state = book.save()
        listed = listing is not None and listing.ended
        self._ctx.step(
            bytes_done + good.files,
            max(size + files, bytes_done + good.files),
            state,
            bytes_done=bytes_done,
            bytes_total=size,
            files_done=good.files,
            files_total=files,
            stages=(
                Stage(name="list", target=self._label("from"), done=files, total=files if listed else files + 1),
                Stage(
                    name="copy",
                    target=self._label("to"),
                    done=good.files,
                    total=files,
                    failed=settled.files - good.files + len(book.again),
                    running=min(self._running, files - settled.files - len(book.again)),
                ),
            ),
        )

    def _label(self, side: str) -> str:
        place = self._ctx.params[side]
        return f"{place['storage']}:{place['path'].strip('/')}"

    def _warn(self, path: str, why: str) -> None:
        self._warnings += 1
        if self._warnings <= _MOST_WARNINGS:
            self._ctx.log(f"{shown(path)}: {why}", "WARN")
        elif self._warnings == _MOST_WARNINGS + 1:
            self._ctx.log(f"more than {_MOST_WARNINGS} warnings; further ones are only counted", "WARN")

    def _say_end(self, seconds: float) -> None:
        book = self._book
        self._ctx.log(
            f"{book.copied.files} files copied ({book.copied.size} bytes), {book.unchanged.files} were there "
            f"({book.unchanged.size} bytes); {seconds:.1f} s"
        )

    def _result(self) -> Sequence[Sequence[Any]]:
        """Return a row for each file, by path. More than 10,000 are read from the catalogue, page by page."""
        good = self._book.good
        if good.files > len(self._results):  # the others are of earlier attempts, or too many
            known = {row[0] for row in self._results}
            after = ""
            while len(self._results) < RESULT_ROWS:
                page = self._ctx.catalogue.transfer_files(self._ctx.task_id, after, RESULT_ROWS)
                if not page:
                    break
                self._results += [result_row(f) for f in page if f.path not in known]
                after = page[-1].path
        return sorted(self._results, key=lambda row: str(row[0]))[:RESULT_ROWS]

    def _refuse_nested(self) -> None:
        """Raises ExecutorError when one place lies in the other, by whatever names: copies would be copied."""
        source, target = resolved(self._source), resolved(self._target)
        if source is None or target is None:
            return
        one, other = join(str(source), self._from), join(str(target), self._to)
        if is_inside(one, other) or is_inside(other, one):
            raise ExecutorError("the place to copy to and the place to copy from lie in each other")


class _Names:
    """From paths of items to paths in both storages: the place copied from is a folder, or a single file."""

    def __init__(self, source: Storage, target: Storage, from_: str, to: str) -> None:
        self._source, self._target, self._from, self._to = source, target, from_, to
        self._single: str | None = None  # the target of a single file
        self.found = threading.Event()

    def find(self) -> Item | None:
        """Find out what is there; return the single file, None for a folder."""
        entry = self._source.stat(self._from) if self._from else None
        if entry is None or entry.is_dir:
            self.found.set()
            return None
        name = self._from.rpartition("/")[2]
        self._single = self._to
        if not self._to or self._is_folder(self._to):
            self._single = join(self._to, name)
        self.found.set()
        return Item(path=name, size=entry.size, modified_ns=entry.modified_ns, hash=entry.hash)

    def _is_folder(self, path: str) -> bool:
        try:
            return self._target.stat(path).is_dir
        except StorageNotFound:
            return False

    def source(self, item: Item) -> str:
        return join(self._from, item.path) if self._single is None else self._from

    def target(self, item: Item) -> str:
        return join(self._to, item.path) if self._single is None else self._single
