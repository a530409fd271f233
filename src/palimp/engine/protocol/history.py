"""Moving references out of the manifest into history objects, which are read on demand."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from .lane import Lane, settle_create
from .records import History, HistoryRef, SegmentRef, encode, history_key
from .requests import Nonce, Steps
from .timeline import own_refs

__all__ = ["REFS_MAX", "remember"]

# So many make an object of about 4 MB.
REFS_MAX = 10_000


def remember(
    lane: Lane, history: Sequence[HistoryRef], refs: Sequence[SegmentRef]
) -> Steps[tuple[HistoryRef, ...]]:
    """Store references and return `history` with them; nothing is linked yet.

    The newest objects become part of the new one while they hold at most twice as many references.
    So each object holds more than twice what the next one does: there are about a dozen, and one
    for every `REFS_MAX` references, and a reference is written again O(log n) times.
    """
    left, moved = list(history), list(refs)
    if not moved:
        return tuple(left)
    while left and left[-1].refs <= min(2 * len(moved), REFS_MAX - len(moved)):
        moved[:0] = yield from own_refs(lane, [left.pop()])
    while moved:
        left.append((yield from _store(lane, moved[:REFS_MAX])))
        moved = moved[REFS_MAX:]
    return tuple(left)


def _store(lane: Lane, refs: list[SegmentRef]) -> Steps[HistoryRef]:
    nonce: str = yield Nonce()
    ends = [ref.max for ref in refs]
    key = history_key(lane.db_id, lane.branch_id, min(ends), max(ends), lane.manifest.epoch, nonce)
    data = encode(History(refs=tuple(refs)))
    created = yield from settle_create(key, data)
    assert created.ours, f"{key} was there before: a nonce was used twice"
    return HistoryRef(
        key=key,
        refs=len(refs),
        bytes=sum(ref.bytes for ref in refs),
        sha256=hashlib.sha256(data).hexdigest(),
    )
