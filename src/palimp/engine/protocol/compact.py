"""Joining adjacent segments, in the owner's lane, never across a point somebody may return to."""

from __future__ import annotations

import hashlib
from collections.abc import Set as AbstractSet

from .lane import Lane, settle_create, swap
from .records import SegmentRef, evolve, segment_key
from .requests import InDoubt, Join, Nonce, Refused, Steps

__all__ = ["compact", "runs"]


def runs(lane: Lane, kept: AbstractSet[int]) -> list[tuple[SegmentRef, ...]]:
    """Return the runs of two or more references that may become one.

    `kept` are boundaries that must stay: those inside the fine retention window. Checkpoints stay
    always. A run may begin with the snapshot; what comes out is a snapshot then.
    """
    stay = kept | set(lane.manifest.checkpoints.values())
    found: list[tuple[SegmentRef, ...]] = []
    run: list[SegmentRef] = []
    for ref in lane.manifest.chain():
        run.append(ref)
        if ref.max in stay or ref.max == lane.manifest.txid:
            if len(run) > 1:
                found.append(tuple(run))
            run = []
    return found


def compact(lane: Lane, kept: AbstractSet[int]) -> Steps[int]:
    """Join every run and link the results in one change; return how many references went away.

    The joined segments stay in the store until they are collected: a reader may be using them.
    Where a segment cannot be read now, nothing is changed.
    """
    chain = list(lane.manifest.chain())
    before = len(chain)
    for run in runs(lane, kept):
        try:
            data: bytes = yield Join(tuple((ref.key, ref.sha256) for ref in run))
        except (InDoubt, Refused):
            return 0
        low, high = run[0].min, run[-1].max
        nonce: str = yield Nonce()
        key = segment_key(lane.db_id, lane.branch_id, low, high, lane.manifest.epoch, nonce)
        created = yield from settle_create(key, data)
        assert created.ours, f"{key} was there before: a nonce was used twice"
        joined = SegmentRef(
            min=low,
            max=high,
            epoch=lane.manifest.epoch,
            pages=max(ref.pages for ref in run),
            bytes=len(data),
            sha256=hashlib.sha256(data).hexdigest(),
            key=key,
        )
        place = chain.index(run[0])
        chain[place : place + len(run)] = [joined]
    if len(chain) == before:
        return 0
    snapshot = chain.pop(0) if chain and chain[0].min == 1 else None
    yield from swap(
        lane, evolve(lane.manifest, (yield Nonce()), snapshot=snapshot, segments=tuple(chain))
    )
    return before - len(lane.manifest.chain())
