"""What happened to a memory: one row for every step, written in the transaction of the step.

That it was created, revived or superseded stands in the memory itself and who did it in `authors`,
so that writing one costs nothing here; those events are made when they are read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import apsw
import msgspec

from ...api.lifecycle import DeletionMethod, EventKind, GetEvents, MemoryEvent, MemoryState
from ...api.limits import PAGE_MAX
from ...errors import Invalid
from ..checks import check_integer, decode_json
from ..lazy import has_table
from ..protocols import Sealer, Undecipherable
from . import authors

__all__ = [
    "CHANGES_IDENTITY",
    "PLACE",
    "TABLE",
    "TABLES",
    "Event",
    "add",
    "blank",
    "changes_of",
    "check_events",
    "note_changes",
    "page",
]

_CURSOR_DIGITS_MAX = 18
TABLE = "__palimp_events"
TABLES = (
    f"""CREATE TABLE {TABLE} (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, handle INTEGER NOT NULL, id TEXT NOT NULL,
    event TEXT NOT NULL, at INTEGER NOT NULL, actor TEXT, before TEXT, after TEXT, method TEXT,
    reason TEXT, changes ANY) STRICT""",
    f"CREATE INDEX {TABLE}_id ON {TABLE} (id, seq)",
    f"CREATE INDEX {TABLE}_handle ON {TABLE} (handle)",
)
_COLUMNS = "handle, id, event, at, actor, before, after, method, reason"
_ADD = f"INSERT INTO {TABLE} ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"


# Under which name, and as whose, the values of changes are sealed: they are words of the memory.
PLACE = "events"
CHANGES_IDENTITY = "id || '/' || seq"


class Event(NamedTuple):
    """One event to be added."""

    handle: int
    id: str
    event: EventKind
    at: int
    actor: str | None = None
    before: MemoryState | None = None
    after: MemoryState | None = None
    method: DeletionMethod | None = None
    reason: str | None = None


def add(connection: apsw.Connection, event: Event) -> None:
    """Add an event; the tables are there."""
    connection.execute(_ADD, event)


def note_changes(
    connection: apsw.Connection,
    identity: str,
    changes: Mapping[str, tuple[Any, Any]],
    sealer: Sealer,
) -> None:
    """Keep the old and new values of what was changed with the event that was added last."""
    seq = connection.last_insert_rowid()
    text = msgspec.json.encode(changes).decode()
    connection.execute(
        f"UPDATE {TABLE} SET changes = ? WHERE seq = ?",
        (sealer.seal(text, PLACE, f"{identity}/{seq}", "changes"), seq),
    )


def changes_of(
    identity: str, seq: int, stored: str | bytes | None, sealer: Sealer
) -> dict[str, tuple[Any, Any]] | None:
    """Return old and new values by field; None where there are none, or none can be read."""
    if stored is None:
        return None
    try:
        text = sealer.unseal(stored, PLACE, f"{identity}/{seq}", "changes")
    except Undecipherable:
        return None
    return {name: tuple(values) for name, values in decode_json(text).items()}


def blank(connection: apsw.Connection, handle: int) -> None:
    """Remove the words of the events of a memory that is purged; that they happened stays."""
    connection.execute(
        f"UPDATE {TABLE} SET reason = NULL, changes = NULL WHERE handle = ?", (handle,)
    )


def check_events(request: GetEvents) -> None:
    """Raise `Invalid` for a page that cannot be."""
    check_integer(request.limit, "limit", 1, PAGE_MAX)
    _cursor(request.cursor)


def page(
    connection: apsw.Connection, request: GetEvents, sealer: Sealer
) -> tuple[tuple[MemoryEvent, ...], str | None]:
    """Return one page of events, oldest first, and the cursor of the next."""
    own = _own(connection, request.id) if request.cursor is None else []
    if not has_table(connection, TABLE):
        return tuple(own), None
    rows: list[Any] = connection.execute(
        f"""SELECT seq, changes, event, at, actor, before, after, method, reason FROM {TABLE}
        WHERE id = ? AND seq > ? ORDER BY seq LIMIT ?""",
        (request.id, _cursor(request.cursor), request.limit + 1),
    ).fetchall()
    kept = rows[: request.limit]
    names = ("event", "at", "actor", "before", "after", "method", "reason")
    found = [
        MemoryEvent(
            **dict(zip(names, row, strict=True)),
            changes=changes_of(request.id, seq, changes, sealer),
        )
        for seq, changes, *row in kept
    ]
    more = len(rows) > request.limit
    # By time, and what the row says of itself before what happened within the same millisecond.
    ordered = sorted([*own, *found], key=lambda event: event.at) if own else found
    return tuple(ordered), str(kept[-1][0]) if more else None


def _own(connection: apsw.Connection, identity: str) -> list[MemoryEvent]:
    """Return what a row says of itself."""
    row = connection.execute(
        """SELECT m.handle, m.created_at, m.activated_at, m.superseded_at,
        (SELECT n.id FROM __palimp_memories n WHERE n.handle = m.superseded_by)
        FROM __palimp_memories m WHERE m.id = ?""",
        (identity,),
    ).fetchone()
    if row is None and has_table(connection, "__palimp_deleted"):
        row = connection.execute(
            """SELECT d.handle, d.created_at, d.activated_at, d.superseded_at,
            (SELECT n.id FROM __palimp_memories n WHERE n.handle = d.superseded_by)
            FROM __palimp_deleted d WHERE d.id = ? ORDER BY d.handle DESC LIMIT 1""",
            (identity,),
        ).fetchone()
    if row is None:
        return []
    handle, created_at, activated_at, superseded_at, other = row
    by = authors.of(connection, handle)
    found = [MemoryEvent(event="created", at=created_at, actor=by.created, after="active")]
    if activated_at != created_at and not _restored_at(connection, identity, activated_at):
        found.append(MemoryEvent(event="revived", at=activated_at, actor=by.revived))
    if superseded_at is not None:
        found.append(
            MemoryEvent(event="superseded", at=superseded_at, actor=by.superseded, other=other)
        )
    return found


def _restored_at(connection: apsw.Connection, identity: str, at: int) -> bool:
    if not has_table(connection, TABLE):
        return False
    found = connection.execute(
        f"SELECT 1 FROM {TABLE} WHERE id = ? AND event = 'restored' AND at = ?", (identity, at)
    ).get
    return found is not None


def _cursor(cursor: str | None) -> int:
    if cursor is None:
        return 0
    if not cursor.isascii() or not cursor.isdigit() or len(cursor) > _CURSOR_DIGITS_MAX:
        raise Invalid(f"cursor {cursor!r:.40} did not come from an earlier page")
    return int(cursor)
