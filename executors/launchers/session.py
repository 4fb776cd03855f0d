"""The service's side of one attempt: frames become calls of the Sink, answers and standing answers go back.

Plain threads and sockets, so that it runs as well on greenlets when the service has patched them. One thread calls ``pump``;
any thread may ``send``.
"""

from __future__ import annotations

import logging
import os
import select
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from common.errors import EntranceError, ExecutorError, MayPass, Refused
from executors.base import Progress, Stage
from executors.channel import ChannelClosed, Decoder, Frame, encode, load
from executors.launchers.base import Attempt, End, Ending, Sink, Slice
from executors.loglines import Output

READ_BYTES = 256 << 10
YIELD_FRAMES = 64  # after so many frames others get their turn
_LINGER_MS = 50  # an output that says nothing for so long after the end is not waited for
_LINGER_SECONDS = 1.0  # nor is one that goes on talking
_LOG = logging.getLogger(__name__)


class Session:
    """One attempt's channel and outputs.

    Args:
        attempt: whose it is.
        sink: where its events go.
        sock: our end of the channel; becomes non-blocking and is closed by ``close``.
        outputs: descriptors of its standard outputs, each with the level of its lines; closed by ``close``.
        on_refused: called when the Sink refuses the attempt or cannot take what it sent: it must stop.
    """

    def __init__(
        self,
        attempt: Attempt,
        sink: Sink,
        sock: socket.socket,
        outputs: Sequence[tuple[int, str]] = (),
        *,
        on_refused: Callable[[], None],
    ) -> None:
        self.attempt = attempt
        self.key = attempt.key
        self.result: End | None = None
        self.fault: End | None = None
        self._sink = sink
        self._sock = sock
        self._outputs = {descriptor: Output(level) for descriptor, level in outputs}
        self._on_refused = on_refused
        self._refused = False
        self._last: tuple[int, bytes] = (0, b"")  # the last request's number and its answer
        self._unsent: deque[memoryview] = deque()
        self._sending = threading.Lock()
        self._writing = False
        self._closed = False
        sock.setblocking(False)
        for descriptor in self._outputs:
            os.set_blocking(descriptor, False)

    # ---- to the task

    def send(self, data: bytes) -> None:
        """Send encoded frames, in the order of the calls, without waiting for the task to read them."""
        with self._sending:
            if self._closed:
                return
            self._unsent.append(memoryview(data))
            if self._writing or self._write():
                return
            self._writing = True
        threading.Thread(target=self._write_on, name=f"write-{self.key}", daemon=True).start()

    def _write(self) -> bool:
        """Send what fits; tell whether nothing is left to send."""
        while self._unsent:
            try:
                sent = self._sock.send(self._unsent[0])
            except BlockingIOError:
                return False
            except OSError:  # nobody reads any more
                self._unsent.clear()
                break
            if sent < len(self._unsent[0]):
                self._unsent[0] = self._unsent[0][sent:]
            else:
                self._unsent.popleft()
        return True

    def _write_on(self) -> None:
        poll = select.poll()
        while True:
            with self._sending:
                if self._closed or self._write():
                    self._writing = False
                    return
                poll.register(self._sock.fileno(), select.POLLOUT)
            poll.poll(1000)

    # ---- from the task

    def pump(self, gone: Callable[[], bool]) -> None:
        """Hand over everything that the attempt says, until it has ended.

        Returns when channel and outputs are at their end; once ``gone`` says that its processes are gone, outputs that
        somebody else still holds open are read as far as they are filled, and not waited for.
        """
        poll = select.poll()
        decoder = Decoder()
        channel = self._sock.fileno()
        waiting = {channel, *self._outputs}
        for descriptor in waiting:
            poll.register(descriptor, select.POLLIN)
        frames = 0
        deadline = 0.0
        while waiting:
            ready = poll.poll(None if channel in waiting else _LINGER_MS)
            if channel not in waiting and gone():
                deadline = deadline or time.monotonic() + _LINGER_SECONDS
                if not ready or time.monotonic() > deadline:
                    break
            for descriptor, _ in ready:
                if descriptor == channel:
                    count = self._read_channel(decoder)
                else:
                    count = self._read_output(descriptor)
                if count is None:
                    poll.unregister(descriptor)
                    waiting.discard(descriptor)
                    continue
                frames += count
                if frames >= YIELD_FRAMES:
                    frames = 0
                    time.sleep(0)
        for output in self._outputs.values():
            self._lines(output.end(time.time()))

    def hang_up(self) -> None:
        """Have ``pump`` come to the end of the channel: what the task sent is still read, nothing new is waited for."""
        with suppress(OSError):  # at its end already
            self._sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close channel and outputs."""
        with self._sending:
            if self._closed:
                return
            self._closed = True
            self._unsent.clear()
            self._sock.close()
        for descriptor in self._outputs:
            os.close(descriptor)

    def _read_channel(self, decoder: Decoder) -> int | None:
        try:
            data = self._sock.recv(READ_BYTES)
        except BlockingIOError:
            return 0
        except OSError:
            return None
        if not data:
            return None
        count = 0
        try:
            for frame in decoder.feed(data):
                count += 1
                self._take(frame)
        except ChannelClosed as error:
            self._fail(str(error), may_pass=False)
            return None
        return count

    def _read_output(self, descriptor: int) -> int | None:
        try:
            data = os.read(descriptor, READ_BYTES)
        except BlockingIOError:
            return 0
        except OSError:
            return None
        if not data:
            return None
        self._lines(self._outputs[descriptor].feed(data, time.time()))
        return 1

    def _lines(self, block: bytes) -> None:
        if block:
            self._hand_over(lambda: self._sink.log(self.key, block))

    def _take(self, frame: Frame) -> None:
        header, body = frame
        try:
            match header["t"]:
                case "log":
                    self._lines(body)
                case "step":
                    progress = _progress(header)
                    state = body if header.get("state") else None
                    self._hand_over(lambda: self._sink.step(self.key, progress, state))
                case "rows":
                    part = self._slice(header)
                    self._hand_over(lambda: self._sink.rows(self.key, part))
                case "end":
                    self.result = _end(header, body)
                case _:
                    self._request(header["n"], header["t"], body)
        except (KeyError, TypeError, ValueError) as error:
            raise ChannelClosed(f"a frame of the task makes no sense: {error!r}") from error

    def _slice(self, header: dict[str, Any]) -> Slice:
        folder = Path(self.attempt.workdir)
        path = folder / header["file"]
        if path.parent != folder:
            raise ValueError("a slice outside the work folder")
        return Slice(
            number=header["number"],
            table=header["table"],
            columns=tuple(header["columns"]),
            path=path,
            count=header["count"],
        )

    def _hand_over(self, call: Callable[[], None]) -> None:
        """Give one event to the Sink; nothing more once it has refused the attempt."""
        if self._refused:
            return
        try:
            call()
        except Refused:
            self._refuse()
        except EntranceError as error:
            self._fail(str(error), may_pass=_may_pass(error))
        except Exception:
            _LOG.exception("event not taken", extra={"attempt": str(self.key)})
            self._fail("the service could not take what the task sent", may_pass=True)

    def _refuse(self) -> None:
        self._refused = True
        self._on_refused()

    def _fail(self, reason: str, *, may_pass: bool) -> None:
        if self.fault is None:
            self.fault = End(ending=Ending.FAILED, reason=reason, may_pass=may_pass)
            self.send(encode({"t": "fault", "error": reason, "may_pass": may_pass}))
        self._refuse()

    def _request(self, number: int, kind: str, body: bytes) -> None:
        """Answer a request after the Sink has carried it out; a number seen before gets the same answer."""
        if number != self._last[0]:
            self._last = number, encode({"t": "answer", "n": number, **self._outcome(kind, load(body))})
        self.send(self._last[1])

    def _outcome(self, kind: str, arguments: dict[str, Any]) -> dict[str, Any]:
        if self._refused:
            return {"stop": True}
        try:
            return {"value": self._carry_out(kind, arguments)}
        except Refused:
            self._refuse()
            return {"stop": True}
        except EntranceError as error:
            return {"error": str(error), "may_pass": _may_pass(error)}
        except Exception:
            _LOG.exception("request not carried out", extra={"attempt": str(self.key), "request": kind})
            return {"error": f"the service could not carry out {kind}", "may_pass": True}

    def _carry_out(self, kind: str, arguments: dict[str, Any]) -> int | None:
        match kind, arguments:
            case "ids", {"table": table, "count": count}:
                return self._sink.ids(self.key, table, count)
            case "own", {"kind": what, "names": names}:
                self._sink.own(self.key, what, names)
            case "publish", {"pairs": pairs}:
                self._sink.publish(self.key, [(temporary, final) for temporary, final in pairs])
            case "child", {"key": name, "executor": executor, "params": params, "job": job}:
                return self._sink.child(self.key, name, executor, params, job)
            case _:
                raise ExecutorError(f"there is no request {kind}")
        return None


def _may_pass(error: EntranceError) -> bool:
    """Whether another attempt may fare better: what the service could not do now, unlike what was wrong."""
    return isinstance(error, MayPass) or (error.http_status >= 500 and not isinstance(error, ExecutorError))


def _progress(header: dict[str, Any]) -> Progress:
    done, total, bytes_done, bytes_total, files_done, files_total = header["p"]
    return Progress(
        done=done,
        total=total,
        bytes_done=bytes_done,
        bytes_total=bytes_total,
        files_done=files_done,
        files_total=files_total,
        stages=tuple(
            Stage(name=name, target=target, done=done, total=total, failed=failed, running=running)
            for name, target, done, total, failed, running in header["s"]
        ),
    )


def _end(header: dict[str, Any], body: bytes) -> End:
    return End(
        ending=Ending(header["ending"]),
        reason=header["reason"],
        may_pass=bool(header["may_pass"]),
        rows=load(body) if body else None,
    )
