"""Linking what was committed: segments and checkpoints, in the owner's lane."""

from __future__ import annotations

from typing import NamedTuple

from ...errors import Conflict, Invalid, NotFound
from . import own
from .lane import Lane, settle_create, swap
from .records import SegmentRef, evolve, segment_key
from .requests import Nonce, Steps

__all__ = ["CHECKPOINTS_MAX", "Piece", "add_checkpoint", "drop_checkpoint", "ship"]

CHECKPOINTS_MAX = 10_000


class Piece(NamedTuple):
    """A segment ready to be stored: everything since the last shipped txid, up to `max`."""

    max: int
    pages: int
    commit_pages: int
    checksum: str
    sha256: str
    data: bytes


def ship(lane: Lane, piece: Piece) -> Steps[SegmentRef]:
    """Store a segment and link it; when this returns, `piece.max` survives the node.

    The range begins at the shipped txid + 1, also where a change of owner skipped txids: the chain
    stays contiguous. Raises `Fenced` where somebody else owns the branch; the segment is then
    an orphan under an old epoch unless that manifest names it.
    """
    manifest = lane.manifest
    assert manifest.txid < piece.max <= manifest.limit, "a txid outside what may be acknowledged"
    nonce: str = yield Nonce()
    low = manifest.txid + 1
    key = segment_key(lane.db_id, lane.branch_id, low, piece.max, manifest.epoch, nonce)
    created = yield from settle_create(key, piece.data)
    assert created.ours, f"{key} was there before: a nonce was used twice"
    ref = SegmentRef(
        min=low,
        max=piece.max,
        epoch=manifest.epoch,
        pages=piece.pages,
        bytes=len(piece.data),
        sha256=piece.sha256,
        key=key,
    )
    yield from swap(
        lane,
        evolve(
            manifest,
            (yield Nonce()),
            txid=piece.max,
            commit_pages=piece.commit_pages,
            checksum=piece.checksum,
            segments=(*manifest.segments, ref),
            # Raised in passing, long before it is reached.
            limit=max(manifest.limit, piece.max + own.LIMIT_STEP),
        ),
    )
    return ref


def add_checkpoint(lane: Lane, name: str, txid: int) -> Steps[None]:
    """Name a boundary. Raises `Conflict` where the name is in use, `Invalid` for no boundary."""
    manifest = lane.manifest
    held = manifest.checkpoints.get(name)
    if held == txid:
        return
    if held is not None:
        raise Conflict(
            f"checkpoint {name!r} names txid {held} already; drop it or take another name"
        )
    if txid not in manifest.boundaries():
        below = max((b for b in manifest.boundaries() if b < txid), default=None)
        above = min((b for b in manifest.boundaries() if b > txid), default=None)
        raise Invalid(f"txid {txid} is no boundary; the nearest are {below} and {above}")
    if len(manifest.checkpoints) >= CHECKPOINTS_MAX:
        raise Conflict(f"the branch has {CHECKPOINTS_MAX:,} checkpoints, drop some first")
    checkpoints = {**manifest.checkpoints, name: txid}
    yield from swap(lane, evolve(manifest, (yield Nonce()), checkpoints=checkpoints))


def drop_checkpoint(lane: Lane, name: str) -> Steps[None]:
    """Forget a name; what it named stays as long as the retention says."""
    manifest = lane.manifest
    if name not in manifest.checkpoints:
        raise NotFound(f"no checkpoint {name!r}")
    left = {key: txid for key, txid in manifest.checkpoints.items() if key != name}
    yield from swap(lane, evolve(manifest, (yield Nonce()), checkpoints=left))
