"""A running service with alice, bob and the administrator, each with a key, and DS3 clients for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from factories import Service
from pearl import Pearl, open_pearl


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
