"""A service answers before all that it will need is there."""

from collections.abc import Callable
from pathlib import Path

import pytest
from factories import Service

SHIM = """
import os, sys, time
while not os.path.exists({gate!r}):
    time.sleep(0.01)
sys.path.remove({folder!r})
del sys.modules["numpy"]
import numpy
"""

NOT_INSTALLED = """
import sys, time
sys.path.remove({folder!r})
del sys.modules["numpy"]
sys.prefix = {folder!r}  # where no kernel was compiled at installation
if "common.content.kernel" in sys.orig_argv:
    time.sleep(2)  # until the service has looked for processes of an earlier life
import numpy
"""


def test_a_service_answers_and_runs_small_tasks_while_the_large_fork_server_still_imports(
    make_service: Callable[..., Service], misbehaving: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    (tmp_path / "numpy.py").write_text(SHIM.format(gate=str(gate), folder=str(tmp_path)))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":")
    service = make_service().start()

    large = service.submit("printing")
    assert service.wait_for(service.submit("echo")) == "Succeed"
    assert service.state(large) == "Running"
    assert service.http.get("/ready").status == 200

    gate.touch()
    assert service.wait_for(large) == "Succeed"


def test_the_hashing_kernel_is_compiled_at_a_start_that_finds_none(
    make_service: Callable[..., Service], misbehaving: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "numpy.py").write_text(NOT_INSTALLED.format(folder=str(tmp_path)))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":")
    service = make_service().start()
    assert not list(service.data.glob("kernels/*.o"))
    assert service.wait_for(service.submit("printing")) == "Succeed"
    assert len(list(service.data.glob("kernels/*.o"))) == 1
