"""Legal holds: what is under one is removed by nothing, also where it has no row any more.

A hold is of an id. So it covers a memory that is active, archived or deleted, and one that an
erasure took from the present and has not yet taken from history.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import apsw

from ...errors import Conflict
from ..lazy import has_table

__all__ = ["TABLE", "TABLES", "held_ids", "is_held", "lift", "put", "refuse_held", "unheld"]

TABLE = "__palimp_holds"
TABLES = (f"CREATE TABLE {TABLE} (id TEXT PRIMARY KEY, at INTEGER NOT NULL) STRICT, WITHOUT ROWID",)


def is_held(connection: apsw.Connection, identity: str) -> bool:
    """Whether a memory is under hold."""
    if not has_table(connection, TABLE):
        return False
    return connection.execute(f"SELECT 1 FROM {TABLE} WHERE id = ?", (identity,)).get is not None


def held_ids(connection: apsw.Connection) -> list[str]:
    """Return the ids of all that are under hold."""
    if not has_table(connection, TABLE):
        return []
    rows: Any = connection.execute(f"SELECT id FROM {TABLE} ORDER BY id")
    return [identity for (identity,) in rows]


def put(connection: apsw.Connection, identity: str, now_ms: int) -> bool:
    """Put a memory under hold; False where it is. The table is there."""
    if is_held(connection, identity):
        return False
    connection.execute(f"INSERT INTO {TABLE} VALUES (?, ?)", (identity, now_ms))
    return True


def lift(connection: apsw.Connection, identity: str) -> bool:
    """End a hold; False where there is none."""
    if not is_held(connection, identity):
        return False
    connection.execute(f"DELETE FROM {TABLE} WHERE id = ?", (identity,))
    return True


def unheld(connection: apsw.Connection, column: str = "id") -> str:
    """Return a condition that leaves out what is under hold, to be added with AND; or nothing."""
    if not has_table(connection, TABLE):
        return ""
    return f" AND {column} NOT IN (SELECT id FROM {TABLE})"


def refuse_held(connection: apsw.Connection, handles: Sequence[int]) -> None:
    """Raise `Conflict` where one of these memories is under hold; the table is there."""
    for handle in handles:
        held = connection.execute(
            f"""SELECT m.id FROM __palimp_memories m JOIN {TABLE} USING (id) WHERE m.handle = ?1
            UNION ALL
            SELECT d.id FROM __palimp_deleted d JOIN {TABLE} USING (id) WHERE d.handle = ?1""",
            (handle,),
        ).get
        if held is not None:
            raise Conflict(
                f"memory {held} is under legal hold, nothing removes it; release it first",
                id=held,
                reason="hold",
            )
