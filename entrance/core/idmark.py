"""The ids that were given, written down beside the database: a database that is restored from a backup gives none twice.

``DIR/ids.json`` holds, for each kind of id, the last number that was seen in use. It is written a moment after the ids are
given, and read at the start: what is behind it in the database goes on behind it. Losing the file harms nothing but that.
"""

from __future__ import annotations

import json
from pathlib import Path

from common.db.sql import Tx

FILE_NAME = "ids.json"
SLACK = 1000  # ids that may have been given since the file was written
_TABLES = "SELECT name, seq FROM sqlite_sequence"
_COUNTERS = "SELECT name, next FROM counters"
_GO_ON = {  # how a kind of id goes on from another number: its row is made anew
    "tables": ("DELETE FROM sqlite_sequence WHERE name = ?", "INSERT INTO sqlite_sequence (name, seq) VALUES (?, ?)"),
    "counters": ("DELETE FROM counters WHERE name = ?", "INSERT INTO counters (name, next) VALUES (?, ?)"),
}


class IdMark:
    """The file in the data folder."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE_NAME
        self._written: dict[str, dict[str, int]] = {}

    def catch_up(self, tx: Tx) -> dict[str, int]:
        """Let the database give no id that the file knows; return what was behind, with the number that it goes on from."""
        known, now = self._read(), _given(tx)
        behind: dict[str, int] = {}
        for kind, (forget, give) in _GO_ON.items():
            for name, number in known.get(kind, {}).items():
                if number > now[kind].get(name, 0):
                    behind[name] = number + SLACK
                    tx.connection.execute(forget, (name,))
                    tx.connection.execute(give, (name, behind[name]))
        return behind

    def keep(self, tx: Tx) -> None:
        """Write down what has been given since the last call. Raises OSError."""
        given = _given(tx)
        if given != self._written:
            temporary = self._path.with_suffix(".new")
            temporary.write_text(json.dumps(given))
            temporary.replace(self._path)
            self._written = given

    def _read(self) -> dict[str, dict[str, int]]:
        try:
            found = json.loads(self._path.read_bytes())
            return {kind: {str(k): int(v) for k, v in numbers.items()} for kind, numbers in found.items()}
        except (OSError, ValueError, AttributeError, TypeError):  # none yet, or broken
            return {}


def _given(tx: Tx) -> dict[str, dict[str, int]]:
    return {
        "tables": dict(tx.connection.execute(_TABLES).fetchall()),
        "counters": dict(tx.connection.execute(_COUNTERS).fetchall()),
    }
