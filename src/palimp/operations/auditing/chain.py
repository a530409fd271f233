"""The lines of one node in one namespace: each names the SHA-256 of the one before.

    v1/audit/{namespace}/{yyyy}/{mm}/{dd}/{ts}-{node}-{seq}.jsonl   lines; created, never changed
    v1/audit/{namespace}/heads/{node}.json                          where the chain is about

`ts` is the time of an object's last event (13 digits), `seq` the number of its first (10): so the
keys of a node ascend with its numbers. An object has events of one UTC day and of one minute: who
looks for a time knows where to begin and to end. A node's times never run backwards.

The head is behind the chain, at most by a day: a node that starts looks from there for its last
line. It also holds how much of the beginning was removed because its time was over.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec

from ...api import AuditEvent
from ...decoding import from_json
from ...errors import Internal, Unavailable
from ...ids import random_id
from ...store import ObjectStore, change_object

__all__ = [
    "BATCH_MAX",
    "DAY_MS",
    "SPAN_MS",
    "Head",
    "Link",
    "Place",
    "Prepared",
    "advanced",
    "change_head",
    "digest",
    "first_after",
    "heads",
    "places",
    "prefix_of",
    "prepare",
    "read_head",
    "resume",
]

BATCH_MAX = 512
SPAN_MS = 60_000
DAY_MS = 86_400_000
_FORMAT = 1
_HEADS = "heads/"
_NAME = re.compile(r"\d{4}/\d{2}/\d{2}/(?P<ts>\d{13})-(?P<node>[a-z0-9_-]+)-(?P<seq>\d{10})\.jsonl")


class Link(NamedTuple):
    """The end of a chain: number, hash and time of its last line; zeros where there is none."""

    seq: int = 0
    hash: str = ""
    ts: int = 0


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept of a chain beside its lines: an earlier end of it, and what was removed."""

    format: int = _FORMAT
    version: int = 0
    nonce: str = ""
    after: str
    seq: int = 0
    hash: str = ""
    ts: int = 0
    expired_seq: int = 0
    expired_hash: str = ""

    @property
    def link(self) -> Link:
        """The end it knows."""
        return Link(self.seq, self.hash, self.ts)


class Place(NamedTuple):
    """What the key of an object says."""

    key: str
    ts: int
    node: str
    seq: int


class Prepared(NamedTuple):
    """An object that is to be stored, how many events are in it, and the end of the chain then."""

    key: str
    data: bytes
    events: int
    link: Link


def prefix_of(namespace: str) -> str:
    """Return where the audit of a namespace is."""
    return f"v1/audit/{namespace}/"


def digest(line: bytes) -> str:
    """Return by what a line is named in the one after it."""
    return hashlib.sha256(line).hexdigest()


def prepare(namespace: str, node: str, link: Link, events: Sequence[dict[str, Any]]) -> Prepared:
    """Return an object of as many of the events as may stand in one, in their order.

    An event is the fields of an `AuditEvent` but for its place in the chain.
    """
    lines: list[bytes] = []
    begun = 0
    for fields in events[:BATCH_MAX]:
        ts = max(fields["ts"], link.ts)
        if lines and (ts - begun >= SPAN_MS or ts // DAY_MS != begun // DAY_MS):
            break
        begun = begun or ts
        event = AuditEvent(**{**fields, "ts": ts}, seq=link.seq + 1, node=node, prev=link.hash)
        lines.append(msgspec.json.encode(event))
        link = Link(event.seq, digest(lines[-1]), ts)
    first = link.seq - len(lines) + 1
    key = f"{first_after(namespace, link.ts)}-{node}-{first:010d}.jsonl"
    return Prepared(key, b"\n".join(lines) + b"\n", len(lines), link)


def first_after(namespace: str, ts: int) -> str:
    """Return what sorts before every object of that time and later, and after all earlier ones."""
    day = datetime.fromtimestamp(ts // 1000, UTC).strftime("%Y/%m/%d")
    return f"{prefix_of(namespace)}{day}/{ts:013d}"


def places(store: ObjectStore, namespace: str, after: str | None = None) -> Iterator[Place]:
    """Yield the objects of a namespace after a key, in order."""
    prefix = prefix_of(namespace)
    more = True
    while more:
        page = store.list(prefix, after)
        for entry in page.entries:
            match = _NAME.fullmatch(entry.key.removeprefix(prefix))
            if match is None:
                if entry.key.startswith(prefix + _HEADS):
                    return
                raise Internal(f"{store.name}: {entry.key} does not belong into the audit")
            yield Place(entry.key, int(match["ts"]), match["node"], int(match["seq"]))
        after, more = page.after, page.after is not None


def heads(store: ObjectStore, namespace: str) -> dict[str, Head]:
    """Return the heads of a namespace by node."""
    prefix = prefix_of(namespace) + _HEADS
    found: dict[str, Head] = {}
    after, more = None, True
    while more:
        page = store.list(prefix, after)
        for entry in page.entries:
            node = entry.key.removeprefix(prefix).removesuffix(".json")
            head = read_head(store, namespace, node)
            if head is not None:
                found[node] = head
        after, more = page.after, page.after is not None
    return found


def read_head(store: ObjectStore, namespace: str, node: str) -> Head | None:
    """Return the head of a chain."""
    key = _head_key(namespace, node)
    found = store.get(key)
    return None if found is None else _decode(found.data, f"{store.name}: {key}")


def change_head(
    store: ObjectStore, namespace: str, node: str, change: Callable[[Head | None], Head | None]
) -> None:
    """Change the head of a chain, by compare-and-swap; None from `change` leaves it."""
    key = _head_key(namespace, node)

    def changed(data: bytes | None) -> bytes | None:
        old = None if data is None else _decode(data, f"{store.name}: {key}")
        new = change(old)
        if new is None:
            return None
        version = 1 if old is None else old.version + 1
        return msgspec.json.encode(
            msgspec.structs.replace(new, version=version, nonce=random_id("n"))
        )

    change_object(store, key, changed)


def advanced(old: Head | None, link: Link, key: str) -> Head | None:
    """Return a head that knows a later end of its chain, in the object `key`; None: it does."""
    if old is not None and old.seq >= link.seq:
        return None
    head = Head(after=key) if old is None else old
    return msgspec.structs.replace(head, after=key, seq=link.seq, hash=link.hash, ts=link.ts)


def resume(store: ObjectStore, namespace: str, node: str, ts: int) -> Link:
    """Return the end of a node's chain as the store has it; a new one begins at `ts`.

    That is announced first, by its head: else the lines of a node that is killed at once would not
    be found.
    """
    head = read_head(store, namespace, node)
    if head is None:
        begun = Head(after=first_after(namespace, ts), ts=ts)
        change_head(store, namespace, node, lambda old: begun if old is None else None)
        return begun.link
    last = None
    for place in places(store, namespace, head.after):
        if place.node == node:
            last = place
    if last is None:
        return head.link
    found = store.get(last.key)
    if found is None:
        raise Unavailable(f"{store.name}: {last.key} went away while it was read; repeat it")
    lines = found.data.splitlines()
    return Link(last.seq + len(lines) - 1, digest(lines[-1]) if lines else "", last.ts)


def _head_key(namespace: str, node: str) -> str:
    return f"{prefix_of(namespace)}{_HEADS}{node}.json"


def _decode(data: bytes, place: str) -> Head:
    try:
        head = from_json(data, Head)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Internal(f"{place} is damaged: {error}") from error
    if head.format > _FORMAT:
        raise Unavailable(
            f"{place} has format {head.format}, this release reads {_FORMAT}", reason="format"
        )
    return head
