"""Events in the order of time: listed by window and filter, counted, and those of a session.

The index that finds them is made by the first event (`schema`). A profile may lack it all the same,
after a rewind or written by an older release: then the same rows are found, only slower.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import apsw

from ...api.events import (
    EVENT_DEFAULT,
    KIND_DEFAULT,
    Event,
    GetTimelineStats,
    ListTimeline,
    SessionContext,
    TimelineStats,
)
from ...api.limits import (
    CONTAINS_BYTES_MAX,
    FILTER_VALUES_MAX,
    LABEL_BYTES_MAX,
    PAGE_MAX,
    TAGS_MAX,
    TIMELINE_OFFSET_MAX,
    TIMELINE_TOKENS_MAX,
)
from ...api.memories import MEMORY_TYPES
from ...clock import parse_when, parse_when_us
from ...errors import Invalid
from ..checks import (
    check_integer,
    check_label,
    check_name_bytes,
    check_share,
    decode_json,
    encode_json,
)
from ..protocols import Sealer, Undecipherable
from ..schema import TIMELINE, prepare_timeline
from .rows import MEMORY_COLUMNS, memory_fields

__all__ = [
    "check_context",
    "check_stats",
    "check_timeline",
    "complete",
    "events_by_handle",
    "list_events",
    "of_session",
    "stats",
]

_DAY_MS = 86_400_000
_ERROR = "error"
# What holds: the literals let SQLite see that the index has it.
_HOLDS = """m.state = 'active' AND m.superseded_at IS NULL
AND (m.expires_at IS NULL OR m.expires_at > :now)"""
_KIND = f"coalesce(m.kind, '{KIND_DEFAULT}')"
_EVENT = f"coalesce(m.source, '{EVENT_DEFAULT}')"
# Not for statements of callers: theirs may call what SQLite knows by itself, and vectors.
_HAS = "__palimp_has"
_knowing: weakref.WeakSet[apsw.Connection] = weakref.WeakSet()


class _Where(NamedTuple):
    """SQL over alias `m` and its parameters, but for those of `_held`."""

    sql: str
    parameters: dict[str, Any]


def check_timeline(request: ListTimeline, now_ms: int) -> None:
    """Raise `Invalid` for a listing that cannot be, whether or not there is anything to list."""
    _where(request, now_ms)


def check_stats(request: GetTimelineStats) -> None:
    """Raise `Invalid` for an agent that none can be."""
    check_label(request.agent, "agent")


def check_context(request: SessionContext, now_ms: int) -> None:
    """Raise `Invalid` for a text that cannot be made."""
    check_label(request.session, "session")
    check_integer(request.limit, "limit", 1, PAGE_MAX)
    if request.max_tokens is not None:
        check_integer(request.max_tokens, "max_tokens", 1, TIMELINE_TOKENS_MAX)
    _any_of("kinds", "", request.kinds, [], {})
    if request.since is not None:
        parse_when(request.since, "since", now_ms)


def list_events(
    connection: apsw.Connection, request: ListTimeline, sealer: Sealer, now_ms: int
) -> tuple[tuple[Event, ...], bool]:
    """Return the events that match, and whether there are others behind them."""
    where = _where(request, now_ms)
    parameters = where.parameters
    parameters |= _held(connection, request, sealer)
    order = "ASC" if request.order == "asc" else "DESC"
    rows: list[Any] = connection.execute(
        f"""SELECT {MEMORY_COLUMNS} FROM __palimp_memories m {_index(connection, request.session)}
        WHERE m.type = 'event' AND {_HOLDS} {where.sql}
        ORDER BY m.occurred_at {order}, m.handle {order} LIMIT :limit OFFSET :offset""",
        {**parameters, "limit": request.limit + 1, "offset": request.offset},
    ).fetchall()
    page = rows[: request.limit]
    found = tuple(_event(memory_fields(row, sealer)) for row in page)
    return found, len(rows) > len(page)


def events_by_handle(
    connection: apsw.Connection, handles: Sequence[int], sealer: Sealer
) -> dict[int, Event]:
    """Return the events with these handles; missing ones are missing."""
    statement = f"SELECT {MEMORY_COLUMNS} FROM __palimp_memories m WHERE m.handle = ?"
    rows = (connection.execute(statement, (handle,)).fetchone() for handle in handles)
    return {row[0]: _event(memory_fields(row, sealer)) for row in rows if row is not None}


def stats(connection: apsw.Connection, request: GetTimelineStats, now_ms: int) -> TimelineStats:
    """Count the events that hold, of one agent or all."""
    check_stats(request)
    rows: list[Any] = connection.execute(
        f"""SELECT {_KIND}, count(*), sum(m.occurred_at > :day),
        sum(m.occurred_at > :day AND m.source IS '{_ERROR}')
        FROM __palimp_memories m {_index(connection, None)}
        WHERE m.type = 'event' AND {_HOLDS} AND (:agent IS NULL OR m.agent = :agent)
        GROUP BY 1 ORDER BY 1""",
        {"now": now_ms, "day": now_ms - _DAY_MS, "agent": request.agent},
    ).fetchall()
    return TimelineStats(
        count=sum(row[1] for row in rows),
        last_24h=sum(row[2] for row in rows),
        errors_24h=sum(row[3] for row in rows),
        by_kind={kind: count for kind, count, _, _ in rows},
    )


def of_session(
    connection: apsw.Connection, request: SessionContext, sealer: Sealer, now_ms: int
) -> tuple[Event, ...]:
    """Return the newest memories of a session, of every type, as events; the newest first.

    What is no event has its kind, or its type where it has none, as its kind and as what happened.
    """
    check_context(request, now_ms)
    since = None if request.since is None else parse_when(request.since, "since", now_ms)
    parameters = {
        "now": now_ms, "session": request.session, "since": since, "limit": request.limit
    }  # fmt: skip
    rows: list[Any] = []
    # One after the other: of each type the index has the newest first.
    for kind in MEMORY_TYPES:
        parts: list[str] = []
        column = _KIND if kind == "event" else "coalesce(m.kind, m.type)"
        _any_of("kinds", column, request.kinds, parts, parameters)
        rows += connection.execute(
            f"""SELECT {MEMORY_COLUMNS}, m.occurred_at FROM __palimp_memories m
            INDEXED BY __palimp_session WHERE m.session = :session AND m.type = '{kind}'
            AND {_HOLDS} AND (:since IS NULL OR m.occurred_at > :since) {"".join(parts)}
            ORDER BY m.occurred_at DESC, m.handle DESC LIMIT :limit""",
            parameters,
        ).fetchall()
    rows.sort(key=lambda row: (row[-1], row[0]), reverse=True)
    return tuple(_event(memory_fields(row[:-1], sealer)) for row in rows[: request.limit])


def complete(connection: apsw.Connection, names: Sequence[str]) -> None:
    """Make the index in a new database, where it is among `names`."""
    if TIMELINE in names:
        prepare_timeline(connection)


def _index(connection: apsw.Connection, session: str | None) -> str:
    """Return which index to use: said, because none of them is left to be guessed."""
    if session is not None:
        return "INDEXED BY __palimp_session"
    found = connection.execute(
        "SELECT 1 FROM sqlite_schema WHERE type = 'index' AND name = ?", (TIMELINE,)
    ).get
    return "" if found is None else f"INDEXED BY {TIMELINE}"


def _where(request: ListTimeline, now_ms: int) -> _Where:
    check_integer(request.limit, "limit", 1, PAGE_MAX)
    if not 0 <= request.offset <= TIMELINE_OFFSET_MAX:
        raise Invalid(
            f"offset is {request.offset:,}; give 0 to {TIMELINE_OFFSET_MAX:,}, and go further with "
            "since or until"
        )
    parts: list[str] = []
    parameters: dict[str, Any] = {"now": now_ms}
    _window(request, now_ms, parts, parameters)
    for name in ("agent", "session"):
        value = getattr(request, name)
        if value is not None:
            parts.append(f" AND m.{name} = :{name}")
            parameters[name] = check_label(value, name)
    _any_of("kinds", _KIND, request.kinds, parts, parameters)
    _any_of("events", _EVENT, request.events, parts, parameters)
    if request.importance_min is not None:
        parts.append(" AND m.importance >= :importance_min")
        parameters["importance_min"] = check_share(request.importance_min, "importance_min")
    _tags(request.tags, parts, parameters)
    if request.dedup_key is not None:
        check_label(request.dedup_key, "dedup_key")
        # Of an event that was written without a window the column has another key.
        parts.append(
            f""" AND (m.dedup_key = :dedup_key OR CASE typeof(m.content)
            WHEN 'text' THEN instr(m.content, :raw_key)
            AND json_extract(m.content, '$.dedup_key') = :dedup_key
            WHEN 'blob' THEN {_HAS}(:has_key, m.id, m.content) END)"""
        )
        parameters["dedup_key"] = request.dedup_key
        parameters["raw_key"] = encode_json(request.dedup_key, "dedup_key", 8 * LABEL_BYTES_MAX)
    if request.contains is not None:
        check_name_bytes(request.contains, "contains", CONTAINS_BYTES_MAX)
        # A row that is not sealed needs no call out of SQLite.
        parts.append(
            f""" AND CASE typeof(m.text) WHEN 'text' THEN instr(m.text, :contains) > 0
            ELSE {_HAS}(:has_text, m.id, m.text) END"""
        )
        parameters["contains"] = request.contains
    return _Where("".join(parts), parameters)


def _window(
    request: ListTimeline, now_ms: int, parts: list[str], parameters: dict[str, Any]
) -> None:
    since = None if request.since is None else parse_when_us(request.since, "since", now_ms)
    until = None if request.until is None else parse_when_us(request.until, "until", now_ms)
    if since is not None and until is not None and since >= until:
        raise Invalid(f"since ({request.since}) is not before until ({request.until})")
    # An event has whole milliseconds: those behind, and before, a bound within one.
    if since is not None:
        parts.append(" AND m.occurred_at > :since")
        parameters["since"] = since // 1000
    if until is not None:
        parts.append(" AND m.occurred_at < :until")
        parameters["until"] = -(-until // 1000)


def _any_of(
    field: str, column: str, values: Sequence[str], parts: list[str], parameters: dict[str, Any]
) -> None:
    if len(values) > FILTER_VALUES_MAX:
        raise Invalid(
            f"{field} has {len(values):,} values, at most {FILTER_VALUES_MAX:,} are allowed"
        )
    for place, value in enumerate(values):
        parameters[f"{field}{place}"] = check_label(value, f"{field}[{place}]")
    if values:
        names = ", ".join(f":{field}{place}" for place in range(len(values)))
        parts.append(f" AND {column} IN ({names})")


def _tags(tags: Sequence[str], parts: list[str], parameters: dict[str, Any]) -> None:
    if len(tags) > TAGS_MAX:
        raise Invalid(f"tags has {len(tags):,} values, at most {TAGS_MAX} are allowed")
    for place, tag in enumerate(tags):
        check_label(tag, f"tags[{place}]")
        # The text of the list first: few rows pass, and only these are taken apart.
        parts.append(
            f""" AND instr(m.tags, :raw{place})
            AND EXISTS (SELECT 1 FROM json_each(m.tags) WHERE value = :tag{place})"""
        )
        parameters[f"tag{place}"] = tag
        parameters[f"raw{place}"] = encode_json(tag, "tags", 8 * LABEL_BYTES_MAX)


def _held(connection: apsw.Connection, request: ListTimeline, sealer: Sealer) -> dict[str, Any]:
    """Return the first arguments of `_HAS`, which the connection then knows.

    It is asked of sealed rows; what cannot be read has nothing.
    """

    def has(column: str, test: Callable[[str], bool]) -> Any:
        def has_it(identity: str, stored: str | bytes) -> bool:
            try:
                return test(sealer.unseal(stored, "memories", identity, column))
            except Undecipherable:
                return False

        return apsw.pyobject(has_it)

    found = {}
    if request.contains is not None:
        contains = request.contains
        found["has_text"] = has("text", lambda text: contains in text)
    if request.dedup_key is not None:
        key = request.dedup_key
        found["has_key"] = has("content", lambda text: _key_in(decode_json(text)) == key)
    if found and connection not in _knowing:
        connection.create_scalar_function(_HAS, _call, 3, flags=apsw.SQLITE_DIRECTONLY)
        _knowing.add(connection)
    return found


def _call(*arguments: Any) -> bool:
    has, identity, stored = arguments
    return bool(has(identity, stored))


def _key_in(content: Any) -> Any:
    return content.get("dedup_key") if isinstance(content, dict) else None


def _event(fields: dict[str, Any]) -> Event:
    """Return the event of a memory's fields."""
    content = fields["content"] if isinstance(fields["content"], dict) else {}
    known = {
        name: content[name]
        for name in ("parent", "dedup_key")
        if isinstance(content.get(name), str)
    }
    kept = ("agent", "text", "id", "session", "metadata", "tags", "importance")
    known |= {name: fields[name] for name in kept if name in fields}
    if fields["type"] == "event":
        kind, event = fields.get("kind", KIND_DEFAULT), fields.get("source", EVENT_DEFAULT)
    else:
        kind = event = fields.get("kind", fields["type"])
    at_ms = fields.get("observed_at", fields["created_at"])
    return Event(**known, kind=kind, event=event, at_us=at_ms * 1000)
