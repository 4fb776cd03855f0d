"""The two hot loops of packing behind one small interface (``Kernel`` in ``base``), and who provides them.

``load`` returns the fastest kernel that this machine can run.
"""

from __future__ import annotations

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
    "Buffer",
    "Description",
    "Kernel",
    "load",
]


def load() -> Kernel:
    """Return the kernel of this machine."""
    return PortableKernel()
