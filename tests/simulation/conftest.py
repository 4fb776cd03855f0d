"""The seed of the simulation: ``--sim-seed N`` (when pytest is given this folder) or ``SIM_SEED``; else a new one."""

from __future__ import annotations

import os
import secrets

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--sim-seed", default=None, help="seed of the simulated service")


@pytest.fixture(scope="session")
def sim_seed(request: pytest.FixtureRequest) -> str:
    given = request.config.getoption("--sim-seed", default=None) or os.environ.get("SIM_SEED")
    return str(given or secrets.randbelow(1_000_000_000))
