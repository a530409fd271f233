"""Moving on what has been in a state for as long as its policy lets it, a few rows at a time.

What is due is looked up once and then moved in transactions of their own, each of which looks at
its rows again: ended anywhere, the next pass finds what is left, and two passes move a row once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import apsw

from ..profile import Sealer
from ..profile.lazy import has_table
from ..profile.memories.holds import unheld
from ..profile.memories.states import DELETED, TABLE, Act, Found, advance
from .document import Effective

__all__ = ["BATCHES", "GRACE_DAYS", "STAGES", "Windows", "due", "move_due"]

# How many rows go in one transaction: taking a row from the index costs much more than marking it,
# and writers wait as long as one transaction takes.
BATCHES = {"archive": 500, "retire": 100, "delete": 100, "expire": 500, "purge": 500}
GRACE_DAYS = 7
# In this order: what is archived long enough in one pass goes on in the next stage of it.
STAGES = ("archive", "retire", "delete", "expire", "purge")
_STEP = {"retire": "delete"}
_DAY_MS = 86_400_000


class Windows(NamedTuple):
    """How long (ms) a memory is in a state; None: it stays. `archive`: after being active."""

    active_ms: int | None
    archived_ms: int | None
    grace_ms: int
    archive: bool

    @classmethod
    def of(cls, policy: Effective) -> Windows:
        """Return what a policy says."""
        active, archived = policy.lifecycle_active_days, policy.lifecycle_archived_days
        grace = policy.lifecycle_grace_days
        return cls(
            None if active is None else active * _DAY_MS,
            None if archived is None else archived * _DAY_MS,
            (GRACE_DAYS if grace is None else grace) * _DAY_MS,
            policy.lifecycle_archive,
        )


def due(
    connection: apsw.Connection, windows: Windows, stage: str, now_ms: int, limit: int
) -> list[int]:
    """Return handles of up to `limit` rows that a stage would move, the oldest first."""
    return [one.handle for one in _due(connection, windows, stage, now_ms, limit, None)]


def move_due(
    connection: apsw.Connection,
    windows: Windows,
    stage: str,
    handles: Sequence[int],
    act: Act,
    sealer: Sealer,
) -> int:
    """Move those of these rows that are due still; return how many."""
    rows = _due(connection, windows, stage, act.now_ms, len(handles), handles)
    return len(advance(connection, rows, _STEP.get(stage, stage), act, sealer))


def _due(
    connection: apsw.Connection,
    windows: Windows,
    stage: str,
    now_ms: int,
    limit: int,
    handles: Sequence[int] | None,
) -> list[Found]:
    query = _query(connection, windows, stage)
    if query is None:
        return []
    chosen = "" if handles is None else "AND handle IN (SELECT value FROM json_each(:handles))"
    given: dict[str, Any] = {
        "active": now_ms - (windows.active_ms or 0),
        "archived": now_ms - (windows.archived_ms or 0),
        "now": now_ms,
        "handles": str(list(handles or ())),
        "limit": limit,
    }
    text = f"SELECT * FROM ({query}) WHERE true {chosen} ORDER BY due, handle LIMIT :limit"
    used = {name: value for name, value in given.items() if f":{name}" in text}
    rows: list[Any] = connection.execute(text, used).fetchall()
    return [Found(*row[1:]) for row in rows]


def _query(connection: apsw.Connection, windows: Windows, stage: str) -> str | None:
    """Return a query for a time to sort by and the fields of `Found`; None where nothing is due."""
    if stage in ("archive", "retire"):
        if windows.active_ms is None or windows.archive != (stage == "archive"):
            return None
        return """SELECT activated_at AS due, handle, id, state, max(activated_at, created_at)
        FROM __palimp_memories WHERE state = 'active' AND activated_at <= :active"""
    if not has_table(connection, TABLE):
        return None
    times = "l.archived_at, l.deleted_at, l.hard_delete_at, l.method"
    if stage == "delete":
        if windows.archived_ms is None:
            return None
        return f"""SELECT l.archived_at AS due, handle, l.id, m.state, m.activated_at, {times}
        FROM {TABLE} l JOIN __palimp_memories m USING (handle)
        WHERE m.state = 'archived' AND l.archived_at <= :archived"""
    state, reached = "soft_deleted", " AND l.hard_delete_at <= :now"
    if stage == "purge":
        state, reached = "hard_delete_pending", ""
    return f"""SELECT l.hard_delete_at AS due, handle, l.id, d.state, d.activated_at, {times}
    FROM {TABLE} l JOIN {DELETED} d USING (handle)
    WHERE l.purged_at IS NULL AND l.hard_delete_at IS NOT NULL
    AND d.state = '{state}'{reached}{unheld(connection, "l.id")}"""
