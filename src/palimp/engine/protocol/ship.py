"""Linking what was committed: segments, snapshots and checkpoints, in the owner's lane."""

from __future__ import annotations

from typing import Any, NamedTuple

from ...errors import Conflict, Internal, NotFound
from . import own
from .history import remember
from .lane import Lane, swap
from .records import Manifest, SegmentRef, evolve
from .requests import Nonce, Steps
from .segments import store_segment
from .timeline import own_timeline

__all__ = ["CHECKPOINTS_MAX", "Piece", "add_checkpoint", "drop_checkpoint", "rebase", "ship"]

CHECKPOINTS_MAX = 10_000


class Piece(NamedTuple):
    """A segment ready to be stored: everything since the last shipped txid, up to `max`.

    `at` is the time in ms at which it was made.
    """

    max: int
    pages: int
    commit_pages: int
    checksum: str
    sha256: str
    data: bytes
    at: int

    def ref(self, low: int, epoch: int, at: int) -> SegmentRef:
        """Return its reference, without a key yet."""
        return SegmentRef(
            min=low,
            max=self.max,
            epoch=epoch,
            pages=self.pages,
            bytes=len(self.data),
            sha256=self.sha256,
            key="",
            commit=self.commit_pages,
            checksum=self.checksum,
            at=at,
        )


def ship(lane: Lane, piece: Piece) -> Steps[SegmentRef]:
    """Store a segment and link it; when this returns, `piece.max` survives the node.

    The range begins at the shipped txid + 1, also where a change of owner skipped txids: the chain
    stays contiguous. A branch's first is its snapshot. Raises `Fenced` where somebody else owns the
    branch; the segment is then an orphan under an old epoch unless that manifest names it.
    """
    manifest = lane.manifest
    assert manifest.txid < piece.max <= manifest.limit, "a txid outside what may be acknowledged"
    ref = piece.ref(manifest.txid + 1, manifest.epoch, _time(manifest, piece))
    ref = yield from store_segment(lane.db_id, lane.branch_id, ref, piece.data)
    link: dict[str, Any] = (
        {"snapshot": ref} if ref.min == 1 else {"segments": (*manifest.segments, ref)}
    )
    yield from swap(lane, evolve(manifest, (yield Nonce()), **link, **_head(manifest, piece)))
    return ref


def rebase(lane: Lane, piece: Piece) -> Steps[SegmentRef]:
    """Store a snapshot and make it the whole chain; when this returns, `piece.max` survives.

    `piece` holds the whole database, of txid 1 to `piece.max`: the head, or beyond it. Every
    boundary stays: in the same change the old chain's references move into history. A snapshot of
    the head takes the head's time, so that no boundary changes its own. Raises `Fenced` as `ship`
    does, and `Internal` for a snapshot that is not the database the head is.
    """
    manifest = lane.manifest
    assert manifest.txid <= piece.max <= manifest.limit, "a txid outside what may be acknowledged"
    folds = piece.max == manifest.txid
    if folds and manifest.checksum and piece.checksum != manifest.checksum:
        raise Internal(
            f"the snapshot of txid {piece.max} has checksum {piece.checksum}, {lane.key} has "
            f"{manifest.checksum}: the local file is not this branch; own it again and restore it",
            txid=piece.max,
        )
    chain = manifest.chain()
    at = chain[-1].at if folds and chain else _time(manifest, piece)
    ref = piece.ref(1, manifest.epoch, at)
    ref = yield from store_segment(lane.db_id, lane.branch_id, ref, piece.data)
    history = yield from remember(lane, manifest.history, chain)
    yield from swap(
        lane,
        evolve(
            manifest,
            (yield Nonce()),
            snapshot=ref,
            segments=(),
            history=history,
            **_head(manifest, piece),
        ),
    )
    return ref


def _head(manifest: Manifest, piece: Piece) -> dict[str, Any]:
    """Return what a manifest says of its head once `piece` is."""
    return {
        "txid": piece.max,
        "commit_pages": piece.commit_pages,
        "checksum": piece.checksum,
        # Raised in passing, long before it is reached.
        "limit": max(manifest.limit, piece.max + own.LIMIT_STEP),
    }


def _time(manifest: Manifest, piece: Piece) -> int:
    """Return the time of a new boundary: a clock that was set back must not reorder them."""
    return max(piece.at, *(ref.at for ref in manifest.chain()[-1:]), 0)


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
        # Older than the chain, or no boundary: then this says what is.
        (yield from own_timeline(lane)).path(txid)
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
