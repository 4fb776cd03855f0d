"""Aborts multipart uploads that ended tasks have left: ``python -m executors.transferring.sweep --data ABSDIR``.

A program of its own, since clients of stores do not belong into the service's process. It reads one JSON object from its
standard input, settings of storages with keys among them, and writes one:

    in      {"storages": {name: settings}, "uploads": [text of ``copying.upload_text``, ...]}
    out     {"done": [index into uploads, ...]}

What cannot be done now is left out and tried again at another time. It ends itself after a minute.
"""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from common.errors import BadInput, StorageForbidden, StorageNotFound, StorageUnavailable
from common.storage.objects import ObjectStorage
from executors.transferring import SWEEP_SECONDS
from executors.transferring.copying import SKEW_MS


def abort(storages: Mapping[str, Mapping[str, Any]], uploads: Sequence[str]) -> list[int]:
    """Abort the uploads that are declared; return the indexes of those of which nothing is left, or ever will go."""
    by_storage: dict[str, list[tuple[int, str, int]]] = {}
    for index, text in enumerate(uploads):
        declared = json.loads(text)
        by_storage.setdefault(declared["storage"], []).append((index, declared["path"], declared["since"]))
    done: list[int] = []
    for name, declarations in by_storage.items():
        try:
            if name in storages:
                _abort_in(ObjectStorage(name, storages[name]), declarations)
        except StorageUnavailable:
            continue
        except (StorageNotFound, StorageForbidden, BadInput):
            pass  # the bucket or our right to it is gone
        done += [index for index, _, _ in declarations]
    return done


def _abort_in(storage: ObjectStorage, declarations: Sequence[tuple[int, str, int]]) -> None:
    since = {path: begun for _, path, begun in declarations}
    prefix = _common_prefix(list(since))
    for upload in list(storage.uploads(prefix)):
        begun = since.get(upload.path)
        if begun is not None and upload.begun_ms >= begun - SKEW_MS:
            storage.abort(upload.path, upload.id)


def _common_prefix(paths: Sequence[str]) -> str:
    first, last = min(paths), max(paths)
    length = next((n for n, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last)))
    return first[:length]


def main() -> None:
    signal.alarm(SWEEP_SECONDS)
    asked = json.load(sys.stdin)
    json.dump({"done": abort(asked["storages"], asked["uploads"])}, sys.stdout)


if __name__ == "__main__":
    main()
