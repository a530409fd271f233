"""Reading the audit: objects in the order of their keys, lines in the order of their numbers."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, islice

import msgspec

from ...api import AuditEvent, AuditPage, QueryAudit
from ...api.limits import PAGE_MAX
from ...clock import parse_ms
from ...decoding import json_decoder
from ...errors import Internal, Invalid
from ...ids import check_name
from ...profile.checks import check_integer
from ...store import ObjectStore
from .chain import SPAN_MS, Place, first_after, places, prefix_of

__all__ = ["OBJECTS_MAX", "fetched", "query"]

# So many objects are looked at by one call, and so many fetched at once.
OBJECTS_MAX = 512
_TOGETHER = 8
_ACTION_CHARS_MAX = 128


class _Filter:
    """Which events are asked for."""

    def __init__(self, request: QueryAudit) -> None:
        check_integer(request.limit, "limit", 1, PAGE_MAX)
        self.begin = 0 if request.from_ is None else parse_ms(request.from_, "from")
        self.end = None if request.to is None else parse_ms(request.to, "to")
        if self.end is not None and self.end < self.begin:
            raise Invalid(f"to ({self.end}) is before from ({self.begin}); give them in order")
        if request.profile is not None:
            check_name(request.profile, "profile")
        action = request.action
        if action is not None and not 1 <= len(action) <= _ACTION_CHARS_MAX:
            raise Invalid(
                f"action has {len(action)} characters; give a name such as memory.ingest, or the "
                "beginning of names with its dot, such as memory."
            )
        self._action = action
        self._profile = request.profile
        self._outcome = request.outcome

    def matches(self, event: AuditEvent) -> bool:
        action = self._action
        named = action in (None, event.action) or (
            action is not None and action.endswith(".") and event.action.startswith(action)
        )
        return (
            named
            and event.ts >= self.begin
            and (self.end is None or event.ts < self.end)
            and self._profile in (None, event.profile)
            and self._outcome in (None, event.outcome)
        )


def query(store: ObjectStore, namespace: str, request: QueryAudit) -> AuditPage:
    """Return one page of the events that match, from the beginning or from a cursor."""
    wanted = _Filter(request)
    first, begun = _start(namespace, request.cursor)
    after = first or first_after(namespace, wanted.begin)
    listed: Iterator[str] = (
        place.key for place in _until(places(store, namespace, after), wanted.end)
    )
    keys = chain((first,), listed) if first else listed
    found: list[AuditEvent] = []
    last = None
    for key, data in fetched(store, islice(keys, OBJECTS_MAX)):
        lines = data.splitlines() if data is not None else []
        for number, line in enumerate(lines[begun:], begun):
            event = _event(line, f"{store.name}: {key}")
            if not wanted.matches(event):
                continue
            if len(found) == request.limit:
                return _page(found, f"{key}:{number}", namespace)
            found.append(event)
        begun, last = 0, f"{key}:{len(lines)}"
    more = next(listed, None)
    return _page(found, last if more is not None else None, namespace)


def fetched(store: ObjectStore, keys: Iterator[str]) -> Iterator[tuple[str, bytes | None]]:
    """Yield objects in the order of their keys, a few of them read at once; None: it went away."""
    # A few ms that only who reads an audit should wait for.
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(_TOGETHER, "palimp-audit-read") as pool:
        while some := list(islice(keys, _TOGETHER)):
            for key, stored in zip(some, pool.map(store.get, some), strict=True):
                yield key, None if stored is None else stored.data


def _until(found: Iterator[Place], end: int | None) -> Iterator[Place]:
    for place in found:
        # The last event of an object is at most a minute after its first.
        if end is not None and place.ts >= end + SPAN_MS:
            return
        yield place


def _start(namespace: str, cursor: str | None) -> tuple[str | None, int]:
    """Return the object a cursor names, and from which of its lines on."""
    if cursor is None:
        return None, 0
    rest, _, number = cursor.rpartition(":")
    if not rest or not (number.isascii() and number.isdigit()) or len(number) > 9:
        raise Invalid(f"cursor {cursor!r:.120} is none of ours; take next_cursor of a page")
    return prefix_of(namespace) + rest, int(number)


def _page(found: list[AuditEvent], cursor: str | None, namespace: str) -> AuditPage:
    short = None if cursor is None else cursor.removeprefix(prefix_of(namespace))
    return AuditPage(events=tuple(found), next_cursor=short, complete=short is None)


def _event(line: bytes, place: str) -> AuditEvent:
    try:
        event: AuditEvent = _DECODER.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Internal(
            f"{place} has a line that is no event ({error}); `palimp audit verify` says more"
        ) from error
    return event


_DECODER = json_decoder(AuditEvent)
