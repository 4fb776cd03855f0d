"""Many clients in one cheap process: each asks for a task's status and log once a second, over a connection of its own.

``python _pollers.py HOST PORT TOKEN CLIENTS SETTLE SECONDS TASK...`` says ``connected`` on a line when all connections are
there, asks for SETTLE seconds without counting, then for SECONDS, and prints one JSON object: how many answers came to what
was asked in these, their latency in ms (p50, p99, max), and, of the whole time, how many were errors and how many rounds
came late by more than a second.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time
from functools import partial

_LENGTH = re.compile(rb"\r\nContent-Length: *(\d+)", re.IGNORECASE)
_AT = re.compile(rb'"fromLine": *(\d+)')
_PAGE = 100


class Client(asyncio.Protocol):
    """One client; answers are parsed as little as may be."""

    def __init__(self, head: str, task: str) -> None:
        self._head, self._task = head, task
        self._at = 0
        self._data = b""
        self._waiting: asyncio.Future[bytes] | None = None
        self.took: list[tuple[float, float]] = []  # when it was asked, and seconds to the answer
        self.errors = self.late = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, error: Exception | None) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(error or ConnectionResetError("closed"))

    def data_received(self, data: bytes) -> None:
        self._data += data
        end = self._data.find(b"\r\n\r\n")
        found = _LENGTH.search(self._data, 0, end + 2) if end >= 0 else None
        if found is None:
            return
        size = end + 4 + int(found[1])
        if len(self._data) >= size and self._waiting is not None:
            answer, self._data = self._data[:size], self._data[size:]
            self._waiting.set_result(answer)

    async def ask(self, path: str) -> bytes:
        self._waiting = asyncio.get_running_loop().create_future()
        begin = time.monotonic()
        self._transport.write(f"GET /api/rest_j/v1/entrance/{self._task}/{path} HTTP/1.1\r\n{self._head}\r\n".encode())
        answer = await self._waiting
        self.took.append((begin, time.monotonic() - begin))
        self.errors += not answer.startswith(b"HTTP/1.1 200")
        return answer

    async def run(self, phase: float, until: float) -> None:
        due = time.monotonic() + phase
        while due < until:
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            self.late += time.monotonic() - due > 1.0
            await self.ask("status")
            page = await self.ask(f"log?fromLine={self._at}&size={_PAGE}&distinctLevel=false")
            at = _AT.search(page)
            self._at = int(at[1]) if at else self._at
            due = max(due + 1.0, time.monotonic() - 1.0)


async def main(host: str, port: str, token: str, clients: int, settle: float, seconds: float, tasks: list[str]) -> None:
    head = f"Host: {host}:{port}\r\nAuthorization: Bearer {token}\r\n"
    loop = asyncio.get_running_loop()
    made = []
    for number in range(clients):
        _, client = await loop.create_connection(
            partial(Client, head, tasks[number % len(tasks)]),
            host,
            int(port),
        )
        made.append(client)
    print("connected", flush=True)
    since = time.monotonic() + settle
    await asyncio.gather(*(c.run(i / clients, since + seconds) for i, c in enumerate(made)))
    took = sorted(1000 * t for c in made for at, t in c.took if at >= since)
    told = {
        "answers": len(took),
        "errors": sum(c.errors for c in made),
        "late": sum(c.late for c in made),
        "p50": took[len(took) // 2],
        "p99": took[int(len(took) * 0.99)],
        "max": took[-1],
    }
    print(json.dumps(told))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:4], int(sys.argv[4]), float(sys.argv[5]), float(sys.argv[6]), sys.argv[7:]))
