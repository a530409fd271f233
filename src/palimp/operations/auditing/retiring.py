"""Letting go of the audit's oldest days, in a way that a check can tell from a theft."""

from __future__ import annotations

from itertools import islice

import msgspec

from ...store import ObjectStore
from .actions import EXPIRED
from .chain import (
    DAY_MS,
    Head,
    Link,
    Place,
    advanced,
    change_head,
    digest,
    places,
)
from .stream import Audit

__all__ = ["retire"]

_PASS_MAX = 4_096
_FLUSH_SECONDS = 10.0


def retire(
    store: ObjectStore, audit: Audit, namespace: str, retention_secs: int, now_ms: int
) -> int:
    """Remove the objects of every UTC day that ended longer ago than that; return how many.

    First each head says up to where its chain will be gone, then that is recorded, then the objects
    go: a crash between leaves objects that the next call removes.
    """
    begin = (now_ms - retention_secs * 1000) // DAY_MS * DAY_MS
    removed = 0
    while True:
        old = []
        for place in islice(places(store, namespace), _PASS_MAX):
            if place.ts >= begin:
                break
            old.append(place)
        if not old:
            return removed
        last = {place.node: place for place in old}
        for node, place in last.items():
            _note_end(store, namespace, node, place)
        audit.record(namespace, EXPIRED, objects=len(old))
        audit.flush(_FLUSH_SECONDS)
        for place in old:
            store.delete(place.key)
        removed += len(old)


def _note_end(store: ObjectStore, namespace: str, node: str, place: Place) -> None:
    found = store.get(place.key)
    if found is None:
        return
    lines = found.data.splitlines()
    link = Link(place.seq + len(lines) - 1, digest(lines[-1]) if lines else "", place.ts)

    def change(old: Head | None) -> Head | None:
        if old is not None and old.expired_seq >= link.seq:
            return None
        head = advanced(old, link, place.key) or old
        assert head is not None
        return msgspec.structs.replace(head, expired_seq=link.seq, expired_hash=link.hash)

    change_head(store, namespace, node, change)
