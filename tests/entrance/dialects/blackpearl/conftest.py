"""A running service with alice, bob and the administrator, each with a key, and DS3 clients for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
from ds3 import STYLES, Client
from factories import Http, Service


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
        body = {"executionContent": {"code": params, "runType": executor}, "labels": {"engineType": executor}}
        return dict(self.linkis[name].post("/api/rest_j/v1/entrance/submit", body).data)


def open_pearl(service: Service) -> Pearl:
    """Start a service and give everybody a key."""
    service.start()
    linkis = {"admin": service.http, "alice": service.user("alice"), "bob": service.user("bob")}
    keys = {}
    for name in linkis:
        access_id, secret = service.cli("key", "create", name).stdout.split()
        keys[name] = (access_id, secret)
    return Pearl(service, keys, linkis)


@pytest.fixture(scope="session")
def opened() -> Callable[[Service], Pearl]:
    """What starts a service and gives everybody a key, for fixtures of single modules."""
    return open_pearl


@pytest.fixture(scope="module")
def pearl(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pearl]:
    """A service of this module alone."""
    service = Service(data=tmp_path_factory.mktemp("pearl") / "data", settings={"SCHEDULER__SLOTS": "2"})
    yield open_pearl(service)
    service.cli("stop", check=False)


@pytest.fixture
def make_pearl(make_service: Callable[..., Service]) -> Callable[..., Pearl]:
    """A maker of services with settings of their own."""
    return lambda **settings: open_pearl(make_service(**settings))
