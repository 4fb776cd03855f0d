"""lists by dates count parts, not tasks

Revision ID: 0005
Revises: 0004
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_INT = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_NOTE = (
    "INSERT INTO task_spans VALUES (new.id >> 17, new.created_at >> 16, new.created_at >> 16) ON CONFLICT DO UPDATE"
    " SET oldest = min(oldest, excluded.oldest), newest = max(newest, excluded.newest)"
    " WHERE excluded.oldest < oldest OR excluded.newest > newest;"
)
_REASON = ("reason", "user", "state", "attempt", "creator", "executor", "parent_id")


def upgrade() -> None:
    op.create_table(
        "task_spans",
        sa.Column("part", _INT, autoincrement=False, nullable=False),
        sa.Column("oldest", _INT, nullable=False),
        sa.Column("newest", _INT, nullable=False),
        sa.PrimaryKeyConstraint("part", name="pk_task_spans"),
    )
    op.execute(
        "INSERT INTO task_spans SELECT id >> 17, min(created_at) >> 16, max(created_at) >> 16"
        " FROM tasks INDEXED BY ix_tasks_list GROUP BY 1"
    )
    op.execute(f"CREATE TRIGGER tasks_span_added AFTER INSERT ON tasks BEGIN {_NOTE} END")
    op.execute(f"CREATE TRIGGER tasks_span_changed AFTER UPDATE OF created_at ON tasks BEGIN {_NOTE} END")
    op.drop_index("ix_tasks_created_at", table_name="tasks")
    _make_reason_anew([*_REASON[:-1], "created_at", _REASON[-1]])


def downgrade() -> None:
    _make_reason_anew(list(_REASON))
    op.create_index("ix_tasks_created_at", "tasks", ["created_at", "user"])
    for name in ("added", "changed"):
        op.execute(f"DROP TRIGGER tasks_span_{name}")
    op.drop_table("task_spans")


def _make_reason_anew(columns: list[str]) -> None:
    op.drop_index("ix_tasks_reason", table_name="tasks")
    op.create_index("ix_tasks_reason", "tasks", columns, sqlite_where=sa.text("reason IS NOT NULL"))
