"""A running service with users who have keys, and DS3 clients for them: for tests and claims about BlackPearl's API."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ds3 import STYLES, Client
from factories import LINKIS, Http, Service


@dataclass
class Pearl:
    """One service and who speaks to it."""

    service: Service
    keys: dict[str, tuple[str, str]]
    linkis: dict[str, Http]

    def client(self, name: str = "alice", style: str = "python") -> Client:
        return Client(self.service.url, *self.keys[name], style=STYLES[style])

    def submit(self, executor: str = "sleep", name: str = "alice", **params: object) -> dict[str, str]:
        """Submit a task through Linkis; return its names: ``taskID``, ``execID``, ``jobId``."""
        return self.submit_labelled({}, executor, name, **params)

    def submit_labelled(
        self, labels: Mapping[str, str], executor: str = "sleep", name: str = "alice", **params: object
    ) -> dict[str, str]:
        """The same with more labels."""
        body = {"executionContent": {"code": params, "runType": executor}, "labels": {"engineType": executor, **labels}}
        return dict(self.linkis[name].post(f"{LINKIS}/entrance/submit", body).data)


def open_pearl(service: Service, users: Iterable[str] = ("alice", "bob")) -> Pearl:
    """Start a service and give everybody a key."""
    service.start()
    linkis = {"admin": service.http, **{name: service.user(name) for name in users}}
    keys = {}
    for name in linkis:
        access_id, secret = service.cli("key", "create", name).stdout.split()
        keys[name] = (access_id, secret)
    return Pearl(service, keys, linkis)
