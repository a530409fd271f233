"""Reading memories: one by id, pages by filter, the history of a topic or of an id."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

import apsw

from ...api import HistoryOf, ListMemories, Memory, MemoryPage
from ...api.limits import PAGE_MAX
from ...errors import Invalid, NotFound
from ..checks import check_id, check_integer, check_label
from ..protocols import Sealer
from .filters import Conditions, conditions
from .rows import MEMORY_COLUMNS, memory_fields, memory_of

__all__ = [
    "check_history",
    "check_list",
    "count_memories",
    "find_memories",
    "find_purged",
    "get_memory",
    "history",
    "list_memories",
]

# Those of `states`, which is not read before it is needed.
_DELETED = "__palimp_deleted"
# Every number of 18 digits fits a 64-bit column.
_CURSOR_DIGITS_MAX = 18
# A chain is walked in both directions; UNION drops rows met twice, so it ends even on a cycle.
_CHAIN = """
WITH RECURSIVE newer(handle) AS (
    SELECT handle FROM __palimp_memories WHERE id = :id
    UNION
    SELECT m.superseded_by FROM __palimp_memories m JOIN newer ON m.handle = newer.handle
    WHERE m.superseded_by IS NOT NULL
), chain(handle) AS (
    SELECT handle FROM newer
    UNION
    SELECT m.handle FROM __palimp_memories m JOIN chain ON m.superseded_by = chain.handle
)
"""
# An expired task is gone from the moment it expires, also while its row still waits for removal.
_PRESENT = "(m.expires_at IS NULL OR m.expires_at > :now)"


def get_memory(connection: apsw.Connection, identity: str, sealer: Sealer, now_ms: int) -> Memory:
    """Return a memory and the ids it supersedes; `NotFound` where it is gone."""
    row = connection.execute(
        f"""SELECT {MEMORY_COLUMNS} FROM __palimp_memories m
        WHERE m.id = :id AND {_PRESENT}""",
        {"id": identity, "now": now_ms},
    ).fetchone()
    if row is None:
        raise NotFound(f"no memory {identity}; it was forgotten, has expired or never existed")
    fields = memory_fields(row, sealer)
    return Memory(**fields, supersedes=_supersedes(connection, row[0]))


def find_memories(
    connection: apsw.Connection,
    handles: Sequence[int],
    sealer: Sealer,
    now_ms: int,
    *,
    deleted: bool,
) -> tuple[Memory, ...]:
    """Return the memories with these handles in their order; missing ones are left out."""
    # Not before: opening a folder does not wait for it.
    from ..lazy import has_table

    tables = ["__palimp_memories"]
    if deleted and has_table(connection, _DELETED):
        tables.append(_DELETED)
    wanted = dict.fromkeys(handles)
    bound = {"handles": json.dumps(list(wanted)), "now": now_ms}
    found: dict[int, Memory] = {}
    for table in tables:
        rows: list[Any] = connection.execute(
            f"""SELECT {MEMORY_COLUMNS} FROM {table} m
            WHERE m.handle IN (SELECT value FROM json_each(:handles)) AND {_PRESENT}""",
            bound,
        ).fetchall()
        found |= {row[0]: memory_of(row, sealer) for row in rows}
    return tuple(found[handle] for handle in wanted if handle in found)


def find_purged(connection: apsw.Connection, handles: Sequence[int]) -> dict[int, str]:
    """Return by handle the ids of those that were purged."""
    from .states import purged_ids

    return purged_ids(connection, handles)


def list_memories(
    connection: apsw.Connection, request: ListMemories, sealer: Sealer, now_ms: int
) -> MemoryPage:
    """Return one page of what matches, newest first. The txid of the page is set by the caller."""
    sql, parameters = _page_conditions(request, now_ms).on(connection, sealer)[:2]
    table = "__palimp_memories"
    if request.state not in ("active", "archived", "quarantined"):
        # Not before: opening a folder does not wait for it.
        from ..lazy import has_table

        table = _DELETED
        if not has_table(connection, table):
            return MemoryPage(memories=(), next_cursor=None, txid=0)
    rows: list[Any] = connection.execute(
        f"""SELECT {MEMORY_COLUMNS} FROM {table} m WHERE {sql}
        ORDER BY m.handle DESC LIMIT :limit""",
        parameters,
    ).fetchall()
    page = rows[: request.limit]
    more = len(rows) > request.limit
    return MemoryPage(
        memories=tuple(memory_of(row, sealer) for row in page),
        next_cursor=str(page[-1][0]) if more else None,
        txid=0,
    )


def check_list(request: ListMemories) -> None:
    """Raise `Invalid` for a listing that cannot be, whether or not there is anything to list."""
    _page_conditions(request, 0)


def _page_conditions(request: ListMemories, now_ms: int) -> Conditions:
    check_integer(request.limit, "limit", 1, PAGE_MAX)
    where = conditions(request, now_ms, deleted=True)
    sql, parameters = where.sql, {**where.parameters, "limit": request.limit + 1}
    if request.topic is not None:
        sql += " AND m.topic = :topic"
        parameters["topic"] = check_label(request.topic, "topic")
    if request.cursor is not None:
        sql += " AND m.handle < :cursor"
        parameters["cursor"] = _cursor(request.cursor)
    return where._replace(sql=sql, parameters=parameters)


def check_history(request: HistoryOf) -> None:
    """Raise `Invalid` for a history that cannot be asked for."""
    if (request.id is None) == (request.topic is None):
        raise Invalid("history takes either an id or a topic")
    if request.id is not None:
        check_id(request.id)
        if request.type is not None:
            raise Invalid("type goes with a topic, not with an id")
    check_label(request.topic, "topic")


def history(
    connection: apsw.Connection, request: HistoryOf, sealer: Sealer, now_ms: int
) -> tuple[Memory, ...]:
    """Return all versions oldest first; `NotFound` where neither id nor topic is known."""
    parameters: dict[str, object]
    if request.id is not None:
        sql = f"""{_CHAIN} SELECT {MEMORY_COLUMNS} FROM __palimp_memories m
        WHERE m.handle IN (SELECT handle FROM chain) AND {_PRESENT} ORDER BY m.handle"""
        parameters = {"id": request.id, "now": now_ms}
    else:
        sql = f"""SELECT {MEMORY_COLUMNS} FROM __palimp_memories m
        WHERE m.topic = :topic AND (:type IS NULL OR m.type = :type) AND {_PRESENT}
        ORDER BY m.handle"""
        parameters = {"topic": request.topic, "type": request.type, "now": now_ms}
    rows: list[Any] = connection.execute(sql, parameters).fetchall()
    if not rows and request.id is not None:
        raise NotFound(f"no memory {request.id}; it was forgotten or never existed")
    if not rows:
        raise NotFound(f"no memory has the topic {request.topic!r:.80}")
    return _oldest_first(
        [
            Memory(**memory_fields(row, sealer), supersedes=_supersedes(connection, row[0]))
            for row in rows
        ]
    )


def _oldest_first(versions: list[Memory]) -> tuple[Memory, ...]:
    """Order versions so that each stands before the one that superseded it.

    Not by time: a clock may be set back, and a batch happens within one millisecond. What nothing
    orders keeps the order of its first writing, what holds now comes last.
    """
    waiting = {version.id: version for version in versions}
    before = Counter(version.superseded_by for version in versions)
    ordered: list[Memory] = []
    while waiting:
        free = [version for version in waiting.values() if not before[version.id]]
        # Pointers cannot form a cycle; if a damaged file has one, it is shown in writing order.
        chosen = next((v for v in free if v.superseded_at is not None), None)
        version = chosen or next(iter(free or waiting.values()))
        del waiting[version.id]
        before[version.superseded_by] -= 1
        ordered.append(version)
    return tuple(ordered)


def _supersedes(connection: apsw.Connection, handle: int) -> tuple[str, ...]:
    rows: Any = connection.execute(
        "SELECT id FROM __palimp_memories WHERE superseded_by = ? ORDER BY superseded_at, handle",
        (handle,),
    )
    return tuple(identity for (identity,) in rows)


def _cursor(cursor: str) -> int:
    if not cursor.isascii() or not cursor.isdigit() or len(cursor) > _CURSOR_DIGITS_MAX:
        raise Invalid(f"cursor {cursor!r:.40} did not come from an earlier page")
    return int(cursor)


def count_memories(connection: apsw.Connection) -> int:
    """Return how many memories there are, superseded ones too."""
    found: int = connection.execute("SELECT count(*) FROM __palimp_memories").get
    return found
