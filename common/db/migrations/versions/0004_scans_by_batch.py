"""what a scan registered is kept batch by batch

Revision ID: 0004
Revises: 0003
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_INT = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_BATCHES = """
WITH registered AS (
    SELECT s.task_id, s.attachment_id, f.id,
        f.id - row_number() OVER (PARTITION BY s.task_id ORDER BY f.id) AS run,
        row_number() OVER (PARTITION BY s.task_id ORDER BY f.id) - 1 AS before
    FROM scans_before s JOIN files f
        ON f.id BETWEEN s.first_file_id AND s.last_file_id AND f.attachment_id = s.attachment_id
)
INSERT INTO scans (task_id, before, attachment_id, first_file_id, files)
SELECT task_id, min(before), attachment_id, min(id), count(*) FROM registered GROUP BY task_id, attachment_id, run
"""


def upgrade() -> None:
    op.rename_table("scans", "scans_before")
    op.create_table(
        "scans",
        sa.Column("task_id", _INT, autoincrement=False, nullable=False),
        sa.Column("before", _INT, autoincrement=False, nullable=False),
        sa.Column("attachment_id", _INT, nullable=False),
        sa.Column("first_file_id", _INT, nullable=False),
        sa.Column("files", _INT, nullable=False),
        sa.PrimaryKeyConstraint("task_id", "before", name="pk_scans"),
        sqlite_with_rowid=False,
    )
    op.execute(_BATCHES)
    op.drop_table("scans_before")


def downgrade() -> None:
    op.rename_table("scans", "scans_after")
    op.create_table(
        "scans",
        sa.Column("task_id", _INT, autoincrement=False, nullable=False),
        sa.Column("attachment_id", _INT, nullable=False),
        sa.Column("first_file_id", _INT, nullable=False),
        sa.Column("last_file_id", _INT, nullable=False),
        sa.PrimaryKeyConstraint("task_id", name="pk_scans"),
    )
    op.execute(
        "INSERT INTO scans SELECT task_id, attachment_id, min(first_file_id), max(first_file_id + files - 1)"
        " FROM scans_after GROUP BY task_id, attachment_id"
    )
    op.drop_table("scans_after")
