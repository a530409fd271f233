"""Deciding a merge: which groups come over, which stay, which nobody decided. Reads only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import apsw

from ..api.compare import Merged, MergeStrategy, NotMerged, Side
from ..profile import compare
from ..profile.compare import Group, Step
from ..profile.protocols import Sealer
from .comparing import Source, ours_of

__all__ = ["Judged", "Wanted", "judge", "outcome"]


class Wanted(NamedTuple):
    """How a merge is asked for. `only`: of these ids alone; `otherwise`: of what is not resolved.

    `near` says which memory here an added one says almost the same as (strategy `accept`). Without
    `by_fork` there is no state from which both went on: what is here and differs is a conflict.
    `absent` are ids that were asked for and are not there.
    """

    strategy: MergeStrategy = "merge"
    resolve: Mapping[str, Side] = {}
    otherwise: Side | None = None
    only: frozenset[str] | None = None
    near: Mapping[str, str] = {}
    by_fork: bool = True
    absent: Sequence[str] = ()


class Judged(NamedTuple):
    """What comes over (`take`), stays as it is here (`kept`), and is not decided (`open`).

    `fresh` is what of `kept` was not declined before.
    """

    take: list[Group]
    kept: list[Group]
    open: list[Group]
    displaced: list[tuple[str, str | None]]
    skipped: list[NotMerged]
    fresh: list[Group]

    @property
    def steps(self) -> list[Step]:
        """What is to be brought, each memory before those that came after it."""
        found = [step for group in self.take for step in group.steps.values()]
        return sorted(found, key=lambda step: 0 if step.theirs is None else step.theirs.handle)


def judge(connection: apsw.Connection, source: Source, wanted: Wanted, sealer: Sealer) -> Judged:
    """Return what a merge into the branch of this connection comes to."""
    if wanted.strategy != "merge":
        return _added(connection, source, wanted)
    ours = ours_of(connection)
    found = compare.groups(source.changes, ours, sealer, by_fork=wanted.by_fork)
    absent = [NotMerged(id=one, reason=f"it is not in {source.name}") for one in wanted.absent]
    judged = Judged([], [], [], [], absent, [])
    known = {id(one) for one in _declined(connection, source, found)}
    asked = set(wanted.only or ())
    for group in found:
        if wanted.only is not None and not wanted.only & group.steps.keys():
            continue
        asked -= group.steps.keys()
        side = compare.decided(group, wanted.resolve, wanted.otherwise)
        if side == "theirs":
            judged.take.append(group)
            gone = compare.displaced(group, ours, source.held)
            # A pick brings what is there: what holds nothing there takes nothing away here.
            judged.displaced.extend(pair for pair in gone if wanted.by_fork or pair[1])
        elif side == "ours" or id(group) in known:
            judged.kept.append(group)
            if id(group) not in known:
                judged.fresh.append(group)
        else:
            judged.open.append(group)
    # What comes itself becomes what it is there: it does not give way besides.
    coming = {one for group in judged.take for one in group.steps}
    judged.displaced[:] = [pair for pair in judged.displaced if pair[0] not in coming]
    judged.skipped.extend(_idle(source, one) for one in wanted.only or () if one in asked)
    return judged


def outcome(connection: apsw.Connection, judged: Judged, source: Source, sealer: Sealer) -> Merged:
    """Return what a merge comes to, before it is done: what holds here now, and what will."""
    ours = ours_of(connection)
    added: list[str] = []
    updated: list[tuple[str, str]] = []
    removed: list[str] = []
    for group in judged.take:
        for deed in compare.deeds(group, lambda step: step.ours, ours, sealer):
            if deed.old is None and deed.new is not None:
                added.append(deed.new)
            elif deed.change == "updated" and deed.old and deed.new:
                updated.append((deed.old, deed.new))
            elif deed.old is not None:
                removed.append(deed.old)
    removed += [old for old, new in judged.displaced if new is None]
    return Merged(
        source=source.name,
        added=tuple(added),
        updated=tuple(updated),
        removed=tuple(removed),
        replaced=tuple((old, new) for old, new in judged.displaced if new is not None),
        kept=tuple(clash.id for group in judged.kept for clash in group.clashes),
        skipped=tuple(judged.skipped),
        source_txid=source.txid,
    )


def _added(connection: apsw.Connection, source: Source, wanted: Wanted) -> Judged:
    """Return what was added there, for the strategies that bring nothing else."""
    ours = ours_of(connection)
    judged = Judged([], [], [], [], [], [])
    for identity, step in compare.added_only(source.changes, ours).items():
        theirs = step.theirs
        assert theirs is not None
        instead = None
        if theirs.holds:
            if theirs.topic is not None:
                instead = ours.holder(theirs.type, theirs.topic)
            if instead is not None and wanted.strategy == "append":
                reason = f"{instead} holds its topic here; `accept` would let it take that place"
                judged.skipped.append(NotMerged(id=identity, reason=reason))
                continue
            instead = instead or wanted.near.get(identity)
        judged.take.append(Group({identity: step}, ()))
        if instead is not None:
            judged.displaced.append((instead, identity))
    return judged


def _declined(connection: apsw.Connection, source: Source, groups: Sequence[Group]) -> list[Group]:
    if source.branch_id is None:
        return []
    return compare.declined_before(connection, source.branch_id, groups)


def _idle(source: Source, identity: str) -> NotMerged:
    if identity in source.changes:
        return NotMerged(id=identity, reason="it is here as it is there already")
    return NotMerged(id=identity, reason=f"{source.name} did not change it since the two parted")
