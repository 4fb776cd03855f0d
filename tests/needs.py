"""What tests need beyond Python packages: programs of Debian packages, by name.

A test that needs one is marked ``@pytest.mark.needs("chromium")``. It is left out, and said to be, where the program is
missing; with ``CI=true`` it fails instead. ``python tests/needs.py`` prints the Debian packages that are missing here.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping

NEEDS: Mapping[str, tuple[str, tuple[str, ...]]] = {  # name -> (program on PATH, Debian packages)
    "git": ("git", ("git",)),
    "chromium": ("chromium", ("chromium",)),
}


def present(name: str) -> bool:
    """Whether the program is there."""
    return shutil.which(NEEDS[name][0]) is not None


def missing_packages() -> list[str]:
    """Return the Debian packages of all that is missing."""
    return [package for name, (_, packages) in NEEDS.items() if not present(name) for package in packages]


def must_be_there() -> bool:
    """Whether anything missing is a failure."""
    return os.environ.get("CI", "").lower() == "true"


if __name__ == "__main__":
    print(" ".join(missing_packages()))
