"""Storing segments again as they are, in the owner's lane: for a store that seals what it is given.

Copies come first, then one change refers to them instead. No boundary changes, nothing is given up:
what was copied is collected once no other branch needs it. Branches that share an object get a copy
each, because a branch only ever gains objects of its own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Set as AbstractSet

import msgspec

from ...errors import Internal
from .history import remember
from .lane import Lane, read, swap
from .records import HistoryRef, SegmentRef, evolve
from .requests import Nonce, Steps
from .segments import store_segment
from .timeline import own_refs, own_timeline

__all__ = ["renew"]


def renew(lane: Lane, keys: AbstractSet[str]) -> Steps[int]:
    """Store the segments under these keys again and refer to the copies; return how many.

    Raises `Internal` where one is missing or damaged, `Fenced` where somebody else owns the branch.
    """
    timeline = yield from own_timeline(lane)
    copies: dict[str, SegmentRef] = {}
    for ref in timeline.refs():
        if ref.key in keys and ref.key not in copies:
            copies[ref.key] = yield from _copied(lane, ref)
    if not copies:
        return 0
    manifest = lane.manifest
    history: list[HistoryRef] = []
    for part in manifest.history:
        history += yield from _remembered(lane, part, copies)
    snapshot = manifest.snapshot
    yield from swap(
        lane,
        evolve(
            manifest,
            (yield Nonce()),
            snapshot=None if snapshot is None else _moved(snapshot, copies),
            segments=tuple(_moved(ref, copies) for ref in manifest.segments),
            history=tuple(history),
        ),
    )
    return len(copies)


def _copied(lane: Lane, ref: SegmentRef) -> Steps[SegmentRef]:
    stored = yield from read(ref.key)
    if stored is None or hashlib.sha256(stored.data).hexdigest() != ref.sha256:
        raise Internal(
            f"{ref.key} (txids {ref.min} to {ref.max}) is missing or damaged; `palimp verify` says "
            "what can still be read",
            key=ref.key,
            min_txid=ref.min,
            max_txid=ref.max,
        )
    copy = msgspec.structs.replace(ref, epoch=lane.manifest.epoch)
    return (yield from store_segment(lane.db_id, lane.branch_id, copy, stored.data))


def _remembered(
    lane: Lane, part: HistoryRef, copies: dict[str, SegmentRef]
) -> Steps[tuple[HistoryRef, ...]]:
    """Return a history object, or what is stored in its place."""
    refs = yield from own_refs(lane, [part])
    if not any(ref.key in copies for ref in refs):
        return (part,)
    return (yield from remember(lane, (), [_moved(ref, copies) for ref in refs]))


def _moved(ref: SegmentRef, copies: dict[str, SegmentRef]) -> SegmentRef:
    copy = copies.get(ref.key)
    return ref if copy is None else msgspec.structs.replace(ref, key=copy.key, epoch=copy.epoch)
