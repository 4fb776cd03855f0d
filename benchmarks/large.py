"""One large file through the running service, beside whole programs that do as much or less."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks.inputs import large_file, random_bytes
from benchmarks.kernels import hashlib_program
from benchmarks.measure import MIB, Bench, Differs, Program, Sample, run_program
from benchmarks.ours import Prepared, Running
from benchmarks.peers import ALEPH, IMPORTER, IMPORTER_CAR, IPFS_CAR, IPFS_CAR_COMMP, TOOLS, Peers
from benchmarks.sizes import Sizes

GROUP = "large file"


def measures(bench: Bench, sizes: Sizes, peers: Peers, scratch: Path) -> None:
    """See the package."""
    source, output = large_file(scratch / "large" / "large.bin", sizes.large), scratch / "out"
    with Running(scratch, TOOLS) as running:
        wanted = running.submit(source, None)  # its piece and root CIDs
        _prepare(bench, sizes, peers, source, output, running, wanted)
        _tasks(bench, sizes, peers, source, output, running, wanted)
        _to_disk(bench, sizes, source, running)
        bench.memory[GROUP] = running.memory()
    shutil.rmtree(source)


def fresh(output: Path, run: Callable[[], Sample]) -> Sample:
    """Run something that writes to ``output`` (a folder or file) and take away what it wrote."""
    try:
        return run()
    finally:
        if output.is_dir():
            shutil.rmtree(output)
        else:
            output.unlink(missing_ok=True)


def with_root(prepared: Prepared, sample: Sample, wanted: Prepared) -> Sample:
    """Return the sample with the wanted root CID as its result, which the same data CAR vouches for."""
    if prepared.piece_cid != wanted.piece_cid:
        raise Differs(f"{GROUP}: piece {prepared.piece_cid} instead of {wanted.piece_cid}")
    return Sample(**{**vars(sample), "result": wanted.root_cid})


def _prepare(
    bench: Bench, sizes: Sizes, peers: Peers, source: Path, output: Path, running: Running, wanted: Prepared
) -> None:
    """The main command. Packing is the same in both profiles up to 1,024 chunks, so the roots can be compared."""

    def prepare(*, cold: bool) -> Sample:
        folder = output.with_name(running.new_name())  # another folder, another preparation
        if cold:
            running.service.stop()

        def run() -> Sample:
            prepared = running.prepare(source, folder)
            return with_root(prepared, prepared.whole, wanted)

        return fresh(folder, run)

    def of(name: str, run: Callable[[], Sample]) -> Program:
        return Program(name=name, amount=sizes.large, run=run)

    others, with_piece = [], []
    if npm := peers.npm:
        car = output.with_suffix(".car")
        others = [
            of(IPFS_CAR, lambda: fresh(car, lambda: npm.ipfs_car(source, car))),
            of(IMPORTER_CAR, lambda: fresh(car, lambda: npm.importer_car(source, car))),
        ]
        with_piece = [of(IPFS_CAR_COMMP, lambda: fresh(car, lambda: npm.ipfs_car_and_piece(source, car)))]
    bench.compare(GROUP, "bytes", [of("prepare", partial(prepare, cold=False))], others, same="root CID")
    cold = of("prepare, start of the service included", partial(prepare, cold=True))
    bench.compare(GROUP, "bytes", [cold], with_piece, same="root CID", rounds=min(bench.rounds, 2))


def _tasks(bench: Bench, sizes: Sizes, peers: Peers, source: Path, output: Path, running: Running, wanted: Prepared) -> None:
    yardstick = hashlib_program(random_bytes(min(sizes.large, 256 * MIB)))

    def packed() -> Sample:
        prepared = running.submit(source, output)
        return with_root(prepared, prepared.tasks["pack"], wanted)

    def hashed(whole: bool) -> Sample:
        prepared = running.submit(source, None)
        return with_root(prepared, prepared.whole if whole else prepared.tasks["pack"], wanted)

    def of(name: str, run: Callable[[], Sample]) -> Program:
        return Program(name=name, amount=sizes.large, run=run)

    ours = [
        of("pack task, CAR in memory", lambda: fresh(output, packed)),
        of("pack task, hash-only", partial(hashed, False)),
    ]
    bench.compare(GROUP, "bytes", ours, [yardstick])
    others = []
    if npm := peers.npm:
        others.append(of(IMPORTER, lambda: npm.importer_hash(source)))
    if aleph := peers.aleph:
        others.append(of(ALEPH, lambda: Sample(**{**vars(aleph.hash(source)), "result": ""})))  # chunks of 256 KiB
    whole = of("scan, pack and daggen, hash-only", partial(hashed, True))
    bench.compare(GROUP, "bytes", [whole], others, same="root CID")


def _to_disk(bench: Bench, sizes: Sizes, source: Path, running: Running) -> None:
    """The CAR to the disk that the project lies on, from a source in memory, against as many bytes by dd."""
    with tempfile.TemporaryDirectory(dir=TOOLS) as folder:
        output = Path(folder) / "out"

        def dd() -> Sample:
            command = ("dd", f"if={source / 'large.bin'}", f"of={output}", "bs=16M", "conv=fsync", "status=none")
            return run_program(*command)[0]

        def ours() -> Sample:
            return running.submit(source, output).tasks["pack"]

        bench.compare(
            GROUP,
            "bytes",
            [Program(name="pack task, CAR on disk", amount=sizes.large, run=lambda: fresh(output, ours))],
            [Program(name="dd conv=fsync", amount=sizes.large, run=lambda: fresh(output, dd))],
        )
