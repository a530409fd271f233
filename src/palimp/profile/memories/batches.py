"""Moving what a filter matches: one page of memories, oldest first, in one transaction."""

from __future__ import annotations

from typing import Any

import apsw

from ...api.lifecycle import MemoryMove, MovedMemories, MoveMemories, SkippedMemory
from ...api.limits import PAGE_MAX
from ...api.memories import Filters
from ...errors import Conflict, Invalid
from ..checks import check_integer, check_label
from ..lazy import has_table
from ..protocols import Sealer
from . import holds, states
from .filters import conditions
from .states import Act

__all__ = ["check", "move", "planned"]

_CURSOR_DIGITS_MAX = 18
# In which states a filter may look for what is to be moved; the first is meant unless it says so.
_FROM: dict[MemoryMove, tuple[str, ...]] = {
    "archive": ("active",),
    "restore": ("archived", "quarantined", "soft_deleted"),
    "delete": ("active", "archived", "quarantined"),
    "hold": (*states.SHOWN, *states.HIDDEN),
    "release": (*states.SHOWN, *states.HIDDEN),
}


def check(request: MoveMemories) -> None:
    """Raise `Invalid` for a filter that matches everything, and for a page that cannot be."""
    check_integer(request.limit, "limit", 1, PAGE_MAX)
    check_label(request.topic, "topic")
    _cursor(request.cursor)
    names = [name for name in Filters.__struct_fields__ if name != "state"]
    empty = {name: getattr(Filters(), name) for name in names}
    given = [name for name in names if getattr(request, name) not in (empty[name], {})]
    if request.topic is None and not set(given) - {"include_superseded", "any_project"}:
        raise Invalid(
            f"to {request.move} needs a filter: with none it would be every memory; name types, a "
            "topic, a session, a source, tags, or a time"
        )
    if request.state not in _FROM[request.move]:
        raise Invalid(
            f"to {request.move} memories that are {request.state!r:.40} is not possible; give "
            f"state {' or '.join(_FROM[request.move])}"
        )
    conditions(request, 0, deleted=True)


def planned(
    connection: apsw.Connection, request: MoveMemories, act: Act, sealer: Sealer
) -> MovedMemories:
    """Return what `move` would look at; some of it may be skipped then."""
    rows, cursor = _page(connection, request, act, sealer)
    return MovedMemories(ids=tuple(identity for _, identity in rows), next_cursor=cursor)


def move(
    connection: apsw.Connection, request: MoveMemories, act: Act, sealer: Sealer
) -> MovedMemories:
    """Move one page; what cannot be moved is skipped, and said."""
    rows, cursor = _page(connection, request, act, sealer)
    ids, skipped = [], []
    for _, identity in rows:
        try:
            _move_one(connection, request.move, identity, act, sealer)
        except Conflict as error:
            # Raised before anything of that memory was written.
            skipped.append(SkippedMemory(id=identity, reason=str(error)))
        else:
            ids.append(identity)
    return MovedMemories(ids=tuple(ids), skipped=tuple(skipped), next_cursor=cursor)


def _move_one(
    connection: apsw.Connection, step: MemoryMove, identity: str, act: Act, sealer: Sealer
) -> None:
    if step == "hold":
        states.hold(connection, identity, act._replace(method=None), absent=False)
    elif step == "release":
        states.release(connection, identity, act._replace(method=None))
    else:
        method = act.method if step == "delete" else None
        states.change(connection, identity, step, act._replace(method=method), sealer)


def _page(
    connection: apsw.Connection, request: MoveMemories, act: Act, sealer: Sealer
) -> tuple[list[tuple[int, str]], str | None]:
    table = states.DELETED if request.state in states.HIDDEN else "__palimp_memories"
    held = has_table(connection, holds.TABLE)
    if (table == states.DELETED or request.move == "release") and not held:
        return [], None
    where = conditions(request, act.now_ms, deleted=True).on(connection, sealer)
    sql, parameters = where.sql, dict(where.parameters)
    if request.topic is not None:
        sql += " AND m.topic = :topic"
        parameters["topic"] = request.topic
    if request.move == "release":
        sql += f" AND m.id IN (SELECT id FROM {holds.TABLE})"
    elif request.move == "hold":
        sql += holds.unheld(connection, "m.id")
    rows: list[Any] = connection.execute(
        f"""SELECT m.handle, m.id FROM {table} m WHERE {sql} AND m.handle > :cursor
        ORDER BY m.handle LIMIT :limit""",
        {**parameters, "cursor": _cursor(request.cursor), "limit": request.limit + 1},
    ).fetchall()
    page = rows[: request.limit]
    return page, str(page[-1][0]) if len(rows) > request.limit else None


def _cursor(cursor: str | None) -> int:
    if cursor is None:
        return 0
    if not cursor.isascii() or not cursor.isdigit() or len(cursor) > _CURSOR_DIGITS_MAX:
        raise Invalid(f"cursor {cursor!r:.40} did not come from an earlier page")
    return int(cursor)
