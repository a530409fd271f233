"""Taking back what a run of governance did: each row that still is what the run made of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import apsw

from ..errors import Conflict
from ..profile import proposals
from ..profile.governed import Deed
from ..profile.memories import states
from ..profile.memories.states import Act
from ..profile.protocols import Sealer

__all__ = ["take_back"]


def take_back(connection: apsw.Connection, deeds: Sequence[Deed], act: Act, sealer: Sealer) -> int:
    """Make rows what they were before these changes; return how many that could be done to.

    The others were changed again since, are gone, or something else holds their topic now.
    """
    return sum(_BACK[one.action](connection, one, act, sealer) for one in deeds)


def _state(connection: apsw.Connection, deed: Deed, act: Act, sealer: Sealer) -> bool:
    there = _identity(connection, deed.handle)
    found = None if there is None else states.find(connection, there, act.now_ms)
    if found is None or (found.handle, found.state) != (deed.handle, deed.after["state"]):
        return False
    try:
        states.advance(connection, [found], "restore", act, sealer)
    except Conflict:
        # Raised before anything was written.
        return False
    before = deed.before
    connection.execute(
        "UPDATE __palimp_memories SET state = ?, activated_at = ? WHERE handle = ?",
        (before["state"], before["activated_at"], deed.handle),
    )
    if before["archived_at"] is not None:
        connection.execute(
            f"INSERT INTO {states.TABLE} (handle, id, archived_at) VALUES (?, ?, ?)",
            (deed.handle, there, before["archived_at"]),
        )
    return True


def _supersede(connection: apsw.Connection, deed: Deed, _act: Act, _sealer: Sealer) -> bool:
    return _changed(
        connection,
        """UPDATE __palimp_memories SET superseded_by = NULL, superseded_at = NULL
        WHERE handle = ? AND superseded_by = ? AND state = 'active'""",
        (deed.handle, deed.after["superseded_by"]),
    )


def _contradict(connection: apsw.Connection, deed: Deed, _act: Act, _sealer: Sealer) -> bool:
    """The pair is no proposal any more, unless somebody decided on it meanwhile."""
    if not proposals.withdraw(connection, deed.after["proposal"]):
        return False
    connection.execute(
        "UPDATE __palimp_memories SET confidence = ? WHERE handle = ? AND confidence IS ?",
        (deed.before["confidence"], deed.handle, deed.after["confidence"]),
    )
    return True


def _trust(connection: apsw.Connection, deed: Deed, _act: Act, _sealer: Sealer) -> bool:
    return _changed(
        connection,
        "UPDATE __palimp_memories SET trust = ? WHERE handle = ? AND trust IS ?",
        (deed.before["trust"], deed.handle, deed.after["trust"]),
    )


def _reflect(connection: apsw.Connection, deed: Deed, act: Act, sealer: Sealer) -> bool:
    """What was concluded is deleted softly, as anything is that somebody may have read."""
    there = _identity(connection, deed.handle)
    found = None if there is None else states.find(connection, there, act.now_ms)
    if found is None or found.state != "active":
        return False
    act = act._replace(method="admin_action")
    states.advance(connection, [found], "delete", act, sealer)
    return True


_BACK = {
    "archive": _state,
    "quarantine": _state,
    "delete": _state,
    "supersede": _supersede,
    "contradict": _contradict,
    "promote": _trust,
    "demote": _trust,
    "reflect": _reflect,
}


def _identity(connection: apsw.Connection, handle: int) -> str | None:
    for table in ("__palimp_memories", states.DELETED):
        found: str | None = connection.execute(
            f"SELECT id FROM {table} WHERE handle = ?", (handle,)
        ).get
        if found is not None:
            return found
    return None


def _changed(connection: apsw.Connection, statement: str, values: Sequence[Any]) -> bool:
    connection.execute(statement, values)
    return connection.changes() > 0
