"""Frames between a task process and whoever runs it.

    +-----------------+-----------------+---------------+-------------+
    | u32 header size | u32 body size   | JSON header   | raw body    |      both sizes little-endian, in bytes
    +-----------------+-----------------+---------------+-------------+

The header's ``t`` says what it is. From the task: ``log`` (body: whole lines), ``step`` (body: checkpoint), ``rows``,
``own``, ``ids``, ``publish``, ``child`` (body: JSON arguments; ``n`` numbers the request) and ``end`` (body: JSON result
rows). To the task: ``attempt`` first, then ``answer`` to request ``n``, and the standing answer to every step: ``stop``,
``fault``, ``cores``, ``merged``. Bytes that can be long (lines, checkpoints, arguments, rows) travel as body and are never
quoted into JSON.
"""

from __future__ import annotations

import json
import select
import socket
import struct
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from common.records import make
from executors.launchers.base import Attempt, AttemptKey, Limits

HEAD = struct.Struct("<II")
MAX_HEADER_BYTES = 1 << 20
MAX_BODY_BYTES = 64 << 20
DATAGRAM_BYTES = 128 << 10  # of one message between the service and its fork server
_READ_BYTES = 16 << 10  # what comes to a task is short; a fresh process touches as little memory as it can
dump = json.JSONEncoder(separators=(",", ":")).encode
"""Returns a value as JSON text, as short as it can be."""
_scan = json.JSONDecoder().raw_decode


class ChannelClosed(ConnectionError):
    """The other side is gone, or sent what is no frame."""


class Frame(NamedTuple):
    """One message: its header and what came with it."""

    header: dict[str, Any]
    body: bytes


def load(data: bytes | bytearray) -> Any:
    """Return the value of JSON text that ``dump`` wrote, without a look for encodings and white space. Raises ValueError."""
    text = str(data, "utf-8")
    value, end = _scan(text)
    if end != len(text):
        raise ValueError("there is more than one value")
    return value


def encode(header: Mapping[str, Any], body: bytes = b"") -> bytes:
    """Return the bytes of one frame."""
    head = dump(header).encode()
    if len(head) > MAX_HEADER_BYTES or len(body) > MAX_BODY_BYTES:
        raise ValueError(f"a message of {len(head)} + {len(body)} bytes is too large for the channel")
    return b"".join((HEAD.pack(len(head), len(body)), head, body))


class Decoder:
    """Cuts a stream of bytes into frames; holds at most one incomplete frame."""

    def __init__(self) -> None:
        self._held = bytearray()

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Yield the frames that ``data`` completes. Raises ChannelClosed when the bytes are no frame."""
        held = self._held
        held += data
        start = 0
        try:
            while len(held) - start >= HEAD.size:
                header_size, body_size = HEAD.unpack_from(held, start)
                if header_size > MAX_HEADER_BYTES or body_size > MAX_BODY_BYTES:
                    raise ChannelClosed(f"a frame of {header_size} + {body_size} bytes is over the limit")
                body_at = start + HEAD.size + header_size
                end = body_at + body_size
                if len(held) < end:
                    break
                try:
                    header = load(held[start + HEAD.size : body_at])
                except ValueError as error:
                    raise ChannelClosed("a frame's header is no JSON") from error
                if not isinstance(header, dict):
                    raise ChannelClosed("a frame's header is no JSON object")
                body = bytes(held[body_at:end])
                start = end
                yield Frame(header, body)
        finally:
            del held[:start]


class Channel:
    """The task's end: blocking, used by one reader and one writer at a time."""

    def __init__(self, sock: socket.socket) -> None:
        # A socket made by a gevent process is non-blocking, and that flag belongs to the open file, not to the process.
        sock.setblocking(True)
        self._sock = sock
        self._decoder = Decoder()
        self._frames: list[Frame] = []
        self._corked: list[bytes] | None = None
        self._poll = select.poll()
        self._poll.register(sock.fileno(), select.POLLIN)

    def cork(self) -> None:
        """Keep what is sent from here on, until ``uncork`` or a wait for an answer: it arrives as one piece."""
        self._corked = []

    def uncork(self) -> None:
        """Send what was kept. Raises ChannelClosed."""
        kept, self._corked = self._corked, None
        if kept:
            self.send(b"".join(kept))

    def send(self, data: bytes) -> None:
        """Send encoded frames. Raises ChannelClosed when nobody listens any more."""
        if self._corked is not None:
            self._corked.append(data)
            return
        try:
            self._sock.sendall(data)
        except OSError as error:
            raise ChannelClosed("the launcher is gone") from error

    def receive(self, *, wait: bool) -> Frame | None:
        """Return the next frame; without ``wait``, None when none has come. Raises ChannelClosed at the end."""
        while not self._frames:
            if not wait and not self._poll.poll(0):
                return None
            self.uncork()
            try:
                data = self._sock.recv(_READ_BYTES)
            except OSError as error:
                raise ChannelClosed("the launcher is gone") from error
            if not data:
                raise ChannelClosed("the launcher is gone")
            self._frames = list(self._decoder.feed(data))[::-1]
        return self._frames.pop()

    def close(self) -> None:
        self._sock.close()


def attempt_frame(attempt: Attempt) -> bytes:
    """Return the first frame to a task. It is the only way by which storage secrets reach a process."""
    plan = {
        "task": attempt.key.task_id,
        "attempt": attempt.key.number,
        "executor": attempt.executor,
        "params": dict(attempt.params),
        "workdir": attempt.workdir,
        "cores": attempt.cores,
        "database_url": attempt.database_url,
        "storages": {name: dict(settings) for name, settings in attempt.storages.items()},
        "commands": {name: list(argv) for name, argv in attempt.commands.items()},
        "limits": [attempt.limits.memory_bytes, attempt.limits.open_files, attempt.limits.cpu_seconds],
    }
    state = -1 if attempt.checkpoint is None else len(attempt.checkpoint)
    return encode({"t": "attempt", "state": state}, (attempt.checkpoint or b"") + dump(plan).encode())


def attempt_of(frame: Frame) -> Attempt:
    """Return the attempt that ``attempt_frame`` wrote."""
    size = frame.header["state"]
    plan = load(frame.body[max(size, 0) :])
    memory, files, seconds = plan["limits"]
    return make(
        Attempt,
        {
            "key": make(AttemptKey, {"task_id": plan["task"], "number": plan["attempt"]}),
            "executor": plan["executor"],
            "params": plan["params"],
            "workdir": plan["workdir"],
            "checkpoint": None if size < 0 else frame.body[:size],
            "cores": plan["cores"],
            "database_url": plan["database_url"],
            "storages": plan["storages"],
            "commands": plan["commands"],
            "limits": make(Limits, {"memory_bytes": memory, "open_files": files, "cpu_seconds": seconds}),
        },
    )
