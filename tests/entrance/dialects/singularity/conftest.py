"""A service that Singularity's clients can speak to as they are: without credentials, over loopback."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from factories import Service
from singularity import Singularity


def _start(tmp_path_factory: pytest.TempPathFactory, **settings: str) -> Iterator[Singularity]:
    folder = tmp_path_factory.mktemp("singularity")
    service = Service(data=folder / "data", settings={"AUTH__TRUST_LOOPBACK": "admin", **settings}).start()
    service.cli("storage", "allow", str(folder))
    yield Singularity(service, folder)
    service.cli("stop", check=False)


@pytest.fixture(scope="session")
def singularity(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Singularity]:
    """A running service."""
    yield from _start(tmp_path_factory)


@pytest.fixture(scope="session")
def busy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Singularity]:
    """A running service whose one slot is taken: what is started stays ready."""
    for found in _start(tmp_path_factory, SCHEDULER__SLOTS="1"):
        tasks = [found.service.submit("sleep", {"seconds": 3600}) for _ in range(4)]
        for task in tasks:
            found.service.wait_for(task, "Running")
        yield found
