"""Events: append, list, count, and sum up a session.

They are memories of the profile, unless the node knows of a store of their own for them
(`EventStores`): then that store is asked, under the same limits.
"""

from __future__ import annotations

import hashlib
from typing import Any, Protocol

import msgspec

from ..api import Ingest, MemoryInput, Target
from ..api.events import (
    AppendEvents,
    Event,
    EventAppended,
    EventInput,
    EventsAppended,
    GetTimelineStats,
    ListTimeline,
    SessionContext,
    SessionText,
    Timeline,
    TimelineStats,
)
from ..api.limits import BATCH_ITEMS_MAX, LABEL_BYTES_MAX, TTL_SECONDS_MAX
from ..errors import Error, Invalid, in_batch
from ..ids import random_bytes
from ..profile import memories
from ..profile.checks import check_label, check_text
from ..profile.memories import timeline
from .context import Context
from .memories import ingest
from .session_context import summed_up

__all__ = [
    "EventStore",
    "EventStores",
    "ProfileEvents",
    "append",
    "list_events",
    "stats",
    "sum_up",
]

_KEY_BYTES = 16
_TO_LETTERS = str.maketrans("0123456789", "ghijklmnop")


class EventStore(Protocol):
    """Where the events of one profile are kept; safe to share between threads.

    Requests are checked before they come here. Raises only errors of `palimp.errors`.
    """

    def append(self, request: AppendEvents) -> EventsAppended:
        """Keep all events, in their order, or none; when this returns they survive the process.

        An event whose `dedup_key` was appended within `dedup_window`, also earlier in the same
        request, is a duplicate and is not kept.
        """

    def list(self, request: ListTimeline, now_ms: int) -> Timeline:
        """Return the events that match, in the order of time, with all that were appended before.

        Relative times are counted from `now_ms`. `more` is exact.
        """

    def stats(self, request: GetTimelineStats, now_ms: int) -> TimelineStats:
        """Count the events, zero of an agent that none has; the last day ends at `now_ms`."""


class EventStores(Protocol):
    """Which profiles keep their events in a store of their own."""

    def of(self, target: Target) -> EventStore | None:
        """Return the store of a profile's events; None where they are its own memories.

        Raises `Unavailable` where there is to be one and it cannot be reached.
        """


class ProfileEvents:
    """The events of a profile as memories of it: an `EventStore` of one target."""

    def __init__(self, context: Context, target: Target) -> None:
        self._context = context
        self._target = target

    def append(self, request: AppendEvents) -> EventsAppended:
        """Write them as memories, in one transaction, by the way of every memory."""
        context, target = self._context, self._target
        given = tuple(_memory(context, request, index) for index in range(len(request.events)))
        done = ingest(context, target, Ingest(memories=given), named="events")
        handles = [one.handle for one in done if one.status != "duplicate" and one.handle]
        found: dict[int, Event] = {}
        with context.reading(target) as database:
            if database is not None and handles:
                sealer = context.sealer_of(target)
                found = database.read(lambda c: timeline.events_by_handle(c, handles, sealer)).value
        results = tuple(
            EventAppended(status="duplicate")
            if one.status == "duplicate"
            else EventAppended(status="created", event=found.get(one.handle or 0), note=one.note)
            for one in done
        )
        return EventsAppended(results=results, txid=done.txid)

    def list(self, request: ListTimeline, now_ms: int) -> Timeline:
        """Read one page."""
        with self._context.reading(self._target) as database:
            if database is None:
                return Timeline(events=(), more=False, txid=0)
            now_ms = self._context.now_ms(database)
            sealer = self._context.sealer_of(self._target)
            (events, more), txid, _ = database.read(
                lambda c: timeline.list_events(c, request, sealer, now_ms)
            )
        return Timeline(events=events, more=more, txid=txid)

    def stats(self, request: GetTimelineStats, now_ms: int) -> TimelineStats:
        """Count them."""
        with self._context.reading(self._target) as database:
            if database is None:
                return TimelineStats(count=0, txid=0)
            now_ms = self._context.now_ms(database)
            found, txid, _ = database.read(lambda c: timeline.stats(c, request, now_ms))
        return msgspec.structs.replace(found, txid=txid)

    def of_session(self, request: SessionContext) -> tuple[tuple[Event, ...], int]:
        """Return the newest memories of a session, whatever their type, and the txid of that."""
        with self._context.reading(self._target) as database:
            if database is None:
                return (), 0
            now_ms = self._context.now_ms(database)
            sealer = self._context.sealer_of(self._target)
            found, txid, _ = database.read(
                lambda c: timeline.of_session(c, request, sealer, now_ms)
            )
        return found, txid


def append(context: Context, target: Target, request: AppendEvents) -> EventsAppended:
    """Append events; everything is checked before anything is written."""
    count = len(request.events)
    if not 1 <= count <= BATCH_ITEMS_MAX:
        raise Invalid(
            f"an append has {count:,} events; give 1 to {BATCH_ITEMS_MAX:,}"
            + (", in several calls" if count else ""),
            code="payload_too_large" if count else "invalid_request",
        )
    window = request.dedup_window
    if window is not None and not 0 < window <= TTL_SECONDS_MAX:
        raise Invalid(
            f"dedup_window is {window} seconds; give more than 0, at most {TTL_SECONDS_MAX:,}"
        )
    for index, event in enumerate(request.events):
        try:
            _check(event)
        except Error as error:
            raise in_batch(error, "events", index, count) from error
    store = _foreign(context, target)
    if store is None:
        return ProfileEvents(context, target).append(request)
    return _append_elsewhere(context, target, request, store)


def list_events(context: Context, target: Target, request: ListTimeline) -> Timeline:
    """Read one page of events."""
    now_ms = context.clock.now_ms()
    timeline.check_timeline(request, now_ms)
    store = _foreign(context, target) or ProfileEvents(context, target)
    return store.list(request, now_ms)


def stats(context: Context, target: Target, request: GetTimelineStats) -> TimelineStats:
    """Count events."""
    timeline.check_stats(request)
    store = _foreign(context, target) or ProfileEvents(context, target)
    return store.stats(request, context.clock.now_ms())


def sum_up(context: Context, target: Target, request: SessionContext) -> SessionText:
    """Sum up a session, which need not exist."""
    now_ms = context.clock.now_ms()
    timeline.check_context(request, now_ms)
    store, txid = _foreign(context, target), None
    if store is None:
        found, txid = ProfileEvents(context, target).of_session(request)
    else:
        wanted = ListTimeline(
            session=request.session, kinds=request.kinds, since=request.since, limit=request.limit
        )
        found = store.list(wanted, now_ms).events
    done = summed_up(request.session, found, request.max_tokens)
    return msgspec.structs.replace(done, txid=txid)


def _foreign(context: Context, target: Target) -> EventStore | None:
    """Return the store of a profile whose events are no memories of it."""
    if context.event_stores is None:
        return None
    store: EventStore | None = context.event_stores.of(target)
    if store is not None and target.at is not None:
        raise Invalid(
            f"the events of profile {target.profile!r} are in a store of their own, which has no "
            "earlier states; read them as they are, with until"
        )
    return store


def _append_elsewhere(
    context: Context, target: Target, request: AppendEvents, store: EventStore
) -> EventsAppended:
    """Append to a store of its own what a profile would take in, as it would take it in."""
    screen = context.screen(context.address(target))
    count = len(request.events)
    events: list[EventInput] = []
    notes: list[str | None] = []
    for index, event in enumerate(request.events):
        given, note = _memory(context, request, index), None
        try:
            if screen is not None:
                given, _, note = screen.memory(given)
            memories.draft(given)
        except Error as error:
            raise in_batch(error, "events", index, count) from error
        events.append(event if screen is None else _screened(event, given))
        notes.append(note)
    done = store.append(msgspec.structs.replace(request, events=tuple(events)))
    if screen is not None:
        screen.record()
        results = tuple(
            msgspec.structs.replace(one, note=note)
            for one, note in zip(done.results, notes, strict=True)
        )
        done = msgspec.structs.replace(done, results=results)
    context.metrics.add("memories_written", count)
    return done


def _screened(event: EventInput, given: MemoryInput) -> EventInput:
    """Return an event as the memory it would be came out of a look at it."""
    content = {} if given.content is msgspec.UNSET else given.content
    return msgspec.structs.replace(
        event,
        text=given.text,
        metadata=given.metadata,
        parent=content.get("parent"),
        dedup_key=content.get("dedup_key"),
    )


def _check(event: EventInput) -> None:
    """Refuse what has another name as a memory, or is required of events alone."""
    check_text(event.agent, "agent", LABEL_BYTES_MAX)
    check_label(event.event, "event")
    check_label(event.parent, "parent")


def _memory(context: Context, request: AppendEvents, index: int) -> MemoryInput:
    """Return an event as the memory it is.

    A key with a window is what it is a duplicate by. Without one it has a key that nothing else
    has, so that the same words again are another event.
    """
    event = request.events[index]
    said = {"dedup_key": event.dedup_key, "parent": event.parent}
    kept: Any = {name: value for name, value in said.items() if value is not None}
    windowed = event.dedup_key is not None and request.dedup_window is not None
    return MemoryInput(
        text=event.text,
        type="event",
        kind=event.kind,
        source=event.event,
        agent=event.agent,
        session=event.session,
        metadata=event.metadata,
        tags=event.tags,
        importance=event.importance,
        content=kept or msgspec.UNSET,
        dedup_key=event.dedup_key if windowed else _unique_key(context, index),
        dedup_window=request.dedup_window if windowed else None,
    )


def _unique_key(context: Context, index: int) -> str:
    """Return a key of an event: a repeat of its request makes the same, nothing else does.

    It is made of letters: digits might look like a card's number to what screens names.
    """
    request_id = context.options.request_id
    if request_id is None:
        data = random_bytes(_KEY_BYTES)
    else:
        said = b"%s\0%s\0%d" % (request_id.encode(), context.digest, index)
        data = hashlib.blake2b(said, digest_size=_KEY_BYTES).digest()
    return data.hex().translate(_TO_LETTERS)
