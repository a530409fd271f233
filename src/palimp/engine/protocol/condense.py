"""Keeping the manifest short, in the owner's lane, without giving up any boundary."""

from __future__ import annotations

from .history import remember
from .lane import Lane, swap
from .records import Manifest, SegmentRef, evolve
from .requests import Nonce, Steps
from .segments import join, joinable

__all__ = ["condense", "is_crowded"]

_KEEP_LAST = 8


def is_crowded(manifest: Manifest, most: int) -> bool:
    """Whether a chain has more segments than `most`, and `condense` takes a good part of it away.

    Segments that are large already stay as they are, however many there are.
    """
    run = manifest.segments[:-_KEEP_LAST]
    return len(manifest.segments) > most and _spared(run) >= most // 4


def condense(lane: Lane, keep_last: int = _KEEP_LAST) -> Steps[int]:
    """Make fewer segments of all in the manifest but the last `keep_last`; return how many went.

    Adjacent ones become one of at most `JOIN_BYTES_MAX`, so what this takes in memory and reads
    again does not depend on how much was written. Every boundary stays: in the same change the
    segments that were joined move into history. 0 where there is nothing to join, or a segment
    cannot be read now: what was joined before that one counts.
    """
    manifest = lane.manifest
    run = manifest.segments[: max(0, len(manifest.segments) - keep_last)]
    instead: dict[str, SegmentRef] = {}
    gone: list[SegmentRef] = []
    for part in joinable(run):
        joined = yield from join(lane, part)
        if joined is None:
            break
        instead[part[-1].key] = joined
        gone += part
    if not gone:
        return 0
    history = yield from remember(lane, manifest.history, gone)
    dropped = {ref.key for ref in gone} - instead.keys()
    segments = tuple(
        instead.get(ref.key, ref) for ref in manifest.segments if ref.key not in dropped
    )
    yield from swap(lane, evolve(manifest, (yield Nonce()), segments=segments, history=history))
    return len(dropped)


def _spared(run: tuple[SegmentRef, ...]) -> int:
    return sum(len(part) - 1 for part in joinable(run))
