"""Keys of other systems' clients, and what their dialects keep that is no memory."""

from __future__ import annotations

import sqlalchemy as sa

from palimp.catalog.columns import LONG, Exact, word
from palimp.catalog.making import make_index, make_table

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Make the tables."""
    make_table(
        "palimp_credentials",
        sa.Column("id", word(64), primary_key=True),
        sa.Column("dialect", word(32), nullable=False),
        sa.Column("subject", Exact(256), nullable=False),
        sa.Column("name", word(256), nullable=False),
        sa.Column("prefix", word(32), nullable=False),
        sa.Column("hash", word(64), nullable=False),
        sa.Column("detail", LONG, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.BigInteger),
        sa.Column("last_used_at", sa.BigInteger),
        sa.Column("revoked_at", sa.BigInteger),
    )
    columns = ["dialect", "hash"]
    make_index("palimp_credentials_hash", "palimp_credentials", columns, unique=True)
    columns = ["dialect", "subject", "created_at"]
    make_index("palimp_credentials_subject", "palimp_credentials", columns)
    make_table(
        "palimp_bindings",
        sa.Column("dialect", word(32), primary_key=True),
        sa.Column("scope", Exact(512), primary_key=True),
        sa.Column("key", Exact(256), primary_key=True),
        sa.Column("value", LONG, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("updated_at", sa.BigInteger, nullable=False),
    )
