"""counts of ended jobs tell their kinds and levels too

Revision ID: 0008
Revises: 0007
"""

from __future__ import annotations

import importlib

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_INT = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_KEY = (
    "{0}.ended_at >> 24, {0}.state, {0}.user, CASE WHEN {0}.executor IN ('scan', 'verify') THEN 'VERIFY'"
    " WHEN {0}.executor = 'transfer' AND EXISTS (SELECT 1 FROM transfers WHERE task_id = {0}.id AND way = 'in') THEN 'GET'"
    " ELSE 'PUT' END, CASE WHEN {0}.priority < 50 THEN 0 WHEN {0}.priority < 100 THEN 50 WHEN {0}.priority < 200 THEN 100"
    " WHEN {0}.priority < 400 THEN 200 WHEN {0}.priority < 800 THEN 400 ELSE 800 END"
)
_SHOWN = "NOT EXISTS (SELECT 1 FROM shown_jobs WHERE task_id = {0}.id AND forgotten = 1)"
_ADD = " ".join(
    (
        "INSERT INTO end_counts SELECT",
        _KEY.format("new"),
        ", 1 WHERE new.ended_at IS NOT NULL AND",
        _SHOWN.format("new"),
        "ON CONFLICT DO UPDATE SET n = n + 1;",
    )
)
_LESS = "UPDATE end_counts SET n = n - 1 WHERE (part, state, user, kind, level) ="
_TAKE = " ".join((_LESS, "(SELECT", _KEY.format("old"), ") AND", _SHOWN.format("old"), ";"))
_STRIKE = " ".join((_LESS, "(SELECT", _KEY.format("tasks"), "FROM tasks WHERE id = new.task_id);"))
_TRIGGERS = {
    "tasks_end_added": f"AFTER INSERT ON tasks WHEN new.ended_at IS NOT NULL BEGIN {_ADD} END",
    "tasks_end_changed": (
        "AFTER UPDATE OF ended_at, state, user, priority ON tasks WHEN old.ended_at IS NOT new.ended_at OR new.ended_at"
        " IS NOT NULL AND (old.state <> new.state OR old.user <> new.user OR old.priority <> new.priority)"
        f" BEGIN {_TAKE} {_ADD} END"
    ),
    "tasks_end_removed": f"BEFORE DELETE ON tasks WHEN old.ended_at IS NOT NULL BEGIN {_TAKE} END",
    "shown_jobs_struck": f"AFTER INSERT ON shown_jobs WHEN new.forgotten = 1 BEGIN {_STRIKE} END",
    "shown_jobs_struck_later": (
        f"AFTER UPDATE OF forgotten ON shown_jobs WHEN new.forgotten > old.forgotten BEGIN {_STRIKE} END"
    ),
}
_COUNT = " ".join(
    (
        "INSERT INTO end_counts SELECT",
        _KEY.format("tasks"),
        ", count(*) FROM tasks WHERE ended_at IS NOT NULL AND",
        _SHOWN.format("tasks"),
        "GROUP BY 1, 2, 3, 4, 5",
    )
)


def upgrade() -> None:
    _drop()
    op.create_table(
        "end_counts",
        sa.Column("part", _INT, autoincrement=False, nullable=False),
        *(sa.Column(name, sa.Text(), nullable=False) for name in ("state", "user", "kind")),
        sa.Column("level", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("n", _INT, nullable=False),
        sa.PrimaryKeyConstraint("part", "state", "user", "kind", "level", name="pk_end_counts"),
        sqlite_with_rowid=False,
    )
    op.execute(_COUNT)
    for name, what in _TRIGGERS.items():
        op.execute(f"CREATE TRIGGER {name} {what}")


def downgrade() -> None:
    _drop()
    importlib.import_module("common.db.migrations.versions.0006_lists_by_ends").make_counts()


def _drop() -> None:
    for name in _TRIGGERS:
        op.execute(f"DROP TRIGGER {name}")
    op.drop_table("end_counts")
