"""Fixtures of all tests: the needs of ``needs.py``, and real running services."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator

import needs
import pytest
from attempts import MISBEHAVING
from factories import Service

from executors import registry

pytest_plugins = ("servers.fixtures",)


def pytest_configure(config: pytest.Config) -> None:
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # begun in a shell's background: what tests start must hear Ctrl-C
        signal.signal(signal.SIGINT, signal.default_int_handler)
    config.addinivalue_line("markers", "needs(name): left out where a program is missing (tests/needs.py)")


def pytest_runtest_setup(item: pytest.Item) -> None:
    for marker in item.iter_markers("needs"):
        for name in marker.args:
            if not needs.present(name):
                packages = " ".join(needs.NEEDS[name][1])
                if needs.must_be_there():
                    pytest.fail(f"{name} is missing (Debian: {packages})", pytrace=False)
                pytest.skip(f"{name} is missing (Debian: {packages})")


@pytest.fixture
def make_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Service]]:
    """A maker of services, each in a folder of its own; not yet started. All are ended after the test.

    ``make_service(SCHEDULER__SLOTS="4")`` sets settings.
    """
    made: list[Service] = []

    def make(**settings: str) -> Service:
        service = Service(data=tmp_path_factory.mktemp("service") / "data", settings=settings)
        made.append(service)
        return service

    yield make
    for service in made:
        _end(service)


@pytest.fixture
def service(make_service: Callable[..., Service]) -> Service:
    """A running service of this test alone."""
    return make_service().start()


@pytest.fixture(scope="session")
def shared_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A running service that many tests use, one after the other: look only at what you made, stop nothing."""
    service = Service(data=tmp_path_factory.mktemp("shared") / "data").start()
    yield service
    _end(service)


@pytest.fixture
def misbehaving(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The executors of tests/data/misbehaving, found here and by what is started here."""
    monkeypatch.setenv("PYTHONPATH", str(MISBEHAVING))
    monkeypatch.syspath_prepend(str(MISBEHAVING))
    registry.places.cache_clear()
    registry.get.cache_clear()
    yield
    registry.places.cache_clear()
    registry.get.cache_clear()


def _end(service: Service) -> None:
    blocked = service.blocked()
    service.cli("stop", check=False)
    assert not blocked, service.log()
