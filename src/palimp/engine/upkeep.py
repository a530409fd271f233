"""Looking after a branch's history: fold, condense, thin out, collect."""

from __future__ import annotations

from typing import NamedTuple

from .branch import SEGMENTS_MAX, Branch
from .options import Options, Parts
from .protocol import Keep, collect, condense, is_crowded, retain
from .protocol.records import Manifest

__all__ = ["Upkeep", "look_after"]

# Restoring takes a request a segment: beyond these a snapshot is made of them.
_FOLD_SEGMENTS = 8


class Upkeep(NamedTuple):
    """What was done."""

    folded: int = 0
    references_dropped: int = 0
    objects_deleted: int = 0
    branches_expired: int = 0

    def plus(self, other: Upkeep) -> Upkeep:
        """Return the sum."""
        return Upkeep(*(mine + theirs for mine, theirs in zip(self, other, strict=True)))


def look_after(branch: Branch, parts: Parts, *, only_if_long: bool = False) -> Upkeep:
    """Do what is due of a branch this node may write; only in its lane.

    A branch of another node, or with nothing to do, costs nothing. With `only_if_long` only what
    keeps a manifest short is done: the rest is for when the branch is idle, or asked for.
    """
    manifest = branch.manifest
    if only_if_long:
        if manifest is None or not branch.owned or not is_crowded(manifest, SEGMENTS_MAX):
            return Upkeep()
        return _work(branch, parts, fold=False)
    if branch.owned or branch.copy.is_ahead or _is_left_long(manifest, parts.node):
        branch.own()
        return _work(branch, parts, fold=True)
    return Upkeep()


def _is_left_long(manifest: Manifest | None, node: str) -> bool:
    """Whether this node wrote it last. A fork nobody wrote yet costs nothing as it is."""
    if manifest is None or manifest.owner is None or manifest.owner.node != node:
        return False
    return _is_long(manifest)


def _work(branch: Branch, parts: Parts, *, fold: bool) -> Upkeep:
    branch.ship()
    manifest = branch.manifest
    assert manifest is not None
    folded = 0
    if fold and _is_long(manifest):
        branch.fold()
        folded = 1
    elif is_crowded(manifest, SEGMENTS_MAX):
        branch.drive_lane(condense)
    keep = _keep(branch, parts.options)
    now_ms = parts.clock.now_ms()
    dropped = branch.drive_lane(lambda lane: retain(lane, keep, now_ms))
    deleted = branch.drive_lane(collect)
    parts.metrics.add("objects_collected", deleted)
    return Upkeep(folded, dropped, deleted)


def _keep(branch: Branch, options: Options) -> Keep:
    """Return how long points of a branch stay: as the node says, or less."""
    fine_ms, snapshots_ms = options.fine_ms, options.snapshots_ms
    address = branch.address
    # One that was opened by its ids, because a killed process left it, has no name to go by yet.
    if options.retention is not None and address.profile != branch.key[0]:
        fine_cap, snapshots_cap = options.retention(address.namespace, address.profile)
        fine_ms = fine_ms if fine_cap is None else min(fine_ms, fine_cap)
        snapshots_ms = snapshots_ms if snapshots_cap is None else min(snapshots_ms, snapshots_cap)
    return Keep(fine_ms, snapshots_ms)


def _is_long(manifest: Manifest) -> bool:
    """Whether a snapshot should be made of the head."""
    if len(manifest.segments) > _FOLD_SEGMENTS:
        return True
    size = manifest.snapshot.bytes if manifest.snapshot else 0
    return sum(ref.bytes for ref in manifest.segments) * 2 > size
