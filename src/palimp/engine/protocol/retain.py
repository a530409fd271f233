"""Giving up points that are too old, in the owner's lane: what remains is joined and thinned."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from itertools import islice
from typing import NamedTuple

from .history import remember
from .lane import Lane, swap
from .records import HistoryRef, SegmentRef, evolve
from .requests import Nonce, Steps
from .segments import join, joinable
from .timeline import Timeline, own_timeline, reach

__all__ = ["JOINS_MAX", "Keep", "retain"]

JOINS_MAX = 8
_DAY_MS = 86_400_000


class Keep(NamedTuple):
    """How long points stay; 0 keeps none for its age.

    Every boundary for `fine_ms`, and the last snapshot of each UTC day for `snapshots_ms`.
    """

    fine_ms: int
    snapshots_ms: int

    def boundaries(self, timeline: Timeline, now_ms: int) -> set[int]:
        """Return the boundaries that stay: head, checkpoints, fork point, what is young enough."""
        kept = {timeline.manifest.txid, *timeline.manifest.checkpoints.values()}
        kept |= {txid for txid, at in timeline.times().items() if self.is_fine(at, now_ms)}
        parent = timeline.manifest.parent
        if parent is not None and parent.txid in timeline.times():
            # What a branch is compared with when it is merged.
            kept.add(parent.txid)
        # The last of each UTC day.
        daily = {
            ref.at // _DAY_MS: ref.max
            for ref in sorted(timeline.refs(), key=lambda ref: ref.max)
            if ref.min == 1 and self.snapshots_ms and ref.at >= now_ms - self.snapshots_ms
        }
        return kept | set(daily.values())

    def is_fine(self, at: int, now_ms: int) -> bool:
        """Whether a boundary of this time stays for its age."""
        return self.fine_ms > 0 and at >= now_ms - self.fine_ms


def retain(lane: Lane, keep: Keep, now_ms: int) -> Steps[int]:
    """Drop every reference no kept point needs, in one change; return how many went away.

    Stays: the head, every checkpoint, the point the branch was forked from, every boundary of the
    last `fine_ms`, and of the last `snapshots_ms` the last snapshot of each UTC day, each with a
    way to it; and the whole chain.
    Segments between two points that stay become one, a few at each call; a segment that cannot be
    read now is left. A call that finds nothing to do changes nothing. What was dropped stays in the
    store until it is collected.
    """
    timeline = yield from own_timeline(lane)
    chain = lane.manifest.chain()
    kept = keep.boundaries(timeline, now_ms)
    needed = _needed(timeline, kept)
    linked = {ref.key for ref in chain}
    runs = (run for run in _runs(needed, kept, linked) if not keep.is_fine(run[-1].at, now_ms))
    instead: dict[str, SegmentRef | None] = {}
    for run in islice(runs, JOINS_MAX):
        joined = yield from join(lane, run)
        if joined is not None:
            instead.update({ref.key: None for ref in run})
            instead[run[0].key] = joined
    left = _replaced(chain, instead)
    older = _replaced((ref for ref in needed if ref.key not in linked), instead)
    gone = {ref.key for ref in timeline.refs()} - {ref.key for ref in (*left, *older)}
    if not gone:
        return 0
    history = yield from _remember_only(lane, timeline, older)
    yield from swap(
        lane,
        evolve(
            lane.manifest,
            (yield Nonce()),
            snapshot=left[0],
            segments=tuple(left[1:]),
            history=history,
        ),
    )
    return len(gone)


def _needed(timeline: Timeline, kept: AbstractSet[int]) -> list[SegmentRef]:
    """Return the references on the ways to `kept`, ascending by where they end, one for each end.

    A boundary of the chain is reached by the chain, which stays whatever happens.
    """
    last = reach(timeline.refs())
    chain = timeline.manifest.chain()
    last.update({ref.max: ref for ref in chain})
    needed: dict[int, SegmentRef] = {ref.max: ref for ref in chain}
    for boundary in kept:
        txid = boundary
        while txid and txid not in needed:
            assert txid in last, f"no way leads to txid {txid}, which a checkpoint names"
            needed[txid] = last[txid]
            txid = last[txid].min - 1
    return [needed[txid] for txid in sorted(needed)]


def _runs(
    needed: Sequence[SegmentRef], kept: AbstractSet[int], linked: AbstractSet[str]
) -> Iterator[tuple[SegmentRef, ...]]:
    """Yield the runs that may become one: adjacent segments with no point that stays between them.

    Nor a point from which two ways go on: what they share is stored once. A snapshot stays as it
    is, and what is in the chain is not joined with what is not.
    """
    goes_on: dict[int, int] = {}
    for ref in needed:
        goes_on[ref.min - 1] = goes_on.get(ref.min - 1, 0) + 1
    runs: dict[int, list[SegmentRef]] = {}
    for ref in needed:
        if ref.min == 1:
            continue
        before = ref.min - 1
        run = runs.get(before)
        inner = before not in kept and goes_on[before] == 1
        if run is not None and inner and (run[-1].key in linked) == (ref.key in linked):
            runs[ref.max] = [*runs.pop(before), ref]
        else:
            runs[ref.max] = [ref]
    for end in sorted(runs):
        yield from joinable(runs[end])


def _replaced(
    refs: Iterable[SegmentRef], instead: dict[str, SegmentRef | None]
) -> list[SegmentRef]:
    """Return `refs`, those that were joined replaced by what they became."""
    return [new for ref in refs if (new := instead.get(ref.key, ref)) is not None]


def _remember_only(
    lane: Lane, timeline: Timeline, refs: Sequence[SegmentRef]
) -> Steps[tuple[HistoryRef, ...]]:
    """Return the history with these references and no other; objects that lose none stay."""
    wanted = {ref.key: ref for ref in refs}
    whole: list[HistoryRef] = []
    rest: list[SegmentRef] = []
    older = iter(timeline.older)
    for part in timeline.manifest.history:
        held = tuple(islice(older, part.refs))
        found = [wanted.pop(ref.key) for ref in held if ref.key in wanted]
        if rest or len(found) < len(held):
            rest += found
        else:
            whole.append(part)
    return (yield from remember(lane, whole, [*rest, *wanted.values()]))
