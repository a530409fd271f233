"""How memories leave the present: forgetting one, expiring tasks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import apsw

from ..indexing import MEMORIES, add_entries, drop_vectors, neighbours, remove_entries
from ..protocols import Sealer

__all__ = ["EXPIRE_BATCH", "end_tasks", "expire_tasks", "forget", "has_expired"]

EXPIRE_BATCH = 500


def forget(connection: apsw.Connection, identity: str, sealer: Sealer, now_ms: int) -> bool:
    """Remove a memory, its index entry and its vectors; False where it does not exist.

    What it had superseded stays superseded: by its own successor if it had one, else by something
    forgotten. Neighbours are indexed again, because its words stood in their entries.
    """
    row = connection.execute(
        """SELECT handle, expires_at IS NULL OR expires_at > ? FROM __palimp_memories
        WHERE id = ?""",
        (now_ms, identity),
    ).fetchone()
    if row is None:
        return False
    handle, present = row
    remove(connection, [handle], sealer)
    return bool(present)


def has_expired(connection: apsw.Connection, now_ms: int) -> bool:
    """Whether `expire_tasks` would remove anything."""
    found = connection.execute(
        "SELECT 1 FROM __palimp_memories WHERE expires_at <= ? LIMIT 1", (now_ms,)
    ).get
    return found is not None


def expire_tasks(connection: apsw.Connection, now_ms: int, sealer: Sealer) -> int:
    """Remove up to 500 tasks whose time is over and return how many."""
    rows: list[Any] = connection.execute(
        "SELECT handle FROM __palimp_memories WHERE expires_at <= ? ORDER BY expires_at LIMIT ?",
        (now_ms, EXPIRE_BATCH),
    ).fetchall()
    remove(connection, [handle for (handle,) in rows], sealer)
    return len(rows)


def end_tasks(connection: apsw.Connection, session: str, sealer: Sealer) -> int:
    """Remove the tasks of a session and return how many."""
    rows: list[Any] = connection.execute(
        "SELECT handle FROM __palimp_memories WHERE session = ? AND type = 'task'", (session,)
    ).fetchall()
    remove(connection, [handle for (handle,) in rows], sealer)
    return len(rows)


def remove(connection: apsw.Connection, handles: Sequence[int], sealer: Sealer) -> None:
    """Remove rows one by one, each with all that was derived from its words."""
    for handle in handles:
        before, after = neighbours(connection, MEMORIES, handle)
        near = [other for other in (before, after) if other is not None]
        remove_entries(connection, MEMORIES, [handle, *near], sealer)
        drop_vectors(connection, MEMORIES, [handle], keep_given=False)
        if after is not None:
            # Its vector was made of these words too.
            drop_vectors(connection, MEMORIES, [after], keep_given=True)
        connection.execute(
            """UPDATE __palimp_memories SET superseded_by =
            (SELECT superseded_by FROM __palimp_memories WHERE handle = :handle)
            WHERE superseded_by = :handle""",
            {"handle": handle},
        )
        connection.execute("DELETE FROM __palimp_memories WHERE handle = ?", (handle,))
        add_entries(connection, MEMORIES, near, sealer)
