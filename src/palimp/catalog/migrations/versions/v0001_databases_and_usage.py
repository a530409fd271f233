"""Databases, usage by day, the processes that report it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from palimp.catalog.columns import word
from palimp.catalog.making import make_table

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make the first tables."""
    make_table(
        "palimp_databases",
        sa.Column("namespace", word(64), primary_key=True),
        sa.Column("profile", word(128), primary_key=True),
        sa.Column("db_id", word(128), nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        *_levels(),
        sa.Column("generation", sa.BigInteger, nullable=False),
    )
    make_table(
        "palimp_usage_daily",
        sa.Column("namespace", word(64), primary_key=True),
        sa.Column("profile", word(128), primary_key=True),
        sa.Column("day", word(16), primary_key=True),
        *_levels(),
        sa.Column("writes", sa.BigInteger, nullable=False),
        sa.Column("recalls", sa.BigInteger, nullable=False),
        sa.Column("model_tokens", sa.BigInteger, nullable=False),
    )
    make_table(
        "palimp_sources",
        sa.Column("source", word(255), primary_key=True),
        sa.Column("number", sa.BigInteger, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
    )
    make_table(
        "palimp_meta",
        sa.Column("key", word(64), primary_key=True),
        sa.Column("value", sa.BigInteger, nullable=False),
    )
    meta = sa.table("palimp_meta", sa.column("key"), sa.column("value"))
    if op.get_bind().scalar(sa.select(meta.c.value)) is None:
        op.bulk_insert(meta, [{"key": "generation", "value": 1}])


def _levels() -> list[sa.Column[int]]:
    names = ("bytes", "memories", "branches", "sampled_at")
    return [sa.Column(name, sa.BigInteger) for name in names]
