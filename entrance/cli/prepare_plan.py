"""What ``prepare`` is asked to do: the two folders and the sizes, checked; and ``--dry-run``, which only counts.

A dry run walks the source as a scan would and groups the files into CARs by the same estimate; nothing is read, made or
started.
"""

from __future__ import annotations

import os
import sys
import tomllib
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.errors import BadInput, ContentError, EntranceError

if TYPE_CHECKING:
    from common.storage.base import Entry

PRESETS_FILE = "presets.toml"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The wanted preparation: folders without links and dots, sizes in bytes."""

    source: Path
    output: Path
    max_size: int
    piece_size: int
    min_piece_size: int

    def params(self) -> dict[str, Any]:
        """Return the parameters of the scan that makes it."""
        return {
            "path": str(self.source),
            "output": str(self.output),
            "maxSize": self.max_size,
            "pieceSize": self.piece_size,
            "minPieceSize": self.min_piece_size,
            "follow": ["pack", "daggen"],
        }

    def is_of(self, preparation: Mapping[str, Any]) -> bool:
        """Whether a preparation of the API is this one."""
        sources = [s["path"] for s in preparation.get("sourceStorages", ())]
        outputs = [s["path"] for s in preparation.get("outputStorages", ())]
        sizes = (preparation["maxSize"], preparation["pieceSize"], preparation["minPieceSize"])
        return (
            sources == [str(self.source)]
            and outputs == [str(self.output)]
            and sizes == (self.max_size, self.piece_size, self.min_piece_size)
        )


@dataclass(kw_only=True)
class Count:
    """What a dry run has found. ``car_bytes`` is an estimate that is a little too high; ``left_out`` are paths and why."""

    files: int = 0
    folders: int = 0
    bytes: int = 0
    cars: int = 0
    car_bytes: int = 0
    free_bytes: int = 0
    left_out: int = 0


def make_plan(source: str, output: str, *, max_size: str | None, min_piece_size: str | None, preset: str | None) -> Plan:
    """Return the checked plan; the output need not exist yet. Raises BadInput, one sentence with the path or value."""
    from common.content.estimate import next_power_of_two
    from entrance.core.sizes import Sizes, checked_sizes

    sizes = presets()[preset] if preset else {}
    largest = _size("--max-size", max_size) if max_size else sizes.get("max_size", Sizes().max_size)
    smallest = _size("--min-piece-size", min_piece_size) if min_piece_size else sizes.get("min_piece_size", 1 << 20)
    piece = next_power_of_two(largest) if max_size else sizes.get("piece_size", next_power_of_two(largest))
    checked_sizes(Sizes(max_size=largest, piece_size=piece, min_piece_size=smallest))
    folder = _source(source)
    target = Path(os.path.realpath(output))
    if target.exists() and not target.is_dir():
        raise BadInput(f"{output} is there and is no folder")
    if target == folder:
        raise BadInput(f"{output}: the source itself cannot be the output; give a folder inside or beside it")
    return Plan(source=folder, output=target, max_size=largest, piece_size=piece, min_piece_size=smallest)


def presets() -> dict[str, dict[str, int]]:
    """Return the sets of sizes of ``conf/presets.toml``, sizes in bytes."""
    from common.config import PROJECT_ROOT

    path = PROJECT_ROOT / "conf" / PRESETS_FILE
    try:
        with path.open("rb") as file:
            told = tomllib.load(file)
        return {name: {key: _size(key, text) for key, text in sizes.items()} for name, sizes in told.items()}
    except (OSError, tomllib.TOMLDecodeError, AttributeError) as error:
        raise BadInput(f"{path} cannot be read: {error}") from error


def make_output(plan: Plan) -> None:
    """Make the output folder when it is missing. Raises BadInput."""
    try:
        plan.output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(f"{plan.output} cannot be made: {error.strerror}") from error
    if not os.access(plan.output, os.W_OK | os.X_OK):
        raise BadInput(f"{plan.output}: files cannot be written there")


def count(plan: Plan) -> Count:
    """Walk the source and return what a preparation of it would take in, new or not."""
    from common.content import estimate

    found = Count(free_bytes=_free(plan.output))
    split = estimate.split_size(plan.max_size)
    grouping = estimate.Grouping(plan.max_size)

    def left_out(path: str, why: str) -> None:
        found.left_out += 1

    for entry in _walk(plan, left_out):
        if entry.is_dir:
            found.folders += 1
            continue
        found.files += 1
        found.bytes += entry.size
        for part in estimate.ranges(entry.size, split):
            before = grouping.estimate
            if grouping.add(part.length):
                found.cars += 1
                found.car_bytes += before
    if grouping.count:
        found.cars += 1
        found.car_bytes += grouping.estimate
    return found


def check_source(plan: Plan) -> None:
    """Raises BadInput when the source holds no file that could be packed."""
    reasons: list[str] = []

    def left_out(path: str, why: str) -> None:
        reasons.append(f"{path}: {why}")

    if all(entry.is_dir for entry in _walk(plan, left_out)):
        why = f" ({reasons[0]}{', ...' if reasons[1:] else ''})" if reasons else ""
        raise BadInput(f"{plan.source} holds no files, so there is nothing to prepare{why}")


def _walk(plan: Plan, left_out: Callable[[str, str], None]) -> Iterator[Entry]:
    """Yield all files, breadth first as a scan, and each folder (the source first) when it is listed."""
    from common.storage.local import LocalStorage, shown

    storage = LocalStorage("source", plan.source)
    queue = deque([storage.stat("")])
    while queue:
        folder = queue.popleft()
        yield folder
        try:
            for entry in storage.children(folder.path, left_out):
                if not entry.is_dir:
                    yield entry
                elif plan.source / entry.path != plan.output:
                    queue.append(entry)
        except EntranceError as error:
            if not folder.path:
                raise
            left_out(shown(folder.path), str(error))


def _source(text: str) -> Path:
    try:
        folder = Path(text).resolve(strict=True)
        if not folder.is_dir():
            raise BadInput(f"{text} is no folder")
        with os.scandir(folder):
            pass
    except FileNotFoundError:
        raise BadInput(f"{text}: there is no such folder") from None
    except OSError as error:
        raise BadInput(f"{text}: {error.strerror}") from error
    try:
        str(folder).encode()
    except UnicodeEncodeError:
        shown = os.fsencode(folder).decode(errors="replace")
        raise BadInput(f"{shown}: the name of the folder itself must be UTF-8") from None
    return folder


def _size(what: str, text: Any) -> int:
    from common.content.sizes import parse_size

    try:
        return parse_size(str(text))
    except ContentError as error:
        raise BadInput(f"{what}: {error}") from error


def _free(folder: Path) -> int:
    """Return the bytes that are free where the folder is or will be."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    try:
        found = os.statvfs(folder)
    except OSError as error:
        print(f"{folder}: {error.strerror}", file=sys.stderr)
        return 0
    return found.f_bavail * found.f_frsize
