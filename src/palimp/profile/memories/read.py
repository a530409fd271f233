"""Reading memories: one by id, pages by filter, the history of a topic or of an id."""

from __future__ import annotations

from typing import Any

import apsw

from ...api import HistoryOf, ListMemories, Memory, MemoryPage
from ...api.limits import PAGE_MAX
from ...errors import Invalid, NotFound
from ..checks import check_integer, check_label
from ..protocols import Sealer
from .filters import conditions
from .rows import MEMORY_COLUMNS, memory_fields, memory_of

__all__ = ["get_memory", "history", "list_memories"]

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
_OLDEST_FIRST = "ORDER BY m.superseded_at IS NULL, m.activated_at, m.handle"


def get_memory(connection: apsw.Connection, identity: str, sealer: Sealer, now_ms: int) -> Memory:
    """Return a memory, superseded or not, with the ids it supersedes; `NotFound` where it is gone.

    An expired task is gone from the moment it expires, also while its row still waits for removal.
    """
    row = connection.execute(
        f"""SELECT {MEMORY_COLUMNS} FROM __palimp_memories m
        WHERE m.id = ? AND (m.expires_at IS NULL OR m.expires_at > ?)""",
        (identity, now_ms),
    ).fetchone()
    if row is None:
        raise NotFound(f"no memory {identity}; it was forgotten, has expired or never existed")
    fields = memory_fields(row, sealer)
    return Memory(**fields, supersedes=_supersedes(connection, row[0]))


def list_memories(
    connection: apsw.Connection, request: ListMemories, sealer: Sealer, now_ms: int
) -> MemoryPage:
    """Return one page of what matches, newest first. The txid of the page is set by the caller."""
    check_integer(request.limit, "limit", 1, PAGE_MAX)
    where = conditions(request, now_ms)
    sql, parameters = where.sql, dict(where.parameters)
    if request.topic is not None:
        check_label(request.topic, "topic")
        sql += " AND m.topic = :topic"
        parameters["topic"] = request.topic
    if request.cursor is not None:
        sql += " AND m.handle < :cursor"
        parameters["cursor"] = _cursor(request.cursor)
    parameters["limit"] = request.limit + 1
    rows: list[Any] = connection.execute(
        f"""SELECT {MEMORY_COLUMNS} FROM __palimp_memories m WHERE {sql}
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


def history(connection: apsw.Connection, request: HistoryOf, sealer: Sealer) -> tuple[Memory, ...]:
    """Return all versions oldest first; `NotFound` where neither id nor topic is known."""
    if (request.id is None) == (request.topic is None):
        raise Invalid("history takes either an id or a topic")
    parameters: dict[str, object]
    if request.id is not None:
        if request.type is not None:
            raise Invalid("type goes with a topic, not with an id")
        sql = f"""{_CHAIN} SELECT {MEMORY_COLUMNS} FROM __palimp_memories m
        WHERE m.handle IN (SELECT handle FROM chain) {_OLDEST_FIRST}"""
        parameters = {"id": request.id}
    else:
        check_label(request.topic, "topic")
        sql = f"""SELECT {MEMORY_COLUMNS} FROM __palimp_memories m
        WHERE m.topic = :topic AND (:type IS NULL OR m.type = :type) {_OLDEST_FIRST}"""
        parameters = {"topic": request.topic, "type": request.type}
    rows: list[Any] = connection.execute(sql, parameters).fetchall()
    if not rows and request.id is not None:
        raise NotFound(f"no memory {request.id}; it was forgotten or never existed")
    if not rows:
        raise NotFound(f"no memory has the topic {request.topic!r:.80}")
    return tuple(
        Memory(**memory_fields(row, sealer), supersedes=_supersedes(connection, row[0]))
        for row in rows
    )


def _supersedes(connection: apsw.Connection, handle: int) -> tuple[str, ...]:
    rows: Any = connection.execute(
        "SELECT id FROM __palimp_memories WHERE superseded_by = ? ORDER BY superseded_at, handle",
        (handle,),
    )
    return tuple(identity for (identity,) in rows)


def _cursor(cursor: str) -> int:
    try:
        return int(cursor)
    except ValueError:
        raise Invalid(f"cursor {cursor!r:.40} did not come from an earlier page") from None
