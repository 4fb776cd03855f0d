"""A TCP proxy that counts requests, slows bytes down and cuts connections: what a network does to transfers."""

from __future__ import annotations

import re
import socket
import struct
import threading
import time
from collections import Counter
from contextlib import suppress
from urllib.parse import urlsplit

_REQUEST = re.compile(rb"(GET|PUT|POST|DELETE|HEAD) (/[^ \r\n]{0,2000}) HTTP/1\.1\r\n")
_OVERLAP = 2100


class Proxy:
    """Listens on a free loopback port and passes everything on to ``target`` (a URL).

    ``bytes_per_second`` limits what clients send, all connections together. ``requests`` holds method and target of each.
    """

    def __init__(self, target: str, bytes_per_second: float = 0.0) -> None:
        parts = urlsplit(target)
        assert parts.hostname is not None
        assert parts.port is not None
        self._target = (parts.hostname, parts.port)
        self.bytes_per_second = bytes_per_second
        self.requests: list[tuple[str, str]] = []
        self.sent = 0
        self.flows = threading.Event()  # cleared, nothing passes; connections stay
        self.flows.set()
        self._lock = threading.Lock()
        self._connections: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def parts(self) -> Counter[str]:
        """Return how often each part was sent, by target."""
        return Counter(target for method, target in self.requests if method == "PUT" and "partNumber=" in target)

    def cut(self, *, reset: bool = False) -> None:
        """Cut all connections that there are; with ``reset`` as a machine that has lost them does, else in good order."""
        with self._lock:
            connections, self._connections = self._connections, []
        for each in connections:
            with suppress(OSError):
                if reset:
                    each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    each.shutdown(socket.SHUT_RD)  # whoever reads lets go of it
                    each.close()
                    continue
                each.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._listener.close()
        self.cut()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(self._target)
            except OSError:
                client.close()
                continue
            with self._lock:
                self._connections += [client, server]
            threading.Thread(target=self._up, args=(client, server), daemon=True).start()
            threading.Thread(target=self._down, args=(server, client), daemon=True).start()

    def _up(self, client: socket.socket, server: socket.socket) -> None:
        seen = b""
        with suppress(OSError):
            while data := client.recv(64 << 10):
                window = seen + data
                with self._lock:
                    for found in _REQUEST.finditer(window):
                        if found.end() > len(seen):
                            self.requests.append((found[1].decode(), found[2].decode()))
                    self.sent += len(data)
                seen = window[-_OVERLAP:]
                if self.bytes_per_second:
                    time.sleep(len(data) / self.bytes_per_second)
                self.flows.wait()
                server.sendall(data)
        with suppress(OSError):
            server.shutdown(socket.SHUT_WR)

    def _down(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(256 << 10):
                self.flows.wait()
                target.sendall(data)
        for each in (source, target):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
