"""The tables as the code reads and writes them; `migrations` makes them."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, MetaData, String, Table

__all__ = ["DATABASES", "META", "PENDING", "SOURCES", "USAGE", "VERSION_TABLE"]

# The database may be shared with others: everything of ours begins alike.
VERSION_TABLE = "palimp_catalog_version"
_METADATA = MetaData()

# `generation` is that of the last rebuild that saw the row, or during which it was written.
DATABASES = Table(
    "palimp_databases",
    _METADATA,
    Column("namespace", String, primary_key=True),
    Column("profile", String, primary_key=True),
    Column("db_id", String, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("bytes", BigInteger),
    Column("memories", BigInteger),
    Column("branches", BigInteger),
    Column("sampled_at", BigInteger),
    Column("generation", BigInteger, nullable=False),
)

# Levels hold until the next day that has some; counters are of the day.
USAGE = Table(
    "palimp_usage_daily",
    _METADATA,
    Column("namespace", String, primary_key=True),
    Column("profile", String, primary_key=True),
    Column("day", String, primary_key=True),
    Column("bytes", BigInteger),
    Column("memories", BigInteger),
    Column("branches", BigInteger),
    Column("sampled_at", BigInteger),
    Column("writes", BigInteger, nullable=False),
    Column("recalls", BigInteger, nullable=False),
    Column("model_tokens", BigInteger, nullable=False),
)

# What a database waits for, how many rows of it, and which node saw that. No row: for nothing, or
# nobody knows (`sampled_at` of the database is null then).
PENDING = Table(
    "palimp_pending",
    _METADATA,
    Column("namespace", String, primary_key=True),
    Column("profile", String, primary_key=True),
    Column("work", String, primary_key=True),
    Column("rows", BigInteger, nullable=False),
    Column("since", BigInteger, nullable=False),
    Column("node", String, nullable=False),
    Column("sampled_at", BigInteger, nullable=False),
)

# The last batch of every process: what tells a repeat.
SOURCES = Table(
    "palimp_sources",
    _METADATA,
    Column("source", String, primary_key=True),
    Column("number", BigInteger, nullable=False),
    Column("at", BigInteger, nullable=False),
)

META = Table(
    "palimp_meta",
    _METADATA,
    Column("key", String, primary_key=True),
    Column("value", BigInteger, nullable=False),
)
