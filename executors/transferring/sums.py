"""Checksums as stores keep them: MD5 of an object, or of the MD5s of its parts and their number (``hex-n``)."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

_COMPOSITE = re.compile(r"[0-9a-f]{32}-([1-9][0-9]{0,4})\Z")


def md5() -> hashlib._Hash:
    """Return a new MD5: against accidents, not against forgery."""
    return hashlib.md5(usedforsecurity=False)


def composite(sums: Sequence[str]) -> str:
    """Return the entity tag of an object whose parts have these MD5s (hex)."""
    made = md5()
    for each in sums:
        made.update(bytes.fromhex(each))
    return f"{made.hexdigest()}-{len(sums)}"


def parts_in(tag: str) -> int:
    """Return the number of parts that an entity tag speaks of; 0 for one of another kind."""
    found = _COMPOSITE.match(tag)
    return int(found[1]) if found else 0


class Expected:
    """Compares bytes, as they come, with an entity tag. ``part_bytes`` are those of a composite one; 0: not known."""

    def __init__(self, tag: str, part_bytes: int = 0) -> None:
        self._tag = tag
        self._part_bytes = part_bytes if parts_in(tag) else 0
        self.whole = md5()
        self._part = md5()
        self._in_part = 0
        self._sums: list[str] = []

    def update(self, data: bytes | bytearray | memoryview) -> None:
        self.whole.update(data)
        view = memoryview(data)
        while self._part_bytes and view:
            now = view[: self._part_bytes - self._in_part]
            self._part.update(now)
            self._in_part += len(now)
            view = view[len(now) :]
            if self._in_part == self._part_bytes:
                self._end_part()

    def fits(self) -> bool | None:
        """Whether all bytes are those of the tag; None when the tag says nothing of bytes."""
        if re.fullmatch(r"[0-9a-f]{32}", self._tag):
            return self.whole.hexdigest() == self._tag
        if not self._part_bytes:
            return None
        if self._in_part:
            self._end_part()
        return composite(self._sums) == self._tag

    def _end_part(self) -> None:
        self._sums.append(self._part.hexdigest())
        self._part, self._in_part = md5(), 0
