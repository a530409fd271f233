"""Locks and tasks that all nodes share, and which store a catalog is of."""

from __future__ import annotations

import sqlalchemy as sa

from palimp.catalog.columns import LONG, word
from palimp.catalog.making import add_column, make_table

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Make the tables; a catalog that has none yet is of the first store that asks."""
    add_column("palimp_meta", sa.Column("text", LONG))
    make_table(
        "palimp_locks",
        sa.Column("name", word(255), primary_key=True),
        sa.Column("holder", word(512), nullable=False),
        sa.Column("token", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
    )
    make_table(
        "palimp_tasks",
        sa.Column("id", word(64), primary_key=True),
        sa.Column("kind", word(32), nullable=False),
        sa.Column("spec", LONG, nullable=False),
        sa.Column("state", word(16), nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("created_by", word(255), nullable=False),
        sa.Column("runner", word(512)),
        sa.Column("token", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
        sa.Column("seen_at", sa.BigInteger),
        sa.Column("cursor", word(512)),
        sa.Column("walked", sa.Boolean, nullable=False),
        sa.Column("done", sa.BigInteger, nullable=False),
        sa.Column("failed", sa.BigInteger, nullable=False),
        sa.Column("total", sa.BigInteger),
        sa.Column("result", LONG, nullable=False),
        sa.Column("message", LONG),
        sa.Column("started_at", sa.BigInteger),
        sa.Column("finished_at", sa.BigInteger),
    )
    make_table(
        "palimp_task_items",
        sa.Column("task", word(64), primary_key=True),
        sa.Column("namespace", word(64), primary_key=True),
        sa.Column("profile", word(128), primary_key=True),
        sa.Column("failed", sa.Boolean, nullable=False),
        sa.Column("attempts", sa.BigInteger, nullable=False),
        sa.Column("due_at", sa.BigInteger, nullable=False),
        sa.Column("message", LONG, nullable=False),
    )
