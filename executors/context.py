"""The TaskContext of a task process: what an executor says and asks becomes frames on its channel.

Two orders are kept, whatever is batched: rows reach the service before the checkpoint that counts them, and log lines
before the step that follows them. A line that follows a step is never sent before that step, so an attempt that goes on
from a checkpoint repeats no line of the work before it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.errors import ExecutorError, MayPass
from executors import loglines
from executors.base import Stage, StopRequested
from executors.channel import Channel, ChannelClosed, Frame, dump, encode
from executors.launchers.base import Attempt
from executors.slices import SLICE_ROWS, Pending, write_slice

if TYPE_CHECKING:  # a small task opens no storage
    from common.storage.base import Storage

MAX_STATE_BYTES = 64 << 10
MAX_UNMERGED = 8
STEP_SECONDS = 0.05  # steps are sent at most this often
LINES_SECONDS = 0.1  # lines that led to a step wait at most this long for the next call
LOOSE_LINES_SECONDS = 1.0  # and lines that no step has followed yet
BLOCK_CHARACTERS = 64 << 10
ROWS_SECONDS = 1.0  # rows wait at most this long for a step without a checkpoint


class ChannelContext:
    """What an executor may touch, over a channel. Safe to call from several threads of the task."""

    def __init__(self, attempt: Attempt, params: dict[str, Any], channel: Channel) -> None:
        self.params = params
        self.task_id = attempt.key.task_id
        self.attempt = attempt.key.number
        self.checkpoint = attempt.checkpoint
        self.cores = attempt.cores
        self.commands: Mapping[str, Sequence[str]] = attempt.commands
        self._plan = attempt
        self._channel = channel
        self._sending = threading.RLock()  # guards lines, step, rows and the order of frames
        self._receiving = threading.RLock()
        self._heads = loglines.Heads()
        self._lines: list[str] = []
        self._size = 0
        self._oldest = 0.0  # when the first line that waits was said
        self._step: dict[str, Any] | None = None  # the step that waits
        self._state: bytes | None = None
        self._told = 0  # how many of the lines that wait were said before the step that waits
        self._next_step = 0.0
        self._rows = Pending()
        self._rows_at = 0.0
        self._slices = 0
        self._merged = 0
        self._last_step: dict[str, Any] = {"t": "step", "p": (0,) * 6, "s": []}  # as it was sent
        self._slices_before_step = 0  # sent before the last step
        self._request = 0
        self._stop = False
        self._fault: ExecutorError | None = None
        self._answers: dict[int, Frame] = {}

    @cached_property
    def workdir(self) -> Path:
        folder = Path(self._plan.workdir)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return folder

    @cached_property
    def catalogue(self) -> Any:
        from common.db.catalogue import open_readonly

        return open_readonly(self._plan.database_url)

    def storage(self, name: str) -> Storage:
        settings = self._plan.storages.get(name)
        if settings is None:
            raise ExecutorError(f"the task does not name the storage {name}")
        from common.storage import open_storage

        return open_storage(name, settings)

    # ---- what is said

    def log(self, text: str, level: str = "INFO") -> None:
        if level not in loglines.LEVELS:
            raise ValueError(f"{level} is no level of a task's log")
        with self._sending:
            now = time.time()
            line = loglines.entry(self._heads.head(level, now), text)
            if not self._lines:
                self._oldest = now
            self._lines.append(line)
            self._size += len(line)
            led_to_step = self._step is not None
            limit = LINES_SECONDS if led_to_step else LOOSE_LINES_SECONDS
            if self._size >= BLOCK_CHARACTERS or not -1 < now - self._oldest < limit:
                self._flush(time.monotonic(), all_lines=not led_to_step)

    def step(
        self,
        done: int,
        total: int,
        state: bytes | None = None,
        *,
        bytes_done: int = 0,
        bytes_total: int = 0,
        files_done: int = 0,
        files_total: int = 0,
        stages: Iterable[Stage] = (),
    ) -> None:
        if state is not None and len(state) > MAX_STATE_BYTES:
            raise ValueError(f"a checkpoint of {len(state)} bytes is over {MAX_STATE_BYTES}")
        with self._sending:
            now = time.monotonic()
            with_rows = bool(self._rows.count) and (state is not None or now - self._rows_at >= ROWS_SECONDS)
            if with_rows:
                self._flush(now)  # a step that waits was before these rows
                self._flush_rows()  # may be told to stop: then this step was never said
            if state is not None:
                self._state = state
            self._step = {
                "t": "step",
                "p": (done, total, bytes_done, bytes_total, files_done, files_total),
                "s": [(s.name, s.target, s.done, s.total, s.failed, s.running) for s in stages],
            }
            self._told = len(self._lines)
            if with_rows or now >= self._next_step:
                self._flush(now)
        self._listen()

    def rows(self, table: str, batch: Sequence[Sequence[Any]], columns: Sequence[str] | None = None) -> None:
        names = tuple(columns) if columns is not None else _columns_of(table)
        with self._sending:
            if not self._rows.count:
                self._rows_at = time.monotonic()
            for start in range(0, len(batch), SLICE_ROWS):
                part = batch[start : start + SLICE_ROWS]
                if self._rows.count + len(part) > SLICE_ROWS:
                    self._flush(time.monotonic())  # a step that waits was before these rows
                    self._flush_rows()
                self._rows.add(table, names, part)

    # ---- what is asked for, answered after its commit

    def ids(self, table: str, n: int) -> int:
        return int(self._ask("ids", {"table": table, "count": n}))

    def own(self, names: Sequence[str], kind: str = "path") -> None:
        self._ask("own", {"kind": kind, "names": list(names)})

    def publish(
        self,
        pairs: Sequence[tuple[str, str]],
        rows: Sequence[tuple[str, Sequence[str], Sequence[Sequence[Any]]]] = (),
    ) -> None:
        with self._sending:
            self._flush(time.monotonic())
            self._flush_rows()
            for table, columns, batch in rows:
                self._rows.add(table, tuple(columns), batch)
            self._flush_rows(wait=False)  # these are merged with the request, not before
        self._ask("publish", {"pairs": [list(pair) for pair in pairs]})

    def child(self, key: str, executor: str, params: Mapping[str, Any], *, job: int | None = None) -> int:
        wanted = {"key": key, "executor": executor, "params": dict(params), "job": job}
        return int(self._ask("child", wanted))

    # ---- the end, for the runner

    def finish(self, *, rows: bool) -> None:
        """Send what waits: lines, the last step and, with ``rows``, the rows that no step has counted."""
        with self._sending:
            self._flush(time.monotonic())
            if rows:
                self._flush_rows()

    # ---- inside

    def _flush(self, now: float, *, all_lines: bool = True) -> None:
        """Send the lines that wait and the step that waits; without ``all_lines`` only what led to that step."""
        count = len(self._lines) if all_lines else self._told
        before, between = self._lines[: self._told], self._lines[self._told : count]
        self._lines = self._lines[count:]
        self._size = sum(map(len, self._lines))
        self._oldest = time.time()
        frames = []
        if self._step is None:
            before, between = before + between, []
        if before:
            frames.append(encode({"t": "log"}, loglines.encode("".join(before))))
        if self._step is not None:
            header = self._step if self._state is None else {**self._step, "state": True}
            frames.append(encode(header, self._state or b""))
            self._next_step = now + STEP_SECONDS
            self._last_step, self._slices_before_step = self._step, self._slices
        if between:
            frames.append(encode({"t": "log"}, loglines.encode("".join(between))))
        self._step = self._state = None
        self._told = 0
        if frames:
            self._send(b"".join(frames))

    def _flush_rows(self, *, wait: bool = True) -> None:
        for table, columns, rows in self._rows.take():
            if wait and self._slices - self._merged >= MAX_UNMERGED:
                self._wait_for_room()
            number = self._slices + 1
            name = f"rows-{number:06}.sqlite"
            write_slice(self.workdir / name, columns, rows)
            self._slices = number
            header = {"t": "rows", "number": number, "table": table, "columns": columns, "count": len(rows)}
            self._send(encode({**header, "file": name}))
        self._rows_at = time.monotonic()

    def _wait_for_room(self) -> None:
        if self._slices - self._slices_before_step >= MAX_UNMERGED:  # rows are merged with a step, and none is to come
            self._send(encode(self._last_step))
            self._slices_before_step = self._slices
        with self._receiving:
            while self._slices - self._merged >= MAX_UNMERGED:
                self._obey()
                self._take(self._receive(wait=True))

    def _ask(self, kind: str, arguments: dict[str, Any]) -> Any:
        """Send a request and return its answer. Raises the error that the service had, or StopRequested."""
        body = dump(arguments).encode()
        with self._sending:
            self._flush(time.monotonic())
            self._request += 1
            number = self._request
            self._send(encode({"t": kind, "n": number}, body))
        with self._receiving:
            while number not in self._answers:
                self._take(self._receive(wait=True))
            answer = self._answers.pop(number).header
        if "error" in answer:
            raise (MayPass if answer["may_pass"] else ExecutorError)(answer["error"])
        if "value" not in answer:
            raise StopRequested
        return answer["value"]

    def _listen(self) -> None:
        """Read the standing answer, without waiting for it, and obey it."""
        if self._receiving.acquire(blocking=False):  # else another thread reads at this moment
            try:
                while (frame := self._receive(wait=False)) is not None:
                    self._take(frame)
            finally:
                self._receiving.release()
        self._obey()

    def _obey(self) -> None:
        if self._fault is not None:
            raise self._fault
        if self._stop:
            raise StopRequested

    def _take(self, frame: Frame | None) -> None:
        match frame:
            case ({"t": "answer", "n": int(number)}, _):
                self._answers[number] = frame
            case ({"t": "merged", "number": int(number)}, _):
                self._merged = max(self._merged, number)
            case ({"t": "cores", "cores": int(cores)}, _):
                self.cores = cores
            case ({"t": "fault", "error": str(error), "may_pass": may_pass}, _):
                self._fault = (MayPass if may_pass else ExecutorError)(error)
            case ({"t": "stop"}, _):
                self._stop = True

    def _send(self, data: bytes) -> None:
        try:
            self._channel.send(data)
        except ChannelClosed:
            raise StopRequested from None

    def _receive(self, *, wait: bool) -> Frame | None:
        try:
            return self._channel.receive(wait=wait)
        except ChannelClosed:
            raise StopRequested from None


@cache
def _columns_of(table: str) -> tuple[str, ...]:
    """Return all columns of a table of the catalogue, in their order."""
    from common.db.tables import metadata

    return tuple(metadata.tables[table].columns.keys())
