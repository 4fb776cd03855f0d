"""The other programs: installed once into ``build/benchmarks``, each run as its users run it.

npm's packages share one folder, ``aleph-cid`` has a virtual environment of its own. What cannot be installed is left out of
the tables, and said to be. Versions are fixed here; install scripts of npm are not run.
"""

from __future__ import annotations

import fcntl
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from benchmarks.measure import Sample, one_after_the_other, peak_of, run_program

TOOLS = Path(__file__).resolve().parent.parent / "build" / "benchmarks"
NPM = (
    "ipfs-car@3.1.0",
    "ipfs-unixfs-importer@17.1.1",
    "@ipld/car@5.4.7",
    "fr32-sha2-256-trunc254-padded-binary-tree-multihash@3.3.0",
    "@web3-storage/data-segment@5.3.0",
    "multiformats@13.4.1",
)
PYPI = ("aleph-cid==0.1.0",)
WASM, JAVASCRIPT = "wasm", "javascript"

IPFS_CAR, IMPORTER, ALEPH = "ipfs-car 3.1.0", "ipfs-unixfs-importer 17.1.1", "aleph-cid 0.1.0"
IMPORTER_CAR = f"{IMPORTER} + @ipld/car 5.4.7"
COMMP = {WASM: "fr32-sha2-256-… 3.3.0 (WASM)", JAVASCRIPT: "data-segment 5.3.0 (JavaScript)"}
IPFS_CAR_COMMP = f"{IPFS_CAR}, then {COMMP[WASM]}"
_HERE = Path(__file__).resolve().parent


class Worker:
    """A peer's process that answers requests, so that its start and warming up are not counted."""

    def __init__(self, *command: str | Path) -> None:
        self._child = subprocess.Popen(
            [str(part) for part in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def ask(self, **request: Any) -> Sample:
        """Let it do something; what it read for it beforehand is not in the sample."""
        assert self._child.stdin is not None and self._child.stdout is not None
        self._child.stdin.write(json.dumps(request) + "\n")
        self._child.stdin.flush()
        line = self._child.stdout.readline()
        if not line:
            raise RuntimeError(f"a peer ended at {request}")
        return Sample(**json.loads(line), peak_bytes=peak_of(self._child.pid))

    def close(self) -> None:
        """End it."""
        assert self._child.stdin is not None and self._child.stdout is not None
        self._child.stdin.close()
        self._child.stdout.close()
        self._child.wait()


class Npm:
    """The packages of npm in ``folder``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._script = folder / "peers.mjs"
        shutil.copyfile(_HERE / "peers.mjs", self._script)  # beside node_modules, where its imports are looked for

    def worker(self) -> Worker:
        """Return a process for requests of ``peers.mjs``."""
        return Worker("node", self._script, "serve")

    def ipfs_car(self, source: Path, car: Path) -> Sample:
        """``ipfs-car pack``; the result is the root CID."""
        return _root(run_program("node", self._folder / "node_modules/ipfs-car/bin.js", "pack", source, "--output", car))

    def ipfs_car_and_piece(self, source: Path, car: Path) -> Sample:
        """``ipfs-car pack``, and then CommP of the CAR by the WASM package."""
        packed = self.ipfs_car(source, car)
        whole = one_after_the_other(packed, self.piece(WASM, car))
        return Sample(**{**vars(whole), "result": packed.result})

    def importer_car(self, source: Path, car: Path) -> Sample:
        """``ipfs-unixfs-importer`` with the writer of ``@ipld/car``; the result is the root CID."""
        return _root(run_program("node", self._script, "pack", source, car))

    def importer_hash(self, source: Path) -> Sample:
        """``ipfs-unixfs-importer`` alone; the result is the root CID."""
        return _root(run_program("node", self._script, "hash", source))

    def piece(self, package: str, file: Path) -> Sample:
        """CommP of a file; the result is the piece CID (v2)."""
        return _root(run_program("node", self._script, "piece", package, file))


class Aleph:
    """``aleph-cid`` under its own Python."""

    def __init__(self, python: Path) -> None:
        self._command = (python, _HERE / "peer_aleph.py")

    def worker(self) -> Worker:
        """Return a process that answers ``file`` and ``length`` with the file's CID."""
        return Worker(*self._command, "serve")

    def car(self, source: Path, car: Path) -> Sample:
        """A folder into a CAR; the result is the root CID."""
        return _root(run_program(*self._command, "pack", source, car))

    def hash(self, source: Path) -> Sample:
        """A folder's CID."""
        return _root(run_program(*self._command, "hash", source))


class Peers:
    """What could be installed; ``npm`` and ``aleph`` are None when they could not."""

    def __init__(self, *, wanted: bool = True) -> None:
        self.left_out: list[str] = []
        if not wanted:
            self.left_out.append("all of them, as asked")
        npm = self._had("npm", _install_npm) if wanted else None
        python = self._had("PyPI", _install_aleph) if wanted else None
        self.npm = Npm(npm) if npm else None
        self.aleph = Aleph(python) if python else None
        self._node: Worker | None = None
        self._aleph: Worker | None = None

    @property
    def node_worker(self) -> Worker | None:
        """One process of ``peers.mjs`` for all."""
        if self._node is None and self.npm:
            self._node = self.npm.worker()
        return self._node

    @property
    def aleph_worker(self) -> Worker | None:
        """One process of ``peer_aleph.py`` for all."""
        if self._aleph is None and self.aleph:
            self._aleph = self.aleph.worker()
        return self._aleph

    def release(self) -> None:
        """End the processes that answer requests, and what they hold in memory."""
        for worker in (self._node, self._aleph):
            if worker is not None:
                worker.close()
        self._node = self._aleph = None

    def _had(self, what: str, install: Callable[[], Path]) -> Path | None:
        try:
            return install()
        except (OSError, subprocess.CalledProcessError) as error:
            said = (getattr(error, "stderr", "") or str(error)).strip().splitlines()
            self.left_out.append(f"packages of {what}: {said[-1] if said else error}")
            return None


def _install_npm() -> Path:
    def install(folder: Path) -> None:
        (folder / "package.json").write_text('{"private": true, "type": "module"}')
        _quietly("npm", "install", "--prefix", folder, "--ignore-scripts", "--no-audit", "--no-fund", "--save-exact", *NPM)

    return _once("npm", NPM, install)


def _install_aleph() -> Path:
    def install(folder: Path) -> None:
        _quietly(sys.executable, "-m", "venv", folder)
        _quietly(folder / "bin/python", "-m", "pip", "install", "-q", "--disable-pip-version-check", *PYPI)

    return _once("aleph", PYPI, install) / "bin/python"


def _once(name: str, versions: Sequence[str], install: Callable[[Path], None]) -> Path:
    """Return the folder of these versions, installed by whoever comes first."""
    TOOLS.mkdir(parents=True, exist_ok=True)
    folder = TOOLS / f"{name}-{sha256(' '.join(versions).encode()).hexdigest()[:12]}"
    with (TOOLS / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "installed").exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            install(folder)
            (folder / "installed").write_text("\n".join(versions) + "\n")
    return folder


def _quietly(*command: str | Path) -> None:
    subprocess.run([str(part) for part in command], check=True, capture_output=True, text=True)


def _root(ran: tuple[Sample, str]) -> Sample:
    """Return the sample with the last line that was printed as its result."""
    sample, printed = ran
    return Sample(**{**vars(sample), "result": printed.strip().splitlines()[-1]})
