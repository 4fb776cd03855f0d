"""lists and counts stay quick with a million tasks

Revision ID: 0003
Revises: 0002
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_INT = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_KINDS = ("user", "creator", "executor", "state")
_ADD = (
    "INSERT INTO task_counts VALUES (new.id >> 17, new.user, new.creator, new.executor, new.state, new.attempt > 0,"
    " new.parent_id IS NULL, 1) ON CONFLICT DO UPDATE SET n = n + 1;"
)
_TAKE = (
    "UPDATE task_counts SET n = n - 1 WHERE part = old.id >> 17 AND user = old.user AND creator = old.creator"
    " AND executor = old.executor AND state = old.state AND ran = (old.attempt > 0) AND top = (old.parent_id IS NULL);"
)


def upgrade() -> None:
    op.create_table(
        "task_counts",
        sa.Column("part", _INT, autoincrement=False, nullable=False),
        *(sa.Column(name, sa.Text(), nullable=False) for name in _KINDS),
        sa.Column("ran", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("top", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("n", _INT, nullable=False),
        sa.PrimaryKeyConstraint("part", *_KINDS, "ran", "top", name="pk_task_counts"),
        sqlite_with_rowid=False,
    )
    op.execute(
        "INSERT INTO task_counts SELECT id >> 17, user, creator, executor, state, attempt > 0, parent_id IS NULL, count(*)"
        " FROM tasks GROUP BY 1, 2, 3, 4, 5, 6, 7"
    )
    op.execute(f"CREATE TRIGGER tasks_count_added AFTER INSERT ON tasks BEGIN {_ADD} END")
    op.execute(f"CREATE TRIGGER tasks_count_removed AFTER DELETE ON tasks BEGIN {_TAKE} END")
    op.execute(
        "CREATE TRIGGER tasks_count_changed AFTER UPDATE OF user, creator, executor, state, attempt, parent_id ON tasks"
        " WHEN old.state <> new.state OR old.attempt <> new.attempt OR old.user <> new.user OR old.creator <> new.creator"
        " OR old.executor <> new.executor OR old.parent_id IS NOT new.parent_id"
        f" BEGIN {_TAKE} {_ADD} END"
    )
    op.drop_index("ix_tasks_created_at", table_name="tasks")
    op.create_index("ix_tasks_created_at", "tasks", ["created_at", "user"])
    op.create_index(
        "ix_tasks_list", "tasks", ["id", "user", "state", "attempt", "creator", "executor", "created_at", "parent_id"]
    )
    op.create_index(
        "ix_tasks_reason",
        "tasks",
        ["reason", "user", "state", "attempt", "creator", "executor", "parent_id"],
        sqlite_where=sa.text("reason IS NOT NULL"),
    )
    op.create_index("ix_logs_unsettled", "logs", ["task_id"], sqlite_where=sa.text('"offset" > 0 AND length(body) > 0'))


def downgrade() -> None:
    op.drop_index("ix_logs_unsettled", table_name="logs")
    op.drop_index("ix_tasks_reason", table_name="tasks")
    op.drop_index("ix_tasks_list", table_name="tasks")
    op.drop_index("ix_tasks_created_at", table_name="tasks")
    op.create_index("ix_tasks_created_at", "tasks", ["created_at"])
    for name in ("added", "removed", "changed"):
        op.execute(f"DROP TRIGGER tasks_count_{name}")
    op.drop_table("task_counts")
