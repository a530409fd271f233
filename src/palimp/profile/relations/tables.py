"""The tables of relations and entities, which the first of either makes, and what goes with a row.

An edge leads from one memory to another, a link from a memory to something that is named in it. All
go by handle, which is never given to a second memory: while a memory is deleted its edges and links
stay and nothing shows them, restored it has them again, and with its row they go.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import apsw

from ...errors import NotFound
from ..lazy import has_table

__all__ = [
    "ENTITIES",
    "LINKS",
    "NOTES",
    "RELATIONS",
    "complete",
    "drop",
    "drop_orphans",
    "is_made",
    "prepare",
    "present",
]

RELATIONS = "__palimp_relations"
ENTITIES = "__palimp_entities"
LINKS = "__palimp_entity_links"
# Of edges that somebody said more about, see `notes`.
NOTES = "__palimp_relation_metadata"
# `mark` is the id of an entity, a keyed hash of its name; the name itself may be sealed.
_STATEMENTS = (
    f"""CREATE TABLE {RELATIONS} (
    source INTEGER NOT NULL, target INTEGER NOT NULL, type TEXT NOT NULL, weight REAL NOT NULL,
    origin TEXT NOT NULL, created_at INTEGER NOT NULL, PRIMARY KEY (source, target, type)
) WITHOUT ROWID, STRICT""",
    f"CREATE INDEX {RELATIONS}_target ON {RELATIONS} (target)",
    f"""CREATE TABLE {ENTITIES} (
    entity INTEGER PRIMARY KEY AUTOINCREMENT, mark TEXT NOT NULL UNIQUE, name ANY NOT NULL,
    type TEXT NOT NULL, created_at INTEGER NOT NULL
) STRICT""",
    f"""CREATE TABLE {LINKS} (
    handle INTEGER NOT NULL, entity INTEGER NOT NULL, origin TEXT NOT NULL, weight REAL NOT NULL,
    created_at INTEGER NOT NULL, PRIMARY KEY (handle, entity)
) WITHOUT ROWID, STRICT""",
    f"CREATE INDEX {LINKS}_entity ON {LINKS} (entity, handle)",
)


def is_made(connection: apsw.Connection) -> bool:
    """Whether the profile has the tables."""
    return has_table(connection, LINKS)


def prepare(connection: apsw.Connection) -> None:
    """Make the tables where there are none: all of them, so that one says of the others."""
    if not is_made(connection):
        for statement in _STATEMENTS:
            connection.execute(statement)


def present(connection: apsw.Connection, identity: str, now_ms: int) -> int:
    """Return the handle of a memory that is there; `NotFound` naming it where it is not."""
    handle: int | None = connection.execute(
        """SELECT handle FROM __palimp_memories WHERE id = ?
        AND (expires_at IS NULL OR expires_at > ?)""",
        (identity, now_ms),
    ).get
    if handle is None:
        raise NotFound(
            f"no memory {identity!r:.80}; it was forgotten, has expired or never existed"
        )
    return handle


def complete(connection: apsw.Connection, names: Sequence[str]) -> None:
    """Make the tables in a new database, where they are among `names`."""
    if LINKS in names:
        prepare(connection)


def drop(connection: apsw.Connection, handles: Sequence[int]) -> None:
    """Remove edges and links of memories that go, and what nothing is linked to any more."""
    if not handles or not is_made(connection):
        return
    one = [(handle,) for handle in handles]
    entities = {
        entity
        for handle in one
        for (entity,) in connection.execute(f"SELECT entity FROM {LINKS} WHERE handle = ?", handle)
    }
    connection.executemany(f"DELETE FROM {LINKS} WHERE handle = ?", one)
    tables = (RELATIONS, NOTES) if has_table(connection, NOTES) else (RELATIONS,)
    for table in tables:
        connection.executemany(f"DELETE FROM {table} WHERE source = ?1 OR target = ?1", one)
    drop_orphans(connection, entities)


def drop_orphans(connection: apsw.Connection, entities: Iterable[Any]) -> None:
    """Remove those of the entities that no memory is linked to, deleted ones counted."""
    connection.executemany(
        f"""DELETE FROM {ENTITIES} WHERE entity = ?1
        AND NOT EXISTS (SELECT 1 FROM {LINKS} WHERE entity = ?1)""",
        [(entity,) for entity in entities],
    )
