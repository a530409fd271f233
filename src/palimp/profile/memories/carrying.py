"""The events of a profile in the order in which they were written, for who carries them elsewhere.

Handles rise and are never given twice, so the last one says how far that has come.
"""

from __future__ import annotations

from typing import Any

import apsw

from ...api.events import Event
from ..protocols import Sealer
from .timeline import events_by_handle

__all__ = ["events_after"]


def events_after(
    connection: apsw.Connection, handle: int, limit: int, sealer: Sealer, now_ms: int
) -> list[tuple[int, Event]]:
    """Return the next events that hold behind a handle, at most `limit`, each with its own."""
    rows: list[Any] = connection.execute(
        """SELECT handle FROM __palimp_memories
        WHERE type = 'event' AND handle > ? AND state = 'active' AND superseded_at IS NULL
        AND (expires_at IS NULL OR expires_at > ?) ORDER BY handle LIMIT ?""",
        (handle, now_ms, limit),
    ).fetchall()
    found = events_by_handle(connection, [row[0] for row in rows], sealer)
    return sorted(found.items())
