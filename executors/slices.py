"""Slice files: catalogue rows on their way from a task to the one writer.

A slice is an SQLite file with one table ``rows`` of exactly the named columns, written in one go and closed before it is
named to anyone, so it needs neither a journal nor a sync: the writer attaches it read-only, and a slice of a dead attempt
is deleted unread.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from common.errors import MayPass

SLICE_ROWS = 10_000
ROWS_AT_ONCE = 50  # of one statement: twice as fast as one by one
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


def write_slice(path: Path, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Write ``rows`` (at most 10,000) to a new file at ``path``.

    Raises MayPass when the disk is full, ValueError for what is no name of a column.
    """
    import sqlite3  # here: a fork copies the map of what is loaded, and most small tasks have no rows

    if not columns or not all(_NAME.match(column) for column in columns):
        raise ValueError(f"no names of columns: {list(columns)}")
    names = ", ".join(f'"{column}"' for column in columns)
    marks = f"({', '.join('?' * len(columns))})"
    insert = f"INSERT INTO rows ({names}) VALUES "  # noqa: S608 - checked names
    at_once = len(rows) - len(rows) % ROWS_AT_ONCE
    try:
        connection = sqlite3.connect(path, isolation_level=None)
        try:
            connection.execute("PRAGMA journal_mode = OFF")
            connection.execute("PRAGMA synchronous = OFF")
            connection.execute("BEGIN")
            connection.execute(f"CREATE TABLE rows ({names})")
            connection.executemany(
                insert + ", ".join([marks] * ROWS_AT_ONCE),
                (
                    tuple(chain.from_iterable(rows[start : start + ROWS_AT_ONCE]))
                    for start in range(0, at_once, ROWS_AT_ONCE)
                ),
            )
            connection.executemany(insert + marks, rows[at_once:])
            connection.execute("COMMIT")
        finally:
            connection.close()
    except sqlite3.OperationalError as error:
        if "full" in str(error) or "I/O" in str(error):
            raise MayPass("no space left for the rows of the task") from error
        raise


class Pending:
    """Rows that are not in a slice yet, by table and columns, in the order in which the tables first came."""

    def __init__(self) -> None:
        self._tables: dict[tuple[str, tuple[str, ...]], list[Sequence[Any]]] = {}
        self.count = 0

    def add(self, table: str, columns: tuple[str, ...], rows: Sequence[Sequence[Any]]) -> None:
        self._tables.setdefault((table, columns), []).extend(rows)
        self.count += len(rows)

    def take(self) -> list[tuple[str, tuple[str, ...], list[Sequence[Any]]]]:
        """Return what waits, cut into slices, and forget it (but not the order of the tables)."""
        taken = [
            (table, columns, rows[start : start + SLICE_ROWS])
            for (table, columns), rows in self._tables.items()
            for start in range(0, len(rows), SLICE_ROWS)
        ]
        for rows in self._tables.values():
            rows.clear()
        self.count = 0
        return taken
