"""The clients: Linkis with tokens of many users, Singularity and SenseCore over loopback, BlackPearl signed, the CLI.

What was sent may have been carried out although no answer came; then they raise ``NoAnswer`` and the caller decides.
"""

from __future__ import annotations

import http.client
import subprocess
from collections.abc import Mapping
from typing import Any

import ds3
from factories import Http, Response, Service
from kept import KeptClient

SPACE = "soak"
ANN = "ann"  # an administrator; Singularity's and SenseCore's clients act as her
USERS = ("u1", "u2", "u3")
SETTINGS: Mapping[str, str] = {
    "AUTH__TRUST_LOOPBACK": ANN,
    "DATASPACES__DEFAULT": SPACE,
    "STORAGE__ALLOWED_ENDPOINTS": "127.0.0.1",
    "RETRY__MAX_RETRIES": "10",
    "RETRY__LADDER_SECONDS": "1",
    "SCHEDULER__SLOTS": "4",
}


class NoAnswer(Exception):
    """The service is away, or went away before it answered."""


class Line(KeptClient):
    """A kept connection for JSON requests. Every call raises NoAnswer."""

    def request(self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None) -> tuple[int, Any]:
        try:
            return super().request(method, path, body, headers)
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise NoAnswer(str(error)) from error


class Doors:
    """Accounts, keys and addresses of one service."""

    def __init__(self, service: Service, style: str) -> None:
        self.service, self.url = service, service.url
        tokens = {name: service.user(name, admin=name == ANN).token for name in (ANN, *USERS)}
        self.tokens: dict[str, str] = {name: token or "" for name, token in tokens.items()}
        access_id, secret = service.cli("key", "create", ANN).stdout.split()
        self._pearl = ds3.Client(self.url, access_id, secret, ds3.STYLES[style])

    def line(self, user: str = ANN) -> Line:
        return Line(self.url, self.tokens[user])

    def pearl(self, method: str, path: str, **query: str | None) -> ds3.Answer:
        """Ask BlackPearl's API, signed. Raises NoAnswer."""
        try:
            return self._pearl.request(method, f"/_rest_/{path}", query)
        except (OSError, http.client.HTTPException) as error:
            raise NoAnswer(str(error)) from error

    def singularity(self, method: str, path: str, body: Any = None) -> Response:
        """Ask Singularity's API as its clients do, without credentials. Raises NoAnswer."""
        return self._plain(method, f"/api{path}", body)

    def sensecore(self, body: Mapping[str, Any]) -> Response:
        """Ask for SenseCore's list. Raises NoAnswer."""
        return self._plain("POST", f"/aids/aidmp/data/v2/dataSpaces/{SPACE}/task:list", body)

    def _plain(self, method: str, path: str, body: Any) -> Response:
        try:
            return Http(self.url).request(method, path, body)
        except (OSError, http.client.HTTPException) as error:
            raise NoAnswer(str(error)) from error

    def cli(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command of the command line as its own user. Raises NoAnswer when it takes too long."""
        try:
            return self.service.cli(*arguments, check=False, timeout_seconds=90)
        except subprocess.TimeoutExpired as error:
            raise NoAnswer(str(error)) from error
