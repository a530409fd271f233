"""What dialects keep that is of passing interest."""

from __future__ import annotations

import sqlalchemy as sa

from palimp.catalog.columns import LONG, Exact, word
from palimp.catalog.making import make_table

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Make the table."""
    make_table(
        "palimp_notes",
        sa.Column("dialect", word(32), primary_key=True),
        sa.Column("scope", Exact(512), primary_key=True),
        sa.Column("key", Exact(256), primary_key=True),
        sa.Column("value", LONG, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("updated_at", sa.BigInteger, nullable=False),
    )
