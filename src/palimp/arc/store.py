"""The events of one organisation, in its Arc: what our operations ask of an event store."""

from __future__ import annotations

from collections.abc import Sequence

from ..api.events import (
    AppendEvents,
    Event,
    EventAppended,
    EventsAppended,
    GetTimelineStats,
    ListTimeline,
    Timeline,
    TimelineStats,
)
from ..clock import Clock, parse_when_us
from ..errors import Error, Kept
from ..observe import Metrics, logger
from .binding import ArcOptions
from .checks import check_events, check_tags
from .client import ArcClient
from .codec import row_event, row_of, rows_events
from .drain import Drain
from .spool import Spool
from .sql import count_kinds, count_since, find_keys, listing

__all__ = ["ERROR", "ArcEvents"]

# The event that counts as an error, of whatever kind.
ERROR = "error"
_DAY_MS = 86_400_000
# How long a read waits for what is in the spool, at most.
_FLUSH_SECONDS_MAX = 5.0
_LOG = logger("arc")


class ArcEvents:
    """An event store: appends go to the spool, reads to Arc, after what is in the spool.

    An append that returned survives this node; it comes to Arc once. A read may lack what was
    appended just before: Arc shows rows late, and while it takes none they stay in the spool.
    Thread-safe.
    """

    def __init__(
        self,
        client: ArcClient,
        spool: Spool,
        drain: Drain,
        options: ArcOptions,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self._client = client
        self._spool = spool
        self._drain = drain
        self._options = options
        self._clock = clock
        self._metrics = metrics
        self._org = client.binding.org
        self._measurement = client.binding.measurement
        self._unasked = False

    def append(self, request: AppendEvents) -> EventsAppended:
        """Accept all or none: then they are on this node's disk, each with a time of its own.

        Raises `Invalid` for one that is over a limit, `Unavailable` where the spool is full
        (`overloaded`) or the disk fails. Where Arc cannot be asked for a dedup key, it counts as
        new: an event twice is better than none.
        """
        check_events(request.events)
        window = request.dedup_window
        window_us = None if window is None else max(1, round(window * 1e6))
        rows = [row_of(event, 0) for event in request.events]
        known: set[str] = set()
        if window_us is not None:
            known = self._known({row.dedup_key for row in rows if row.dedup_key}, window_us)
        kept = self._spool.append(self._org, rows, window_us=window_us, known=known)
        self._drain.wake(self._org)
        return EventsAppended(
            results=tuple(
                EventAppended(status="duplicate")
                if row is None
                else EventAppended(status="created", event=row_event(row))
                for row in kept
            )
        )

    def list(self, request: ListTimeline, now_ms: int) -> Timeline:
        """Return a page of what Arc has; `Unavailable` where it does not answer."""
        check_tags(request.tags)
        since, until = (
            None if value is None else parse_when_us(value, field, now_ms)
            for field, value in (("since", request.since), ("until", request.until))
        )
        sql = listing(self._measurement, self._org, request, since_us=since, until_us=until)
        self._flush()
        table = self._client.query(sql)
        events: Sequence[Event] = rows_events(table.columns, table.data[: request.limit])
        return Timeline(events=tuple(events), more=len(table.data) > request.limit)

    def stats(self, request: GetTimelineStats, now_ms: int) -> TimelineStats:
        """Count what Arc has; `Unavailable` where it does not answer."""
        self._flush()
        since = now_ms - _DAY_MS
        asked = self._measurement, self._org, request.agent
        kinds = self._client.query(count_kinds(*asked))
        by_kind: dict[str, int] = {}
        for kind, count in zip(kinds.column("memory_type"), kinds.column("cnt"), strict=True):
            by_kind[kind or ""] = by_kind.get(kind or "", 0) + int(count)
        return TimelineStats(
            count=sum(by_kind.values()),
            last_24h=self._count(count_since(*asked, since)),
            errors_24h=self._count(count_since(*asked, since, event=ERROR)),
            by_kind=by_kind,
        )

    def _count(self, sql: str) -> int:
        found = self._client.query(sql).column("cnt")
        return int(found[0]) if found else 0

    def _known(self, keys: set[str], window_us: int) -> set[str]:
        """Return which keys Arc has; of those that the spool has it is not asked."""
        known = self._spool.seen(self._org, keys, window_us)
        keys -= known
        if not keys:
            return known
        if self._client.reachable is False:
            self._cannot_ask("it did not answer before")
            return known
        since_us = self._clock.now_ms() * 1000 - window_us
        try:
            for sql in find_keys(self._measurement, self._org, sorted(keys), max(0, since_us)):
                table = self._client.query(sql, seconds=self._options.connect_timeout)
                known.update(key for key in table.column("dedup_key") if key)
        except Error as error:
            # Not what Arc says: it may quote a key.
            self._cannot_ask(error.code)
        else:
            self._unasked = False
        return known

    def _cannot_ask(self, why: str) -> None:
        self._metrics.add("arc_dedup_unasked")
        if not self._unasked:
            self._unasked = True
            _LOG.warning(
                "the Arc of %s at %s cannot be asked for dedup keys (%s): events count as new",
                self._org,
                self._client.place,
                why,
            )

    def _flush(self) -> None:
        """Send what is in the spool; that it failed is said by the drain."""
        seconds, sent = min(self._options.query_timeout, _FLUSH_SECONDS_MAX), False
        with Kept() as kept:
            sent = self._drain.flush(self._org, seconds)
        if not sent:
            _LOG.debug(
                "events for %s are read while others are in the spool",
                self._org,
                exc_info=kept.error,
            )
