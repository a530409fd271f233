"""The tables of a profile. Their names begin with `__palimp_`, which user SQL cannot reach.

One row is one memory. Columns that nothing fills yet belong to the memory model of the design and
stand here so that files written now can be read by what fills them.
"""

from __future__ import annotations

import apsw

from ..errors import Unavailable

__all__ = [
    "SCHEMA_VERSION",
    "TIMELINE",
    "check_schema",
    "memories_table",
    "prepare",
    "prepare_timeline",
]

SCHEMA_VERSION = 1

# `handle` is AUTOINCREMENT: a number is never given to a second memory, so that a cached vector
# index cannot mistake a new row for a forgotten one.
_MEMORIES = """
CREATE TABLE __palimp_memories (
    handle INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    type TEXT NOT NULL CHECK (type IN ('fact', 'event', 'instruction', 'task')),
    kind TEXT,
    topic TEXT,
    text NOT NULL,
    content,
    keywords,
    tags TEXT,
    metadata,
    source TEXT,
    session TEXT,
    agent TEXT,
    speaker TEXT,
    project TEXT,
    environment TEXT,
    importance REAL,
    confidence REAL,
    trust TEXT,
    observed_at INTEGER,
    created_at INTEGER NOT NULL,
    occurred_at INTEGER NOT NULL,
    activated_at INTEGER NOT NULL,
    superseded_by INTEGER,
    superseded_at INTEGER,
    expires_at INTEGER,
    state TEXT NOT NULL DEFAULT 'active',
    memory_tier TEXT,
    access_count INTEGER NOT NULL DEFAULT 0,
    last_accessed_at INTEGER,
    derived_from TEXT,
    source_span TEXT,
    dedup_key TEXT,
    flags TEXT
)
"""

# At most one active memory a topic: the rule of supersession, held by the database itself.
_INDEXES = (
    """CREATE UNIQUE INDEX __palimp_active_topic ON __palimp_memories (type, topic)
    WHERE topic IS NOT NULL AND superseded_at IS NULL AND state = 'active'""",
    """CREATE INDEX __palimp_topic ON __palimp_memories (topic, activated_at)
    WHERE topic IS NOT NULL""",
    """CREATE INDEX __palimp_superseded_by ON __palimp_memories (superseded_by)
    WHERE superseded_by IS NOT NULL""",
    """CREATE INDEX __palimp_session ON __palimp_memories (session, type, occurred_at, handle)
    WHERE session IS NOT NULL""",
    """CREATE INDEX __palimp_expires ON __palimp_memories (expires_at)
    WHERE expires_at IS NOT NULL""",
)

# Made by the first event: a profile without events pays nothing. The columns behind the handle are
# what listings narrow by, so that a row is not read to be passed over.
TIMELINE = "__palimp_timeline"
_TIMELINE = f"""CREATE INDEX IF NOT EXISTS {TIMELINE} ON __palimp_memories
(occurred_at, handle, agent, kind, source, expires_at)
WHERE type = 'event' AND state = 'active' AND superseded_at IS NULL"""

_SESSIONS = """
CREATE TABLE __palimp_sessions (
    id TEXT PRIMARY KEY,
    created_at INTEGER NOT NULL,
    last_active_at INTEGER NOT NULL,
    last_seq INTEGER NOT NULL DEFAULT 0,
    ended_at INTEGER,
    listed INTEGER NOT NULL DEFAULT 1
) WITHOUT ROWID
"""
_SESSION_INDEX = """CREATE INDEX __palimp_session_active
ON __palimp_sessions (last_active_at, id) WHERE listed"""

_TURNS = """
CREATE TABLE __palimp_turns (
    handle INTEGER PRIMARY KEY AUTOINCREMENT,
    session TEXT NOT NULL,
    seq INTEGER NOT NULL,
    role TEXT NOT NULL,
    speaker TEXT,
    content NOT NULL,
    at INTEGER,
    created_at INTEGER NOT NULL,
    UNIQUE (session, seq)
)
"""

_MODELS = """
CREATE TABLE __palimp_models (
    model INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    dimensions INTEGER NOT NULL
)
"""

# Up to which handle every row has a vector of a model. It is derived from the rows, written in the
# transactions that change them, and so rewinds and forks with them.
_EMBEDDED = """
CREATE TABLE __palimp_embedded (
    corpus TEXT NOT NULL,
    model INTEGER NOT NULL,
    upto INTEGER NOT NULL,
    PRIMARY KEY (corpus, model)
) WITHOUT ROWID
"""


def _fts(corpus: str) -> tuple[str, str]:
    # Contentless: the words stand in the rows already, and a sealed one must not stand in plain.
    # secure-delete: without it a forgotten word stays in the file until a merge happens to drop it.
    name = f"__palimp_{corpus}_fts"
    return (
        f"""CREATE VIRTUAL TABLE {name} USING fts5(
        text, keywords, label, before, after,
        content = '', tokenize = 'porter unicode61 remove_diacritics 2')""",
        f"INSERT INTO {name} ({name}, rank) VALUES ('secure-delete', 1)",
    )


def _vectors(corpus: str) -> tuple[str, ...]:
    # The sign codes have a table of their own, so that the index in memory is filled without
    # reading the vectors, which are thirty times their size. `slot` is handle * 256 + model: an
    # ordinary rowid, because a WITHOUT ROWID row of 1 KB would spill to an overflow page.
    return (
        f"""CREATE TABLE __palimp_{corpus}_vectors (
        slot INTEGER PRIMARY KEY, code INTEGER NOT NULL, vector BLOB NOT NULL)""",
        f"""CREATE TABLE __palimp_{corpus}_codes (
        code INTEGER PRIMARY KEY AUTOINCREMENT, model INTEGER NOT NULL, handle INTEGER NOT NULL,
        signs BLOB NOT NULL)""",
    )


def memories_table(name: str) -> str:
    """Return what makes a table with the columns of memories, where an id may stand twice."""
    statement = _MEMORIES.replace("__palimp_memories", name)
    return statement.replace(" AUTOINCREMENT", "").replace("TEXT NOT NULL UNIQUE", "TEXT NOT NULL")


def prepare_timeline(connection: apsw.Connection) -> None:
    """Make the index of events by time where it is missing; costs nothing where it is there."""
    connection.execute(_TIMELINE)


def prepare(connection: apsw.Connection) -> None:
    """Make every table of a new profile. Runs inside the caller's transaction."""
    statements = (
        _MEMORIES,
        *_INDEXES,
        _SESSIONS,
        _SESSION_INDEX,
        _TURNS,
        _MODELS,
        _EMBEDDED,
        *_fts("memories"),
        *_vectors("memories"),
        *_fts("turns"),
        *_vectors("turns"),
        "CREATE TABLE __palimp_meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID",
        f"INSERT INTO __palimp_meta VALUES ('schema', {SCHEMA_VERSION})",
    )
    for statement in statements:
        connection.execute(statement)


def check_schema(connection: apsw.Connection, name: str) -> None:
    """Raise `Unavailable` where the profile was written by a newer release than this one."""
    version = connection.execute("SELECT value FROM __palimp_meta WHERE key = 'schema'").get
    if version != SCHEMA_VERSION:
        raise Unavailable(
            f"profile {name} has schema {version}, this release reads {SCHEMA_VERSION}; "
            "open it with the release that wrote it, or a newer one",
            reason="schema",
        )
