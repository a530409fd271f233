"""Removing what a policy does not let stay: of one branch, a bounded number of rows at a time.

What is under legal hold stays.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import apsw

from ..profile import Sealer
from ..profile.memories.holds import unheld
from ..profile.memories.lifecycle import remove
from .document import Effective

__all__ = ["SWEEP_BATCH", "Sweep", "is_due", "sweep"]

SWEEP_BATCH = 500

# Age counts from when a row came to be as it is: what an import says of the past is not old yet.
_DUE = """
SELECT handle, id FROM __palimp_memories
WHERE (type = 'event' AND activated_at <= :events) OR superseded_at <= :superseded
"""
_BEYOND_COUNT = """
UNION SELECT handle, id FROM (
    SELECT handle, id, row_number() OVER (
        PARTITION BY type, topic ORDER BY superseded_at DESC, handle DESC) AS place
    FROM __palimp_memories WHERE superseded_at IS NOT NULL AND topic IS NOT NULL)
WHERE place > :kept
"""
_NEVER = -1


class Sweep(NamedTuple):
    """Before which time (ms) events and superseded memories go, and how many of a topic stay."""

    events: int
    superseded: int
    kept: int | None

    @classmethod
    def of(cls, policy: Effective, now_ms: int) -> Sweep | None:
        """Return what a policy asks for now; None where it asks for nothing."""
        events, old = policy.memory_event_max_age_secs, policy.memory_superseded_max_age_secs
        kept = policy.memory_superseded_max_count
        if events is None and old is None and kept is None:
            return None
        return cls(
            _NEVER if events is None else now_ms - events * 1000,
            _NEVER if old is None else now_ms - old * 1000,
            kept,
        )


def is_due(connection: apsw.Connection, limits: Sweep) -> bool:
    """Whether `sweep` would remove anything."""
    return bool(_handles(connection, limits, 1))


def sweep(connection: apsw.Connection, limits: Sweep, sealer: Sealer) -> int:
    """Remove up to 500 rows, the oldest first, with all that was derived; return how many."""
    handles = _handles(connection, limits, SWEEP_BATCH)
    remove(connection, handles, sealer)
    return len(handles)


def _handles(connection: apsw.Connection, limits: Sweep, most: int) -> list[int]:
    query = _DUE if limits.kept is None else _DUE + _BEYOND_COUNT
    given = {**limits._asdict(), "most": most}
    rows: list[Any] = connection.execute(
        f"""SELECT handle FROM ({query}) WHERE true{unheld(connection)}
        ORDER BY handle LIMIT :most""",
        given,
    ).fetchall()
    return [handle for (handle,) in rows]
