"""The partial CAR on its way to the disk: whole pages, past the page cache where the file system can (``O_DIRECT``).

A CAR is written once, front to back, and is often larger than the memory. Through the page cache that costs seven times the
CPU seconds, and every other file its place there; past it a write is on the disk when it returns, so that the sync of a
checkpoint has next to nothing to do. Batches begin and end anywhere, therefore::

    file      |  page  |  page  |  page  |  page  |
    batches   ... n - 1  ] n                ] n + 1 ...
    written   ...      |        n        |  n + 1 ...      the bytes behind the last whole page wait for the next batch

File systems that know no direct writes get the same pages through the cache. Measured: ``docs/adr``, 0006.
"""

from __future__ import annotations

import errno
import fcntl
import os

from common.content.kernel import SLAB_PAYLOAD
from executors.packing.journal import write_at

PAGE = 4096
"""What direct writes are aligned to, in the file and in memory: no disk in use asks for more."""
assert SLAB_PAYLOAD % PAGE == 0, "what lies before a slab border that was reached is written"


class CarFile:
    """Writes to an open file, which it does not own. ``begin`` and ``join`` are called in the order of the batches."""

    def __init__(self, descriptor: int, length: int) -> None:
        """``length``: how much of the CAR is there already, of an earlier attempt."""
        self._descriptor = descriptor
        self._rest = os.pread(descriptor, length % PAGE, length - length % PAGE)
        self._direct = _set_direct(descriptor, True)

    def join(self, buffer: memoryview, begin: int, end: int) -> memoryview:
        """Put what is left of the batch before in front of this one, keep what is behind its last page, return the pages.

        The batch lies at ``begin`` to ``end`` of the buffer, ``begin`` being its place in the CAR modulo ``PAGE``.
        """
        buffer[:begin] = self._rest
        whole = end - end % PAGE
        self._rest = bytes(buffer[whole:end])
        return buffer[:whole]

    def write(self, pages: memoryview, offset: int) -> None:
        """Write whole pages at a page's place."""
        while self._direct and pages:
            try:
                count = os.pwrite(self._descriptor, pages, offset)
            except OSError as error:
                if error.errno != errno.EINVAL:
                    raise
                self._direct = _set_direct(self._descriptor, False)
            else:
                pages, offset = pages[count:], offset + count
        write_at(self._descriptor, pages, offset)

    def finish(self, length: int) -> None:
        """Write what is behind the last page of a CAR of this length; the file is then for everyone to use."""
        self._direct = _set_direct(self._descriptor, False)
        write_at(self._descriptor, memoryview(self._rest), length - len(self._rest))


def _set_direct(descriptor: int, wanted: bool) -> bool:
    """Have a file written past the page cache, or through it; return whether it is past it."""
    flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETFL, flags | os.O_DIRECT if wanted else flags & ~os.O_DIRECT)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        return False
    return wanted
