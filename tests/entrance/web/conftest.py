"""An application over the fake service, for tests of the web side by itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fake_service import FakeCore
from flask import Flask
from flask.testing import FlaskClient

from common.config import load
from entrance.app import create_app


@pytest.fixture
def make_core(tmp_path: Path) -> Iterator[Callable[..., FakeCore]]:
    """A maker of cores; settings as ``section__key=value``."""
    made: list[FakeCore] = []

    def make(**settings: object) -> FakeCore:
        folder = tmp_path / str(len(made))
        folder.mkdir()
        overrides = {name.replace("__", "."): value for name, value in settings.items()}
        core = FakeCore(folder, load(environ={}, overrides={"service.data": str(folder), **overrides}))
        made.append(core)
        return core

    yield make
    for core in made:
        core.close()


@pytest.fixture
def core(make_core: Callable[..., FakeCore]) -> FakeCore:
    return make_core()


@pytest.fixture
def app(core: FakeCore) -> Flask:
    return create_app(core)


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()
