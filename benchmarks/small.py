"""Many small files through the running service: packed, and hashed only."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from benchmarks.inputs import small_files
from benchmarks.large import fresh
from benchmarks.measure import Bench, Program, Sample, Shared
from benchmarks.ours import TASKS, Prepared, Running
from benchmarks.peers import ALEPH, IMPORTER, IMPORTER_CAR, IPFS_CAR, Peers
from benchmarks.sizes import Sizes

GROUP = "small files"
SMALLEST, LARGEST = 4 << 10, 64 << 10


def measures(bench: Bench, sizes: Sizes, peers: Peers, scratch: Path) -> None:
    """See the package. The others make no CommP; chunk sizes do not matter here, so all roots are the same."""
    source, output, car = scratch / "small", scratch / "out", scratch / "small.car"
    total = small_files(source, sizes.small, SMALLEST, LARGEST)
    what = f"{sizes.small:,} files of 4 to 64 KiB"
    with Running(scratch) as running:
        packed = Shared(lambda: by_kind(running, source, output))
        tasks = tasks_of(packed, sizes.small, f"{what}: ")

        def of(name: str, run: Callable[[], Sample]) -> Program:
            return Program(name=name, amount=sizes.small, run=run)

        whole = of(f"{what}: scan, pack and daggen", packed.taker("whole"))
        others = []
        if npm := peers.npm:
            others += [
                of(IPFS_CAR, lambda: fresh(car, lambda: npm.ipfs_car(source, car))),
                of(IMPORTER_CAR, lambda: fresh(car, lambda: npm.importer_car(source, car))),
            ]
        if aleph := peers.aleph:
            others.append(of(f"{ALEPH}, CAR", lambda: fresh(car, lambda: aleph.car(source, car))))
        bench.compare(GROUP, "files", [whole], others, alone=tasks, same="root CID")
        hashed = of(f"{what}: scan, pack and daggen, hash-only", lambda: by_kind(running, source, None)["whole"])
        bench.compare(GROUP, "files", [hashed], hashers(peers, source, sizes.small), same="root CID")
        bench.memory[GROUP] = running.memory()
    bench.note(f"{GROUP}: {total / sizes.small / 1024:.1f} KiB a file")
    shutil.rmtree(source)


def by_kind(running: Running, source: Path, output: Path | None) -> Mapping[str, Sample]:
    """Prepare a folder through the API; return the samples of the tasks and of the whole, which has the root."""
    if output is None:
        prepared = running.submit(source, None)
    else:
        kept: list[Prepared] = []

        def run() -> Sample:
            kept.append(running.submit(source, output))
            return kept[0].whole

        fresh(output, run)
        prepared = kept[0]
    return {**prepared.tasks, "whole": Sample(**{**vars(prepared.whole), "result": prepared.root_cid})}


def tasks_of(shared: Shared, count: int, what: str) -> list[Program]:
    """Return a program for each task of a preparation."""
    return [Program(name=f"{what}{kind} task", amount=count, run=shared.taker(kind)) for kind in TASKS]


def hashers(peers: Peers, source: Path, count: int) -> list[Program]:
    """Return the peers that hash a folder."""
    found = []
    if npm := peers.npm:
        found.append(Program(name=IMPORTER, amount=count, run=lambda: npm.importer_hash(source)))
    if aleph := peers.aleph:
        found.append(Program(name=ALEPH, amount=count, run=lambda: aleph.hash(source)))
    return found
