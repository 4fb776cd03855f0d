"""Task logs: one append-only file per task with a line index; small ended logs become one compressed row.

    {folder}/{id // 10000}/{id}.log    lines, UTF-8, each ``yyyy-MM-dd HH:mm:ss.SSS LEVEL text`` or a continuation
    {folder}/{id // 10000}/{id}.idx    offset of every 256th line, eight bytes each, little-endian

A log begins with lines that follow from the task's row (``head``), so a task that nobody has run has a log and no file.
What is appended waits in memory for ``FLUSH_SECONDS``, at most twice as long, so that most logs of tasks that are quicker
never have a file; readers see only what is in the file. A log is sealed by the
writer thread within the transaction that ends its task: the last lines (of a small log: all) are committed with the end, and
only then the file is appended or removed. Reading from line n costs the same wherever n is.
"""

from __future__ import annotations

import os
import re
import struct
import time
import zlib
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from common.task import Line, Task
from entrance.core.model import LogPage

INDEX_EVERY = 256
SMALL_BYTES = 64 * 1024
LINE_BYTES = 64 * 1024
FLUSH_SECONDS = 0.1
_READ_BYTES = 256 * 1024
_STRIDE_BYTES = 8 * 1024  # of one look for line ends: the interpreter may go elsewhere in between
_STEP_BYTES = 256  # in which line ends are looked for one by one
_LEAST_BYTES = 4 * 1024
_LIKELY_LINE_BYTES = 80
_LOOK_BACK_BYTES = 1 << 20
_CONTROLS = bytes(b for b in range(32) if b not in (9, 10)) + b"\x7f"
_CLEAN = bytes.maketrans(_CONTROLS, b"?" * len(_CONTROLS))
_USUAL = {b" INFO ": "INFO", b" WARN ": "WARN", b" ERROR": "ERROR"}  # behind a head's time
_HEAD = re.compile(rb"[0-9\-/]{10} [0-9:]{8}.?\d{0,3} (?:SYSTEM-)?(ERROR|WARN|INFO) ")


def render(at: int, lines: Sequence[Line]) -> bytes:
    """Return lines as they stand in a log; ``at`` in ms since 1970, shown in the service's time zone."""
    moment = datetime.fromtimestamp(at / 1000).strftime("%Y-%m-%d %H:%M:%S") + f".{at % 1000:03d}"
    out = []
    for line in lines:
        first, *rest = line.text.encode(errors="replace").translate(_CLEAN).split(b"\n")
        out += [f"{moment} {line.level} ".encode() + first[:LINE_BYTES], *(r[:LINE_BYTES] for r in rest)]
    return b"\n".join(out) + b"\n" if out else b""


def head(task: Task, instance: str) -> bytes:
    """The first lines of every log (contracts: linkis, chapter 10.2); they follow from the row alone."""
    lines = [
        Line(level="INFO", text=f"task {task.id} log"),
        Line(
            level="INFO",
            text=f"Your job is accepted,  jobID is {task.exec_id} and taskID is {task.id} in {instance}. "
            "Please wait it to be scheduled",
        ),
    ]
    if not task.waiting_to_be_ready:
        lines.append(Line(level="INFO", text="Your job is Scheduled. Please wait it to run."))
    return render(task.created_at, lines)


@dataclass
class _Open:
    """A log that is still written."""

    path: Path
    size: int = 0  # bytes in the file
    lines: int = 0  # lines in the file
    blocks: list[bytes] = field(default_factory=list)  # not in the file yet
    late: list[bytes] = field(default_factory=list)  # came when it was sealed: they count if the end is not stored
    waiting: int = 0  # the bytes of both
    said: int = 0  # bytes that were appended in this life
    put: int = 0  # how many of them are in the file
    sealed: bool = False
    flushing: bool = False
    known: bool = True  # whether size and lines are those of the file: one of an earlier life is looked at when it is due
    begun: bool = False  # whether there may be a file, even an empty one: the disk may have been full
    head: bytes = b""  # what it begins with, if nothing is in the file
    index: bytes | None = None  # what the index must hold before more is written; None = it does

    def learn(self, found: tuple[int, int, bytes | None]) -> None:
        """Take over what ``mend`` has found."""
        if not self.known:
            self.size, self.lines, self.index = found
            self.known = True
            if not self.size:
                self.blocks.insert(0, self.head)
                self.said += len(self.head)

    def pending(self) -> bytes:
        return b"".join(self.blocks)


@dataclass(frozen=True, kw_only=True)
class Seal:
    """What the final commit stores of a log: ``body`` belongs at ``offset``; 0 = it is the whole log."""

    offset: int
    lines: int
    body: bytes  # compressed


class Logs:
    """All logs of a service. ``lock`` is a native lock: the writer thread seals while others append."""

    def __init__(self, folder: Path, instance: str, lock: AbstractContextManager[Any]) -> None:
        self._folder, self._instance, self._lock = folder, instance, lock
        self._open: dict[int, _Open] = {}
        self._dirty: dict[int, float] = {}  # since when lines of a log wait
        self._trouble = ""
        folder.mkdir(parents=True, exist_ok=True)

    # ---- writing

    def append(self, before: Task, block: bytes) -> None:
        """Append whole lines to the log of an unfinished task; of a sealed one they count only if its end is not stored.

        Reads and writes no file.
        """
        if not block:
            return
        if block.translate(None, _CONTROLS) != block:
            block = block.translate(_CLEAN)
        with self._lock:
            log = self._of(before)
            (log.late if log.sealed else log.blocks).append(block)
            log.waiting += len(block)
            log.said += len(block)
            if not log.sealed:
                self._dirty.setdefault(before.id, time.monotonic())

    def append_lines(self, before: Task, at: int, lines: Sequence[Line]) -> None:
        self.append(before, render(at, lines))

    def _of(self, task: Task) -> _Open:
        log = self._open.get(task.id)
        if log is None:
            log = self._open[task.id] = self._load(task)
        return log

    def _load(self, task: Task) -> _Open:
        path = self._path(task.id)
        first = head(task, self._instance)
        if path.exists():
            return _Open(path=path, known=False, begun=True, head=first)
        return _Open(path=path, blocks=[first], said=len(first))

    def waiting(self, task_id: int) -> int:
        """Return how many bytes of a log are not in its file yet."""
        log = self._open.get(task_id)
        return 0 if log is None else log.waiting

    def dirty(self) -> bool:
        return bool(self._dirty)

    @property
    def trouble(self) -> str:
        """Why lines that wait could not be written, when last tried; "" = they could, or none waits."""
        return self._trouble if self._dirty else ""

    def flush(
        self,
        offload: Callable[..., Any],
        only: int | None = None,
        *,
        waiting_seconds: float = 0.0,
        besides: Collection[int] = (),
    ) -> None:
        """Write what waits (of one log, or of all) into the files; ``offload`` runs the writing elsewhere.

        Logs whose lines wait for less than ``waiting_seconds`` are left for later, and those of the tasks ``besides``.

        Raises OSError when a file cannot be written; the lines stay in memory and are tried again.
        """
        until = time.monotonic() - waiting_seconds
        due = [i for i, since in list(self._dirty.items()) if since <= until and i not in besides]
        ids = due if only is None else [only]
        failure: OSError | None = None
        for task_id in ids:
            with self._lock:
                log = self._open.get(task_id)
                if log is None or log.sealed or not log.blocks:
                    self._dirty.pop(task_id, None)
                    continue
                if log.flushing:
                    continue  # by somebody else; what came since stays dirty
                log.flushing = True
            data, taken = b"", 0
            try:
                found = None if log.known else offload(mend, log.path)
                with self._lock:
                    if found is not None:
                        log.learn(found)
                    data, taken, log.begun = log.pending(), len(log.blocks), True
                lines = offload(_write, log.path, log.size, log.lines, data, log.index)
            except OSError as error:
                failure = error
                lines = None
            with self._lock:
                log.flushing = False
                if lines is not None:  # also when it was sealed meanwhile: then ``settle`` cuts the file
                    log.size += len(data)
                    log.put += len(data)
                    log.lines += lines
                    log.index = None
                    del log.blocks[:taken]
                    log.waiting = log.said - log.put
                    if not log.blocks:
                        self._dirty.pop(task_id, None)
            if lines is not None:
                self._trouble = ""
        if failure is not None:
            self._trouble = failure.strerror or str(failure)
            raise failure

    def written(self, task_id: int, offload: Callable[..., Any]) -> None:
        """Return when all that was appended before this call is in the file (or the task has ended). Raises OSError."""
        with self._lock:
            log = self._open.get(task_id)
            wanted = log.said if log is not None else 0
        while log is not None and log.put < wanted and self._open.get(task_id) is log:
            if log.flushing or log.sealed:  # by somebody else; it is not known yet whether the end is stored
                time.sleep(0.001)
            else:
                self.flush(offload, only=task_id)

    def is_written(self, task_id: int) -> bool:
        """Whether the log is still being written: then there is no row of it."""
        log = self._open.get(task_id)
        return log is not None and not log.sealed

    # ---- ending (``seal`` runs in the writer thread)

    def seal(self, before: Task, at: int, lines: Sequence[Line]) -> Seal:
        """Close the log for appending and return what the final commit must hold."""
        tail = render(at, lines)
        with self._lock:
            log = self._of(before)
            if not log.known:
                log.learn(mend(log.path))
            log.sealed = True
            pending = log.pending() + tail
            size, count = log.size, log.lines
        if size + len(pending) <= SMALL_BYTES and size:
            with log.path.open("rb") as file:
                pending = file.read(size) + pending
            size, count = 0, 0
        return Seal(offset=size, lines=count + pending.count(b"\n"), body=zlib.compress(pending, 1))

    def unseal(self, task_id: int) -> None:
        """The final commit failed: go on as before."""
        with self._lock:
            if (log := self._open.get(task_id)) is not None:
                log.sealed = False
                log.blocks += log.late
                log.late.clear()
                self._dirty.setdefault(task_id, time.monotonic())

    def close(self, task_id: int, seal: Seal, offload: Callable[..., Any]) -> bool:
        """After the final commit: append the last lines to the file, or remove it. Returns whether the row's body may go."""
        with self._lock:
            log = self._open.pop(task_id, None)
            self._dirty.pop(task_id, None)
        while log is not None and log.flushing:
            time.sleep(0.002)  # a flush that had begun before the end
        if log is None or log.begun:
            offload(self.settle, task_id, seal)
        return seal.offset > 0

    def settle(self, task_id: int, seal: Seal) -> None:
        """Bring the file of an ended log to what was committed (also at start, after a crash in between).

        It is on the disk afterwards: the row need not hold the last lines any more. What a power loss took out of the middle
        is not made up: the last lines follow what is left.
        """
        path = self._path(task_id)
        if seal.offset == 0:
            path.unlink(missing_ok=True)
            path.with_suffix(".idx").unlink(missing_ok=True)
        elif seal.body:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("a+b") as file:
                if file.seek(0, os.SEEK_END) > seal.offset:
                    file.truncate(seal.offset)
            size, lines, index = mend(path)
            _write(path, size, lines, zlib.decompress(seal.body), index)
            _sync(path, path.parent)

    def remove(self, task_id: int) -> None:
        """Retention: the log goes."""
        with self._lock:
            self._open.pop(task_id, None)
            self._dirty.pop(task_id, None)
        self._path(task_id).unlink(missing_ok=True)
        self._path(task_id).with_suffix(".idx").unlink(missing_ok=True)

    # ---- reading

    def read(self, task: Task, row: tuple[int, int, bytes] | None, from_line: int, limit: int, limit_bytes: int) -> LogPage:
        """Return at most ``limit`` lines from ``from_line`` (at least one, if there is one, whatever ``limit_bytes``).

        ``row`` is the ended log's row. Touches a file of the task only where there is one.
        """
        if row is not None and row[0] == 0:
            return _page_of(zlib.decompress(row[2]), from_line, limit, limit_bytes)
        name = f"{self._folder}/{task.id // 10_000}/{task.id}.log"
        try:
            fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return _page_of(head(task, self._instance), from_line, limit, limit_bytes)
        try:
            if row is not None and row[2]:
                return _page_with_tail(fd, name, row, from_line, limit, limit_bytes)
            with self._lock:
                log = self._open.get(task.id)
                end = log.size if log is not None and log.known else None
            if end is None:
                end = os.fstat(fd).st_size
            if not end and row is None:
                return _page_of(head(task, self._instance), from_line, limit, limit_bytes)
            return _page_from(fd, name, end, from_line, limit, limit_bytes)
        finally:
            os.close(fd)

    def exists(self, task: Task, row: tuple[int, int, bytes] | None) -> bool:
        """Whether there is anything to read beyond what follows from the row."""
        return row is not None or self._path(task.id).exists()

    def files(self) -> list[int]:
        """Ids of all tasks that have a log file."""
        return sorted(int(p.stem) for p in self._folder.glob("*/*.log") if p.stem.isdigit())

    def _path(self, task_id: int) -> Path:
        return self._folder / f"{task_id // 10_000}/{task_id}.log"


def _write(path: Path, size: int, lines: int, data: bytes, index: bytes | None = None) -> int:
    """Put ``data`` at ``size`` and note every 256th line, below ``index`` if that is given; return how many were written."""
    if index is not None:
        path.with_suffix(".idx").write_bytes(index)
    flags = os.O_WRONLY | os.O_CREAT
    try:
        fd = os.open(path, flags, 0o600)
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        fd = os.open(path, flags, 0o600)
    try:
        _write_all(fd, data, size)
    finally:
        os.close(fd)
    first = -lines % INDEX_EVERY
    starts, count = _starts(data, first)
    if starts:
        fd = os.open(path.with_suffix(".idx"), flags, 0o600)
        try:
            _write_all(fd, _index_of([size + start for start in starts]), 8 * ((lines + first) // INDEX_EVERY))
        finally:
            os.close(fd)
    return count


def _starts(data: bytes, wanted: int) -> tuple[list[int], int]:
    """Return where the lines ``wanted``, ``wanted`` + 256, ... of ``data`` begin, and how many lines end in it.

    About as fast as numpy, which the service does without: loading it takes a tenth of a start.
    """
    starts: list[int] = []
    first, ended = wanted, 0
    for at in range(0, len(data), _STRIDE_BYTES):
        here = data.count(b"\n", at, at + _STRIDE_BYTES)
        while wanted <= ended + here:
            begin, left, length = at, wanted - ended, _STRIDE_BYTES  # ``left`` line ends on, the line begins
            while length > _STEP_BYTES:
                length //= 2
                half = data.count(b"\n", begin, begin + length)
                if half < left:
                    begin, left = begin + length, left - half
            for _ in range(left):
                begin = data.index(b"\n", begin) + 1
            starts.append(begin)
            wanted += INDEX_EVERY
        ended += here
    return starts[: len(range(first, ended, INDEX_EVERY))], ended  # where the last line ends, none may begin


def _index_of(offsets: Sequence[int]) -> bytes:
    return struct.pack(f"<{len(offsets)}Q", *offsets)


def _sync(*paths: Path) -> None:
    for path in paths:
        fd = os.open(path, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def _write_all(fd: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        n = os.pwrite(fd, view, offset)
        view, offset = view[n:], offset + n


def mend(path: Path) -> tuple[int, int, bytes | None]:
    """Cut a torn last line; return bytes, lines, and what the index must hold, None when it does. Needs no room on the disk.

    An index that does not agree is no harm to readers: what it says of lines that are in the file is right.
    """
    index_path = path.with_suffix(".idx")
    before = index_path.read_bytes() if index_path.exists() else b""
    size = path.stat().st_size
    entries = [entry for entry in struct.unpack_from(f"<{len(before) // 8}Q", before) if entry < size]
    at = entries[-1] if entries else 0
    lines = (len(entries) - 1) * INDEX_EVERY if entries else 0
    with path.open("rb") as file:
        file.seek(at)
        while chunk := file.read(1 << 20):
            cut = chunk.rfind(b"\n") + 1
            if not cut:
                break
            chunk = chunk[:cut]
            starts, count = _starts(chunk, len(entries) * INDEX_EVERY - lines)
            entries += [at + start for start in starts]
            lines += count
            at += cut
            file.seek(at)
    if at != size:
        os.truncate(path, at)
    index = _index_of(entries)
    return at, lines, None if index == before else index


def _page_of(body: bytes, from_line: int, limit: int, limit_bytes: int) -> LogPage:
    lines = body.split(b"\n")[:-1]
    part = _within(lines[from_line : from_line + limit], limit_bytes)
    return _page(part, from_line, _level_before(lines[:from_line]) if part else "INFO")


def _page_from(fd: int, name: str, end: int, from_line: int, limit: int, limit_bytes: int) -> LogPage:
    """Read forward from the nearest noted line; only complete lines below ``end`` count."""
    at, number = _noted(name, from_line)
    if at and (os.pread(fd, 1, at - 1) != b"\n" if at < end else at > os.fstat(fd).st_size):
        at, number = 0, 0  # the index is broken: it costs time, and no lines
    if at >= end:
        return _page([], from_line, "INFO")
    lines: list[bytes] = []
    rest = b""
    skip = from_line - number
    after_skip: tuple[int, list[bytes]] = at, []  # where the lines that follow the skipped ones end, and they
    position, taken = at, 0
    while position < end and len(lines) < limit and (skip or taken <= limit_bytes):
        guess = (skip + limit - len(lines)) * _LIKELY_LINE_BYTES  # to split what nobody asked for costs more than to read on
        chunk = os.pread(fd, min(max(_LEAST_BYTES, guess), _READ_BYTES, end - position), position)
        if not chunk:
            break
        position += len(chunk)
        *whole, rest = (rest + chunk).split(b"\n")
        if skip:
            passed = min(skip, len(whole))
            skip -= passed
            whole = whole[passed:]
            after_skip = position - len(rest), whole
        if not skip:
            taken += len(chunk)
        lines += whole
    part = _within(lines[:limit], limit_bytes)
    level = "INFO"
    if part and not _HEAD.search(part[0]) and (start_of_first := after_skip[0] - sum(len(x) + 1 for x in after_skip[1])):
        back = os.pread(fd, min(_LOOK_BACK_BYTES, start_of_first), max(0, start_of_first - _LOOK_BACK_BYTES))
        level = _level_before(back.split(b"\n"))
    return _page(part, from_line, level)


def _page_with_tail(
    fd: int, name: str, row: tuple[int, int, bytes], from_line: int, limit: int, limit_bytes: int
) -> LogPage:
    """A page of a log whose last lines were committed and may not be in the file yet: the file up to there, then they."""
    offset, count, body = row
    tail = zlib.decompress(body).split(b"\n")[:-1]
    start = count - len(tail)
    if from_line >= start:
        back = os.pread(fd, min(_LOOK_BACK_BYTES, offset), max(0, offset - _LOOK_BACK_BYTES)).split(b"\n")
        skip = from_line - start
        return _page(_within(tail[skip : skip + limit], limit_bytes), from_line, _level_before([*back, *tail[:skip]]))
    page = _page_from(fd, name, offset, from_line, min(limit, start - from_line), limit_bytes)
    left = limit_bytes - sum(len(line.encode()) + 1 for line in page.lines)
    if page.next_line < start or left <= 0:
        return page
    more = _page(_within(tail[: limit - len(page.lines)], left), start, page.levels[-1])
    return LogPage(
        lines=[*page.lines, *more.lines],
        levels=[*page.levels, *more.levels],
        first=from_line,
        next_line=more.next_line,
    )


def _noted(name: str, from_line: int) -> tuple[int, int]:
    """Offset and number of the last noted line at or before ``from_line`` of the log file ``name``."""
    if from_line < INDEX_EVERY:
        return 0, 0
    try:
        index = os.open(name.removesuffix(".log") + ".idx", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return 0, 0
    try:
        k = from_line // INDEX_EVERY
        noted = os.pread(index, 8, 8 * k)
        if len(noted) < 8:  # that line is not written yet
            k = os.fstat(index).st_size // 8 - 1
            noted = os.pread(index, 8, 8 * k) if k > 0 else b""
        return (int.from_bytes(noted, "little"), k * INDEX_EVERY) if len(noted) == 8 else (0, 0)
    finally:
        os.close(index)


def _within(lines: list[bytes], limit_bytes: int) -> list[bytes]:
    if sum(map(len, lines)) + len(lines) <= limit_bytes:
        return lines
    total = 0
    for i, line in enumerate(lines):
        total += len(line) + 1
        if total > limit_bytes and i:
            return lines[:i]
    return lines


def _level_before(lines: Sequence[bytes]) -> str:
    for line in reversed(lines):
        if match := _HEAD.search(line):
            return match.group(1).decode()
    return "INFO"


class _Levels(Sequence[str]):
    """The levels of lines, found out when somebody looks: most readers do not. ``before``: the level of the line before."""

    def __init__(self, lines: Sequence[bytes], before: str) -> None:
        self._lines, self._before = lines, before

    @cached_property
    def _found(self) -> list[str]:
        level, found = self._before, []
        for line in self._lines:
            usual = _USUAL.get(line[23:29]) if line[10:11] == b" " and line[19:20] == b"." else None
            if usual is not None:
                level = usual
            elif match := _HEAD.search(line):
                level = match.group(1).decode()
            found.append(level)
        return found

    def __len__(self) -> int:
        return len(self._lines)

    def __getitem__(self, at: Any) -> Any:
        return self._found[at]

    def __iter__(self) -> Iterator[str]:
        return iter(self._found)


def _page(lines: list[bytes], first: int, level: str) -> LogPage:
    texts = b"\n".join(lines).decode(errors="replace").split("\n") if lines else []
    return LogPage(lines=texts, levels=_Levels(lines, level), first=first, next_line=first + len(lines))
