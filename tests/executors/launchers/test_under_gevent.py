"""The local launcher keeps its contract when the service has patched threads, sockets and subprocess."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
CODE = """
from gevent import monkey
monkey.patch_all()
import sys
import gevent
import pytest
from executors.launchers import local

def offload(work):
    return gevent.get_hub().threadpool.apply(work)

local.LocalLauncher.__init__.__kwdefaults__["offload"] = offload
sys.exit(pytest.main(sys.argv[1:]))
"""


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize("suite", ["tests/contracts/test_launchers.py", "tests/executors/launchers/test_local.py"])
def test_the_suite_passes_on_greenlets(suite):
    options = ["-q", "-p", "no:cacheprovider", "-k", "not inline", "--timeout=0"]
    done = subprocess.run(
        [sys.executable, "-c", CODE, *options, suite],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=380,
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    assert " passed" in done.stdout
