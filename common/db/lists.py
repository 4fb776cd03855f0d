"""Lists of tasks: a page of those that a filter selects, and how many they are, in a database of any size.

How many there are of each kind in each part of the ids is kept by the database itself (``task_counts``, by triggers), and
between which dates the tasks of a part were created (``task_spans``): counting reads some thousand rows, and tells in which
part a page begins. Only a part that a date cuts in two is counted task by task. From there the page is found by the index of
the one thing that was asked for, by the index of the rarest one when that leaves few tasks, else by a walk over
``ix_tasks_list``, which holds all that a filter asks for. A text is looked up once: among the names, which are few, and in
the reasons, all of which are read.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from sqlalchemy import and_, case, func, or_, select
from sqlalchemy.sql import ColumnElement

from common.db import tables as t
from common.db import tasks
from common.db.sql import Sql, Tx
from common.task import State, Task

Condition = ColumnElement[bool]

_PART_BITS, _SPAN_BITS = 17, 16  # as the triggers have them
_FEW = 20_000  # tasks that are quicker read and sorted than found on a walk
_LIST, _REASONS, _BY_ID = "ix_tasks_list", "ix_tasks_reason", ""


@dataclass(frozen=True, kw_only=True)
class Seen:
    """A state, and whether the task ever ran (None: either)."""

    state: State
    ran: bool | None = None


@dataclass(frozen=True, kw_only=True)
class TaskFilter:
    """Which tasks; fields combine, None selects all.

    ``text`` is a part (letter case of A to Z does not count) of the user, the creator, the executor or the reason;
    ``named`` is a task that the text names, which is selected too. Times in ms, ``created_to`` excluded.
    """

    ids: Sequence[int] | None = None
    user: str | None = None
    seen: Sequence[Seen] | None = None  # any of them
    creator: str | None = None
    executor: str | None = None
    created_from: int | None = None
    created_to: int | None = None
    parent_id: int | None = None
    top_level: bool = False
    text: str | None = None
    named: int | None = None

    @property
    def _dated(self) -> bool:
        return self.created_from is not None or self.created_to is not None

    @property
    def _named(self) -> bool:
        """Whether it names the tasks or their parent: they are few, and the database finds them by itself."""
        return self.ids is not None or self.parent_id is not None

    @property
    def _kinds(self) -> int:
        """How many of the things are asked for that ``task_counts`` tells apart."""
        asked = (self.user, self.seen, self.creator, self.executor, self.top_level or None)
        return sum(value is not None for value in asked)


@dataclass(frozen=True, kw_only=True)
class _Text:
    """What a text selects: tasks with one of these names, and of the others those with these ids, in order."""

    names: Mapping[str, Sequence[str]]  # by column
    others: Sequence[int]

    def has_name(self, c: Any) -> Condition:
        return or_(*(c[column].in_(names) for column, names in self.names.items()))


_c, _n, _s = t.tasks.c, t.task_counts.c, t.task_spans.c
_child = t.tasks.alias("child")
_COLUMNS = [_c[f.name] for f in fields(Task)]
_COUNTS = Sql(select(_n.state, func.sum(_n.n)).where(_n.n > 0).group_by(_n.state))
_NAMES = {name: Sql(select(_n[name]).distinct()) for name in ("user", "creator", "executor")}
_SPANS = Sql(select(_s.part, _s.oldest, _s.newest))


def page(tx: Tx, which: TaskFilter, offset: int, limit: int, *, oldest_first: bool = False) -> tuple[list[Task], int]:
    """Return a page of the tasks that are selected, newest first, and the number of all; both of one moment."""
    tx.connection.execute("BEGIN")
    try:
        text = _text(tx, which)
        parts = None if which._named else _parts(tx, which, text)
        total = _count(tx, _few(which), _BY_ID) if parts is None else sum(parts.values())
        if offset >= total or limit < 1:
            return [], total
        take = min(limit, total - offset)
        behind = total - offset - take
        from_the_end = behind < offset
        ascending = oldest_first != from_the_end
        ids = _ids(tx, which, text, min(offset, behind), take, ascending=ascending, parts=parts)
        rows = tx.query(select(*_COLUMNS).where(_c.id.in_(ids)).order_by(_c.id if oldest_first else _c.id.desc()))
        return [tasks.from_row(row) for row in rows], total
    finally:
        tx.connection.execute("COMMIT")


def ids(tx: Tx, which: TaskFilter) -> list[int]:
    """Return the ids of all tasks that are selected, newest first."""
    return _ids(tx, which, _text(tx, which), 0, -1, ascending=False)


def counts(tx: Tx) -> dict[State, int]:
    """Number of tasks in each state."""
    return {State(s): n for s, n in tx.all(_COUNTS)}


# ---- how many -----------------------------------------------------------------------------------------------------


def _parts(tx: Tx, which: TaskFilter, text: _Text | None) -> dict[int, int]:
    """Return how many tasks are selected in each part of the ids."""
    found: Counter[int] = Counter()
    if text is None or text.names:
        counted = select(_n.part, func.sum(_n.n)).where(_n.n > 0, *_kinds(which, _n), *_names(text, _n)).group_by(_n.part)
        if which._dated:
            whole, cut = _between(tx, which)
            counted = counted.where(_n.part.in_(whole))
            conditions = [*_kinds(which, _c), *_dates(which), *_names(text, _c)]
            for part in cut:
                within = (_c.id >= part << _PART_BITS, _c.id < (part + 1) << _PART_BITS)
                found[part] = _count(tx, [*within, *conditions], _LIST)
        found.update(dict(tx.query(counted)))
    if text is not None:
        found.update(task_id >> _PART_BITS for task_id in text.others)
    return found


def _between(tx: Tx, which: TaskFilter) -> tuple[list[int], list[int]]:
    """Return the parts of which all tasks lie between the dates, and those of which some may."""
    first = -1 if which.created_from is None else which.created_from
    last = 1 << 62 if which.created_to is None else which.created_to - 1
    whole, cut = [], []
    for part, oldest, newest in tx.all(_SPANS):
        begin, end = oldest << _SPAN_BITS, ((newest + 1) << _SPAN_BITS) - 1
        if begin >= first and end <= last:
            whole.append(part)
        elif end >= first and begin <= last:
            cut.append(part)
    return whole, cut


def _count(tx: Tx, conditions: Sequence[Condition], index: str | None = None) -> int:
    return int(tx.query(_by(select(func.count()).select_from(t.tasks), index).where(*conditions))[0][0])


# ---- which --------------------------------------------------------------------------------------------------------


def _ids(
    tx: Tx,
    which: TaskFilter,
    text: _Text | None,
    offset: int,
    limit: int,
    *,
    ascending: bool,
    parts: Mapping[int, int] | None = None,
) -> list[int]:
    if which._named:
        return _walk(tx, _few(which), offset, limit, ascending, _BY_ID)
    if text is not None and not text.names:
        ordered = text.others if ascending else text.others[::-1]
        return list(ordered[offset : len(ordered) if limit < 0 else offset + limit])
    conditions = [*_kinds(which, _c), *_dates(which)]
    others = [] if text is None else text.others
    for part in sorted(parts or {}, reverse=not ascending):
        here = (parts or {})[part]
        if offset < here:
            edge = (part if ascending else part + 1) << _PART_BITS
            conditions.append(_c.id >= edge if ascending else _c.id < edge)
            at = bisect_left(others, edge)
            others = others[at : at + offset + limit] if ascending else others[max(0, at - offset - limit) : at]
            break
        offset -= here
    if text is not None:
        given = func.json_each(json.dumps(list(others))).table_valued("value")
        conditions.append(or_(text.has_name(_c), _c.id.in_(select(given.c.value))) if others else text.has_name(_c))
    return _walk(tx, conditions, offset, limit, ascending, _index(tx, which, text))


def _walk(
    tx: Tx, conditions: Sequence[Condition], offset: int, limit: int, ascending: bool, index: str | None = None
) -> list[int]:
    found = _by(select(_c.id), index).where(*conditions).order_by(_c.id if ascending else _c.id.desc())
    return [row[0] for row in tx.query(found.offset(offset).limit(limit))]


def _by(statement: Any, index: str | None) -> Any:
    if index is None:
        return statement
    return statement.with_hint(t.tasks, f"INDEXED BY {index}" if index else "NOT INDEXED", "sqlite")


def _index(tx: Tx, which: TaskFilter, text: _Text | None) -> str | None:
    """Return the index to find a page by; None = the database may choose, there are few."""
    indexes = _own_indexes(which)
    if len(indexes) == which._kinds == 1 and not which._dated and text is None and len(which.seen or (0,)) == 1:
        return next(iter(indexes))
    some = [*(_kinds(part, _n) for part in indexes.values()), *([_names(text, _n)] if text is not None else [])]
    if not some:
        return _LIST
    sums = [func.total(case((and_(*conditions), _n.n), else_=0)) for conditions in some]
    numbers = tx.query(select(*sums).where(_n.n > 0))[0]
    if text is not None and numbers[-1] <= _FEW:
        return None
    few = [(n, name) for n, name in zip(numbers, indexes, strict=False) if n <= _FEW]
    return min(few)[1] if few else _LIST


def _own_indexes(which: TaskFilter) -> dict[str, TaskFilter]:
    """What is asked for and has an index of its own, each alone."""
    found = {}
    if which.user is not None:
        found["ix_tasks_user_id"] = TaskFilter(user=which.user)
    if which.seen is not None:
        found["ix_tasks_state_id"] = TaskFilter(seen=which.seen)
    if which.creator is not None:
        found["ix_tasks_creator_id"] = TaskFilter(creator=which.creator)
    if which.executor is not None:
        found["ix_tasks_executor_id"] = TaskFilter(executor=which.executor)
    return found


def _few(which: TaskFilter) -> list[Condition]:
    """All that a filter says that names the tasks or their parent; by their ids, or the planner would take all of a user."""
    found = [*_kinds(which, _c), *_dates(which)]
    if which.ids is not None:
        found.append(_c.id.in_(list(which.ids)))
    if which.parent_id is not None:
        found.append(_c.id.in_(select(_child.c.id).where(_child.c.parent_id == which.parent_id)))
    if which.text is not None:
        places = (_c.user, _c.creator, _c.executor, func.coalesce(_c.reason, ""))
        named = [] if which.named is None else [_c.id == which.named]
        found.append(or_(*(place.contains(which.text, autoescape=True) for place in places), *named))
    return found


def _dates(which: TaskFilter) -> list[Condition]:
    found = []
    if which.created_from is not None:
        found.append(_c.created_at >= which.created_from)
    if which.created_to is not None:
        found.append(_c.created_at < which.created_to)
    return found


def _kinds(which: TaskFilter, c: Any) -> list[Condition]:
    """What ``task_counts`` knows, as conditions on it or on ``tasks``."""
    found: list[Condition] = []
    if which.user is not None:
        found.append(c.user == which.user)
    if which.creator is not None:
        found.append(c.creator == which.creator)
    if which.executor is not None:
        found.append(c.executor == which.executor)
    if which.top_level:
        found.append(c.top == 1 if c is _n else c.parent_id.is_(None))
    if which.seen is not None:
        ran = c.ran == 1 if c is _n else c.attempt > 0
        found.append(c.state.in_(list(dict.fromkeys(s.state.value for s in which.seen))))
        if any(s.ran is not None for s in which.seen):
            either = [s.state.value for s in which.seen if s.ran is None]
            narrow = [and_(c.state == s.state.value, ran if s.ran else ~ran) for s in which.seen if s.ran is not None]
            found.append(or_(c.state.in_(either), *narrow))
    return found


# ---- texts --------------------------------------------------------------------------------------------------------


def _text(tx: Tx, which: TaskFilter) -> _Text | None:
    """Look a text up; None when it narrows nothing, or there are few to look at."""
    if which.text is None or which._named:
        return None
    part = re.compile(re.escape(which.text), re.IGNORECASE | re.ASCII)
    names = {}
    for column, sql in _NAMES.items():
        known = [row[0] for row in tx.all(sql)]
        found = [name for name in known if part.search(name)]
        if known and len(found) == len(known):
            return None
        if found:
            names[column] = found
    others = [*_kinds(which, _c), *_dates(which)]
    if names:
        others.append(~_Text(names=names, others=()).has_name(_c))
    said = _by(select(_c.id), _REASONS).where(_c.reason.is_not(None), _c.reason.contains(which.text, autoescape=True))
    ids = {row[0] for row in tx.query(said.where(*others))}
    if which.named is not None:
        ids.update(row[0] for row in tx.query(select(_c.id).where(_c.id == which.named, *others)))
    return _Text(names=names, others=sorted(ids))


def _names(text: _Text | None, c: Any) -> list[Condition]:
    return [] if text is None else [text.has_name(c)]
