"""Statements at the speed of the driver."""

from __future__ import annotations

from sqlalchemy import Column, Integer, MetaData, Table, Text, bindparam, func, insert, select, update

from common.db.sql import Sql, Tx

notes = Table("notes", MetaData(), Column("id", Integer, primary_key=True), Column("text", Text), Column("rank", Integer))


def test_statements_take_values_by_name_and_keep_those_they_were_made_with(tx: Tx) -> None:
    tx.connection.execute("CREATE TEMP TABLE notes (id INTEGER PRIMARY KEY, text TEXT, rank INTEGER)")
    add = Sql(insert(notes).values(text=bindparam("text"), rank=7))
    assert (tx.insert(add, text="a"), tx.insert(add, text="b")) == (1, 2)
    tx.many(add, [{"text": "c"}, {"text": "d"}])
    few = Sql(select(notes.c.text).where(notes.c.text.in_(["a", "c", "x"]), notes.c.rank == 7).order_by(notes.c.id))
    assert tx.all(few) == [("a",), ("c",)]
    change = Sql(update(notes).where(notes.c.id > bindparam("above")).values(rank=bindparam("to")))
    assert tx.run(change, above=2, to=None) == 2
    assert tx.query(select(func.count()).where(notes.c.rank.is_(None))) == [(2,)]
    assert tx.one(Sql(select(notes.c.id).where(notes.c.text == bindparam("text"))), text="no") is None


def test_values_from_outside_are_never_part_of_the_statement(tx: Tx) -> None:
    tx.connection.execute("CREATE TEMP TABLE notes (id INTEGER PRIMARY KEY, text TEXT, rank INTEGER)")
    nasty = "'); DROP TABLE notes; --"
    tx.insert(Sql(insert(notes).values(text=bindparam("text"))), text=nasty)
    assert tx.query(select(notes.c.text).where(notes.c.text == nasty)) == [(nasty,)]
    assert nasty not in Sql(select(notes.c.text).where(notes.c.text == nasty)).text
