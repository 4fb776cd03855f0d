"""lists of transfers count parts of time, not transfers

Revision ID: 0007
Revises: 0006
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_INT = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_ADD = (
    "INSERT INTO transfer_counts SELECT data_space, created_at >> 24, way, new.user, new.state, new.attempt > 0, 1"
    " FROM transfers WHERE task_id = new.id ON CONFLICT DO UPDATE SET n = n + 1;"
)
_TAKE = (
    "UPDATE transfer_counts SET n = n - 1 WHERE (data_space, part, way) ="
    " (SELECT data_space, created_at >> 24, way FROM transfers WHERE task_id = old.id)"
    " AND user = old.user AND state = old.state AND ran = (old.attempt > 0);"
)
_TRIGGERS = {  # the row of a transfer is written after that of its task, and goes with it
    "transfers_count_added": (
        "AFTER INSERT ON transfers BEGIN INSERT INTO transfer_counts SELECT new.data_space, new.created_at >> 24, new.way,"
        " user, state, attempt > 0, 1 FROM tasks WHERE id = new.task_id ON CONFLICT DO UPDATE SET n = n + 1; END"
    ),
    "tasks_transfer_changed": (
        "AFTER UPDATE OF user, state, attempt ON tasks WHEN new.executor = 'transfer' AND (old.state <> new.state"
        f" OR old.attempt <> new.attempt OR old.user <> new.user) BEGIN {_TAKE} {_ADD} END"
    ),
    "tasks_transfer_removed": f"BEFORE DELETE ON tasks WHEN old.executor = 'transfer' BEGIN {_TAKE} END",
}


def upgrade() -> None:
    op.create_table(
        "transfer_counts",
        sa.Column("data_space", sa.Text(), nullable=False),
        sa.Column("part", _INT, autoincrement=False, nullable=False),
        *(sa.Column(name, sa.Text(), nullable=False) for name in ("way", "user", "state")),
        sa.Column("ran", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("n", _INT, nullable=False),
        sa.PrimaryKeyConstraint("data_space", "part", "way", "user", "state", "ran", name="pk_transfer_counts"),
        sqlite_with_rowid=False,
    )
    op.execute(
        "INSERT INTO transfer_counts SELECT data_space, transfers.created_at >> 24, way, user, state, attempt > 0, count(*)"
        " FROM transfers JOIN tasks ON id = task_id GROUP BY 1, 2, 3, 4, 5, 6"
    )
    for name, what in _TRIGGERS.items():
        op.execute(f"CREATE TRIGGER {name} {what}")
    op.drop_index("ix_transfers_data_space_created_at", table_name="transfers")
    op.create_index("ix_transfers_list", "transfers", ["data_space", "created_at", "repo_id", "repo_name_folded", "way"])


def downgrade() -> None:
    op.drop_index("ix_transfers_list", table_name="transfers")
    op.create_index("ix_transfers_data_space_created_at", "transfers", ["data_space", "created_at"])
    for name in _TRIGGERS:
        op.execute(f"DROP TRIGGER {name}")
    op.drop_table("transfer_counts")
