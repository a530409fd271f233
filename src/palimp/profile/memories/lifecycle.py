"""How memories leave the present: forgetting one, expiring tasks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import apsw

from ..indexing import MEMORIES, add_entries, drop_vectors, neighbours, remove_entries
from ..protocols import Sealer

__all__ = [
    "EXPIRE_BATCH",
    "end_tasks",
    "expire_tasks",
    "forget",
    "has_expired",
    "remove",
    "take_out",
]

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
        f"SELECT 1 FROM __palimp_memories WHERE expires_at <= ?{_unheld(connection)} LIMIT 1",
        (now_ms,),
    ).get
    return found is not None


def expire_tasks(connection: apsw.Connection, now_ms: int, sealer: Sealer) -> int:
    """Remove up to 500 tasks, and others, whose time is over and return how many."""
    rows: list[Any] = connection.execute(
        f"""SELECT handle FROM __palimp_memories WHERE expires_at <= ?{_unheld(connection)}
        ORDER BY expires_at LIMIT ?""",
        (now_ms, EXPIRE_BATCH),
    ).fetchall()
    remove(connection, [handle for (handle,) in rows], sealer)
    return len(rows)


def end_tasks(connection: apsw.Connection, session: str, sealer: Sealer) -> int:
    """Remove the tasks of a session and return how many; those under legal hold stay."""
    rows: list[Any] = connection.execute(
        f"""SELECT handle FROM __palimp_memories WHERE session = ? AND type = 'task'
        {_unheld(connection)}""",
        (session,),
    ).fetchall()
    remove(connection, [handle for (handle,) in rows], sealer)
    return len(rows)


def remove(
    connection: apsw.Connection, handles: Sequence[int], sealer: Sealer, *, held: bool = False
) -> None:
    """Remove rows, deleted ones too, with all that was derived from their words.

    Raises `Conflict` where one is under legal hold, unless `held`.
    """
    # Not before: opening a folder does not wait for it.
    from ..lazy import has_table
    from ..proposals import remove_for
    from ..relations.tables import drop
    from . import authors

    remove_for(connection, handles)
    drop(connection, handles)
    authors.drop(connection, handles)
    if not has_table(connection, "__palimp_lifecycle"):
        take_out(connection, handles, sealer)
        return
    from .holds import refuse_held
    from .states import forget_rows, shelved

    if not held:
        refuse_held(connection, handles)
    deleted = shelved(connection, handles)
    take_out(connection, [handle for handle in handles if handle not in deleted], sealer)
    forget_rows(connection, handles)


def take_out(connection: apsw.Connection, handles: Sequence[int], sealer: Sealer) -> None:
    """Remove rows with their entries and vectors; their neighbours are indexed again.

    All entries before all rows: FTS5 writes what it has gathered whenever a statement begins that
    can touch several rows, and in between would write each entry by itself.
    """
    # Not before: opening a folder does not wait for them.
    from .. import usage
    from . import dedup

    gone = dict.fromkeys(handles)
    near: dict[int, None] = {}
    following = []
    for handle in gone:
        before, after = neighbours(connection, MEMORIES, handle)
        near.update((one, None) for one in (before, after) if one is not None and one not in gone)
        if after is not None and after not in gone:
            following.append(after)
    remove_entries(connection, MEMORIES, [*gone, *near], sealer)
    drop_vectors(connection, MEMORIES, list(gone), keep_given=False)
    # The vectors of those after them were made of these words too.
    drop_vectors(connection, MEMORIES, following, keep_given=True)
    for handle in gone:
        connection.execute(
            """UPDATE __palimp_memories SET superseded_by =
            (SELECT superseded_by FROM __palimp_memories WHERE handle = :handle)
            WHERE superseded_by = :handle""",
            {"handle": handle},
        )
        connection.execute("DELETE FROM __palimp_memories WHERE handle = ?", (handle,))
        dedup.drop(connection, handle)
    usage.drop_feedback(connection, list(gone))
    add_entries(connection, MEMORIES, near, sealer)


def _unheld(connection: apsw.Connection) -> str:
    from .holds import unheld

    return unheld(connection)
