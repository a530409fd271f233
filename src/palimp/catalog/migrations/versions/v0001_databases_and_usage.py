"""Databases, usage by day, the processes that report it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make the first tables."""
    op.create_table(
        "palimp_databases",
        sa.Column("namespace", sa.String, primary_key=True),
        sa.Column("profile", sa.String, primary_key=True),
        sa.Column("db_id", sa.String, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        *_levels(),
        sa.Column("generation", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "palimp_usage_daily",
        sa.Column("namespace", sa.String, primary_key=True),
        sa.Column("profile", sa.String, primary_key=True),
        sa.Column("day", sa.String, primary_key=True),
        *_levels(),
        sa.Column("writes", sa.BigInteger, nullable=False),
        sa.Column("recalls", sa.BigInteger, nullable=False),
        sa.Column("model_tokens", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "palimp_sources",
        sa.Column("source", sa.String, primary_key=True),
        sa.Column("number", sa.BigInteger, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
    )
    meta = op.create_table(
        "palimp_meta",
        sa.Column("key", sa.String, primary_key=True),
        sa.Column("value", sa.BigInteger, nullable=False),
    )
    op.bulk_insert(meta, [{"key": "generation", "value": 1}])


def _levels() -> list[sa.Column[int]]:
    names = ("bytes", "memories", "branches", "sampled_at")
    return [sa.Column(name, sa.BigInteger) for name in names]
