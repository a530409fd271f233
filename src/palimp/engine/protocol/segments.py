"""Storing segments under keys nobody used before, so that they can be linked."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

import msgspec

from .lane import Lane, settle_create
from .records import SegmentRef, segment_key
from .requests import InDoubt, Join, Nonce, Refused, Steps

__all__ = ["JOIN_BYTES_MAX", "join", "joinable", "store_segment"]

# What is joined is held in memory, and once more as what it becomes.
JOIN_BYTES_MAX = 16 << 20


def store_segment(db_id: str, branch_id: str, ref: SegmentRef, data: bytes) -> Steps[SegmentRef]:
    """Store a segment and return its reference with the key it got; nothing is linked yet."""
    nonce: str = yield Nonce()
    key = segment_key(db_id, branch_id, ref.min, ref.max, ref.epoch, nonce)
    created = yield from settle_create(key, data)
    assert created.ours, f"{key} was there before: a nonce was used twice"
    return msgspec.structs.replace(ref, key=key)


def joinable(run: Sequence[SegmentRef]) -> Iterator[tuple[SegmentRef, ...]]:
    """Yield parts of two or more of adjacent segments, in order, none over `JOIN_BYTES_MAX`."""
    part: list[SegmentRef] = []
    held = 0
    for ref in run:
        if held + ref.bytes > JOIN_BYTES_MAX:
            if len(part) > 1:
                yield tuple(part)
            part, held = [], 0
        part.append(ref)
        held += ref.bytes
    if len(part) > 1:
        yield tuple(part)


def join(lane: Lane, run: tuple[SegmentRef, ...]) -> Steps[SegmentRef | None]:
    """Store one segment that does what the adjacent ones of `run` do; None where one is unreadable.

    It ends at the same boundary as the last of them: with that one's time, pages and checksum.
    """
    try:
        data: bytes = yield Join(tuple((ref.key, ref.sha256) for ref in run))
    except (InDoubt, Refused):
        return None
    joined = msgspec.structs.replace(
        run[-1],
        min=run[0].min,
        epoch=lane.manifest.epoch,
        pages=max(ref.pages for ref in run),
        bytes=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
    )
    return (yield from store_segment(lane.db_id, lane.branch_id, joined, data))
