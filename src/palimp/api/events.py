"""Events on the wire: what agents did and saw, in the order of time.

An event is a memory of type `event`, unless its profile keeps its events in a store of their own.
"""

from __future__ import annotations

from typing import Any, Literal

from .base import Request, Result, Sequenced
from .limits import BATCH_ITEMS_MAX, PAGE_DEFAULT
from .operation import PROFILE, row

__all__ = [
    "CONTEXT_EVENTS_DEFAULT",
    "EVENT_DEFAULT",
    "KIND_DEFAULT",
    "ROWS",
    "AppendEvents",
    "Event",
    "EventAppended",
    "EventInput",
    "EventsAppended",
    "GetTimelineStats",
    "ListTimeline",
    "SessionContext",
    "SessionText",
    "Timeline",
    "TimelineStats",
]

KIND_DEFAULT = "episodic"
EVENT_DEFAULT = "general"
CONTEXT_EVENTS_DEFAULT = 100
_WINDOW_DEFAULT = "24h"


class EventInput(Request, frozen=True, kw_only=True):
    """Something that happened to, or was done by, `agent`. Its time is that of the write.

    `kind` says what sort of memory it is (`episodic`, `session`, `decision`, `entity`, or another
    word), `event` what happened, in the application's words (`tool_call`, `error`). `importance`
    lies in [0, 1]. `parent` is any text by which the application knows what it belongs to. With
    `dedup_key` and a window it is a duplicate of what came with that key before (`AppendEvents`).
    """

    agent: str
    text: str
    kind: str = KIND_DEFAULT
    event: str = EVENT_DEFAULT
    session: str | None = None
    metadata: dict[str, Any] | None = None
    tags: tuple[str, ...] = ()
    importance: float | None = None
    parent: str | None = None
    dedup_key: str | None = None


class Event(Result, frozen=True, kw_only=True):
    """One event as it is stored. `at_us` is when it happened: UTC microseconds.

    `id` is that of the memory it is; None where events are in a store of their own, which has none.
    An event that was written as a memory may have no `agent`.
    """

    text: str
    at_us: int
    agent: str | None = None
    kind: str = KIND_DEFAULT
    event: str = EVENT_DEFAULT
    id: str | None = None
    session: str | None = None
    metadata: dict[str, Any] | None = None
    tags: tuple[str, ...] = ()
    importance: float | None = None
    parent: str | None = None
    dedup_key: str | None = None


class AppendEvents(Request, frozen=True, kw_only=True):
    """Append 1 to 1,000 events: all or none, in their order.

    With `dedup_window` (seconds) an event whose `dedup_key` came within that time, also in the same
    call, is a duplicate: nothing is written. Without it every event is written. Where events are in
    a store of their own, a repeat of a call is known by these keys alone, not by its request id.
    """

    events: tuple[EventInput, ...]
    dedup_window: float | None = None


class EventAppended(Result, frozen=True, kw_only=True):
    """What happened to one event; `event` is what was written, None for a duplicate.

    Also None where a repeat is answered and the event was removed since. `note` says what was
    redacted.
    """

    status: Literal["created", "duplicate"]
    event: Event | None = None
    note: str | None = None


class EventsAppended(Result, Sequenced[EventAppended], frozen=True, kw_only=True):
    """The results in the order of the events, and the txid that holds them.

    `txid` is None where events are in a store of their own: then what was accepted is on this
    node's disk, on its way there.
    """

    results: tuple[EventAppended, ...]
    txid: int | None = None

    def _items(self) -> tuple[EventAppended, ...]:
        return self.results


class ListTimeline(Request, frozen=True, kw_only=True):
    """Read events in the order of time; everything left out matches all.

    Several `kinds` or `events` mean any of them, all `tags` must be there. `contains` is a text
    that stands in theirs as it is, upper and lower case apart. `dedup_key` is the one they were
    written with. `since` and `until` are exclusive:
    RFC 3339 text (no zone: UTC), UTC milliseconds, or how long ago: a whole number of `m` or `h`
    (up to 8760) or `d` (up to 365), as `90m`, `24h`, `7d`. `offset` (up to 100,000) passes over the
    first ones. `order` `desc` is newest first.
    """

    agent: str | None = None
    session: str | None = None
    kinds: tuple[str, ...] = ()
    events: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    contains: str | None = None
    dedup_key: str | None = None
    since: int | str | None = None
    until: int | str | None = None
    importance_min: float | None = None
    order: Literal["asc", "desc"] = "desc"
    limit: int = PAGE_DEFAULT
    offset: int = 0


class Timeline(Result, Sequenced[Event], frozen=True, kw_only=True):
    """Events in the order that was asked for; `more` is whether there are others behind them.

    `txid` is None where events are in a store of their own.
    """

    events: tuple[Event, ...]
    more: bool
    txid: int | None = None

    def _items(self) -> tuple[Event, ...]:
        return self.events


class GetTimelineStats(Request, frozen=True, kw_only=True):
    """Count the events of a profile, or of one agent in it."""

    agent: str | None = None


class TimelineStats(Result, frozen=True, kw_only=True):
    """Events in numbers: all, those of the last 24 hours, the errors among these, and by kind.

    An error is what has the event `error`, of whatever kind. `txid` is None where events are in a
    store of their own.
    """

    count: int
    last_24h: int = 0
    errors_24h: int = 0
    by_kind: dict[str, int] = {}  # noqa: RUF012 - msgspec copies it
    txid: int | None = None


class SessionContext(Request, frozen=True, kw_only=True):
    """Sum up what happened in a session as text for a prompt.

    It has the newest `limit` (up to 1,000) memories of the session written since `since`, a time as
    in `ListTimeline`. `kinds` narrows them; what is no event and has no kind has its type for one.
    With `max_tokens` the text has no more tokens, counted as UTF-8 bytes / 4: the oldest are left
    out. The heading always stays.
    """

    session: str
    since: int | str | None = _WINDOW_DEFAULT
    kinds: tuple[str, ...] = ()
    max_tokens: int | None = None
    limit: int = CONTEXT_EVENTS_DEFAULT


class SessionText(Result, frozen=True, kw_only=True):
    """The text, how many memories were found, and how many of them it has (`shown`).

    `txid` is None where events are in a store of their own.
    """

    session: str
    text: str
    found: int
    shown: int
    tokens: int
    txid: int | None = None

    def __str__(self) -> str:
        return self.text


_TIMELINE = PROFILE + "/timeline"

ROWS = (
    row(
        "timeline.append",
        f"POST {_TIMELINE}",
        AppendEvents,
        EventsAppended,
        "write writes 201",
        f"Append 1 to {BATCH_ITEMS_MAX:,} events, all or none.",
    ),
    row(
        "timeline.list",
        f"POST {_TIMELINE}/search",
        ListTimeline,
        Timeline,
        "read",
        "Read events in the order of time, by window, agent, session, kind, tag and text.",
    ),
    row(
        "timeline.stats",
        f"GET {_TIMELINE}/stats",
        GetTimelineStats,
        TimelineStats,
        "read",
        "Count events, those of the last day, and the errors among them.",
    ),
    row(
        "sessions.context",
        f"POST {PROFILE}/sessions/{{session_id}}/context",
        SessionContext,
        SessionText,
        "read",
        "Sum up what happened in a session as text for a prompt.",
    ),
)
