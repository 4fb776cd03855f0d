"""Every row of the Linkis contract that concerns these endpoints, as a golden file, against a real service over HTTP."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import golden
import pytest

FOLDER = Path(__file__).resolve().parents[3] / "data" / "golden" / "linkis"


@pytest.mark.parametrize("path", golden.files(FOLDER), ids=lambda path: path.stem)
def test_the_answer_is_that_of_the_contract(path: Path, golden_service: Any) -> None:
    golden.replay(path, golden_service.url, golden_service.users)
