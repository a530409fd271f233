"""Leases of nodes, and the databases attached to them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Make the tables; every node takes its lease when it starts."""
    op.create_table(
        "palimp_lease_nodes",
        sa.Column("cluster", sa.String, primary_key=True),
        sa.Column("node", sa.String, primary_key=True),
        sa.Column("lease", sa.String, nullable=False),
        sa.Column("record", sa.String, nullable=False),
        sa.Column("ttl_ms", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "palimp_lease_owners",
        sa.Column("cluster", sa.String, primary_key=True),
        sa.Column("name", sa.String, primary_key=True),
        sa.Column("lease", sa.String, nullable=False),
        sa.Column("changed", sa.BigInteger, nullable=False),
        sa.Column("changed_at", sa.BigInteger, nullable=False),
    )
    op.create_index("palimp_lease_changes", "palimp_lease_owners", ["cluster", "changed"])
