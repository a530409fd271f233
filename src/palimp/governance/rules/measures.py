"""Numbers about a profile as a whole, which a report warns of and nothing is done about."""

from __future__ import annotations

import apsw

from .base import DAY_MS

__all__ = ["POLLUTED_ABOVE", "pollution"]

POLLUTED_ABOVE = 0.3


def pollution(connection: apsw.Connection, now_ms: int) -> float:
    """Return which share of the memories that changed within a day were superseded in it."""
    changed, superseded = connection.execute(
        """SELECT count(*), count(*) FILTER (WHERE superseded_at > :since)
        FROM __palimp_memories WHERE max(activated_at, created_at, coalesce(superseded_at, 0))
        > :since""",
        {"since": now_ms - DAY_MS},
    ).fetchone() or (0, 0)
    return superseded / changed if changed else 0.0
