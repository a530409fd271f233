"""Three states of a profile in, what is to be done out: a merge by memory, decided before a write.

`ours` is the branch that is written, `theirs` the one that is brought in, and the base the state
from which both went on. What belongs together, a memory and what took its place, is decided
together.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Container, Mapping, Sequence
from typing import NamedTuple

from ...api.compare import ChangeKind, ConflictKind, Side
from ..protocols import Sealer
from .versions import Changes, Version, differences

__all__ = [
    "Clash",
    "Deed",
    "Group",
    "Ours",
    "Step",
    "added_only",
    "decided",
    "deeds",
    "displaced",
    "groups",
    "stands_for",
]


class Ours(NamedTuple):
    """How the branch that is written is asked: for a memory, and for what holds on a topic."""

    version: Callable[[str], Version | None]
    holder: Callable[[str, str], str | None]


class Step(NamedTuple):
    """One memory in its three versions."""

    base: Version | None
    ours: Version | None
    theirs: Version | None

    @property
    def id(self) -> str:
        """The id of the memory."""
        found = self.theirs or self.base or self.ours
        assert found is not None
        return found.id


class Clash(NamedTuple):
    """Why a memory cannot be brought over as it is. `other`: what holds its topic here."""

    id: str
    kind: ConflictKind
    other: str | None = None


class Group(NamedTuple):
    """Memories that are decided together, by id in the order of their rows; and what clashes."""

    steps: dict[str, Step]
    clashes: tuple[Clash, ...]


class Deed(NamedTuple):
    """What bringing a group over comes to, for one memory that held before or holds then."""

    change: ChangeKind
    old: str | None
    new: str | None
    fields: tuple[str, ...] = ()


def groups(changes: Changes, ours: Ours, sealer: Sealer, *, by_fork: bool = True) -> list[Group]:
    """Return what `theirs` has to bring, in groups; those without a clash can be taken over.

    With `by_fork` a memory that only the base and `theirs` differ in is brought, and one that both
    sides made is there already. Without, whatever is here and differs is a clash: there is no base.
    """
    steps: dict[str, Step] = {}
    clashes: dict[str, Clash] = {}
    for identity, (base, theirs) in changes.items():
        step = Step(base, ours.version(identity), theirs)
        if _alike(step, sealer, by_fork):
            continue
        steps[identity] = step
        clash = _verdict(step, sealer)
        if clash is not None:
            clashes[identity] = clash
    joined = _Joined(steps)
    for identity, step in steps.items():
        for one in (step.theirs, step.base):
            if one is not None and one.by in steps:
                joined.join(identity, one.by)
        other = _rival(step, ours)
        if other in steps and not _holds(steps[other].theirs):
            joined.join(identity, other)
        elif other is not None:
            clashes.setdefault(identity, Clash(identity, "topic", other))
    return [
        Group(
            {one: steps[one] for one in members},
            tuple(clashes[one] for one in members if one in clashes),
        )
        for members in joined.sets()
    ]


def added_only(changes: Changes, ours: Ours) -> dict[str, Step]:
    """Return what `theirs` added and is not here, each by itself."""
    found = {}
    for identity, (base, theirs) in changes.items():
        if base is None and theirs is not None and ours.version(identity) is None:
            found[identity] = Step(None, None, theirs)
    return found


def deeds(
    group: Group, side: Callable[[Step], Version | None], ours: Ours, sealer: Sealer
) -> list[Deed]:
    """Return what a group changes as somebody reads it; `side` gives the version it starts from.

    What is not in the group is as it is in `ours`.

    A memory that was written and superseded on the branch shows as what came of it. What only
    concerns history shows as nothing.
    """
    found: list[Deed] = []
    explained: set[str] = set()
    for identity, step in group.steps.items():
        before = side(step)
        if before is None or not before.holds:
            continue
        theirs = step.theirs
        if theirs is not None and theirs.holds:
            fields = differences(before, theirs, sealer)
            found.append(Deed("updated", identity, identity, fields))
            continue
        end = _end(group.steps, theirs, ours)
        if end is None:
            found.append(Deed("removed", identity, None if theirs is None else identity))
        else:
            found.append(Deed("updated", identity, end))
            explained.add(end)
    for identity, step in group.steps.items():
        before = side(step)
        fresh = _holds(step.theirs) and not _holds(before)
        if fresh and identity not in explained:
            found.append(Deed("added", None, identity))
    return found


def decided(group: Group, resolve: Mapping[str, Side], otherwise: Side | None) -> Side | None:
    """Return for which side a group is decided; None where nobody decided a clash of it."""
    if not group.clashes:
        return "theirs"
    for one in group.steps:
        if one in resolve:
            return resolve[one]
    return otherwise


def _holds(one: Version | None) -> bool:
    return one is not None and one.holds


def _end(steps: Mapping[str, Step], version: Version | None, ours: Ours) -> str | None:
    """Return what holds there in place of a version in the end; None where nothing does."""

    def there(identity: str) -> Version | None:
        return steps[identity].theirs if identity in steps else ours.version(identity)

    found = stands_for(version, Ours(there, ours.holder))
    return None if found is None else found.id


def _alike(step: Step, sealer: Sealer, by_fork: bool) -> bool:
    """Whether this branch has a memory as it is there."""
    ours, theirs = step.ours, step.theirs
    if ours is None or theirs is None:
        return ours is theirs
    if by_fork and step.base is None and ours.holds and theirs.holds:
        # Both learnt the same: as when it is written twice, the first stays as it was written.
        return True
    return not differences(ours, theirs, sealer)


def _verdict(step: Step, sealer: Sealer) -> Clash | None:
    """Return why a memory that differs cannot be brought over; None where it can."""
    base, ours, theirs = step
    if base is None and ours is None:
        return None
    if base is not None and ours is not None:
        # What was written here again since: whoever removed it there did not know.
        again = theirs is None and base.activated_at != ours.activated_at
        if not again and not differences(base, ours, sealer):
            return None
    gone = ours is None or theirs is None
    return Clash(step.id, "removed" if gone else "changed")


def _rival(step: Step, ours: Ours) -> str | None:
    """Return what holds the topic here that a memory would hold."""
    theirs = step.theirs
    if theirs is None or not theirs.holds or theirs.topic is None:
        return None
    holder = ours.holder(theirs.type, theirs.topic)
    return None if holder == theirs.id else holder


class _Joined:
    """Sets of ids that are joined pair by pair; each begins alone."""

    def __init__(self, ids: Collection[str]) -> None:
        self._above = {one: one for one in ids}

    def join(self, one: str, other: str) -> None:
        """Make the sets of two ids one."""
        self._above[self._top(other)] = self._top(one)

    def sets(self) -> Sequence[list[str]]:
        """Return the sets, each in the order the ids were given in."""
        found: dict[str, list[str]] = {}
        for one in self._above:
            found.setdefault(self._top(one), []).append(one)
        return list(found.values())

    def _top(self, one: str) -> str:
        while self._above[one] != one:
            self._above[one] = self._above[self._above[one]]
            one = self._above[one]
        return one


def displaced(group: Group, ours: Ours, held: Container[str]) -> list[tuple[str, str | None]]:
    """Return what has to stop holding here where a group is decided for `theirs`, and for what.

    What took the place of a memory here gives way to what took it there, and so does what holds a
    topic here; None where there nothing holds instead. What is among those `held` there stays.
    """
    found: dict[str, str | None] = {}
    for clash in group.clashes:
        step = group.steps[clash.id]
        here = stands_for(step.ours, ours)
        if here is not None and here.id not in group.steps and here.id not in held:
            found[here.id] = _end(group.steps, step.theirs, ours)
    for identity, step in group.steps.items():
        rival = _rival(step, ours)
        if rival is not None and rival not in group.steps:
            found[rival] = identity
    return list(found.items())


def stands_for(version: Version | None, ours: Ours) -> Version | None:
    """Return what holds here in place of a version, itself if it does; None where nothing does."""
    seen: set[str] = set()
    while version is not None and not version.holds:
        if version.by is None or version.by in seen:
            return None
        seen.add(version.by)
        version = ours.version(version.by)
    return version
