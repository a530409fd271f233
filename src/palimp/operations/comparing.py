"""What two branches changed since they parted, read from each by itself.

A read of one branch never waits for a read of another: two comparisons that look at the same two
from opposite sides would wait for each other. What is needed of a side is taken out of it; only the
point where they parted, which nobody writes, is held open beside.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import NamedTuple, TypeVar

import apsw

from ..api import Memory, Target
from ..engine import Address, Branch, BranchInfo
from ..errors import Conflict, Invalid, NotFound
from ..points import Point
from ..profile import compare
from ..profile.compare import Luggage, Ours, Pair
from ..profile.memories import memories_by_id
from .context import Context
from .showing import Fetch

__all__ = [
    "Parted",
    "Source",
    "at_base",
    "check_expected",
    "memories_at",
    "other_branch",
    "ours_of",
    "parted",
    "read_memories",
    "since_parted",
]

T = TypeVar("T")


class Parted(NamedTuple):
    """Where two branches parted: a txid, and the branches in which it may be readable."""

    txid: int
    places: tuple[str, ...]


class Source(NamedTuple):
    """What there is to bring: memories before and now by id, and what is carried of them.

    `held` are the ids of all that holds there, `holders` what holds each (type, topic). `branch_id`
    is None where it is no branch. `show` reads memories as they are there, `before` as they were
    where both parted.
    """

    name: str
    branch_id: str | None
    changes: Mapping[str, Pair]
    luggage: Mapping[str, Luggage]
    held: frozenset[str]
    holders: Mapping[tuple[str, str], str]
    show: Fetch
    before: Fetch
    txid: int


def other_branch(context: Context, target: Target, name: str) -> Address:
    """Return the address of another branch of the target's profile; `Invalid` for the same."""
    if target.at is not None:
        raise Invalid(
            f"branches are compared as they are, not as one was at {target.at!r:.80}; leave `at` "
            "out, or fork that point and compare the fork"
        )
    address = context.address(target)
    other = context.address(Target(target.namespace, target.profile, name))
    if other == address:
        raise Invalid(f"branch {name!r} cannot be compared with itself; name another one")
    return other


def parted(branches: Sequence[BranchInfo], one: str, other: str) -> Parted:
    """Return where two branches of a profile parted.

    Each runs on its own line, before that on its parent's, up to where it left it. The first line
    that both ran on is where they parted, at the lower of the two ends. Raises `NotFound` for a
    branch that is not there, `Conflict` for two that have nothing in common.
    """
    lines = [_line(branches, name) for name in (one, other)]
    known = {found.name for found in branches}
    for name, end in lines[0].items():
        if name in lines[1]:
            ends = [txid for txid in (end, lines[1][name]) if txid is not None]
            assert ends, "two branches are never the same line"
            # Each keeps the point it was forked from: those that left this line are asked first.
            left = [[*line][: [*line].index(name)] for line in lines]
            places = dict.fromkeys((*reversed(left[0]), *reversed(left[1]), name))
            return Parted(min(ends), tuple(place for place in places if place in known))
    raise Conflict(
        f"branches {one!r} and {other!r} have no history in common: nothing says what either "
        "changed; pick single memories instead"
    )


def since_parted(
    context: Context,
    source: Address,
    info: BranchInfo,
    base: Parted,
    *,
    carried: bool,
    expect: int | None = None,
) -> Source:
    """Return what a branch changed since it parted from another; with `carried` to be carried.

    Raises `Conflict` where it is not as it was at the txid `expect`.
    """
    sealer = context.sealer_of(source)
    show = partial(read_memories, context, source)
    before = partial(memories_at, context, source, base)

    def read(earlier: apsw.Connection | None, now: apsw.Connection) -> Source:
        changed = partial(compare.changed, now=now, sealer=sealer)
        changes = compare.every(now) if earlier is None else changed(earlier)
        moved = ((one, pair.now) for one, pair in changes.items()) if carried else ()
        luggage = compare.pack(now, moved, sealer)
        held, holders = compare.held(now), compare.holders(now)
        return Source(info.name, info.branch_id, changes, luggage, held, holders, show, before, 0)

    def at(earlier: apsw.Connection | None) -> Source:
        with context.engine.use(source, create=False) as branch:
            if branch is None:
                raise NotFound(f"no branch {source.branch!r}", code="branch_not_found")
            found, txid, _ = branch.read(lambda now: read(earlier, now))
            check_expected(branch, expect, txid)
            return found._replace(txid=txid)

    return at(None) if not base.txid else at_base(context, source, base, at)


def at_base(
    context: Context, address: Address, base: Parted, work: Callable[[apsw.Connection], T]
) -> T:
    """Return what `work` makes of the state where branches parted, wherever it can be read."""
    missing: NotFound | Invalid | None = None
    for name in base.places:
        try:
            with context.engine.past(address._replace(branch=name), Point.txid(base.txid)) as past:
                return past.read(work).value
        except (NotFound, Invalid) as error:
            missing = error
    raise Conflict(
        f"the point where the branches parted, txid {base.txid}, can be read in none of "
        f"{', '.join(base.places)}: nothing says what either changed; pick single memories instead"
    ) from missing


def ours_of(connection: apsw.Connection) -> Ours:
    """Return how an open branch is asked for what is in it."""
    return Ours(
        lambda identity: compare.version(connection, identity),
        lambda type_, topic: compare.holder(connection, type_, topic),
    )


def read_memories(context: Context, address: Address, ids: Iterable[str]) -> dict[str, Memory]:
    """Return memories of a branch as they are now, by id; what is gone since is left out."""
    wanted = list(ids)
    if not wanted:
        return {}
    with context.engine.use(address, create=False) as branch:
        if branch is None:
            return {}
        sealer = context.sealer_of(address)
        return branch.read(lambda c: memories_by_id(c, wanted, sealer)).value


def memories_at(
    context: Context, address: Address, base: Parted, ids: Iterable[str]
) -> dict[str, Memory]:
    """Return memories as they were where branches parted, by id."""
    wanted = list(ids)
    if not wanted or not base.txid:
        return {}
    sealer = context.sealer_of(address)
    return at_base(context, address, base, lambda c: memories_by_id(c, wanted, sealer))


def check_expected(branch: Branch, expected: int | None, found: int) -> None:
    """Raise `Conflict` where a branch is not as it was at the txid that was looked at before.

    What the node writes by itself about what is there, such as vectors, is no difference.
    """
    if expected is None or expected == found:
        return
    if not branch.local.only_derived(expected, found):
        raise Conflict(
            f"branch {branch.address.branch!r} is at txid {found}, not at {expected}: it moved on "
            "since; look again at what would change",
            txid=found,
            expected=expected,
        )


def _line(branches: Sequence[BranchInfo], name: str) -> dict[str, int | None]:
    """Return the lines a branch runs on, itself first, and up to which txid; None: its own."""
    known = {one.name: one for one in branches}
    if name not in known:
        raise NotFound(f"no branch {name!r}; there is {', '.join(known)}", code="branch_not_found")
    found: dict[str, int | None] = {}
    at: str | None = name
    end: int | None = None
    while at is not None and at not in found:
        found[at] = end
        info = known.get(at)
        at = None if info is None else info.parent
        left = None if info is None else info.parent_txid
        end = left if end is None or left is None else min(end, left)
    return found
