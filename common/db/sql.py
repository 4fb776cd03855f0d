"""SQLAlchemy statements at the speed of the driver.

Hot statements are declared once as ``Sql(select(...))``, compiled once for each database kind and run on the plain DBAPI
connection: the writer thread shares no engine, pool or cache with the greenlets (see docs/adr), and a statement costs what
the database needs for it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any

from sqlalchemy import bindparam
from sqlalchemy.dialects import sqlite
from sqlalchemy.dialects.sqlite.base import SQLiteCompiler
from sqlalchemy.engine import Compiled
from sqlalchemy.sql import ClauseElement


class _Compiler(SQLiteCompiler):
    """Heeds ``with_hint``: the text follows the table's name (``INDEXED BY name``)."""

    def get_from_hint_text(self, table: Any, text: str | None) -> str | None:
        return text


_SQLITE = sqlite.dialect(paramstyle="named")
_SQLITE.statement_compiler = _Compiler


class Sql:
    """One statement, compiled when it is first used; values are given by the names of its ``bindparam``s."""

    def __init__(self, statement: ClauseElement) -> None:
        self._statement = statement

    @cached_property
    def _compiled(self) -> Compiled:
        compiled = self._statement.compile(dialect=_SQLITE)
        if "POSTCOMPILE" in str(compiled):  # IN lists: their values are known here
            compiled = self._statement.compile(dialect=_SQLITE, compile_kwargs={"render_postcompile": True})
        return compiled

    @cached_property
    def text(self) -> str:
        return str(self._compiled)

    @cached_property
    def defaults(self) -> dict[str, Any]:
        return {k: v for k, v in (self._compiled.params or {}).items() if v is not None}

    def values(self, params: Mapping[str, Any]) -> Mapping[str, Any]:
        return {**self.defaults, **params} if self.defaults else params


def param(name: str) -> Any:
    """Return the place in a statement of a value that is given by this name when it runs; None when it is not given."""
    return bindparam(name, required=False)


class Tx:
    """One connection inside one transaction (the writer's) or one read."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection

    def all(self, sql: Sql, **params: Any) -> list[tuple[Any, ...]]:
        """Return all rows."""
        return self.connection.execute(sql.text, sql.values(params)).fetchall()

    def one(self, sql: Sql, **params: Any) -> tuple[Any, ...] | None:
        """Return the first row, or None."""
        row: tuple[Any, ...] | None = self.connection.execute(sql.text, sql.values(params)).fetchone()
        return row

    def run(self, sql: Sql, **params: Any) -> int:
        """Carry out a change; return the number of rows it touched."""
        return self.connection.execute(sql.text, sql.values(params)).rowcount

    def insert(self, sql: Sql, **params: Any) -> int:
        """Insert one row; return its integer id."""
        return self.connection.execute(sql.text, sql.values(params)).lastrowid or 0

    def many(self, sql: Sql, rows: Iterable[Mapping[str, Any]]) -> None:
        """Carry out one change for each row of values."""
        self.connection.executemany(sql.text, [sql.values(r) for r in rows])

    def query(self, statement: ClauseElement) -> list[tuple[Any, ...]]:
        """Run a statement made on the spot (filters), values included."""
        return self.all(Sql(statement))
