"""The tables as the code reads and writes them; `migrations` makes them."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, MetaData, String, Table

from .columns import Exact

__all__ = [
    "BINDINGS",
    "CREDENTIALS",
    "DATABASES",
    "LOCKS",
    "META",
    "NOTES",
    "PENDING",
    "SOURCES",
    "TASKS",
    "TASK_ITEMS",
    "USAGE",
    "VERSION_TABLE",
]

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
    Column("text", String),
)

# A row stays when its lock is released: its token never falls.
LOCKS = Table(
    "palimp_locks",
    _METADATA,
    Column("name", String, primary_key=True),
    Column("holder", String, nullable=False),
    Column("token", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
)

# `token` rises with every runner; what one of a lower token would note is refused. `seen_at` is
# when its runner was heard of last, `walked` whether every profile was come to once.
TASKS = Table(
    "palimp_tasks",
    _METADATA,
    Column("id", String, primary_key=True),
    Column("kind", String, nullable=False),
    Column("spec", String, nullable=False),
    Column("state", String, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("created_by", String, nullable=False),
    Column("runner", String),
    Column("token", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Column("seen_at", BigInteger),
    Column("cursor", String),
    Column("walked", Boolean, nullable=False),
    Column("done", BigInteger, nullable=False),
    Column("failed", BigInteger, nullable=False),
    Column("total", BigInteger),
    Column("result", String, nullable=False),
    Column("message", String),
    Column("started_at", BigInteger),
    Column("finished_at", BigInteger),
)

# Profiles of a task that are to be tried again (`due_at`), or have failed for good.
TASK_ITEMS = Table(
    "palimp_task_items",
    _METADATA,
    Column("task", String, primary_key=True),
    Column("namespace", String, primary_key=True),
    Column("profile", String, primary_key=True),
    Column("failed", Boolean, nullable=False),
    Column("attempts", BigInteger, nullable=False),
    Column("due_at", BigInteger, nullable=False),
    Column("message", String, nullable=False),
)

# Keys of other systems' clients. Those that were revoked stay: a dialect of which there ever was a
# key asks for one.
CREDENTIALS = Table(
    "palimp_credentials",
    _METADATA,
    Column("id", String, primary_key=True),
    Column("dialect", String, nullable=False),
    Column("subject", Exact(256), nullable=False),
    Column("name", String, nullable=False),
    Column("prefix", String, nullable=False),
    Column("hash", String, nullable=False),
    Column("detail", String, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger),
    Column("last_used_at", BigInteger),
    Column("revoked_at", BigInteger),
)


def _values(name: str) -> Table:
    """Return a table of values under keys. `scope` is whose it is, empty for everybody's."""
    return Table(
        name,
        _METADATA,
        Column("dialect", String, primary_key=True),
        Column("scope", Exact(512), primary_key=True),
        Column("key", Exact(256), primary_key=True),
        Column("value", String, nullable=False),
        Column("version", BigInteger, nullable=False),
        Column("updated_at", BigInteger, nullable=False),
    )


# What dialects keep that is no memory. What was removed has an empty value: its version stays.
BINDINGS = _values("palimp_bindings")
# The same for what is of passing interest, and is nowhere else.
NOTES = _values("palimp_notes")
