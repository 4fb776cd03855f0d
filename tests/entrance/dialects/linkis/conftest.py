"""A running service for golden files, with alice, bob and the administrator admin."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import golden
import pytest
from factories import PASSWORD, Service


@dataclass(frozen=True)
class GoldenService:
    url: str
    users: dict[str, golden.Credentials]


@pytest.fixture(scope="session")
def golden_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GoldenService]:
    service = Service(data=tmp_path_factory.mktemp("golden") / "data", settings=dict(golden.SETTINGS))
    service.start()
    users = {}
    for name in golden.USERS:
        exists = name == "admin"
        if exists:
            password = (service.data / "admin-password").read_text().strip()
            token = service.cli("token", "create", name).stdout.strip()
        else:
            password, token = PASSWORD, service.user(name).token or ""
        users[name] = golden.Credentials(token=token, password=password)
    yield GoldenService(service.url, users)
    service.cli("stop", check=False)
