"""Whether every line of the audit is there as it was written: a walk along the chains.

Found is every line that was altered, taken out or put in before the end that a head knows, every
object that is missing, and every beginning that no retention explains. Not found is what a chain
lost after the end its head knows (the last day of a node that was not closed), and a chain that
was written anew from some line to its end, with its head: against that, keep the hash elsewhere.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from itertools import islice

import msgspec

from ...api import AuditBreak, AuditChain, AuditEvent, AuditVerification
from ...decoding import from_json
from ...errors import Invalid
from ...store import ObjectStore
from .chain import Head, Link, Place, digest, heads, places, prefix_of, read_head
from .reading import OBJECTS_MAX, fetched

__all__ = ["verify"]


class _Walk(msgspec.Struct):
    """How far it got. `heads` are as they were at the beginning: what they know is there since."""

    heads: dict[str, Head]
    after: str | None = None
    ends: dict[str, Link] = msgspec.field(default_factory=dict)


class _Broken(Exception):
    """The first thing that does not hold."""

    def __init__(self, key: str, line: int, what: str) -> None:
        super().__init__(what)
        self.found = AuditBreak(key=key, line=line, what=what)


def verify(store: ObjectStore, namespace: str, cursor: str | None) -> AuditVerification:
    """Check a number of objects; a cursor goes on where the call before ended."""
    walk = _Walk(heads(store, namespace)) if cursor is None else _decode(cursor)
    listed = places(store, namespace, walk.after)
    some = list(islice(listed, OBJECTS_MAX))
    objects = events = 0
    broken = None
    try:
        for place, data in _with_data(store, some):
            objects += 1
            events += _check_object(store, namespace, walk, place, data)
            walk.after = place.key
        more = next(listed, None) is not None
        if not more:
            _check_ends(namespace, walk)
    except _Broken as error:
        broken, more = error.found, False
    return AuditVerification(
        objects=objects,
        events=events,
        chains=tuple(
            AuditChain(node=node, seq=end.seq, hash=end.hash, ts=end.ts)
            for node, end in sorted(walk.ends.items())
        ),
        broken=broken,
        next_cursor=_encode(walk) if more else None,
    )


def _with_data(store: ObjectStore, found: list[Place]) -> Iterator[tuple[Place, bytes | None]]:
    data = fetched(store, iter([place.key for place in found]))
    for place, (_, held) in zip(found, data, strict=True):
        yield place, held


def _check_object(
    store: ObjectStore, namespace: str, walk: _Walk, place: Place, data: bytes | None
) -> int:
    """Check the lines of one object against the end of its chain; return how many they are."""
    if data is None:
        head = read_head(store, namespace, place.node)
        if head is not None and head.expired_seq >= place.seq:
            # Its time ended while we walked.
            walk.ends.pop(place.node, None)
            return 0
        raise _Broken(place.key, 0, "the object is missing, though it is listed")
    lines = data.splitlines()
    if not lines or not data.endswith(b"\n"):
        raise _Broken(place.key, len(lines), "the object does not end with a line")
    for number, line in enumerate(lines, 1):
        event = _event(line, place, number)
        end = walk.ends.get(place.node)
        if end is None:
            end = _beginning(store, namespace, place, event)
        _check_line(event, place, number, end)
        walk.ends[place.node] = Link(event.seq, digest(line), event.ts)
    return len(lines)


def _event(line: bytes, place: Place, number: int) -> AuditEvent:
    try:
        return from_json(line, AuditEvent)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _Broken(place.key, number, f"the line is no event: {error}") from error


def _beginning(store: ObjectStore, namespace: str, place: Place, event: AuditEvent) -> Link:
    """Return what the first line of a chain that is there has to follow."""
    if event.seq == 1:
        return Link()
    head = read_head(store, namespace, place.node)
    removed = 0 if head is None else head.expired_seq
    if head is not None and event.seq == removed + 1:
        return Link(removed, head.expired_hash)
    if event.seq <= removed:
        # Retention said so and was stopped before it had removed all.
        return Link(event.seq - 1, event.prev)
    raise _Broken(
        place.key,
        1,
        f"the chain of node {place.node} begins with line {event.seq:,}, and retention removed "
        f"{removed:,}: those between are missing",
    )


def _check_line(event: AuditEvent, place: Place, number: int, end: Link) -> None:
    what = None
    if event.node != place.node:
        what = f"the line is of node {event.node!r:.80}, its object of {place.node!r}"
    elif event.seq != end.seq + 1:
        what = f"line {event.seq:,} follows line {end.seq:,} of node {place.node}"
    elif event.prev != end.hash:
        what = f"line {event.seq:,} does not follow the one before, which was altered"
    elif number == 1 and event.seq != place.seq:
        what = f"the object begins with line {event.seq:,}, its name says {place.seq:,}"
    elif not end.ts <= event.ts <= place.ts:
        what = f"line {event.seq:,} is of another time than its place"
    if what is not None:
        raise _Broken(place.key, number, what)


def _check_ends(namespace: str, walk: _Walk) -> None:
    """Hold the ends against what the heads knew before the walk began."""
    for node, head in walk.heads.items():
        end = walk.ends.get(node, Link(head.expired_seq, head.expired_hash))
        key = f"{prefix_of(namespace)}heads/{node}.json"
        if end.seq < head.seq:
            raise _Broken(
                key,
                0,
                f"the chain of node {node} ends with line {end.seq:,} and had {head.seq:,}: its "
                "end is missing",
            )
        if end.seq == head.seq and end.hash != head.hash:
            raise _Broken(key, 0, f"the last line of node {node}, {end.seq:,}, was altered")


def _encode(walk: _Walk) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(walk)).decode()


def _decode(cursor: str) -> _Walk:
    try:
        return from_json(base64.urlsafe_b64decode(cursor), _Walk)
    except (msgspec.DecodeError, UnicodeDecodeError, ValueError, binascii.Error) as error:
        raise Invalid(
            f"cursor {cursor!r:.40} is none of ours; take next_cursor of the call before"
        ) from error
