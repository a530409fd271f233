"""Giving up a branch's earlier states for an erasure: what stays was cleansed and stored again.

The marks come first, in every branch: from then on whatever makes an older state readable knows
that it has to be cleansed (`erasing` is copied to a fork in the change that lets it live, and what
was about to come to live without having looked is made a tombstone). Then each branch is coarsened
to the points that stay. What was dropped is collected like anything else.
"""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet

import msgspec

from .branches import list_branches
from .heads import stop_forming
from .history import remember
from .lane import Lane, swap
from .records import Manifest, SegmentRef, evolve
from .requests import Nonce, Steps
from .segments import store_segment
from .ship import Piece
from .timeline import Timeline

__all__ = [
    "coarsen",
    "kept_points",
    "mark_erasing",
    "store_point",
    "unmark_erasing",
    "unmarked",
]


def unmarked(db_id: str, marked: AbstractSet[str]) -> Steps[list[tuple[str, str, Manifest]]]:
    """Return name, id and manifest of the branches that live and are not among `marked`, by id.

    None is left: whatever comes to live later looks after that, and finds the marks. A fork reads
    its parent again, and a recovered branch asks what was erased, once their names are reserved. So
    what was reserved before, and does not live yet, may have looked too early: it is made a
    tombstone, and whoever wanted it begins again.
    """
    yield from stop_forming(db_id)
    found = yield from list_branches(db_id)
    return [(name, one, held) for name, one, held in found if held and one not in marked]


def mark_erasing(lane: Lane, erasure: str) -> Steps[None]:
    """Note that states before this one may hold what is erased; nothing where that is noted."""
    manifest = lane.manifest
    if erasure not in manifest.erasing:
        marked = (*manifest.erasing, erasure)
        yield from swap(lane, evolve(manifest, (yield Nonce()), erasing=marked))


def unmark_erasing(lane: Lane, erasure: str) -> Steps[None]:
    """Take the note back: the erasure was called off before anything was given up."""
    manifest = lane.manifest
    if erasure in manifest.erasing:
        left = tuple(one for one in manifest.erasing if one != erasure)
        yield from swap(lane, evolve(manifest, (yield Nonce()), erasing=left))


def kept_points(timeline: Timeline) -> list[int]:
    """Return the boundaries below the head that an erasure keeps, ascending.

    What has a name, and where the branch was forked from: what it is compared and merged by.
    """
    manifest = timeline.manifest
    wanted = set(manifest.checkpoints.values())
    if manifest.parent is not None:
        wanted.add(manifest.parent.txid)
    return [txid for txid in timeline.boundaries() if txid in wanted and txid < manifest.txid]


def store_point(lane: Lane, piece: Piece) -> Steps[SegmentRef]:
    """Store a cleansed state, a snapshot of txids 1 to `piece.max` with the time it has."""
    lane.must_be_settled()
    ref = msgspec.structs.replace(piece.ref(1, lane.manifest.epoch, piece.at), redacted=True)
    return (yield from store_segment(lane.db_id, lane.branch_id, ref, piece.data))


def coarsen(lane: Lane, erasures: Sequence[str], points: Sequence[SegmentRef]) -> Steps[int]:
    """Let the branch consist of its head and `points`, in one change; return what it was before.

    The chain is one snapshot, made after what is erased was removed. Every other reference goes,
    and the marks of these erasures: nothing that is left needs cleansing for them.
    """
    manifest = lane.manifest
    chain = manifest.chain()
    assert [ref.min for ref in chain] == [1], "the head is folded before"
    assert chain[0].max == manifest.txid, "the head is folded before"
    before = sum(part.refs for part in manifest.history)
    history = yield from remember(lane, (), points)
    yield from swap(
        lane,
        evolve(
            manifest,
            (yield Nonce()),
            history=history,
            erasing=tuple(one for one in manifest.erasing if one not in erasures),
            erased=max(manifest.erased, manifest.txid),
        ),
    )
    return before
