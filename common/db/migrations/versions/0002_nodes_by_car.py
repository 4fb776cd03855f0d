"""directory nodes are kept for each CAR

Revision ID: 0002
Revises: 0001
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_INT = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    _make_anew(sa.PrimaryKeyConstraint("directory_id", "car_id", name="pk_directory_nodes"), sqlite_with_rowid=False)


def downgrade() -> None:
    op.execute("DELETE FROM directory_nodes WHERE car_id NOT IN (SELECT id FROM cars)")
    op.execute(
        "DELETE FROM directory_nodes WHERE car_id < (SELECT max(o.car_id) FROM directory_nodes o"
        " WHERE o.directory_id = directory_nodes.directory_id)"
    )
    _make_anew(sa.PrimaryKeyConstraint("directory_id", name="pk_directory_nodes"))


def _make_anew(key: sa.PrimaryKeyConstraint, **options: bool) -> None:
    op.rename_table("directory_nodes", "directory_nodes_before")
    op.create_table(
        "directory_nodes",
        sa.Column("directory_id", _INT, autoincrement=False, nullable=False),
        sa.Column("car_id", _INT, autoincrement=False, nullable=False),
        sa.Column("cid", sa.LargeBinary(), nullable=False),
        sa.Column("tsize", _INT, nullable=False),
        key,
        **options,
    )
    op.execute("INSERT INTO directory_nodes SELECT directory_id, car_id, cid, tsize FROM directory_nodes_before")
    op.drop_table("directory_nodes_before")
