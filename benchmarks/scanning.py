"""A great many tiny files: what a file costs besides its bytes, in scan, pack and daggen."""

from __future__ import annotations

import shutil
from pathlib import Path

from benchmarks.inputs import small_files
from benchmarks.measure import Bench, Program, Sample, Shared, run_program
from benchmarks.ours import Running
from benchmarks.peers import Peers
from benchmarks.sizes import Sizes
from benchmarks.small import by_kind, hashers, tasks_of

GROUP = "tiny files"
SMALLEST, LARGEST = 4, 16


def measures(bench: Bench, sizes: Sizes, peers: Peers, scratch: Path) -> None:
    """See the package. ``find`` looks at each file as a scan must, and keeps nothing."""
    source = scratch / "tiny"
    small_files(source, sizes.tiny, SMALLEST, LARGEST)
    what = f"{sizes.tiny:,} files of 4 to 16 bytes"
    with Running(scratch) as running:

        def find() -> Sample:
            return run_program("find", source, "-type", "f", "-printf", "%p %s %T@\n")[0]

        scan = Program(name=f"{what}: scan task", amount=sizes.tiny, run=lambda: running.scan(source))
        bench.compare(GROUP, "files", [scan], [Program(name="find -printf", amount=sizes.tiny, run=find)])
        hashed = Shared(lambda: by_kind(running, source, None))
        whole = Program(name=f"{what}: scan, pack and daggen, hash-only", amount=sizes.tiny, run=hashed.taker("whole"))
        tasks = tasks_of(hashed, sizes.tiny, f"{what}, hash-only: ")
        bench.compare(
            GROUP,
            "files",
            [whole],
            hashers(peers, source, sizes.tiny),
            alone=tasks,
            same="root CID",
            rounds=min(bench.rounds, 2),
        )
        bench.memory[GROUP] = running.memory()
    shutil.rmtree(source)
