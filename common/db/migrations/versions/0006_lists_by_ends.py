"""lists of ended jobs count parts of time, not tasks

Revision ID: 0006
Revises: 0005
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_INT = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_ADD = (
    "INSERT INTO end_counts SELECT new.ended_at >> 24, new.state, new.user, 1 WHERE new.ended_at IS NOT NULL"
    " AND NOT EXISTS (SELECT 1 FROM shown_jobs WHERE task_id = new.id AND forgotten = 1)"
    " ON CONFLICT DO UPDATE SET n = n + 1;"
)
_TAKE = (
    "UPDATE end_counts SET n = n - 1 WHERE part = old.ended_at >> 24 AND state = old.state AND user = old.user"
    " AND NOT EXISTS (SELECT 1 FROM shown_jobs WHERE task_id = old.id AND forgotten = 1);"
)
_STRIKE = (
    "UPDATE end_counts SET n = n - 1"
    " WHERE (part, state, user) = (SELECT ended_at >> 24, state, user FROM tasks WHERE id = new.task_id);"
)
_TRIGGERS = {
    "tasks_end_added": f"AFTER INSERT ON tasks WHEN new.ended_at IS NOT NULL BEGIN {_ADD} END",
    "tasks_end_changed": (
        "AFTER UPDATE OF ended_at, state, user ON tasks WHEN old.ended_at IS NOT new.ended_at"
        " OR new.ended_at IS NOT NULL AND (old.state <> new.state OR old.user <> new.user)"
        f" BEGIN {_TAKE} {_ADD} END"
    ),
    "tasks_end_removed": f"BEFORE DELETE ON tasks WHEN old.ended_at IS NOT NULL BEGIN {_TAKE} END",
    "shown_jobs_struck": f"AFTER INSERT ON shown_jobs WHEN new.forgotten = 1 BEGIN {_STRIKE} END",
    "shown_jobs_struck_later": (
        f"AFTER UPDATE OF forgotten ON shown_jobs WHEN new.forgotten > old.forgotten BEGIN {_STRIKE} END"
    ),
}


def upgrade() -> None:
    op.drop_index("ix_tasks_ended_at", table_name="tasks")
    op.create_index(
        "ix_tasks_ended_at",
        "tasks",
        ["ended_at", "id", "state", "user", "execute_user", "priority", "executor"],
        sqlite_where=sa.text("ended_at IS NOT NULL"),
    )
    op.create_index("ix_tasks_proxied", "tasks", ["execute_user"], sqlite_where=sa.text("execute_user != user"))
    op.create_index("ix_shown_jobs_forgotten", "shown_jobs", ["task_id"], sqlite_where=sa.text("forgotten = 1"))
    make_counts()


def make_counts() -> None:
    """Make the table, fill it, and keep it by triggers."""
    op.create_table(
        "end_counts",
        sa.Column("part", _INT, autoincrement=False, nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("user", sa.Text(), nullable=False),
        sa.Column("n", _INT, nullable=False),
        sa.PrimaryKeyConstraint("part", "state", "user", name="pk_end_counts"),
        sqlite_with_rowid=False,
    )
    op.execute(
        "INSERT INTO end_counts SELECT ended_at >> 24, state, user, count(*) FROM tasks WHERE ended_at IS NOT NULL"
        " AND id NOT IN (SELECT task_id FROM shown_jobs WHERE forgotten = 1) GROUP BY 1, 2, 3"
    )
    for name, what in _TRIGGERS.items():
        op.execute(f"CREATE TRIGGER {name} {what}")


def downgrade() -> None:
    for name in _TRIGGERS:
        op.execute(f"DROP TRIGGER {name}")
    op.drop_table("end_counts")
    op.drop_index("ix_shown_jobs_forgotten", table_name="shown_jobs")
    op.drop_index("ix_tasks_proxied", table_name="tasks")
    op.drop_index("ix_tasks_ended_at", table_name="tasks")
    op.create_index("ix_tasks_ended_at", "tasks", ["ended_at"])
