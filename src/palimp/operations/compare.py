"""Branches against each other: what differs, merging, applying, picking, taking back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import NamedTuple

import apsw
import msgspec

from ..api import Memory, Target
from ..api.compare import (
    ApplyChanges,
    ChangeKind,
    Diff,
    DiffBranches,
    MemoryConflict,
    Merge,
    Merged,
    NotMerged,
    Revert,
    Side,
)
from ..api.limits import CHANGES_MAX, PICK_KEYS_MAX
from ..engine import Address, Branch, BranchInfo, find_answer
from ..errors import Conflict, Invalid, NotFound
from ..points import Point
from ..profile import compare
from ..profile.checks import check_id, check_integer
from ..profile.compare import Deed, Ours, Pair, Version
from ..profile.memories import memories_by_id
from ..profile.protocols import Sealer
from . import safety
from .comparing import (
    Source,
    check_expected,
    other_branch,
    ours_of,
    parted,
    read_memories,
    since_parted,
)
from .context import Context
from .memories import writer_of
from .merging import Judged, Wanted, judge, outcome
from .showing import Facing, facing, shown_changes, shown_conflicts

__all__ = ["apply", "branches_of", "bring_over", "diff", "merge", "read_at", "repeated", "revert"]

_LISTED_MAX = 20
_KINDS: tuple[ChangeKind, ...] = ("added", "updated", "removed")
_DAY_MS = 86_400_000
_GRACE_DAYS_DEFAULT = 7


class _Look(NamedTuple):
    """What was seen of the target before it is written: whether it was done, what would be done."""

    answered: bool
    judged: Judged
    faced: list[Facing]
    outcome: Merged


def diff(context: Context, target: Target, request: DiffBranches) -> Diff:
    """Compare the target's branch with another since they parted."""
    check_integer(request.limit, "limit", 0, CHANGES_MAX)
    against = other_branch(context, target, request.against)
    address = context.address(target)
    infos = branches_of(context, address)
    base = parted(list(infos.values()), address.branch, against.branch)
    theirs = since_parted(context, address, infos[address.branch], base, carried=False)
    ours = since_parted(context, against, infos[against.branch], base, carried=False)
    sealer = context.sealer_of(address)
    known = _known(theirs, ours)
    found = compare.groups(theirs.changes, known, sealer)
    deeds = [
        deed
        for group in found
        if not group.clashes
        for deed in compare.deeds(group, lambda step: step.base, known, sealer)
    ]
    behind = _behind(theirs, ours, sealer)
    conflicts = [facing(group, known) for group in found if group.clashes]
    lists = {kind: [one for one in deeds if one.change == kind] for kind in _KINDS}
    counts: dict[str, int] = {kind: len(one) for kind, one in lists.items()}
    shown = {
        kind: shown_changes(one[: request.limit], theirs.before, theirs.show)
        for kind, one in lists.items()
    }
    most = request.limit
    return Diff(
        branch=address.branch,
        against=against.branch,
        added=shown["added"],
        updated=shown["updated"],
        removed=shown["removed"],
        conflicts=shown_conflicts(conflicts[:most], ours.show, theirs.show, theirs.before),
        behind=shown_changes(behind[:most], theirs.before, ours.show),
        counts={**counts, "conflicts": len(conflicts), "behind": len(behind)},
        base_txid=base.txid,
        txid=theirs.txid,
        against_txid=ours.txid,
    )


def merge(context: Context, target: Target, request: Merge) -> Merged:
    """Bring what another branch changed into the target's; all of it or nothing."""
    answer = repeated(context, target)
    if answer is not None:
        return answer
    otherwise: Side | None = None if request.on_conflict == "abort" else request.on_conflict
    wanted = Wanted(request.strategy, request.resolve, otherwise)
    address, source = _source(context, target, request.source, request.expect_source_txid)
    if request.strategy == "accept":
        from .likeness import alike

        wanted = wanted._replace(near=alike(context, address, source))
    return bring_over(
        context,
        target,
        source,
        wanted,
        what="merge",
        expect=request.expect_txid,
        dry_run=request.dry_run,
    )


def apply(context: Context, target: Target, request: ApplyChanges) -> Merged:
    """Bring chosen changes of another branch into the target's."""
    _check_ids(request.ids, "ids")
    answer = repeated(context, target)
    if answer is not None:
        return answer
    wanted = Wanted(resolve=request.resolve, only=frozenset(request.ids))
    _, source = _source(context, target, request.source)
    return bring_over(
        context,
        target,
        source,
        wanted,
        what="apply",
        expect=request.expect_txid,
        dry_run=request.dry_run,
        leave_open=True,
    )


def revert(context: Context, target: Target, request: Revert) -> Merged:
    """Take back what the target's branch changed between two points."""
    answer = repeated(context, target)
    if answer is not None:
        return answer
    otherwise: Side | None = None if request.on_conflict == "abort" else request.on_conflict
    address = context.address(target)
    sealer = context.sealer_of(address)
    since, until = Point.parse(request.since), Point.parse(request.until)
    with context.engine.past(address, since) as first, context.engine.past(address, until) as last:
        if first.txid > last.txid:
            raise Invalid(
                f"since is txid {first.txid}, after until, which is {last.txid}; give the earlier "
                "point as since"
            )
        if first.txid == last.txid:
            changes: dict[str, Pair] = {}
        else:
            changes = first.read(
                lambda a: last.read(lambda b: compare.changed(a, b, sealer)).value
            ).value
        # What was before is what is to be brought.
        back = {one: Pair(pair.now, pair.base) for one, pair in changes.items()}
        show, before = (
            partial(read_at, context, address, since),
            partial(read_at, context, address, until),
        )
        luggage, held, holders = first.read(
            lambda c: (
                compare.pack(c, ((one, pair.now) for one, pair in back.items()), sealer),
                compare.held(c),
                compare.holders(c),
            )
        ).value
        name = f"{address.branch} at {request.since}"
        source = Source(name, None, back, luggage, held, holders, show, before, first.txid)
    return bring_over(
        context,
        target,
        source,
        Wanted(resolve=request.resolve, otherwise=otherwise),
        what="revert",
        expect=request.expect_txid,
        dry_run=request.dry_run,
    )


def bring_over(
    context: Context,
    target: Target,
    source: Source,
    wanted: Wanted,
    *,
    what: str,
    expect: int | None,
    dry_run: bool,
    leave_open: bool = False,
) -> Merged:
    """Judge against the target as it is and carry it out there, after a checkpoint.

    It is judged again in the writer's place. Where a conflict is not decided nothing is changed,
    unless `leave_open` says to pass over it.
    """
    address = context.address(target)
    sealer = context.sealer_of(address)
    with context.writing(target, create=False) as branch:
        if branch is None:
            raise NotFound(f"profile {target.profile!r} is empty; there is nothing to merge into")

        def look(connection: apsw.Connection) -> _Look:
            judged = judge(connection, source, wanted, sealer)
            most = CHANGES_MAX if dry_run else _LISTED_MAX
            faced = [facing(one, ours_of(connection)) for one in judged.open[:most]]
            left = _passed_over(judged) if leave_open else judged
            found = outcome(connection, left, source, sealer)
            return _Look(_answered(context, connection), judged, faced, found)

        seen, txid, _ = branch.read(look)
        carry_out = partial(
            _write, context, branch, source, wanted, expect=expect, leave_open=leave_open
        )
        if seen.answered:
            return carry_out(None)
        check_expected(branch, expect, txid)
        here = partial(read_memories, context, address)
        conflicts = shown_conflicts(seen.faced, here, source.show, source.before)
        first, found = seen.judged, msgspec.structs.replace(seen.outcome, txid=txid)
        if dry_run:
            return msgspec.structs.replace(found, conflicts=conflicts, dry_run=True)
        if first.open and not leave_open:
            raise _undecided(source, address, conflicts, len(first.open))
        if not first.take and not (first.fresh and source.branch_id is not None):
            return found
        return carry_out(safety.before(context, address, what) if first.take else None)


def repeated(context: Context, target: Target) -> Merged | None:
    """Return the answer of this very request where it was carried out before, as safe as asked.

    It is looked for before all else: what it was about may have moved on since, or be gone.
    """
    if context.options.request_id is None:
        return None
    with context.writing(target, create=False) as branch:
        if branch is None or not branch.read(partial(_answered, context)).value:
            return None

        def pruned(_: apsw.Connection) -> Merged:
            raise _moved(branch.address)

        done, txid, _ = context.commit(branch, pruned, Merged)
        return msgspec.structs.replace(done, txid=txid)


def _answered(context: Context, connection: apsw.Connection) -> bool:
    """Whether this very request was carried out before."""
    repeat = context.repeat(Merged)
    return repeat is not None and find_answer(connection, repeat) is not None


def _write(
    context: Context,
    branch: Branch,
    source: Source,
    wanted: Wanted,
    checkpoint: str | None,
    *,
    expect: int | None,
    leave_open: bool,
) -> Merged:
    address = branch.address
    sealer = context.sealer_of(address)
    writer = writer_of(context, address)
    policy = context.policies.lenient(address.namespace, address.profile)
    days = policy.lifecycle_grace_days
    grace_ms = round((_GRACE_DAYS_DEFAULT if days is None else days) * _DAY_MS)

    def write(connection: apsw.Connection) -> Merged:
        check_expected(branch, expect, branch.local.txid())
        judged = judge(connection, source, wanted, sealer)
        if judged.open and not leave_open:
            raise _undecided(source, address, (), len(judged.open))
        if judged.take and checkpoint is None:
            raise _moved(address)
        judged = _passed_over(judged)
        done = outcome(connection, judged, source, sealer)
        task = compare.Task(judged.steps, source.luggage, judged.displaced, grace_ms)
        held = compare.bring(connection, task, writer)
        if source.branch_id is not None:
            compare.decline(connection, source.branch_id, judged.fresh)
        left = tuple(NotMerged(id=one, reason=why) for one, why in held.items())
        return msgspec.structs.replace(
            done,
            removed=tuple(one for one in done.removed if one not in held),
            skipped=(*done.skipped, *left),
            checkpoint=checkpoint,
        )

    done, txid, known = context.commit(branch, write, Merged, alone=True)
    if not known:
        count = len(done.added) + len(done.updated) + len(done.removed)
        context.wake(address)
        context.metrics.add("memories_merged", count)
    return msgspec.structs.replace(done, txid=txid)


def _passed_over(judged: Judged) -> Judged:
    """Return what is done where conflicts that nobody decided are left as they are."""
    skipped = [
        NotMerged(id=clash.id, reason="both branches changed it; say which with `resolve`")
        for group in judged.open
        for clash in group.clashes
    ]
    return judged._replace(open=[], skipped=[*judged.skipped, *skipped])


def _moved(address: Address) -> Conflict:
    return Conflict(
        f"branch {address.branch!r} moved on while it was looked at, nothing was changed; repeat it"
    )


def _undecided(
    source: Source, address: Address, conflicts: tuple[MemoryConflict, ...], count: int
) -> Conflict:
    listed = ", ".join(f"{one.id} ({one.kind})" for one in conflicts[:3])
    return Conflict(
        f"{count:,} conflict{'s' if count > 1 else ''} between {source.name!r} and "
        f"{address.branch!r}{f': {listed}' if listed else ''}{', ...' if count > 3 else ''}; "
        "nothing was changed. Look at them with a dry run, decide each with `resolve`, or all with "
        "on_conflict `ours` or `theirs`",
        conflicts=[msgspec.to_builtins(one) for one in conflicts],
        count=count,
    )


def _source(
    context: Context, target: Target, name: str, expect: int | None = None
) -> tuple[Address, Source]:
    """Return the target's address and what another branch changed since the two parted."""
    other = other_branch(context, target, name)
    address = context.address(target)
    infos = branches_of(context, address)
    base = parted(list(infos.values()), address.branch, other.branch)
    return address, since_parted(
        context, other, infos[other.branch], base, carried=True, expect=expect
    )


def _known(theirs: Source, ours: Source) -> Ours:
    """Return how a branch is asked that was read before: what it did not change is as it was."""

    def version(identity: str) -> Version | None:
        if identity in ours.changes:
            return ours.changes[identity].now
        return theirs.changes[identity].base if identity in theirs.changes else None

    return Ours(version, lambda type_, topic: ours.holders.get((type_, topic)))


def _behind(theirs: Source, ours: Source, sealer: Sealer) -> list[Deed]:
    """Return what only the other branch changed."""
    known = _known(ours, theirs)
    found = compare.groups(ours.changes, known, sealer)
    return [
        deed
        for group in found
        if not group.clashes
        for deed in compare.deeds(group, lambda step: step.base, known, sealer)
    ]


def read_at(
    context: Context, address: Address, point: Point, ids: Iterable[str]
) -> Mapping[str, Memory]:
    """Return memories of a branch as they were at a point, by id."""
    wanted, sealer = list(ids), context.sealer_of(address)
    with context.engine.past(address, point) as past:
        return past.read(lambda c: memories_by_id(c, wanted, sealer)).value


def branches_of(context: Context, address: Address) -> dict[str, BranchInfo]:
    """Return the branches of a profile by name."""
    return {one.name: one for one in context.engine.branches(address)}


def _check_ids(ids: tuple[str, ...], field: str) -> None:
    if not 1 <= len(ids) <= PICK_KEYS_MAX:
        raise Invalid(f"{field} names {len(ids):,} memories; give 1 to {PICK_KEYS_MAX:,}")
    for one in ids:
        check_id(one)
