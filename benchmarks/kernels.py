"""The hash loops through the public functions of ``common.content``, in this process, on bytes that are in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.inputs import random_bytes
from benchmarks.measure import MIB, Bench, Differs, Program, Sample, timed
from benchmarks.peers import ALEPH, COMMP, IMPORTER, JAVASCRIPT, WASM, Peers
from benchmarks.sizes import Sizes
from common.content import cid as cids
from common.content import kernel as kernels
from common.content.directory import DirectoryBuilder, Entry
from common.content.faults import KernelUnavailable
from common.content.kernel import SLAB_PAYLOAD, Kernel
from common.content.piece import SlabTree, commitment, finish
from common.content.profile import UNIXFS_V1_2025, Profile
from common.content.unixfs import leaf, parents

GROUP = "kernels"
KUBO = Profile(name="kubo", chunk_size=262_144, links_per_node=174, link_size="cumulative", tree="file")
_PREFIX = 40  # before each payload: longer than varint, prefix and digest, and no multiple of the cache's sets
_PORTABLE = 16 * MIB  # enough of the slow kernel
Bytes = np.ndarray[tuple[int], np.dtype[np.uint8]]


def measures(bench: Bench, sizes: Sizes, peers: Peers, scratch: Path) -> None:
    """See the package."""
    kernel = kernels.load(compile=True)
    data = random_bytes(sizes.hashed)
    file = scratch / "kernels.bin"
    file.write_bytes(data.data)
    _pieces(bench, sizes, peers, kernel, data, file)
    _leaves(bench, kernel, data)
    _files(bench, peers, kernel, data, file)
    _directories(bench, sizes, peers)
    peers.release()


def hashlib_program(data: Bytes) -> Program:
    """Return the yardstick H: ``hashlib.sha256`` over chunks of 1 MiB, one thread."""
    view = data.data

    def run() -> str:
        for at in range(0, len(view), MIB):
            sha256(view[at : at + MIB]).digest()
        return ""

    return Program(name="hashlib", amount=len(data), run=partial(timed, run))


def _pieces(bench: Bench, sizes: Sizes, peers: Peers, kernel: Kernel, data: Bytes, file: Path) -> None:
    yardstick = hashlib_program(data)
    for tier in _tiers():
        name = f"CommP, {tier.description.tier} kernel"
        part = data[:_PORTABLE] if tier.description.tier == "portable" else data
        if commitment(data[:_PORTABLE], tier) != commitment(data[:_PORTABLE], kernel):
            raise Differs(f"{name}: another commitment")
        bench.compare(GROUP, "bytes", [_piece_program(name, tier, part)], [yardstick])
    bench.compare(GROUP, "bytes", [_two_threads(kernel, data)], [yardstick])
    worker = peers.node_worker
    for package, size in ((WASM, sizes.wasm), (JAVASCRIPT, sizes.javascript)):
        if worker is not None:
            ask = partial(worker.ask, do="piece", package=package, file=str(file), length=size)
            other = Program(name=COMMP[package], amount=size, run=ask)
            ours = _piece_program(f"CommP of {size // MIB} MiB", kernel, data[:size])
            bench.compare(GROUP, "bytes", [ours], [other], same="piece CID")


def _tiers() -> Iterator[Kernel]:
    for tier in kernels.TIERS:
        with suppress(KernelUnavailable):
            yield kernels.load(tier=tier, compile=True)


def _piece_program(name: str, kernel: Kernel, data: Bytes) -> Program:
    run = partial(timed, lambda: cids.to_text(commitment(data, kernel).cid_v2))
    return Program(name=name, amount=len(data), run=run)


def _two_threads(kernel: Kernel, data: Bytes) -> Program:
    slabs = len(data) // SLAB_PAYLOAD
    half = slabs // 2
    pool = ThreadPoolExecutor(2)

    def run() -> str:
        parts = [(0, half), (half, slabs - half)]
        roots = pool.map(lambda part: kernel.slab_roots(data, part[0] * SLAB_PAYLOAD, part[1]), parts)
        tree = SlabTree()
        for (first, _), found in zip(parts, roots, strict=True):
            tree.add(first, found)
        return cids.to_text(finish(tree, data[slabs * SLAB_PAYLOAD :], kernel).cid_v2)

    return Program(name="CommP, two threads", amount=len(data), run=partial(timed, run))


# ---- leaves and files


class _Slots:
    """Bytes laid out as in a batch of a CAR: before each chunk the place of its digest."""

    def __init__(self, data: Bytes, chunk: int) -> None:
        count = len(data) // chunk
        self.buffer = np.empty(count * (chunk + _PREFIX), np.uint8)
        self.buffer.reshape(count, -1)[:, _PREFIX:] = data[: count * chunk].reshape(count, chunk)
        self.offsets = np.arange(count) * (chunk + _PREFIX) + _PREFIX
        self.lengths = np.full(count, chunk)
        self.holes = self.offsets - 32
        self.amount = count * chunk

    def hash(self, kernel: Kernel) -> list[bytes]:
        """Return the digests."""
        kernel.hash_slots(self.buffer, self.offsets, self.lengths, self.holes)
        return [self.buffer[hole : hole + 32].tobytes() for hole in self.holes]

    def hash_plainly(self) -> list[bytes]:
        """Return the digests by ``hashlib``."""
        view = self.buffer.data
        return [sha256(view[at : at + size]).digest() for at, size in zip(self.offsets, self.lengths, strict=True)]


def _leaves(bench: Bench, kernel: Kernel, data: Bytes) -> None:
    for chunk in (MIB, 256 << 10, 16 << 10):
        slots = _Slots(data, chunk)

        def joined(digests: Callable[[], list[bytes]]) -> str:
            return sha256(b"".join(digests())).hexdigest()

        ours = partial(timed, partial(joined, partial(slots.hash, kernel)))
        other = partial(timed, partial(joined, slots.hash_plainly))
        bench.compare(
            GROUP,
            "bytes",
            [Program(name=f"leaf hashes, chunks of {chunk >> 10} KiB", amount=slots.amount, run=ours)],
            [Program(name="hashlib", amount=slots.amount, run=other)],
            same="digests",
        )


def _files(bench: Bench, peers: Peers, kernel: Kernel, data: Bytes, file: Path) -> None:
    """A file's CID: leaves and the nodes above them, without CommP."""
    for peer, profile, worker in (
        (IMPORTER, UNIXFS_V1_2025, peers.node_worker),
        (ALEPH, KUBO, peers.aleph_worker),
    ):
        if worker is None:
            continue
        slots = _Slots(data, profile.chunk_size)

        def file_cid(slots: _Slots = slots, profile: Profile = profile) -> str:
            leaves = [leaf(cids.RAW_PREFIX + digest, profile.chunk_size) for digest in slots.hash(kernel)]
            return cids.to_text(parents(leaves, profile)[1].cid)

        ask: dict[str, Any] = {"file": str(file), "length": slots.amount}
        if worker is peers.node_worker:
            ask["do"] = "file"
        name = f"CID of a file, chunks of {profile.chunk_size >> 10} KiB"
        bench.compare(
            GROUP,
            "bytes",
            [Program(name=name, amount=slots.amount, run=partial(timed, file_cid))],
            [Program(name=peer, amount=slots.amount, run=partial(worker.ask, **ask))],
            same="CID",
        )


def _directories(bench: Bench, sizes: Sizes, peers: Peers) -> None:
    """One directory of empty files, large enough for a HAMT; the importer makes the CIDs of the files too."""
    count = sizes.entries

    def build() -> str:
        builder = DirectoryBuilder(UNIXFS_V1_2025)
        for number in range(count):
            builder.add(Entry(b"file-%d" % number, cids.EMPTY_RAW, 0))
        for _ in builder.blocks():
            pass
        return cids.to_text(builder.result.cid)

    ours = Program(name=f"directory of {count:,} entries (HAMT)", amount=count, run=partial(timed, build))
    others = []
    if worker := peers.node_worker:

        def ask() -> Sample:
            return worker.ask(do="directory", count=count)

        others.append(Program(name=IMPORTER, amount=count, run=ask))
    bench.compare(GROUP, "files", [ours], others, same="CID")
