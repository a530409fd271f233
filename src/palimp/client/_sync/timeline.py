# Made from client/_async by scripts/unasync.py; change it there.
"""What agents did and saw, in the order of time."""

from __future__ import annotations

from collections.abc import Iterator, Iterable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Unpack

from ...api import NO_OPTIONS, Durability, Options, to_request
from ...api.events import (
    Event,
    EventAppended,
    EventInput,
    EventsAppended,
    GetTimelineStats,
    Timeline,
    TimelineStats,
)
from ...api.limits import PAGE_DEFAULT, PAGE_MAX
from ..fields import EventFields, ReadFields, TimelineFields
from ..inputs import apart, options, reading
from ..timeline import append_events_request, behind, timeline_request

if TYPE_CHECKING:
    from .past import Reading

__all__ = ["Events", "EventsReading"]


class EventsReading:
    """What can be read of a profile's events, as it is or as it was; nothing is open."""

    __slots__ = ("profile",)

    def __init__(self, profile: Reading) -> None:
        self.profile = profile

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.profile!r}>"

    def list(self, **filters: Unpack[TimelineFields]) -> Iterator[Event]:
        """Iterate over all events that match, newest first, or with `order="asc"` oldest first.

        `since=` and `until=` (exclusive) are times, or how long ago: `"90m"`, `"24h"`, `"7d"`.
        `kind=` and `event=` are one or several, all `tags=` must be there, and `contains=` is a
        text that stands in theirs as it is, upper and lower case apart.
        """
        given, how = apart(filters)
        request, tail = timeline_request(given, PAGE_MAX), list[int]()
        while True:
            page: Timeline = self._call("timeline.list", request, how)
            for event in page:
                yield event
            if not page.more:
                return
            request, tail = behind(request, page, tail)

    def page(
        self, *, limit: int = PAGE_DEFAULT, offset: int = 0, **filters: Unpack[TimelineFields]
    ) -> Timeline:
        """Return up to 1,000 events as `list` has them, past the first `offset` (up to 100,000).

        Its `more` is whether there are others behind them.
        """
        given, how = apart(filters)
        request = timeline_request(given, limit, offset)
        found: Timeline = self._call("timeline.list", request, how)
        return found

    def stats(self, agent: str | None = None, **how: Unpack[ReadFields]) -> TimelineStats:
        """Count the events, of one agent or all: those of the last day too, and by kind."""
        request = to_request(GetTimelineStats, {"agent": agent}, "stats")
        found: TimelineStats = self._call("timeline.stats", request, reading(how))
        return found

    def _call(self, operation: str, request: Any, how: Options = NO_OPTIONS) -> Any:
        return self.profile.client.call(operation, self.profile.target, request, how)


class Events(EventsReading):
    """The events of one profile: a value that holds nothing open.

    Writes take `durability=` and `request_id=` as those of the profile do.
    """

    __slots__ = ()

    def append(
        self,
        agent: str,
        text: str,
        *,
        dedup_window: timedelta | float | None = None,
        durability: Durability | None = None,
        request_id: str | None = None,
        **fields: Unpack[EventFields],
    ) -> EventAppended:
        """Append one event of `agent`; its time is that of the write.

        With `dedup_key=` and `dedup_window=` (seconds or a timedelta) it is a duplicate, and not
        written, of what came with that key within that time. Without them the same again is another
        event.
        """
        done = self.extend(
            [{**fields, "agent": agent, "text": text}],
            dedup_window=dedup_window,
            durability=durability,
            request_id=request_id,
        )
        return done[0]

    def extend(
        self,
        events: Iterable[Mapping[str, Any] | EventInput],
        *,
        dedup_window: timedelta | float | None = None,
        durability: Durability | None = None,
        request_id: str | None = None,
    ) -> EventsAppended:
        """Append 1 to 1,000 events in their order: all of them, or none and an error.

        Each is a mapping of `agent`, `text` and any field `append` takes, or an `EventInput`.
        """
        request = append_events_request(events, dedup_window)
        how = options(durability, request_id)
        done: EventsAppended = self._call("timeline.append", request, how)
        return done
