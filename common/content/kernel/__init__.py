"""The two hot loops of packing behind one small interface, and who provides them.

``Kernel`` (in ``base``) hashes leaves and slabs of a batch buffer. ``load`` returns the fastest one that runs here::

    avx512     16 lanes, two streams; leaves too          our IR, compiled by llvmlite (extra ``fast``)
    shani      SHA instructions, messages interleaved     the same; leaves by hashlib
    avx2       8 lanes, two streams                       the same; leaves by hashlib
    portable   numpy and hashlib                          always there

Compiling belongs to the start or the installation of a service (``compile``); a task loads what is in the cache or falls
down the ladder, and never compiles.
"""

from __future__ import annotations

from pathlib import Path

from common.content.faults import KernelUnavailable
from common.content.kernel import jit, native, selftest
from common.content.kernel.base import (
    NODE_LENGTH,
    QUAD_PAYLOAD,
    SLAB_HEIGHT,
    SLAB_PAYLOAD,
    SLAB_QUADS,
    Buffer,
    Description,
    Kernel,
)
from common.content.kernel.portable import PortableKernel

__all__ = [
    "NODE_LENGTH",
    "QUAD_PAYLOAD",
    "SLAB_HEIGHT",
    "SLAB_PAYLOAD",
    "SLAB_QUADS",
    "TIERS",
    "Buffer",
    "Description",
    "Kernel",
    "compile",
    "describe",
    "load",
]

TIERS = (*(tier.name for tier in native.LADDER), "portable")
"""Names of all kernels, fastest first."""


def load(cache_dir: Path | None = None, *, tier: str | None = None, compile: bool = False) -> Kernel:
    """Return the fastest kernel that runs here and passes its self-test.

    Its ``description.reason`` says what stood in the way of faster ones. ``tier`` forces one. Without ``compile`` only
    object code from ``cache_dir`` is used (a few milliseconds); with it, what is missing is compiled (half a second a
    tier) and kept there, or only in this process when there is no folder.

    Raises:
        KernelUnavailable: ``tier`` is unknown or cannot be had.
    """
    if tier is not None and tier not in TIERS:
        raise KernelUnavailable(f"no kernel {tier!r}; there are: {', '.join(TIERS)}")
    reasons: list[str] = []
    host = jit.host()
    if host is None:
        reasons.append("native kernels need llvmlite on x86-64")
    else:
        for candidate in native.LADDER:
            if tier in (None, candidate.name):
                kernel, reason = _attempt(candidate, host, cache_dir, compile, "; ".join(reasons))
                if kernel is not None:
                    return kernel
                reasons.append(f"{candidate.name}: {reason}")
    if tier in (None, "portable"):
        return PortableKernel("; ".join(reasons) if tier is None else "")
    raise KernelUnavailable("; ".join(reasons))


def compile(cache_dir: Path, *, tier: str | None = None) -> Description:
    """Compile the fastest kernel of this machine (or ``tier``) into the cache if it is not there; say which one it is.

    Raises:
        KernelUnavailable: ``tier`` is unknown or cannot be had.
    """
    return load(cache_dir, tier=tier, compile=True).description


def describe(kernel: Kernel) -> str:
    """Return one line for a log: which kernel runs, and why not a faster one."""
    description = kernel.description
    text = f"{description.tier} kernel, leaves by {description.leaves}"
    if not description.releases_gil:
        text += ", one core per process"
    return f"{text} ({description.reason})" if description.reason else text


def _attempt(
    tier: native.Tier, host: jit.Host, cache_dir: Path | None, compile: bool, reason: str
) -> tuple[Kernel | None, str]:
    """Return the kernel of a tier, or None and what is in its way."""
    if not tier.supported(host):
        missing = ", ".join(sorted(tier.needs - host.features))
        return None, f"this processor has no {missing}"
    try:
        code = tier.code(host, cache_dir, compile=compile)
        if code is None:
            return None, "not compiled yet"
        kernel = tier.link(host, code, reason)
    except (OSError, RuntimeError) as error:
        return None, str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    if not selftest.passes(kernel):
        return None, "its self-test failed"
    return kernel, ""
