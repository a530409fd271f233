"""Databases that wait for work, such as embedding."""

from __future__ import annotations

import sqlalchemy as sa

from palimp.catalog.columns import word
from palimp.catalog.making import make_table

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Make the table; what is pending shows itself when databases are looked into."""
    make_table(
        "palimp_pending",
        sa.Column("namespace", word(64), primary_key=True),
        sa.Column("profile", word(128), primary_key=True),
        sa.Column("work", word(32), primary_key=True),
        sa.Column("rows", sa.BigInteger, nullable=False),
        sa.Column("since", sa.BigInteger, nullable=False),
        sa.Column("node", word(255), nullable=False),
        sa.Column("sampled_at", sa.BigInteger, nullable=False),
    )
