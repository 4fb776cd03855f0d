"""How the cost of a byte and of a file changes with their number: each size beside the second one, in the same rounds."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks.inputs import large_file, small_files
from benchmarks.large import fresh
from benchmarks.measure import GIB, MIB, Bench, Differs, Program, Sample
from benchmarks.ours import Running
from benchmarks.peers import WASM, Peers
from benchmarks.scanning import LARGEST, SMALLEST
from benchmarks.sizes import Sizes
from benchmarks.small import by_kind

GROUP = "growth"
_LONG = 2 * GIB  # files from here on are packed once
_MANY = 500_000  # and as many files


def measures(bench: Bench, sizes: Sizes, peers: Peers, scratch: Path) -> None:
    """See the package."""
    output = scratch / "out"
    with Running(scratch) as running:
        sources = {size: scratch / f"file-{size}" / "file.bin" for size in sizes.growing_bytes}
        _check_piece(peers, large_file(sources[sizes.growing_bytes[0]], sizes.growing_bytes[0]), output, running)

        def pack(size: int) -> Sample:
            if not sources[size].exists():
                large_file(sources[size], size)
            return fresh(output, lambda: running.submit(sources[size].parent, output).tasks["pack"])

        def named(size: int) -> str:
            return f"pack task, one file of {_size(size)}"

        _grow(bench, "bytes", sizes.growing_bytes, _LONG, named, pack, lambda size: shutil.rmtree(sources[size].parent))
        bench.memory[f"{GROUP}, bytes"] = running.memory()
    folders = {count: scratch / f"files-{count}" for count in sizes.growing_files}

    def of(count: int) -> Path:
        if not folders[count].exists():
            small_files(folders[count], count, SMALLEST, LARGEST)
        return folders[count]

    for what, kind in (("scan task", "scan"), ("scan, pack and daggen, hash-only", "whole")):
        with Running(scratch) as running:

            def run(count: int, kind: str = kind, running: Running = running) -> Sample:
                return running.scan(of(count)) if kind == "scan" else by_kind(running, of(count), None)[kind]

            def titled(count: int, what: str = what) -> str:
                return f"{what}, {count:,} files"

            _grow(bench, "files", sizes.growing_files, _MANY, titled, run, lambda count: None)
            bench.memory[f"{GROUP}, {what}"] = running.memory()
    for folder in folders.values():
        shutil.rmtree(folder)


def _grow(
    bench: Bench,
    unit: str,
    amounts: tuple[int, ...],
    long: int,
    named: Callable[[int], str],
    run: Callable[[int], Sample],
    done: Callable[[int], None],
) -> None:
    """Compare all amounts with the second; those from ``long`` on one at a time, once."""
    base = Program(name=named(amounts[1]), amount=amounts[1], run=partial(run, amounts[1]))
    usual = [Program(name=named(n), amount=n, run=partial(run, n)) for n in amounts if n < long and n != amounts[1]]
    bench.compare(GROUP, unit, usual, [base])
    for amount in (n for n in amounts if n < long and n != amounts[1]):
        done(amount)
    for amount in (n for n in amounts if n >= long):
        program = Program(name=named(amount), amount=amount, run=partial(run, amount))
        bench.compare(GROUP, unit, [program], [base], rounds=1)
        done(amount)
    done(amounts[1])


def _check_piece(peers: Peers, source: Path, output: Path, running: Running) -> None:
    """Let the WASM package find the piece CID of a CAR of ours."""
    if npm := peers.npm:

        def run() -> Sample:
            prepared = running.submit(source, output)
            found = npm.piece(WASM, output / prepared.car)
            if found.result != prepared.piece_cid:
                raise Differs(f"{GROUP}: piece {prepared.piece_cid}, the WASM package says {found.result}")
            return found

        fresh(output, run)


def _size(size: int) -> str:
    return f"{size // GIB} GiB" if size >= GIB else f"{size // MIB} MiB"
