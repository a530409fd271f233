"""Changes and conflicts as they are shown: with the memories they are about."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from ..api import Memory
from ..api.compare import Change, ConflictKind, MemoryConflict
from ..profile import compare
from ..profile.compare import Deed, Group, Ours, Version

__all__ = ["Facing", "Fetch", "facing", "shown_changes", "shown_conflicts"]

# Reads memories of one state by their ids.
Fetch = Callable[[Iterable[str]], Mapping[str, Memory]]


class Facing(NamedTuple):
    """A conflict by ids: the memory, what holds in its place on each side, what comes with it."""

    id: str
    kind: ConflictKind
    ours: str | None
    theirs: str | None
    withheld: tuple[str, ...]


def facing(group: Group, ours: Ours) -> Facing:
    """Return the conflict of a group; `ours` is what it would be brought into."""
    clash = group.clashes[0]
    step = group.steps[clash.id]
    if clash.other is not None:
        mine: str | None = clash.other
    else:
        mine = _id(compare.stands_for(step.ours, ours))

    def there(identity: str) -> Version | None:
        return group.steps[identity].theirs if identity in group.steps else None

    theirs = _id(compare.stands_for(step.theirs, Ours(there, lambda _type, _topic: None)))
    withheld = tuple(
        one for one, held in group.steps.items() if one != clash.id and held.theirs is not None
    )
    return Facing(clash.id, clash.kind, mine, theirs, withheld)


def shown_conflicts(
    found: Sequence[Facing], here: Fetch, there: Fetch, before: Fetch
) -> tuple[MemoryConflict, ...]:
    """Return conflicts with their memories; what is gone meanwhile is None."""
    mine = here([one.ours for one in found if one.ours])
    theirs = there([one.theirs for one in found if one.theirs])
    base = before([one.id for one in found])
    return tuple(
        MemoryConflict(
            id=one.id,
            kind=one.kind,
            ours=mine.get(one.ours or ""),
            theirs=theirs.get(one.theirs or ""),
            base=base.get(one.id),
            withheld=one.withheld,
        )
        for one in found
    )


def shown_changes(deeds: Sequence[Deed], before: Fetch, after: Fetch) -> tuple[Change, ...]:
    """Return changes with their memories, before and after."""
    old = before([one.old for one in deeds if one.old])
    new = after([one.new for one in deeds if one.new])
    return tuple(
        Change(
            id=one.old or one.new or "",
            change=one.change,
            old=old.get(one.old or ""),
            new=new.get(one.new or ""),
            fields=one.fields,
        )
        for one in deeds
    )


def _id(version: Version | None) -> str | None:
    return None if version is None else version.id
