"""Group ``doors``: the Python SDK of Linkis, as it is on PyPI."""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path

from factories import LINKIS
from trees import listed

from prove import Environment, Miss, claim
from prove._trees import random_tree

PACKAGE = "linkis-python-sdk==0.2.0"
_SCAN_COLUMNS = {"path", "size", "lastModified", "hash", "ranges"}


def _install(env: Environment) -> Path:
    """Put the package into an environment of its own, without anything of ours; return its Python."""
    folder = env.scratch / "sdk"
    env.run(sys.executable, "-m", "venv", folder)
    python = folder / "bin" / "python"
    env.run(python, "-m", "pip", "install", "-q", "--disable-pip-version-check", PACKAGE, timeout_seconds=300)
    return python


@claim(
    group="doors",
    name="linkis-sdk",
    wanted=f"{PACKAGE} from PyPI, unmodified: a scan and an echo come back as DataFrames with the right cells, "
    "a failed task raises its reason; both clients",
)
def linkis_sdk(env: Environment, seed: int) -> str:
    """Files of random names and sizes, so that a cell of the scan's table holds whatever a path may."""
    chance = random.Random(seed)
    source = env.scratch / "source"
    random_tree(chance, source, 1 << 20)
    for n in range(chance.randint(300, 700)):
        (source / f'{n:04d}, "é" 数据.bin').write_bytes(chance.randbytes(chance.randint(0, 900)))
    sizes = {path: len(data) for path, data in listed(source)[0]}
    service = env.service().start()
    service.cli("storage", "allow", str(source))
    password = (service.data / "admin-password").read_text().strip()
    reason = f"tape {chance.randint(1, 99)} cannot be read: Input/output error"
    codes = {
        "scan": json.dumps({"path": str(source), "name": "sdk", "follow": []}),
        "scan again": json.dumps({"path": str(source), "name": "sdk-again", "follow": []}),
        "echo": json.dumps({"lines": 3}),
        "failing": json.dumps({"lines": 1, "fail": reason}),
    }
    script = Path(__file__).with_name("_linkis_sdk.py")
    done = env.run(_install(env), "-I", script, f"{service.url}{LINKIS}", "admin", password, json.dumps(codes))
    found = json.loads(done.stdout)

    scanned = found["scan"]
    names = list(scanned["columns"])
    rows = [dict(zip(names, row, strict=True)) for row in scanned["rows"]]
    rescanned, total, error = found["largest"]
    largest = sorted((-size, path) for path, size in sizes.items() if size)[:10]
    faults = [
        text
        for text, right in {
            f"version {found['version']}": found["version"] == PACKAGE.partition("==")[2],
            "the package was changed": found["unchanged"],
            f"scan came as {scanned['kind']} with {scanned['columns']}": scanned["kind"] == "DataFrame"
            and set(names) == _SCAN_COLUMNS
            and scanned["columns"]["size"] == scanned["columns"]["lastModified"] == "Int64",
            f"{len(rows)} rows for {len(sizes)} files, or other cells": {r["path"]: r["size"] for r in rows} == sizes
            and len(rows) == len(sizes),
            f"echo came as {found['echo']}": found["echo"]["kind"] == "DataFrame" and found["echo"]["rows"] == [["ok"]],
            f"it raised {found['raised']!r}": found["raised"] == reason,
            f"execute_code said {found['failed']}": found["failed"] == [[], 0, reason],
            f"the asynchronous client said {found['async']}": found["async"] == [[{"message": "ok"}], 1, ""],
            f"the asynchronous client said {found['async_failed']}": found["async_failed"] == [[], 0, reason],
            f"filtered and sorted: {error or rescanned}": [(-r["size"], r["path"]) for r in rescanned] == largest
            and total == sum(size > 0 for size in sizes.values()),
        }.items()
        if not right
    ]
    if faults:
        raise Miss("; ".join(faults)[:900])
    return (
        f"scan: {len(rows)} rows of {len(names)} columns ({', '.join(names)}); echo: 1 row of 1 column; "
        f"filtered, sorted and paged by the SDK: 10 of {total}; raised {found['raised']!r}"
    )
