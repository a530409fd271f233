"""Putting a memory in a tier by hand."""

from __future__ import annotations

import apsw

from ...api.memories import Tier
from ...errors import Conflict, NotFound
from ..protocols import Sealer
from . import events, states

__all__ = ["set_tier"]


def set_tier(
    connection: apsw.Connection, identity: str, tier: Tier, sealer: Sealer, act: states.Act
) -> bool:
    """Write the tier, with its event; False where it is in that one.

    Raises `NotFound` for what is not there, and `Conflict` for one that is not active.
    """
    row = connection.execute(
        """SELECT handle, state, coalesce(memory_tier, 'hot') FROM __palimp_memories
        WHERE id = ? AND (expires_at IS NULL OR expires_at > ?)""",
        (identity, act.now_ms),
    ).fetchone()
    if row is None:
        raise NotFound(
            f"no memory {identity}; it was forgotten or deleted, has expired or never existed"
        )
    handle, state, before = row
    if state != "active":
        raise Conflict(
            f"memory {identity} is {state}, and only active ones have a tier; restore it first",
            id=identity,
            state=state,
        )
    if before == tier:
        return False
    states.prepare(connection)
    if tier == "hot":
        connection.execute(
            """UPDATE __palimp_memories SET memory_tier = NULL,
            last_accessed_at = max(coalesce(last_accessed_at, 0), ?) WHERE handle = ?""",
            (act.now_ms, handle),
        )
    else:
        connection.execute(
            "UPDATE __palimp_memories SET memory_tier = ? WHERE handle = ?", (tier, handle)
        )
    event = events.Event(handle, identity, "annotated", act.now_ms, act.actor, reason="tier")
    events.add(connection, event)
    events.note_changes(connection, identity, {"tier": (before, tier)}, sealer)
    return True
