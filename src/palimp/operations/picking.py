"""Picking memories of another branch: by id, by a range of its history, or by a query."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import apsw

from ..api import Memory, Target
from ..api.compare import Chosen, Merged, NotMerged, Outcome, Pick, PickCandidate, Picked, Side
from ..api.limits import PAGE_MAX, PICK_KEYS_MAX
from ..api.recall import RecallRequest
from ..engine import Address, BranchInfo
from ..errors import Invalid, NotFound
from ..points import Point
from ..profile import compare
from ..profile.checks import check_id, check_integer
from ..profile.compare import Pair
from .compare import branches_of, bring_over, read_at, repeated
from .comparing import Source, other_branch, ours_of, read_memories
from .context import Context
from .merging import Wanted
from .showing import Fetch

__all__ = ["pick"]

_OFFSET_MAX = 1_000_000


def pick(context: Context, target: Target, request: Pick) -> Picked:
    """Bring chosen memories of another branch into the target's as they are there."""
    _check(request)
    answer = repeated(context, target)
    if answer is not None:
        return _picked(answer)
    source_at = other_branch(context, target, request.source)
    branches = branches_of(context, source_at)
    info = branches.get(source_at.branch)
    if info is None:
        raise NotFound(
            f"no branch {source_at.branch!r}; there is {', '.join(branches)}",
            code="branch_not_found",
        )
    scores, missing = _scores(context, source_at, request.choose)
    source, asked = _read(context, source_at, info, request.choose, scores)
    absent = tuple(one for one in missing if one not in source.changes)
    otherwise: Side | None = None if request.on_conflict == "abort" else request.on_conflict
    wanted = Wanted(otherwise=otherwise, by_fork=False, absent=absent)
    if request.dry_run:
        return _preview(context, target, source, asked, wanted, request, scores)
    done = bring_over(
        context,
        target,
        source,
        wanted,
        what="pick",
        expect=request.expect_txid,
        dry_run=False,
    )
    return _picked(done)


def _check(request: Pick) -> None:
    chosen = request.choose
    ways = [bool(chosen.ids), bool(chosen.since or chosen.until), chosen.query is not None]
    if sum(ways) != 1:
        raise Invalid(
            "choose memories in one way: by `ids`, by a range (`since` and `until`), or by `query`"
        )
    if len(chosen.ids) > PICK_KEYS_MAX:
        raise Invalid(f"ids names {len(chosen.ids):,} memories; give 1 to {PICK_KEYS_MAX:,}")
    for one in chosen.ids:
        check_id(one)
    if ways[1] and not (chosen.since and chosen.until):
        raise Invalid("a range has two ends: give `since` and `until`")
    check_integer(request.limit, "limit", 1, PAGE_MAX)
    check_integer(request.offset, "offset", 0, _OFFSET_MAX)


def _scores(
    context: Context, source: Address, chosen: Chosen
) -> tuple[dict[str, float | None], list[str]]:
    """Return the ids that are chosen by name or by a query, with their scores; and those named."""
    if chosen.query is None:
        return dict.fromkeys(chosen.ids), list(chosen.ids)
    from .recall import recall

    target = Target(source.namespace, source.profile, source.branch)
    request = RecallRequest(query=chosen.query, k=chosen.k, min_score=chosen.min_score)
    found = recall(context, target, request)
    return {hit.id: hit.score for hit in found.memories}, []


def _read(
    context: Context,
    address: Address,
    info: BranchInfo,
    chosen: Chosen,
    scores: Mapping[str, float | None],
) -> tuple[Source, list[str]]:
    """Return what is brought, as it is there (for a range at its end), and what of it was chosen.

    Beside that comes what took its place: alone it would come as something that holds no more.
    """
    sealer = context.sealer_of(address)

    def read(connection: apsw.Connection, ids: list[str]) -> Source:
        changes: dict[str, Pair] = {}
        for one in ids:
            found = compare.version(connection, one)
            while found is not None and found.id not in changes:
                changes[found.id] = Pair(None, found)
                found = None if found.by is None else compare.version(connection, found.by)
        moved = ((one, pair.now) for one, pair in changes.items())
        luggage = compare.pack(connection, moved, sealer)
        held, holders = compare.held(connection), compare.holders(connection)
        return Source(info.name, None, changes, luggage, held, holders, show, _nothing, 0)

    if chosen.since is None or chosen.until is None:
        show: Fetch = partial(read_memories, context, address)
        with context.engine.use(address, create=False) as branch:
            if branch is None:
                raise NotFound(f"no branch {address.branch!r}", code="branch_not_found")
            found, txid, _ = branch.read(lambda c: read(c, list(scores)))
            return found._replace(txid=txid), list(scores)
    first, last = Point.parse(chosen.since), Point.parse(chosen.until)
    show = partial(read_at, context, address, last)
    with context.engine.past(address, first) as a, context.engine.past(address, last) as b:
        if a.txid > b.txid:
            raise Invalid(
                f"since is txid {a.txid}, after until, which is {b.txid}; give the earlier first"
            )
        changed: Mapping[str, Pair] = {}
        if a.txid < b.txid:
            changed = a.read(lambda x: b.read(lambda y: compare.changed(x, y, sealer)).value).value
        ids = [one for one, pair in changed.items() if pair.now is not None]
        return b.read(lambda c: read(c, ids)).value._replace(txid=b.txid), ids


def _nothing(_ids: object) -> dict[str, Memory]:
    """What a memory was where both parted, where that is not asked."""
    return {}


def _preview(
    context: Context,
    target: Target,
    source: Source,
    asked: list[str],
    wanted: Wanted,
    request: Pick,
    scores: Mapping[str, float | None],
) -> Picked:
    """Return what a pick would do with what was chosen, one page of it."""
    address = context.address(target)
    sealer = context.sealer_of(address)

    def look(connection: apsw.Connection) -> tuple[list[str], set[str], set[str]]:
        ours = ours_of(connection)
        groups = compare.groups(source.changes, ours, sealer, by_fork=False)
        clashing = {one for group in groups if group.clashes for one in group.steps}
        exists = {one for group in groups for one, step in group.steps.items() if step.ours}
        found = {one for group in groups for one in group.steps}
        return [one for one in asked if one in found], clashing & set(asked), exists

    with context.engine.use(address, create=False) as branch:
        if branch is None:
            ids, clashing, exists, txid = asked, set[str](), set[str](), 0
        else:
            (ids, clashing, exists), txid, _ = branch.read(look)
    page = ids[request.offset : request.offset + request.limit]
    memories = source.show(page)
    outcomes: dict[Side | None, Outcome] = {None: "conflict", "ours": "skip", "theirs": "apply"}
    candidates = [
        PickCandidate(
            memory=memories[one],
            outcome=outcomes[wanted.otherwise] if one in clashing else "apply",
            exists=one in exists,
            score=scores.get(one),
        )
        for one in page
        if one in memories
    ]
    aborts = wanted.otherwise is None and bool(clashing)
    left = clashing if wanted.otherwise != "theirs" else set[str]()
    return Picked(
        source=source.name,
        picked=() if aborts else tuple(one for one in ids if one not in left),
        candidates=tuple(candidates),
        candidate_count=len(ids),
        conflict_count=len(clashing),
        dry_run=True,
        txid=txid,
    )


def _picked(done: Merged) -> Picked:
    picked = (
        *done.added,
        *(new for _, new in done.updated),
        *done.removed,
    )
    kept = [NotMerged(id=one, reason="it is here, and differs") for one in done.kept]
    return Picked(
        source=done.source,
        picked=tuple(dict.fromkeys(picked)),
        skipped=(*done.skipped, *kept),
        candidate_count=len(picked) + len(kept),
        conflict_count=len(kept) + len(done.replaced),
        checkpoint=done.checkpoint,
        txid=done.txid,
    )
