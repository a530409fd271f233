"""The states of a memory, what leads from one to another, and the tables that hold them.

Active, archived and quarantined memories (governance does not trust these any more) are rows of the
memories table. A deleted one is moved, as it is, to a table of its own: no read that does not ask
for deleted memories can meet it, and nothing of it stands in an index. Beside them one row says
since when a memory is archived or deleted. The tables are made by the first move, so that a profile
that uses none of this pays nothing.

Times are stored once, when a step is made, and never before what the row says of itself: a clock
that goes back lengthens a window, it shortens none.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import apsw
import msgspec

from ...api.lifecycle import DeletionMethod, EventKind, MemoryState, MovedMemory
from ...errors import Conflict, NotFound
from ..indexing import MEMORIES, add_entries, drop_vectors, neighbours, remove_entries
from ..lazy import has_table
from ..proposals import remove_for
from ..protocols import Sealer
from ..relations.tables import drop
from ..schema import memories_table
from . import authors, events, holds
from .lifecycle import take_out

__all__ = [
    "DELETED",
    "HIDDEN",
    "SHOWN",
    "STATES",
    "TABLE",
    "TRANSITIONS",
    "Act",
    "Found",
    "advance",
    "after",
    "change",
    "complete",
    "find",
    "forget_rows",
    "forget_tombstones",
    "hold",
    "ids_of",
    "moved",
    "note_arrived",
    "prepare",
    "purged_ids",
    "release",
    "revived",
    "shelved",
    "tombstones",
]

Step = str
STATES: tuple[MemoryState, ...] = (
    "active", "archived", "quarantined", "soft_deleted", "hard_delete_pending", "purged",
)  # fmt: skip
# Those of the memories table: whoever may read sees them, by id or where a listing asks for them.
SHOWN: tuple[MemoryState, ...] = ("active", "archived", "quarantined")
# Nothing shows them but a listing that asks for them, with the scope `admin`.
HIDDEN: tuple[MemoryState, ...] = ("soft_deleted", "hard_delete_pending")

# Every step there is; any other is a conflict.
TRANSITIONS: dict[tuple[MemoryState, Step], MemoryState] = {
    ("active", "archive"): "archived",
    ("archived", "restore"): "active",
    ("active", "quarantine"): "quarantined",
    ("active", "delete"): "soft_deleted",
    ("archived", "delete"): "soft_deleted",
    ("quarantined", "delete"): "soft_deleted",
    ("soft_deleted", "restore"): "active",
    ("quarantined", "restore"): "active",
    ("soft_deleted", "expire"): "hard_delete_pending",
    ("hard_delete_pending", "purge"): "purged",
}
_EVENT: dict[Step, EventKind] = {
    "archive": "archived",
    "quarantine": "quarantined",
    "restore": "restored",
    "delete": "soft_deleted",
    "expire": "hard_delete_pending",
    "purge": "purged",
}

# Of an event of what has no row.
_NO_ROW = 0
TABLE = "__palimp_lifecycle"
DELETED = "__palimp_deleted"
# `supersedes`: handles of those it superseded, which point to another while it is deleted.
_TABLES = (
    f"""CREATE TABLE {TABLE} (
    handle INTEGER PRIMARY KEY, id TEXT NOT NULL, archived_at INTEGER, deleted_at INTEGER,
    hard_delete_at INTEGER, method TEXT, supersedes TEXT, purged_at INTEGER) STRICT""",
    f"CREATE INDEX {TABLE}_id ON {TABLE} (id)",
    f"""CREATE INDEX {TABLE}_due ON {TABLE} (hard_delete_at)
    WHERE hard_delete_at IS NOT NULL AND purged_at IS NULL""",
    memories_table(DELETED),
    f"CREATE INDEX {DELETED}_id ON {DELETED} (id)",
)


class Act(NamedTuple):
    """Who makes a step, when, why. `sees_all`: of what is deleted too; `grace_ms`: until purged."""

    now_ms: int
    actor: str | None = None
    method: DeletionMethod | None = None
    reason: str | None = None
    grace_ms: int = 0
    sees_all: bool = True


class Found(NamedTuple):
    """Where a memory stands. The times are those of `TABLE`, None where it has no row there."""

    handle: int
    id: str
    state: MemoryState
    since: int
    archived_at: int | None = None
    deleted_at: int | None = None
    hard_delete_at: int | None = None
    method: DeletionMethod | None = None


def after(state: MemoryState, step: Step, identity: str) -> MemoryState:
    """Return the state a step leads to; `Conflict` naming both where it does not."""
    found = TRANSITIONS.get((state, step))
    if found is None:
        ways = [one for one, name in TRANSITIONS if name == step]
        target = TRANSITIONS[ways[0], step]
        raise Conflict(
            f"memory {identity} is {state}; only one that is {' or '.join(ways)} becomes {target}",
            id=identity,
            state=state,
        )
    return found


def prepare(connection: apsw.Connection) -> None:
    """Make the tables where there are none."""
    if not has_table(connection, TABLE):
        for statement in (*_TABLES, *events.TABLES, *holds.TABLES):
            connection.execute(statement)


def complete(connection: apsw.Connection, names: Sequence[str]) -> None:
    """Make the tables in a new database, where they are among `names`."""
    if TABLE in names:
        prepare(connection)


def find(connection: apsw.Connection, identity: str, now_ms: int) -> Found | None:
    """Return where a memory stands, the row that holds before those that were deleted."""
    made = has_table(connection, TABLE)
    times = "l.archived_at, l.deleted_at, l.hard_delete_at, l.method"
    beside = f"LEFT JOIN {TABLE} l USING (handle)" if made else ""
    row = connection.execute(
        f"""SELECT m.handle, m.id, m.state, max(m.activated_at, m.created_at)
        {", " + times if made else ""} FROM __palimp_memories m {beside}
        WHERE m.id = :id AND (m.expires_at IS NULL OR m.expires_at > :now)""",
        {"id": identity, "now": now_ms},
    ).fetchone()
    if row is None and made:
        row = connection.execute(
            f"""SELECT l.handle, l.id,
            CASE WHEN l.purged_at IS NOT NULL THEN 'purged'
            WHEN d.state = 'soft_deleted' AND l.hard_delete_at <= :now
            AND l.id NOT IN (SELECT id FROM {holds.TABLE}) THEN 'hard_delete_pending'
            ELSE d.state END, max(d.activated_at, d.created_at), {times}
            FROM {TABLE} l LEFT JOIN {DELETED} d USING (handle)
            WHERE l.id = :id AND (d.handle IS NOT NULL OR l.purged_at IS NOT NULL)
            ORDER BY l.handle DESC LIMIT 1""",
            {"id": identity, "now": now_ms},
        ).fetchone()
    return None if row is None else Found(*row)


def purged_ids(connection: apsw.Connection, handles: Sequence[int]) -> dict[int, str]:
    """Return by handle the ids of memories of which nothing else is left."""
    if not has_table(connection, TABLE):
        return {}
    rows: list[Any] = connection.execute(
        f"""SELECT handle, id FROM {TABLE} WHERE purged_at IS NOT NULL
        AND handle IN (SELECT value FROM json_each(?))""",
        (msgspec.json.encode(handles).decode(),),
    ).fetchall()
    return dict(rows)


def change(
    connection: apsw.Connection, identity: str, step: Step, act: Act, sealer: Sealer
) -> MovedMemory:
    """Make a step that was asked for, with its event.

    Raises `NotFound` for what is not there, or is hidden from who asks, and `Conflict` for a step
    that leads nowhere from the state it is in.
    """
    found = find(connection, identity, act.now_ms)
    if found is None or (not act.sees_all and found.state not in SHOWN):
        raise NotFound(
            f"no memory {identity}; it was forgotten or deleted, has expired or never existed"
        )
    (done,) = advance(connection, [found], step, act, sealer)
    return done


def advance(
    connection: apsw.Connection, rows: Sequence[Found], step: Step, act: Act, sealer: Sealer
) -> list[MovedMemory]:
    """Make a step of rows looked up in the same transaction, with their events."""
    for found in rows:
        after(found.state, step, found.id)
    prepare(connection)
    done = [_make(connection, found, step, act, sealer) for found in rows]
    if step == "delete":
        handles = [found.handle for found in rows]
        remove_for(connection, handles)
        take_out(connection, handles, sealer)
    return done


def moved(connection: apsw.Connection, found: Found, before: MemoryState) -> MovedMemory:
    """Return what is said of a memory after a step."""
    return MovedMemory(
        id=found.id,
        before=before,
        state=found.state,
        held=holds.is_held(connection, found.id),
        deleted_at=found.deleted_at,
        hard_delete_at=found.hard_delete_at,
        method=found.method,
    )


def revived(
    connection: apsw.Connection, handle: int, identity: str, before: MemoryState, act: Act
) -> None:
    """Note that an archived or quarantined memory was written again and so is active."""
    prepare(connection)
    connection.execute(f"DELETE FROM {TABLE} WHERE handle = ?", (handle,))
    _note(connection, handle, identity, "restore", before, "active", act)


def note_arrived(connection: apsw.Connection, handle: int, identity: str, at: int) -> None:
    """Note since when a memory that came from another branch is not active here."""
    prepare(connection)
    connection.execute(
        f"INSERT INTO {TABLE} (handle, id, archived_at) VALUES (?, ?, ?)", (handle, identity, at)
    )


# -- the steps --------------------------------------------------------------------------------


def _make(
    connection: apsw.Connection, found: Found, step: Step, act: Act, sealer: Sealer
) -> MovedMemory:
    # Never before what the row says of itself: the clock may have gone back since.
    at = max(act.now_ms, found.since, found.archived_at or 0, found.deleted_at or 0)
    act = act._replace(now_ms=at)
    new = found._replace(state=TRANSITIONS[found.state, step])
    if step == "archive":
        new = _archive(connection, new, act)
    elif step == "quarantine":
        connection.execute(
            "UPDATE __palimp_memories SET state = ? WHERE handle = ?", (new.state, new.handle)
        )
    elif step == "restore":
        new = _restore(connection, found, act, sealer)
    elif step == "delete":
        new = _shelve(connection, new, act)
    elif step == "expire":
        connection.execute(
            f"UPDATE {DELETED} SET state = ? WHERE handle = ?", (new.state, found.handle)
        )
    else:
        _purge(connection, found, act)
    _note(connection, found.handle, found.id, step, found.state, new.state, act, new.method)
    return moved(connection, new, found.state)


def _archive(connection: apsw.Connection, new: Found, act: Act) -> Found:
    connection.execute(
        "UPDATE __palimp_memories SET state = 'archived' WHERE handle = ?", (new.handle,)
    )
    connection.execute(
        f"INSERT INTO {TABLE} (handle, id, archived_at) VALUES (?, ?, ?)",
        (new.handle, new.id, act.now_ms),
    )
    return new._replace(archived_at=act.now_ms)


def _shelve(connection: apsw.Connection, new: Found, act: Act) -> Found:
    """Copy a row to those that are deleted; the caller takes it out of the others."""
    older: list[Any] = connection.execute(
        "SELECT handle FROM __palimp_memories WHERE superseded_by = ?", (new.handle,)
    ).fetchall()
    supersedes = msgspec.json.encode([handle for (handle,) in older]).decode() if older else None
    connection.execute(
        f"INSERT INTO {DELETED} SELECT * FROM __palimp_memories WHERE handle = ?", (new.handle,)
    )
    connection.execute(
        f"UPDATE {DELETED} SET state = 'soft_deleted' WHERE handle = ?", (new.handle,)
    )
    times = (act.now_ms, act.now_ms + act.grace_ms, act.method)
    connection.execute(
        f"""INSERT INTO {TABLE} (handle, id, deleted_at, hard_delete_at, method, supersedes)
        VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (handle) DO UPDATE SET
        deleted_at = excluded.deleted_at, hard_delete_at = excluded.hard_delete_at,
        method = excluded.method, supersedes = excluded.supersedes""",
        (new.handle, new.id, *times, supersedes),
    )
    return new._replace(deleted_at=times[0], hard_delete_at=times[1], method=times[2])


def _restore(connection: apsw.Connection, found: Found, act: Act, sealer: Sealer) -> Found:
    table = "__palimp_memories" if found.state in SHOWN else DELETED
    _check_free(connection, found, table)
    if table == DELETED:
        _bring_back(connection, found, sealer)
    connection.execute(
        "UPDATE __palimp_memories SET state = 'active', activated_at = ? WHERE handle = ?",
        (act.now_ms, found.handle),
    )
    connection.execute(f"DELETE FROM {TABLE} WHERE handle = ?", (found.handle,))
    return Found(found.handle, found.id, "active", act.now_ms)


def _check_free(connection: apsw.Connection, found: Found, table: str) -> None:
    """Raise `Conflict` where what is restored would stand beside what took its place."""
    if table == DELETED:
        again = connection.execute("SELECT 1 FROM __palimp_memories WHERE id = ?", (found.id,)).get
        if again is not None:
            raise Conflict(f"memory {found.id} is {found.state}, and was written again as active")
    newer = connection.execute(
        f"""SELECT n.id FROM {table} m JOIN __palimp_memories n
        ON n.type = m.type AND n.topic = m.topic AND n.superseded_at IS NULL
        AND n.state = 'active' WHERE m.handle = ? AND m.superseded_at IS NULL
        AND m.topic IS NOT NULL""",
        (found.handle,),
    ).get
    if newer is not None:
        raise Conflict(
            f"memory {found.id} is {found.state} and cannot become active: {newer} holds its "
            "topic; forget or archive that one first",
            id=found.id,
            state=found.state,
            held_by=newer,
        )


def _bring_back(connection: apsw.Connection, found: Found, sealer: Sealer) -> None:
    """Put a deleted row back where it was, with its entries; its vector is a job again."""
    handle = found.handle
    put = f"INSERT INTO __palimp_memories SELECT * FROM {DELETED} WHERE handle = ?"
    # Who stands beside it is seen once it is there; their entries are those of before.
    connection.execute(put, (handle,))
    near = [other for other in neighbours(connection, MEMORIES, handle) if other is not None]
    _, following = neighbours(connection, MEMORIES, handle)
    connection.execute("DELETE FROM __palimp_memories WHERE handle = ?", (handle,))
    remove_entries(connection, MEMORIES, near, sealer)
    connection.execute(put, (handle,))
    connection.execute(f"DELETE FROM {DELETED} WHERE handle = ?", (handle,))
    connection.execute(
        f"""WITH RECURSIVE newer(handle) AS (
            SELECT superseded_by FROM __palimp_memories WHERE handle = ?1
            UNION SELECT d.superseded_by FROM {DELETED} d JOIN newer USING (handle))
        UPDATE __palimp_memories SET superseded_by =
        (SELECT n.handle FROM newer n JOIN __palimp_memories m ON m.handle = n.handle LIMIT 1)
        WHERE handle = ?1""",
        (handle,),
    )
    # Those it superseded point to it again, unless something else took their place meanwhile.
    connection.execute(
        f"""UPDATE __palimp_memories SET superseded_by = ?1 WHERE superseded_at IS NOT NULL
        AND superseded_by IS (SELECT superseded_by FROM __palimp_memories WHERE handle = ?1)
        AND handle IN (SELECT value FROM {TABLE} l, json_each(l.supersedes) WHERE l.handle = ?1)""",
        (handle,),
    )
    add_entries(connection, MEMORIES, [handle, *near], sealer)
    lost = [handle] if following is None else [handle, following]
    drop_vectors(connection, MEMORIES, lost, keep_given=True)


def _purge(connection: apsw.Connection, found: Found, act: Act) -> None:
    connection.execute(f"DELETE FROM {DELETED} WHERE handle = ?", (found.handle,))
    connection.execute(
        f"UPDATE {TABLE} SET purged_at = ?, supersedes = NULL WHERE handle = ?",
        (act.now_ms, found.handle),
    )
    drop(connection, [found.handle])
    authors.drop(connection, [found.handle])
    events.blank(connection, found.handle)


def _note(
    connection: apsw.Connection,
    handle: int,
    identity: str,
    step: Step,
    before: MemoryState,
    new: MemoryState,
    act: Act,
    method: DeletionMethod | None = None,
) -> None:
    events.add(
        connection,
        events.Event(
            handle,
            identity,
            _EVENT[step],
            act.now_ms,
            act.actor,
            before,
            new,
            method,
            act.reason,
        ),
    )


def ids_of(connection: apsw.Connection, handles: Sequence[int]) -> list[str]:
    """Return the ids of deleted memories."""
    rows: list[Any] = [
        connection.execute(f"SELECT id FROM {DELETED} WHERE handle = ?", (handle,)).get
        for handle in handles
    ]
    return [identity for identity in rows if identity is not None]


# -- rows that go otherwise -----------------------------------------------------------------------


def shelved(connection: apsw.Connection, handles: Sequence[int]) -> set[int]:
    """Return which of the handles are deleted memories."""
    found = set()
    for handle in handles:
        there = connection.execute(f"SELECT 1 FROM {DELETED} WHERE handle = ?", (handle,)).get
        if there is not None:
            found.add(handle)
    return found


def forget_rows(connection: apsw.Connection, handles: Sequence[int]) -> None:
    """Remove what these tables say of memories that are forgotten or erased."""
    for handle in handles:
        for name in (DELETED, TABLE, events.TABLE):
            connection.execute(f"DELETE FROM {name} WHERE handle = ?", (handle,))


def tombstones(connection: apsw.Connection) -> list[str]:
    """Return the ids of memories that have no row and are known all the same: purged, or held."""
    if not has_table(connection, TABLE):
        return []
    rows: Any = connection.execute(
        f"""SELECT id FROM {TABLE} WHERE purged_at IS NOT NULL
        UNION SELECT id FROM {events.TABLE} WHERE handle = {_NO_ROW}"""
    )
    return [identity for (identity,) in rows]


def forget_tombstones(connection: apsw.Connection, ids: Iterable[str]) -> None:
    """Remove what is left of memories that have no row."""
    for identity in ids:
        connection.execute(f"DELETE FROM {TABLE} WHERE id = ?", (identity,))
        connection.execute(f"DELETE FROM {events.TABLE} WHERE id = ?", (identity,))


# -- holds ----------------------------------------------------------------------------------------


def hold(connection: apsw.Connection, identity: str, act: Act, *, absent: bool) -> MovedMemory:
    """Put a memory under hold; `absent`: also one that has no row. Held already, nothing changes.

    Raises `NotFound` where there is no such memory, and `Conflict` for one that was purged.
    """
    found = find(connection, identity, act.now_ms)
    if found is None and not absent:
        raise NotFound(f"no memory {identity}; it was forgotten, has expired or never existed")
    if found is not None and found.state == "purged":
        raise Conflict(f"memory {identity} is purged; there is nothing left to hold", id=identity)
    prepare(connection)
    found = found or Found(_NO_ROW, identity, "purged", 0)
    if holds.put(connection, identity, act.now_ms):
        _note_hold(connection, found, "held", act)
    return moved(connection, found, found.state)


def release(connection: apsw.Connection, identity: str, act: Act) -> MovedMemory:
    """End a hold; `Conflict` where there is none. A deletion that it kept from going on goes on."""
    if not holds.lift(connection, identity):
        raise Conflict(f"memory {identity} is not under legal hold", id=identity)
    connection.execute(
        f"""UPDATE {TABLE} SET method = 'legal_hold_release'
        WHERE id = ? AND deleted_at IS NOT NULL AND purged_at IS NULL""",
        (identity,),
    )
    found = find(connection, identity, act.now_ms) or Found(_NO_ROW, identity, "purged", 0)
    _note_hold(connection, found, "released", act)
    return moved(connection, found, found.state)


def _note_hold(connection: apsw.Connection, found: Found, event: EventKind, act: Act) -> None:
    events.add(
        connection,
        events.Event(found.handle, found.id, event, act.now_ms, act.actor, reason=act.reason),
    )
