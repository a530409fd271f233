"""The queries that Arc is asked, with every value a literal: it takes no parameters.

A literal is safe twice: for DuckDB, which runs it, and for the scanner before it, which takes a
quote behind a backslash for an escaped one and would read on in the wrong place. So no literal
holds a backslash; `chr(92)` stands for it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from ..api.events import ListTimeline
from ..errors import Invalid
from .codec import iso_us

__all__ = [
    "SQL_CHARS_MAX",
    "count_kinds",
    "count_since",
    "find_instants",
    "find_keys",
    "like",
    "listing",
    "literal",
    "table",
]

# Arc refuses more than 10,000.
SQL_CHARS_MAX = 9_999
_INSTANTS_MAX = 200
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,127}\Z")
# What may not stand in a literal as it is.
_APART = re.compile("([\x00\\\\])")
_RESERVED = frozenset(
    "all analyse analyze and any array as asc asymmetric both case cast check collate column "
    "constraint create default deferrable desc describe distinct do else end except false fetch "
    "for foreign from group having in initially intersect into lambda lateral leading limit not "
    "null offset on only or order pivot placing primary qualify references returning select show "
    "some summarize symmetric table then to trailing true union unique unpivot using variadic "
    "when where window with".split()
)


def literal(text: str) -> str:
    """Return an expression whose value is `text`, whatever that is."""
    pieces = []
    for piece in _APART.split(text):
        if piece in ("\x00", "\\"):
            pieces.append(f"chr({ord(piece)})")
        elif piece:
            pieces.append("'" + piece.replace("'", "''") + "'")
    if len(pieces) > 1:
        return f"({' || '.join(pieces)})"
    return pieces[0] if pieces else "''"


def like(text: str) -> str:
    """Return an expression for LIKE ... ESCAPE '!' that matches `text` anywhere, as it is."""
    escaped = re.sub("([!%_])", r"!\1", text)
    return f"{literal(f'%{escaped}%')} ESCAPE '!'"


def table(measurement: str) -> str:
    """Return the name of a measurement; quoted only where it has to be, as Arc's own are not."""
    if not _NAME.match(measurement):
        raise Invalid(f"measurement {measurement!r:.80} is no name of one in Arc")
    if "-" in measurement or measurement.lower() in _RESERVED:
        return f'"{measurement}"'
    return measurement


def listing(
    measurement: str,
    org: str,
    request: ListTimeline,
    *,
    since_us: int | None = None,
    until_us: int | None = None,
) -> str:
    """Return the query of one page, and one row more than it has."""
    conditions = [*_of(org, request.agent)]
    if request.session is not None:
        conditions.append(f"session_id = {literal(request.session)}")
    conditions += _any_of("memory_type", request.kinds)
    conditions += _any_of("event_type", request.events)
    conditions += [f"(',' || tags_csv || ',') LIKE {like(f',{tag},')}" for tag in request.tags]
    if request.dedup_key is not None:
        conditions.append(f"dedup_key = {literal(request.dedup_key)}")
    if request.contains is not None:
        conditions.append(f"content LIKE {like(request.contains)}")
    if since_us is not None:
        conditions.append(f"time > {_time(since_us)}")
    if until_us is not None:
        conditions.append(f"time < {_time(until_us)}")
    if request.importance_min is not None:
        conditions.append(f"importance >= {request.importance_min:.6f}")
    order = "ASC" if request.order == "asc" else "DESC"
    return _short(
        f"SELECT * FROM {table(measurement)} WHERE {' AND '.join(conditions)} "
        f"ORDER BY time {order} LIMIT {request.limit + 1:d} OFFSET {request.offset:d}"
    )


def count_kinds(measurement: str, org: str, agent: str | None) -> str:
    """Return the query of how many there are of each kind."""
    return _short(
        f"SELECT memory_type, COUNT(*) AS cnt FROM {table(measurement)} "
        f"WHERE {' AND '.join(_of(org, agent))} GROUP BY memory_type"
    )


def count_since(
    measurement: str, org: str, agent: str | None, since_ms: int, *, event: str | None = None
) -> str:
    """Return the query of how many there are since a time, of one event or of all."""
    conditions = [*_of(org, agent), f"time > {_time(since_ms * 1000)}"]
    if event is not None:
        conditions.append(f"event_type = {literal(event)}")
    return _short(
        f"SELECT COUNT(*) AS cnt FROM {table(measurement)} WHERE {' AND '.join(conditions)}"
    )


def find_keys(measurement: str, org: str, keys: Sequence[str], since_us: int) -> Iterator[str]:
    """Yield the queries of which dedup keys came after a time."""
    head = f"SELECT dedup_key, COUNT(*) AS cnt FROM {table(measurement)} WHERE {_of(org)[0]}"
    head += f" AND time > {_time(since_us)} AND dedup_key IN ("
    tail = ") GROUP BY dedup_key"
    for values in _parted(map(literal, keys), SQL_CHARS_MAX - len(head) - len(tail)):
        yield head + values + tail


def find_instants(measurement: str, org: str, instants: Sequence[int]) -> Iterator[str]:
    """Yield the queries of which rows there are at some times (microseconds)."""
    head = f"SELECT time, agent_id, event_type, dedup_key FROM {table(measurement)} "
    head += f"WHERE {_of(org)[0]} AND time IN ("
    for start in range(0, len(instants), _INSTANTS_MAX):
        some = instants[start : start + _INSTANTS_MAX]
        yield _short(head + ", ".join(map(_time, some)) + ")")


def _of(org: str, agent: str | None = None) -> list[str]:
    """Return the conditions of an organisation, which is in every query, and of an agent."""
    conditions = [f"org_id = {literal(org)}"]
    return conditions if agent is None else [*conditions, f"agent_id = {literal(agent)}"]


def _any_of(column: str, values: Sequence[str]) -> list[str]:
    return [f"{column} IN ({', '.join(map(literal, values))})"] if values else []


def _time(at_us: int) -> str:
    """Return a time in UTC, by our clock: Arc's is another."""
    return f"'{iso_us(at_us)}'"


def _parted(values: Iterable[str], chars_max: int) -> Iterator[str]:
    some: list[str] = []
    size = 0
    for value in values:
        if some and size + len(value) + 2 > chars_max:
            yield ", ".join(some)
            some, size = [], 0
        some.append(value)
        size += len(value) + 2
    if some:
        yield ", ".join(some)


def _short(sql: str) -> str:
    if len(sql) > SQL_CHARS_MAX:
        raise Invalid(
            f"these conditions make a query of {len(sql):,} characters, and Arc takes no more than "
            f"{SQL_CHARS_MAX:,}; give fewer values or shorter ones",
            limit=SQL_CHARS_MAX,
            size=len(sql),
        )
    return sql
