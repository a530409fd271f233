"""Leases of nodes, and the databases attached to them."""

from __future__ import annotations

import sqlalchemy as sa

from palimp.catalog.columns import LONG, word
from palimp.catalog.making import make_index, make_table

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Make the tables; every node takes its lease when it starts."""
    make_table(
        "palimp_lease_nodes",
        sa.Column("cluster", word(128), primary_key=True),
        sa.Column("node", word(255), primary_key=True),
        sa.Column("lease", word(64), nullable=False),
        sa.Column("record", LONG, nullable=False),
        sa.Column("ttl_ms", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
    )
    make_table(
        "palimp_lease_owners",
        sa.Column("cluster", word(128), primary_key=True),
        sa.Column("name", word(255), primary_key=True),
        sa.Column("lease", word(64), nullable=False),
        sa.Column("changed", sa.BigInteger, nullable=False),
        sa.Column("changed_at", sa.BigInteger, nullable=False),
    )
    make_index("palimp_lease_changes", "palimp_lease_owners", ["cluster", "changed"])
