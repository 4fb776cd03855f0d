"""Lists of tasks: a page of those that a filter selects, and how many they are, in a database of any size.

How many there are of each kind in each part of the ids is kept by the database itself (``task_counts``, by triggers):
counting reads some thousand rows, and tells in which part a page begins. From there it is found by the index of the one
thing that was asked for, by the index of the rarest one when that leaves few tasks, else by a walk over ``ix_tasks_list``,
which holds all that a filter asks for. Only dates are counted, and walked to, task by task, from the nearer end.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from sqlalchemy import and_, func, literal_column, or_, select
from sqlalchemy.sql import ColumnElement

from common.db import tables as t
from common.db import tasks
from common.db.sql import Sql, Tx
from common.task import State, Task

Condition = ColumnElement[bool]

_PART_BITS = 17  # as the triggers have it
_FEW = 20_000  # tasks that are quicker read and sorted than found on a walk
_LIST, _DATES, _REASONS = "ix_tasks_list", "ix_tasks_created_at", "ix_tasks_reason"


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
    def _counted(self) -> bool:
        """Whether ``task_counts`` (and the reasons) tell how many there are."""
        return self.ids is None and self.parent_id is None and not self._dated

    @property
    def _kinds(self) -> int:
        """How many of the things are asked for that ``task_counts`` tells apart."""
        asked = (self.user, self.seen, self.creator, self.executor, self.top_level or None)
        return sum(value is not None for value in asked)


_c, _n = t.tasks.c, t.task_counts.c
_COLUMNS = [_c[f.name] for f in fields(Task)]
_part: ColumnElement[int] = _c.id.op(">>", is_comparison=False)(literal_column(str(_PART_BITS)))
_COUNTS = Sql(select(_n.state, func.sum(_n.n)).where(_n.n > 0).group_by(_n.state))


def page(tx: Tx, which: TaskFilter, offset: int, limit: int, *, oldest_first: bool = False) -> tuple[list[Task], int]:
    """Return a page of the tasks that are selected, newest first, and the number of all; both of one moment."""
    tx.connection.execute("BEGIN")
    try:
        parts = _parts(tx, which) if which._counted else {}
        total = sum(parts.values()) if which._counted else _count(tx, which)
        if offset >= total or limit < 1:
            return [], total
        take = min(limit, total - offset)
        behind = total - offset - take
        from_the_end = behind < offset
        ids = _ids(tx, which, min(offset, behind), take, ascending=oldest_first != from_the_end, parts=parts)
        rows = tx.query(select(*_COLUMNS).where(_c.id.in_(ids)).order_by(_c.id if oldest_first else _c.id.desc()))
        return [tasks.from_row(row) for row in rows], total
    finally:
        tx.connection.execute("COMMIT")


def ids(tx: Tx, which: TaskFilter) -> list[int]:
    """Return the ids of all tasks that are selected, newest first."""
    return _ids(tx, which, 0, -1, ascending=False)


def counts(tx: Tx) -> dict[State, int]:
    """Number of tasks in each state."""
    return {State(s): n for s, n in tx.all(_COUNTS)}


# ---- how many -----------------------------------------------------------------------------------------------------


def _parts(tx: Tx, which: TaskFilter) -> dict[int, int]:
    """Return how many tasks are selected in each part of the ids."""
    names = [] if which.text is None else [_in_names(which.text)]
    counted = select(_n.part, func.sum(_n.n)).where(_n.n > 0, *_kinds(which, _n), *names).group_by(_n.part)
    found = Counter(dict(tx.query(counted)))
    if which.text is not None:
        others = [*_kinds(which, _c), *(~names for names in _of_names(tx, which.text))]
        said = _by(select(_part, func.count()).select_from(t.tasks), _REASONS)
        found.update(dict(tx.query(said.where(*_in_reason(which.text), *others).group_by(_part))))
        if which.named is not None:
            unsaid = func.coalesce(and_(*_in_reason(which.text)), 0) == 0
            found[which.named >> _PART_BITS] += _count_rows(tx, [_c.id == which.named, unsaid, *others], None)
    return found


def _count(tx: Tx, which: TaskFilter) -> int:
    if which._dated and which.ids is None and which.parent_id is None:
        if which.text is None and which._kinds == (which.user is not None):
            return _count_dated(tx, which)
        return _count_rows(tx, _conditions(tx, which), _index(tx, which))
    return _count_rows(tx, _conditions(tx, which), None)


def _count_dated(tx: Tx, which: TaskFilter) -> int:
    """Count by the dates' index what lies between two dates, or what does not, whichever is less."""
    first, last = _near(tx, which.created_from), _near(tx, which.created_to)
    if which.created_from is not None and first is None:
        return 0
    newest = tx.query(select(func.max(_c.id)))[0][0] or 0
    if (last or newest) - (first or 0) <= newest // 2:
        return _count_rows(tx, _conditions(tx, which), _DATES)
    found = _tally(tx, _kinds(which, _n))
    if which.created_from is not None:
        found -= _count_rows(tx, [*_kinds(which, _c), _c.created_at < which.created_from], _DATES)
    if which.created_to is not None:
        found -= _count_rows(tx, [*_kinds(which, _c), _c.created_at >= which.created_to], _DATES)
    return found


def _near(tx: Tx, at: int | None) -> int | None:
    """Return the id of the first task of a date, where there is one."""
    if at is None:
        return None
    rows = tx.query(select(_c.id).where(_c.created_at >= at).order_by(_c.created_at).limit(1))
    return rows[0][0] if rows else None


def _tally(tx: Tx, conditions: Sequence[Condition]) -> int:
    return int(tx.query(select(func.coalesce(func.sum(_n.n), 0)).where(*conditions))[0][0])


def _count_rows(tx: Tx, conditions: Sequence[Condition], index: str | None) -> int:
    return int(tx.query(_by(select(func.count()).select_from(t.tasks), index).where(*conditions))[0][0])


# ---- which --------------------------------------------------------------------------------------------------------


def _ids(
    tx: Tx, which: TaskFilter, offset: int, limit: int, *, ascending: bool, parts: Mapping[int, int] | None = None
) -> list[int]:
    statement = _by(select(_c.id), _index(tx, which)).where(*_conditions(tx, which))
    for part in sorted(parts or {}, reverse=not ascending):
        if offset < (parts or {})[part]:
            statement = statement.where(_c.id >= part << _PART_BITS if ascending else _c.id < (part + 1) << _PART_BITS)
            break
        offset -= (parts or {})[part]
    ordered = statement.order_by(_c.id if ascending else _c.id.desc())
    return [row[0] for row in tx.query(ordered.offset(offset).limit(limit))]


def _by(statement: Any, index: str | None) -> Any:
    return statement if index is None else statement.with_hint(t.tasks, f"INDEXED BY {index}", "sqlite")


def _index(tx: Tx, which: TaskFilter) -> str | None:
    """Return the index to find a page by; None = the database may choose, there are few."""
    if which.ids is not None or which.parent_id is not None:
        return None
    if which.text is not None and _tally(tx, [_in_names(which.text)]) <= _FEW:
        return None
    indexes = _own_indexes(which)
    if len(indexes) == which._kinds == 1 and not which._dated and which.text is None and len(which.seen or (0,)) == 1:
        return next(iter(indexes))
    few = [(n, name) for name, part in indexes.items() if (n := _tally(tx, _kinds(part, _n))) <= _FEW]
    if which._dated and (n := _dated_at_most(tx, which, _FEW + 1)) <= _FEW:
        few.append((n, _DATES))
    return min(few)[1] if few else _LIST


def _dated_at_most(tx: Tx, which: TaskFilter, most: int) -> int:
    """How many tasks there are between the dates, counted up to ``most``."""
    dates = TaskFilter(created_from=which.created_from, created_to=which.created_to)
    some = _by(select(_c.id), _DATES).where(*_conditions(tx, dates)).limit(most).subquery()
    return int(tx.query(select(func.count()).select_from(some))[0][0])


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


def _conditions(tx: Tx, which: TaskFilter) -> list[Condition]:
    found = _kinds(which, _c)
    if which.ids is not None:
        found.append(_c.id.in_(list(which.ids)))
    if which.created_from is not None:
        found.append(_c.created_at >= which.created_from)
    if which.created_to is not None:
        found.append(_c.created_at < which.created_to)
    if which.parent_id is not None:
        found.append(_c.parent_id == which.parent_id)
    if which.text is not None and _tally(tx, [~_in_names(which.text)]):  # else it selects everything
        said = _by(select(_c.id), _REASONS).where(*_in_reason(which.text))
        parts = [*_of_names(tx, which.text), _c.id.in_(said)]
        found.append(or_(*parts) if which.named is None else or_(*parts, _c.id == which.named))
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


def _in_names(text: str) -> Condition:
    return or_(*(column.contains(text, autoescape=True) for column in (_n.user, _n.creator, _n.executor)))


def _of_names(tx: Tx, text: str) -> list[Condition]:
    """The same by the names themselves, which an index can find."""
    found: list[Condition] = []
    for mine, counted in ((_c.user, _n.user), (_c.creator, _n.creator), (_c.executor, _n.executor)):
        names = [row[0] for row in tx.query(select(counted).where(counted.contains(text, autoescape=True)).distinct())]
        if names:
            found.append(mine.in_(names))
    return found


def _in_reason(text: str) -> list[Condition]:
    return [_c.reason.is_not(None), _c.reason.contains(text, autoescape=True)]
