"""A branch's points: which txids can be reached, by which references, and what a point means."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ...errors import Internal, Invalid, NotFound
from ...points import Point
from .lane import Fenced, Lane, read
from .records import (
    History,
    HistoryRef,
    Manifest,
    SegmentRef,
    decode,
    key_txids,
    manifest_key,
)
from .requests import Steps

__all__ = ["Timeline", "own_refs", "own_timeline", "reach", "read_manifest", "read_timeline"]

_NAMED_MAX = 5


class Timeline(NamedTuple):
    """A manifest, and everything its history objects name.

    Ranges are contiguous along every path, though after a change of owner not every txid inside one
    was used. Only the end of a range is a boundary.
    """

    manifest: Manifest
    older: tuple[SegmentRef, ...]

    def refs(self) -> tuple[SegmentRef, ...]:
        """Return all references, the chain's last."""
        return (*self.older, *self.manifest.chain())

    def keys(self) -> set[str]:
        """Return the keys of all objects this branch needs, history objects included."""
        return {ref.key for ref in self.refs()} | {part.key for part in self.manifest.history}

    def times(self) -> dict[int, int]:
        """Return the boundaries that can be reached, ascending, each with its time in ms."""
        ends: dict[int, int] = {}
        for ref in self.refs():
            ends[ref.max] = min(ref.at, ends.get(ref.max, ref.at))
        return {txid: ends[txid] for txid in sorted(reach(self.refs()))}

    def boundaries(self) -> tuple[int, ...]:
        """Return the txids that can be reached, ascending."""
        return tuple(sorted(reach(self.refs())))

    def path(self, txid: int) -> tuple[SegmentRef, ...]:
        """Return the references, fewest bytes in all, that make the database as of a boundary.

        The first begins at txid 1, each begins where the one before it ends, the last ends at
        `txid`. Raises `Invalid` for what is no boundary, as `resolve` does.
        """
        last = reach(self.refs())
        if txid not in last:
            raise self._no_boundary(txid, sorted(last))
        found = []
        while txid:
            found.append(last[txid])
            txid = last[txid].min - 1
        return tuple(reversed(found))

    def at(self, txid: int) -> int:
        """Return the time of a boundary, in ms; `Invalid` for what is none."""
        times = self.times()
        if txid not in times:
            raise self._no_boundary(txid, list(times))
        return times[txid]

    def resolve(self, point: Point) -> int:
        """Return the boundary a point means; a time means the last one at or before it.

        Raises `NotFound` for an unknown checkpoint (up to five others are named) and where nothing
        was ever written, `Invalid` for a txid that is no boundary (with `below` and `above` in the
        details), lies ahead, or is out of retention, and for a time before the first boundary.
        """
        times = self.times()
        if not times:
            raise NotFound("this branch was never written, so there is no point to return to")
        if point.kind == "checkpoint":
            return self._checkpoint(str(point.value))
        value = int(point.value)
        if point.kind == "txid":
            if value not in times:
                raise self._no_boundary(value, list(times))
            return value
        first, began = next(iter(times.items()))
        if value < began:
            raise Invalid(
                f"{point} is before the first boundary that is kept: txid {first}, "
                f"of {Point('time', began)}",
                above=first,
            )
        return max(txid for txid, at in times.items() if at <= value)

    def _checkpoint(self, name: str) -> int:
        held = self.manifest.checkpoints
        if name in held:
            return held[name]
        some = ", ".join(sorted(held)[:_NAMED_MAX])
        more = f" and {len(held) - _NAMED_MAX} more" if len(held) > _NAMED_MAX else ""
        raise NotFound(
            f"no checkpoint {name!r}; "
            + (f"known are: {some}{more}" if held else "the branch has none")
        )

    def _no_boundary(self, txid: int, boundaries: Sequence[int]) -> Invalid:
        """Return the error for a txid that cannot be read, with what can be asked instead."""
        head = self.manifest.txid
        if txid > head:
            return Invalid(f"txid {txid} is ahead of the branch, whose head is {head}", below=head)
        below = max((b for b in boundaries if b < txid), default=None)
        above = min((b for b in boundaries if b > txid), default=None)
        if txid < self.manifest.erased:
            near = {n: v for n, v in (("below", below), ("above", above)) if v is not None}
            return Invalid(
                f"txid {txid} was given up by an erasure: of what was before txid "
                f"{self.manifest.erased} only named points are left; the nearest are "
                f"{' and '.join(map(str, near.values()))}",
                code=None,
                retry_after=None,
                **near,
            )
        if below is None:
            return Invalid(
                f"txid {txid} is out of retention: the first boundary that is kept is {above}",
                above=above,
            )
        return Invalid(
            f"txid {txid} is no boundary; the nearest are {below} and {above}",
            below=below,
            above=above,
        )


def reach(refs: Iterable[SegmentRef]) -> dict[int, SegmentRef]:
    """Return, for every txid that can be reached from nothing, the last reference on the way.

    Of several ways the one of fewest bytes, then of fewest references. Following `min` - 1 from any
    of them leads to 0.
    """
    last: dict[int, SegmentRef] = {}
    costs = {0: (0, 0)}
    # What ends before a reference begins also began before it, so its cost is final by then.
    for ref in sorted(refs, key=lambda ref: (ref.min, ref.max)):
        if ref.min - 1 not in costs:
            continue
        cost_bytes, count = costs[ref.min - 1]
        cost = (cost_bytes + ref.bytes, count + 1)
        if ref.max not in costs or cost < costs[ref.max]:
            costs[ref.max], last[ref.max] = cost, ref
    return last


def read_timeline(db_id: str, branch_id: str, manifest: Manifest | None = None) -> Steps[Timeline]:
    """Return the branch's timeline as of one version of its manifest, that one or a newer.

    Raises `NotFound` where the branch was never written or is deleted, `Internal` where an object
    the manifest still names is missing or damaged.
    """
    while True:
        if manifest is None:
            manifest = yield from read_manifest(db_id, branch_id)
        if manifest is None or manifest.state == "deleted":
            state = "was never written" if manifest is None else "is deleted"
            raise NotFound(f"branch {branch_id} of {db_id} {state}", code="branch_not_found")
        older = yield from _read_parts(manifest.history)
        if not isinstance(older, HistoryRef):
            return Timeline(manifest, older)
        # Merged into a newer object and collected since, or lost.
        manifest = yield from _newer(db_id, branch_id, older)


def own_timeline(lane: Lane) -> Steps[Timeline]:
    """Return the timeline of the branch one owns; raises `Fenced` where that shows on the way."""
    return Timeline(lane.manifest, (yield from own_refs(lane, lane.manifest.history)))


def own_refs(lane: Lane, parts: Iterable[HistoryRef]) -> Steps[tuple[SegmentRef, ...]]:
    """Return the references in history objects of the branch one owns; `Fenced` as above."""
    lane.must_be_settled()
    refs = yield from _read_parts(parts)
    if isinstance(refs, HistoryRef):
        raise Fenced((yield from _newer(lane.db_id, lane.branch_id, refs)))
    return refs


def read_manifest(db_id: str, branch_id: str) -> Steps[Manifest | None]:
    """Return a branch's manifest, None where it was never written."""
    key = manifest_key(db_id, branch_id)
    stored = yield from read(key)
    return decode(stored.data, Manifest, key) if stored else None


def _newer(db_id: str, branch_id: str, missing: HistoryRef) -> Steps[Manifest]:
    """Return the manifest that no longer needs an object; `Internal` where it still does."""
    manifest = yield from read_manifest(db_id, branch_id)
    named = manifest is not None and any(part.key == missing.key for part in manifest.history)
    if manifest is None or (named and manifest.state != "deleted"):
        raise Internal(
            f"object {missing.key} is missing: {missing.refs} references of older points; the head "
            "can be read without it",
            key=missing.key,
            txids=key_txids(missing.key),
        )
    return manifest


def _read_parts(parts: Iterable[HistoryRef]) -> Steps[tuple[SegmentRef, ...] | HistoryRef]:
    """Return the references in history objects, in order, or the first that is not there."""
    refs: list[SegmentRef] = []
    for part in parts:
        stored = yield from read(part.key)
        if stored is None:
            return part
        if hashlib.sha256(stored.data).hexdigest() != part.sha256:
            raise Internal(
                f"object {part.key} is damaged: its SHA-256 is not the manifest's "
                f"{part.sha256[:16]}...",
                key=part.key,
                txids=key_txids(part.key),
            )
        refs += decode(stored.data, History, part.key).refs
    return tuple(refs)
