"""Keeping the manifest short, in the owner's lane, without giving up any boundary."""

from __future__ import annotations

from .history import remember
from .lane import Lane, swap
from .records import evolve
from .requests import Nonce, Steps
from .segments import join

__all__ = ["condense"]


def condense(lane: Lane, keep_last: int = 8) -> Steps[int]:
    """Make one segment of all in the manifest but the last `keep_last`; return how many went away.

    Every boundary stays: in the same change the segments that were joined move into history. 0
    where there is nothing to join, or a segment cannot be read now.
    """
    manifest = lane.manifest
    run = manifest.segments[: max(0, len(manifest.segments) - keep_last)]
    if len(run) < 2:
        return 0
    joined = yield from join(lane, run)
    if joined is None:
        return 0
    history = yield from remember(lane, manifest.history, run)
    segments = (joined, *manifest.segments[len(run) :])
    yield from swap(lane, evolve(manifest, (yield Nonce()), segments=segments, history=history))
    return len(run) - 1
