"""Slice files: one table, the named columns, the rows in their order."""

import sqlite3

import pytest

from common.errors import MayPass
from executors.slices import SLICE_ROWS, Pending, write_slice


def test_a_slice_is_one_table_of_the_named_columns(tmp_path):
    rows = [(n, f"name {n}", b"\x00\xff", None, 1.5) for n in range(SLICE_ROWS)]
    path = tmp_path / "rows-000001.sqlite"
    write_slice(path, ["id", "name", "cid", "nothing", "rate"], rows)
    with sqlite3.connect(f"file:{path}?mode=ro&immutable=1", uri=True) as file:
        assert file.execute("SELECT * FROM rows ORDER BY rowid").fetchall() == rows
        assert [row[1] for row in file.execute("PRAGMA table_info(rows)")] == ["id", "name", "cid", "nothing", "rate"]
        assert file.execute("SELECT name FROM sqlite_master").fetchall() == [("rows",)]
    file.close()
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("columns", [[], ["id", "na me"], ['id"; DROP TABLE rows; --'], ["id", ""]])
def test_what_is_no_name_of_a_column_is_refused(tmp_path, columns):
    with pytest.raises(ValueError, match="no names of columns"):
        write_slice(tmp_path / "x", columns, [])


def test_a_full_disk_may_pass(tmp_path, monkeypatch):
    class Full(sqlite3.Connection):
        def executemany(self, *_):
            raise sqlite3.OperationalError("database or disk is full")

    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *a, **k: connect(*a, **k, factory=Full))
    with pytest.raises(MayPass, match="no space left"):
        write_slice(tmp_path / "x", ["id"], [(1,)])


def test_rows_are_taken_by_table_in_the_order_in_which_tables_came():
    pending = Pending()
    pending.add("directories", ("id",), [(1,), (2,)])
    pending.add("files", ("id",), [(n,) for n in range(SLICE_ROWS + 1)])
    pending.add("directories", ("id",), [(3,)])
    assert pending.count == SLICE_ROWS + 4
    taken = pending.take()
    assert [(table, len(rows)) for table, _, rows in taken] == [("directories", 3), ("files", SLICE_ROWS), ("files", 1)]
    assert pending.count == 0
    pending.add("files", ("id",), [(9,)])
    pending.add("directories", ("id",), [(4,)])
    assert [table for table, _, _ in pending.take()] == ["directories", "files"]
