"""From a caller's arguments to the requests of events, and from one page of them to the next."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any

import msgspec

from ..api import to_request
from ..api.events import AppendEvents, EventInput, ListTimeline, SessionContext, Timeline
from ..clock import parse_seconds, wire_when
from .inputs import listed_requests

__all__ = ["append_events_request", "behind", "context_request", "timeline_request"]

_PLURALS = {"kind": "kinds", "event": "events"}


def append_events_request(
    events: Iterable[Mapping[str, Any] | EventInput], dedup_window: timedelta | float | None
) -> AppendEvents:
    """Return the request that appends events; errors name the event's index."""
    given = listed_requests(EventInput, events, "extend", "events")
    window = None if dedup_window is None else parse_seconds(dedup_window, "dedup_window")
    return to_request(AppendEvents, {"events": given, "dedup_window": window}, "append")


def timeline_request(filters: Mapping[str, Any], limit: int, offset: int = 0) -> ListTimeline:
    """Return the request of a page of events."""
    fields: dict[str, Any] = {"limit": limit, "offset": offset}
    for name, value in filters.items():
        fields[_PLURALS.get(name, name)] = _several(value) if name in _PLURALS else value
    for name in ("since", "until"):
        if fields.get(name) is not None:
            fields[name] = wire_when(fields[name], name)
    return to_request(ListTimeline, fields, "list")


def context_request(session: str, fields: Mapping[str, Any]) -> SessionContext:
    """Return the request that sums up a session."""
    given = {**fields, "session": session, "kinds": _several(fields.get("kinds"))}
    if given.get("since") is not None:
        given["since"] = wire_when(given["since"], "since")
    return to_request(SessionContext, given, "context")


def behind(
    request: ListTimeline, page: Timeline, tail: Sequence[int]
) -> tuple[ListTimeline, list[int]]:
    """Return the request of the page behind one that has events, and its own `tail`.

    It begins at the millisecond of the last event, and so goes on where that page ended, whatever
    was appended since. `tail` are the times of the events of that millisecond that were read.
    """
    at_us = [*tail, *(event.at_us for event in page)]
    last_ms = at_us[-1] // 1000
    if request.order == "desc":
        bound = last_ms + 1
        tail = [one for one in at_us if one < bound * 1000]
        return msgspec.structs.replace(request, until=bound, offset=len(tail)), tail
    if last_ms == 0:
        # No time lies before it.
        return msgspec.structs.replace(request, offset=len(at_us)), at_us
    bound = last_ms - 1
    tail = [one for one in at_us if one > bound * 1000]
    return msgspec.structs.replace(request, since=bound, offset=len(tail)), tail


def _several(value: Any) -> Any:
    if value is None:
        return ()
    return (value,) if isinstance(value, str) else value
