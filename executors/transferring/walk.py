"""Which files a transfer is about: a walk in a fixed order, patterns, and a list that is longer than memory.

The order is that of a tree: names by their bytes, what is in a folder right behind it. It is the same at every attempt, so
"all up to this path" has a meaning.

Patterns: ``*`` and ``?`` stand for characters of one name, ``**`` for any number of folders, ``[abc]`` for one character of
a set. A pattern without a slash is about the file's name, wherever it lies; one with a slash about the whole path; one that
ends with a slash about all in a folder.
"""

from __future__ import annotations

import json
import os
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from common.storage.base import Report, Storage
from common.storage.local import shown


@dataclass(frozen=True, kw_only=True)
class Item:
    """A file to be copied: its path below the place copied from, size in bytes, modification time, MD5 if known."""

    path: str
    size: int
    modified_ns: int
    hash: str = ""

    @property
    def fingerprint(self) -> str:
        """Differs when the file has changed."""
        return f"{self.size}:{self.modified_ns}:{self.hash}"

    @property
    def shown(self) -> str:
        return shown(self.path)


Place = tuple[tuple[bytes, bytes], ...]


def place_of(path: str) -> Place:
    """Return where a path stands in the order of the walk."""
    return tuple((shown(name).encode(), os.fsencode(name)) for name in path.split("/"))


class Patterns:
    """Decides by ``include`` (none: all) and ``exclude``, which counts over it."""

    def __init__(self, include: Sequence[str], exclude: Sequence[str]) -> None:
        self._include = [_compiled(pattern) for pattern in include]
        self._exclude = [_compiled(pattern) for pattern in exclude]

    def want(self, path: str) -> bool:
        if any(pattern.fullmatch(path) for pattern in self._exclude):
            return False
        return not self._include or any(pattern.fullmatch(path) for pattern in self._include)


def _compiled(pattern: str) -> re.Pattern[str]:
    text = pattern.strip("/") + ("/**" if pattern.endswith("/") else "")
    if "/" not in text:
        text = f"**/{text}"
    return re.compile(_translated(text), re.DOTALL)


def _translated(text: str) -> str:
    made, at = "", 0
    while at < len(text):
        if text.startswith("**/", at):
            made, at = made + "(?:.*/)?", at + 3
        elif text.startswith("**", at):
            made, at = made + ".*", at + 2
        elif text[at] == "*":
            made, at = made + "[^/]*", at + 1
        elif text[at] == "?":
            made, at = made + "[^/]", at + 1
        elif text[at] == "[" and (end := text.find("]", at + 2)) > 0:
            inner = text[at + 1 : end].replace("\\", r"\\").replace("[", r"\[")
            inner = f"^{inner[1:]}" if inner[0] in "!^" else inner
            made, at = f"{made}[{inner}]", end + 1
        else:
            made, at = made + re.escape(text[at]), at + 1
    return made


def walk(
    storage: Storage, root: str, wanted: Patterns, *, after: str | None, report: Report, spill_folder: Path
) -> Iterator[Item]:
    """Yield the files below ``root`` that are wanted, in the order of the walk, those after ``after`` only; streamed."""
    begin = None if after is None else place_of(after)

    def inside(path: str) -> str:
        return path[len(root) + 1 :] if root else path

    def visit(folder: str) -> Iterator[Item]:
        for entry in storage.children(folder, lambda p, why: report(inside(p), why), spill_folder):
            path = inside(entry.path)
            place = place_of(path)
            if entry.is_dir:
                if begin is None or place >= begin[: len(place)]:
                    yield from visit(entry.path)
            elif (begin is None or place > begin) and wanted.want(path):
                yield Item(path=path, size=entry.size, modified_ns=entry.modified_ns, hash=entry.hash)

    yield from visit(root)


class Listing:
    """Walks in a thread of its own, into a file: what is found can be counted before it is copied, and needs no memory."""

    def __init__(self, items: Callable[[], Iterator[Item]], file: Path, stop: threading.Event) -> None:
        self._items, self._stop = items, stop
        self._out = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        self._in = file.open("rb")
        self._lock = threading.Lock()
        self.files = 0
        self.size = 0
        self._taken = 0
        self._ended = False
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="listing", daemon=True)
        self._thread.start()

    @property
    def ended(self) -> bool:
        """Whether all is found; looked at before ``take`` says that there is nothing."""
        return self._ended

    def take(self) -> Item | None:
        """Return the next item; None when there is none yet, or none any more. Raises what the walk has raised."""
        with self._lock:
            waiting = self.files - self._taken
        if not waiting:
            if self.error is not None:
                raise self.error
            return None
        path, size, modified_ns, md5 = json.loads(self._in.readline())
        self._taken += 1
        return Item(path=path, size=size, modified_ns=modified_ns, hash=md5)

    def close(self, timeout_seconds: float) -> None:
        self._thread.join(timeout_seconds)
        self._in.close()

    def _run(self) -> None:
        try:
            for item in self._items():
                if self._stop.is_set():
                    break
                line = json.dumps((item.path, item.size, item.modified_ns, item.hash)) + "\n"
                os.write(self._out, line.encode())
                with self._lock:
                    self.files += 1
                    self.size += item.size
        except BaseException as error:
            self.error = error
        finally:
            os.close(self._out)
            self._ended = True
