"""The kernels made of our own IR: the ladder of them, and the driver around their two functions."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from common.content.kernel import jit, lanes_ir, shani_ir
from common.content.kernel.base import (
    NODE_LENGTH,
    Buffer,
    Description,
    Positions,
    as_bytes,
    check_slabs,
    check_slots,
)
from common.content.kernel.jit import Host, Target
from common.content.kernel.portable import hash_slots

INSTALLED = Path(sys.prefix) / "share" / "entrance" / "kernels"
"""Folder of the kernels that were compiled when the Python environment was made."""

LANES = 16
"""Messages that ``leaves`` hashes side by side."""


@dataclass(frozen=True, kw_only=True)
class Tier:
    """One kernel of the ladder: what it needs, what it is compiled for, and its IR."""

    name: str
    needs: frozenset[str]
    """Features of the host, in LLVM's names."""
    target: Callable[[Host], Target]
    ir: Callable[[Host], str]
    leaves: bool
    """Whether it hashes leaves too; else ``hashlib`` does."""

    def supported(self, host: Host) -> bool:
        """Whether this machine can run it."""
        return self.needs <= host.features

    def code(self, host: Host, cache_dir: Path | None, *, compile: bool) -> bytes | None:
        """Return the object code from the cache, or None; with ``compile`` the installation's, or compiled."""
        ir, target = self.ir(host), self.target(host)
        path = None if cache_dir is None else jit.cache_path(cache_dir, self.name, ir, target)
        code = None if path is None else jit.read_cached(path)
        if code is None and compile:
            code = self.installed(host) or jit.compile_object(ir, target)
            if path is not None:
                jit.write_cached(path, code)
        return code

    def installed(self, host: Host) -> bytes | None:
        """Return the object code that was compiled when the environment was made, if it is for this machine."""
        return jit.read_cached(jit.cache_path(INSTALLED, self.name, self.ir(host), self.target(host)))

    def link(self, host: Host, code: bytes, reason: str) -> NativeKernel:
        """Return the kernel of this object code."""
        exports = ["slabs", "leaves"] if self.leaves else ["slabs"]
        library = jit.link(self.name, code, self.target(host), exports)
        description = Description(
            tier=self.name,
            leaves=f"{LANES} lanes" if self.leaves else "hashlib",
            releases_gil=True,
            reason=reason,
        )
        return NativeKernel(library, description, leaves=self.leaves)


@cache  # up to 800 KiB of text, made in 17 ms: the fork server does it for all tasks
def _avx512_ir(_: Host) -> str:
    return lanes_ir.module(lanes_ir.Shape(lanes=16, ternary_logic=True, leaves=True))


@cache
def _avx2_ir(_: Host) -> str:
    return lanes_ir.module(lanes_ir.Shape(lanes=8, ternary_logic=False, leaves=False))


@cache
def _shani_ir(host: Host) -> str:
    """Four messages where the instructions are pipelined deep enough (AMD Zen), else two.

    On Intel's Golden Cove two already keep the SHA unit busy: one instruction in 3 cycles, 192 cycles a node. Wide lanes
    cannot run beside it: each of its instructions costs 400 cycles while upper halves of registers 0 to 15 are in use.
    """
    return shani_ir.module(4 if host.cpu.startswith("znver") else 2)


LADDER = (
    Tier(
        name="avx512",
        needs=frozenset({"avx512f", "avx512bw", "avx512vl", "avx512dq"}),
        target=lambda _: Target(cpu="x86-64-v4"),
        ir=_avx512_ir,
        leaves=True,
    ),
    Tier(
        name="shani",
        needs=frozenset({"sha", "sse4.1", "ssse3"}),
        target=lambda _: Target(cpu="x86-64", features="+sha,+sse4.1,+ssse3"),
        ir=_shani_ir,
        leaves=False,
    ),
    Tier(
        name="avx2",
        needs=frozenset({"avx2", "bmi2"}),
        target=lambda _: Target(cpu="x86-64-v3"),
        ir=_avx2_ir,
        leaves=False,
    ),
)
"""Fastest first."""


class NativeKernel:
    """A ``Kernel`` over compiled functions. All of its work is done without the interpreter lock."""

    def __init__(self, library: jit.Library, description: Description, *, leaves: bool) -> None:
        pointer, count = ctypes.c_void_p, ctypes.c_int64
        self.description = description
        self._library = library
        self._slabs = library.function("slabs", pointer, pointer, count)
        self._leaves = library.function("leaves", pointer, pointer, pointer, count) if leaves else None

    def slab_roots(self, buffer: Buffer, offset: int, count: int) -> bytes:
        """See ``Kernel``."""
        data = as_bytes(buffer)
        check_slabs(len(data), offset, count)
        out = np.empty(count * NODE_LENGTH, np.uint8)
        if count:
            self._slabs(out.ctypes.data, data.ctypes.data + offset, count)
        return out.tobytes()

    def hash_slots(self, buffer: Buffer, offsets: Positions, lengths: Positions, holes: Positions) -> None:
        """See ``Kernel``. Slots are sorted by length, so that the lanes of a group end together."""
        if self._leaves is None:
            hash_slots(buffer, offsets, lengths, holes)
            return
        data = as_bytes(buffer)
        if not data.flags.writeable:
            raise ValueError("the digests cannot be written into a read-only buffer")
        slots = check_slots(len(data), offsets, lengths, holes)
        order = np.argsort(-slots[1], kind="stable")
        starts, sizes, targets = (part[order] for part in slots)
        filled = _well_filled_groups(sizes)
        for_lanes = np.repeat(filled, LANES)[: len(sizes)]
        alone = ~for_lanes
        if alone.any():
            hash_slots(buffer, starts[alone], sizes[alone], targets[alone])
        if for_lanes.any():
            self._hash_in_lanes(data, starts[for_lanes], sizes[for_lanes], targets[for_lanes], self._leaves)

    def _hash_in_lanes(
        self, data: np.ndarray[Any, Any], starts: Any, sizes: Any, targets: Any, leaves: Callable[..., None]
    ) -> None:
        """Hash messages in groups of ``LANES``; idle lanes of the last group hash nothing into a hole of their own."""
        scratch = np.empty(NODE_LENGTH, np.uint8)
        idle = -len(starts) % LANES
        nowhere = np.full(idle, scratch.ctypes.data, np.int64)
        addresses = np.concatenate([starts + data.ctypes.data, nowhere])
        lengths = np.concatenate([sizes, np.zeros(idle, np.int64)])
        holes = np.concatenate([targets + data.ctypes.data, nowhere])
        leaves(addresses.ctypes.data, lengths.ctypes.data, holes.ctypes.data, len(addresses))


def _well_filled_groups(sizes: np.ndarray[Any, np.dtype[np.int64]]) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Say for each group of ``LANES`` messages, longest first, whether lanes beat ``hashlib`` there.

    A group takes as long as its longest message in every lane; half of that being work is the break-even.
    """
    padded = np.zeros(-(-len(sizes) // LANES) * LANES, np.int64)
    padded[: len(sizes)] = sizes + 64  # a message costs a block even when it is empty
    groups = padded.reshape(-1, LANES)
    return np.asarray(2 * groups.sum(axis=1) >= LANES * groups[:, 0], np.bool_)
