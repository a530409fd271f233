"""Reading memories: by filters, of an agent, of a session, and by a search."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

from ....api.events import ListTimeline, Timeline
from ....api.limits import CONTAINS_BYTES_MAX, LABEL_BYTES_MAX, PAGE_MAX
from ..foreign import Route
from .call import Call
from .names import check_id, check_tags, check_type
from .refusals import bad, missing
from .shapes import shape

__all__ = ["ROUTES"]

_LIST, _SEARCH = 100, 50
_AGENT_SINCE = "24h"
_NOW = "now"
_DIGITS_MAX = 18


class _Asked(NamedTuple):
    """What the query string of a listing says."""

    agent: str | None
    session: str | None
    kind: str | None
    event: str | None
    tags: tuple[str, ...]
    since: str | None


def listing(call: Call) -> Any:
    """Return the memories that a query string asks for."""
    return _listed(call, _asked(call))


def of_agent(call: Call) -> Any:
    """Return the memories of an agent, those of the last 24 hours unless a time is given."""
    asked = _asked(call)
    since = asked.since or _AGENT_SINCE
    agent = check_id(call.values["id"], "agent_id")
    return _listed(call, asked._replace(agent=agent, since=since))


def of_session(call: Call) -> Any:
    """Return the memories of a session."""
    session = check_id(call.values["id"], "session_id")
    return _listed(call, _asked(call)._replace(session=session))


def get(call: Call) -> Any:
    """Return the newest memory that was written with a key, else the newest that has that text."""
    word = call.values["id"]
    asked = [ListTimeline(contains=word, limit=1)]
    if len(word.encode()) <= LABEL_BYTES_MAX:
        asked.insert(0, ListTimeline(dedup_key=word, limit=1))
    for request in asked:
        found: Timeline = call.do("timeline.list", request)
        if found.events:
            return shape(found.events[0], call.org)
    raise missing("memory not found")


def search(call: Call) -> Any:
    """Return the memories that a body asks for."""
    clock = call.node.context.clock
    begun = clock.monotonic()
    kinds = [check_type(one, "memory_type") for one in call.texts("memory_types") or ()]
    events = [check_type(one, "event_type") for one in call.texts("event_types") or ()]
    request = ListTimeline(
        agent=check_id(call.word("agent_id"), "agent_id"),
        session=check_id(call.word("session_id"), "session_id"),
        kinds=tuple(one for one in kinds if one),
        events=tuple(one for one in events if one),
        tags=check_tags(call.texts("tags") or ()),
        contains=_contains(call),
        since=call.word("since") or None,
        until=_until(call.word("until")),
        importance_min=_importance(call),
        order=_order(call.word("order")),
        limit=_limit(call.integer("limit"), _SEARCH),
    )
    found: Timeline = call.do("timeline.list", request)
    results = [shape(one, call.org) for one in found.events]
    spent = round((clock.monotonic() - begun) * 1_000)
    return {"results": results, "count": len(results), "query_time_ms": spent}


def _asked(call: Call) -> _Asked:
    query = call.query
    tags = [tag.strip() for tag in query.get("tags", "").split(",")]
    return _Asked(
        agent=check_id(query.get("agent_id"), "agent_id"),
        session=check_id(query.get("session_id"), "session_id"),
        kind=check_type(query.get("memory_type"), "memory_type"),
        event=check_type(query.get("event_type"), "event_type"),
        tags=check_tags(tags),
        since=query.get("since") or None,
    )


def _listed(call: Call, asked: _Asked) -> Any:
    query = call.query
    request = ListTimeline(
        agent=asked.agent,
        session=asked.session,
        kinds=(asked.kind,) if asked.kind else (),
        events=(asked.event,) if asked.event else (),
        tags=asked.tags,
        since=asked.since,
        until=_until(query.get("until", "")),
        order=_order(query.get("order", "")),
        limit=_limit(_whole(query.get("limit", "")), _LIST),
        offset=max(0, _whole(query.get("offset", "")) or 0),
    )
    found: Timeline = call.do("timeline.list", request)
    memories = [shape(one, call.org) for one in found.events]
    return {"memories": memories, "count": len(memories), "has_more": found.more}


def _contains(call: Call) -> str | None:
    text = call.word("content_contains")
    size = len(text.encode())
    if size > CONTAINS_BYTES_MAX:
        raise bad(f"content_contains has {size:,} bytes; give up to {CONTAINS_BYTES_MAX:,}")
    return text or None


def _importance(call: Call) -> float | None:
    """Return the least importance, which is heeded above 0."""
    least = call.decimal("min_importance")
    if least is None or least <= 0:
        return None
    if least > 1:
        raise bad(f"min_importance is {least:g}; give 0 to 1")
    return least


def _until(text: str) -> str | None:
    return None if text in ("", _NOW) else text


def _order(text: str) -> Literal["asc", "desc"]:
    return "asc" if text == "asc" else "desc"


def _limit(given: int | None, default: int) -> int:
    return default if given is None or given <= 0 else min(given, PAGE_MAX)


def _whole(text: str) -> int | None:
    """Return a whole number; None for what is none."""
    digits = text[1:] if text[:1] in ("+", "-") else text
    if not (digits.isascii() and digits.isdigit() and len(digits) <= _DIGITS_MAX):
        return None
    return int(text)


_TEST = "tests/dialects/memtrace/test_reading.py"
_READ = "read"

ROUTES: tuple[Route, ...] = (
    Route("GET", "/api/v1/memories", "user", listing, _TEST, needs=_READ),
    Route("GET", "/api/v1/memories/{id}", "user", get, _TEST, needs=_READ),
    Route("POST", "/api/v1/search", "user", search, _TEST, raw=True, needs=_READ),
    Route("GET", "/api/v1/agents/{id}/memories", "user", of_agent, _TEST, needs=_READ),
    Route("GET", "/api/v1/sessions/{id}/memories", "user", of_session, _TEST, needs=_READ),
)
