"""Databases that wait for work, such as embedding."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Make the table; what is pending shows itself when databases are looked into."""
    op.create_table(
        "palimp_pending",
        sa.Column("namespace", sa.String, primary_key=True),
        sa.Column("profile", sa.String, primary_key=True),
        sa.Column("work", sa.String, primary_key=True),
        sa.Column("rows", sa.BigInteger, nullable=False),
        sa.Column("since", sa.BigInteger, nullable=False),
        sa.Column("node", sa.String, nullable=False),
        sa.Column("sampled_at", sa.BigInteger, nullable=False),
    )
