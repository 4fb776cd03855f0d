"""Which object stores may be spoken to: nobody gets into the inner network by naming an endpoint.

An endpoint whose host has only public addresses may be used over HTTPS. One with a loopback, link-local, private or
otherwise special address, or over plain HTTP, may be used only when the administrator has listed it (``[storage]
allowed_endpoints``, ``host`` or ``host:port``).

A name may change its address after it was looked at, and a store may redirect: so clients of endpoints that are not listed
go through a ``Gate``, which looks at each address that it connects to and lets nothing through to any other host.
"""

from __future__ import annotations

import ipaddress
import select
import socket
import threading
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

from common.errors import BadInput, StorageUnavailable

CONNECT_SECONDS = 20.0
IDLE_SECONDS = 300.0
_HEAD_BYTES = 8 << 10
_PUMP_BYTES = 256 << 10


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """Where a store is. ``listed``: the administrator has named it, so it may be anywhere."""

    scheme: str
    host: str
    port: int
    listed: bool

    @property
    def authority(self) -> str:
        """Host and, where it is not the scheme's own, port, as in a URL."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.scheme == "https" else 80) else f"{host}:{self.port}"

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.authority}"


def parse_endpoint(text: str, allowed: Collection[str]) -> Endpoint:
    """Return an endpoint (``https://host``, ``http://host:port``, or ``host`` alone) once its form is right and it is listed
    or uses HTTPS. Nothing is looked up. Raises BadInput."""
    parts = urlsplit(text if "://" in text else f"https://{text}")
    try:
        port = parts.port
    except ValueError:
        raise BadInput("the endpoint has no valid port") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise BadInput("the endpoint must be http://host[:port] or https://host[:port]")
    if parts.username is not None or parts.query or parts.fragment or parts.path not in ("", "/"):
        raise BadInput("the endpoint must be a scheme, a host and a port, nothing else")
    host = parts.hostname.rstrip(".").lower()
    port = port or (443 if parts.scheme == "https" else 80)
    listed = is_listed(host, port, allowed)
    if parts.scheme == "http" and not listed:
        raise BadInput(
            f"the endpoint {host} may be used over HTTPS only; an administrator can list it in storage.allowed_endpoints"
        )
    return Endpoint(scheme=parts.scheme, host=host, port=port, listed=listed)


def is_listed(host: str, port: int, allowed: Collection[str]) -> bool:
    """Whether the administrator has named this host, or host and port."""
    shown = f"[{host}]" if ":" in host else host
    names = {name.strip().lower() for name in allowed}
    return not names.isdisjoint({host, shown, f"{shown}:{port}"})


def check_endpoint(text: str, allowed: Collection[str]) -> Endpoint:
    """Return an endpoint if it may be used, its host looked up. Blocks for the time of the look-up.

    Raises BadInput, or StorageUnavailable for a host that cannot be found.
    """
    endpoint = parse_endpoint(text, allowed)
    if not endpoint.listed:
        public_addresses(endpoint.host, endpoint.port)
    return endpoint


def public_addresses(host: str, port: int) -> list[str]:
    """Return the addresses of a host. Raises BadInput when one of them is not public, StorageUnavailable for none."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise StorageUnavailable(f"the host {host} cannot be found") from error
    addresses = list(dict.fromkeys(str(address[4][0]) for address in found))
    if not addresses or not all(is_public(address) for address in addresses):
        raise BadInput(
            f"the endpoint {host} is in an inner network; an administrator can list it in storage.allowed_endpoints"
        )
    return addresses


def is_public(address: str) -> bool:
    """Whether an address belongs to the public internet; addresses that wrap an IPv4 one are what they wrap."""
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv6Address):
        inner = found.ipv4_mapped or found.sixtofour or (found.teredo[1] if found.teredo else None)
        if inner is None and found in _NAT64:
            inner = ipaddress.IPv4Address(int(found) & 0xFFFFFFFF)
        if inner is not None:
            return inner.is_global and not inner.is_multicast
    return found.is_global and not found.is_multicast


_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")  # RFC 6052


class Gate:
    """A CONNECT proxy (RFC 9110, section 9.3.6) on a loopback port of this process that leads to the public addresses of one
    host only; what passes is the client's own TLS. Lives as long as the process."""

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port
        self._listener = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._serve, name="gate", daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def _serve(self) -> None:
        while True:
            client, _ = self._listener.accept()
            threading.Thread(target=self._answer, args=(client,), name="gate-connection", daemon=True).start()

    def _answer(self, client: socket.socket) -> None:
        with client, suppress(OSError):
            client.settimeout(CONNECT_SECONDS)
            head = b""
            while b"\r\n\r\n" not in head and len(head) < _HEAD_BYTES:
                if not (data := client.recv(_HEAD_BYTES)):
                    return
                head += data
            words = head.split(b"\r\n", 1)[0].decode("latin-1").split()
            if words[:1] != ["CONNECT"] or len(words) < 2 or words[1].lower() not in self._names():
                client.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
                return
            server = self._connect()
            if server is None:
                client.sendall(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
                return
            with server:
                client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
                _pump(client, server)

    def _names(self) -> set[str]:
        shown = f"[{self._host}]" if ":" in self._host else self._host
        return {f"{shown}:{self._port}"}

    def _connect(self) -> socket.socket | None:
        try:
            addresses = public_addresses(self._host, self._port)
        except (BadInput, StorageUnavailable):
            return None
        for address in addresses:
            with suppress(OSError):
                return socket.create_connection((address, self._port), CONNECT_SECONDS)
        return None


def _pump(one: socket.socket, other: socket.socket) -> None:
    """Pass bytes both ways until both ends have ended, or nothing comes for long."""
    for each in (one, other):
        each.settimeout(IDLE_SECONDS)
    ways = {one: other, other: one}
    while ways:
        ready, _, _ = select.select(list(ways), [], [], IDLE_SECONDS)
        if not ready:
            return
        for source in ready:
            if data := source.recv(_PUMP_BYTES):
                ways[source].sendall(data)
            else:
                with suppress(OSError):
                    ways[source].shutdown(socket.SHUT_WR)
                del ways[source]
