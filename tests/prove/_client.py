"""A client that keeps its connection, for claims that count requests."""

from __future__ import annotations

from factories import Service
from kept import KeptClient


class Client(KeptClient):
    """One keep-alive connection as the service's first administrator."""

    def __init__(self, service: Service) -> None:
        super().__init__(service.url, (service.data / "cli-token").read_text().strip())
