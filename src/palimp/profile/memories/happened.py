"""What happened to all memories of a profile: their events and what rows say of themselves, as one.

As `events` has it: that a memory was created, revived or superseded stands in its row, and who did
it in `authors`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import apsw

from ...api.lifecycle import EventPage, ListEvents, ProfileEvent
from ...api.limits import PAGE_MAX
from ...errors import Invalid
from ..checks import check_integer
from ..lazy import has_table
from ..protocols import Sealer
from . import authors, events

__all__ = ["check", "page"]

_MEMORIES = "__palimp_memories"
_DELETED = "__palimp_deleted"
_CURSOR = re.compile(r"(\d{1,18})\.([0-3])\.(\d{1,18})", re.ASCII)
_PRESENT = "(m.expires_at IS NULL OR m.expires_at > :now)"
_COLUMNS = "id event at actor before after method reason other".split()
# Of one millisecond what a row says of itself comes first, and what happened to it after that.
_CREATED, _REVIVED, _SUPERSEDED, _OTHER = range(4)
_STEPS: dict[int, authors.Step] = {
    _CREATED: "created",
    _REVIVED: "revived",
    _SUPERSEDED: "superseded",
}


def check(request: ListEvents) -> None:
    """Raise `Invalid` for a page that cannot be."""
    check_integer(request.limit, "limit", 1, PAGE_MAX)
    _cursor(request.cursor)


def page(
    connection: apsw.Connection,
    request: ListEvents,
    sealer: Sealer,
    now_ms: int,
    *,
    sees_all: bool,
) -> EventPage:
    """Return one page, newest first; without `sees_all` only of memories that are shown."""
    kept = has_table(connection, events.TABLE)
    tables = [_MEMORIES]
    if sees_all and has_table(connection, _DELETED):
        tables.append(_DELETED)
    parts = [part for table in tables for part in _told_by(table, restored=kept)]
    if kept:
        parts.append(_told_of(sees_all=sees_all))
    at, kind, number = _cursor(request.cursor)
    rows: list[Any] = connection.execute(
        f"""SELECT * FROM ({" UNION ALL ".join(parts)})
        WHERE :at IS NULL OR (at, kind, number) < (:at, :kind, :number)
        ORDER BY at DESC, kind DESC, number DESC LIMIT :limit""",
        {"now": now_ms, "at": at, "kind": kind, "number": number, "limit": request.limit + 1},
    ).fetchall()
    shown = rows[: request.limit]
    own = [(_STEPS[kind], number) for kind, number, *_ in shown if kind in _STEPS]
    by = dict(zip(own, authors.find(connection, own), strict=True))
    found = tuple(_event(row, by, sealer) for row in shown)
    if len(rows) == len(shown):
        return EventPage(events=found)
    kind, number, _, _, _, at, *_ = shown[-1]
    return EventPage(events=found, next_cursor=f"{at}.{kind}.{number}")


def _event(
    row: Sequence[Any], by: Mapping[tuple[authors.Step, int], str | None], sealer: Sealer
) -> ProfileEvent:
    kind, number, changes, *values = row
    fields = dict(zip(_COLUMNS, values, strict=True))
    if kind in _STEPS:
        fields["actor"] = by[_STEPS[kind], number]
    return ProfileEvent(**fields, changes=events.changes_of(values[0], number, changes, sealer))


def _told_by(table: str, *, restored: bool) -> tuple[str, ...]:
    """Return what rows of a table say of themselves, one statement for each event."""
    nothing = "NULL AS actor, NULL AS before"
    rest = "NULL AS method, NULL AS reason"
    # A memory that was restored holds from then on, and has an event of its own.
    unless = f"""AND NOT EXISTS (SELECT 1 FROM {events.TABLE} e
        WHERE e.id = m.id AND e.event = 'restored' AND e.at = m.activated_at)"""
    return (
        f"""SELECT {_CREATED} AS kind, m.handle AS number, NULL AS changes, m.id AS id,
        'created' AS event, m.created_at AS at, {nothing}, 'active' AS after, {rest}, NULL AS other
        FROM {table} m WHERE {_PRESENT}""",
        f"""SELECT {_REVIVED}, m.handle, NULL, m.id, 'revived', m.activated_at, {nothing}, NULL,
        {rest}, NULL FROM {table} m
        WHERE m.activated_at != m.created_at AND {_PRESENT} {unless if restored else ""}""",
        f"""SELECT {_SUPERSEDED}, m.handle, NULL, m.id, 'superseded', m.superseded_at, {nothing},
        NULL, {rest}, (SELECT n.id FROM {_MEMORIES} n WHERE n.handle = m.superseded_by)
        FROM {table} m WHERE m.superseded_at IS NOT NULL AND {_PRESENT}""",
    )


def _told_of(*, sees_all: bool) -> str:
    """Return what was noted of memories, of whatever is shown of them."""
    shown = f"EXISTS (SELECT 1 FROM {_MEMORIES} m WHERE m.id = e.id AND {_PRESENT})"
    return f"""SELECT {_OTHER}, e.seq, e.changes, e.id, e.event, e.at, e.actor, e.before, e.after,
        e.method, e.reason, NULL FROM {events.TABLE} e WHERE {"1" if sees_all else shown}"""


def _cursor(cursor: str | None) -> tuple[int | None, int, int]:
    if cursor is None:
        return None, 0, 0
    found = _CURSOR.fullmatch(cursor)
    if found is None:
        raise Invalid(f"cursor {cursor!r:.40} did not come from an earlier page")
    return int(found[1]), int(found[2]), int(found[3])
