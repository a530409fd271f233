"""Apply: chosen changes of a branch, in four lists there, and what became of each in eight."""

from __future__ import annotations

from typing import Any

import msgspec

from ....api.compare import ApplyChanges, Diff, DiffBranches, Merged
from ....api.limits import CHANGES_MAX
from ....decoding import from_plain
from ....errors import Invalid
from ....ids import MAIN
from ..foreign import wrong
from .call import Call
from .places import existing

__all__ = ["apply"]

_BAD_REQUEST = 400
_LISTS = ("adds", "updates", "removes", "accept_branch_conflicts")
_IDS_MAX = 1_000


class _Pair(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    old_id: str
    new_id: str


class _Chosen(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What was asked for."""

    adds: tuple[str, ...] = ()
    updates: tuple[_Pair, ...] = ()
    removes: tuple[str, ...] = ()
    accept_branch_conflicts: tuple[str, ...] = ()


class _Known(msgspec.Struct, frozen=True):
    """The ids of our changes, by what was asked for."""

    adds: dict[str, str]
    updates: dict[_Pair, str]
    removes: dict[str, str]
    conflicts: dict[str, str]


def apply(call: Call) -> Any:
    """Bring what was chosen into main, in one commit, and say of each whether it was."""
    title = call.values["name"]
    if title == MAIN:
        raise wrong("Cannot apply from main", _BAD_REQUEST, said=True)
    name = existing(call, title)
    chosen = _read(call.fields)
    known = _known(call, name)
    groups: list[tuple[str, dict[str, str | None]]] = [
        ("adds", {one: known.adds.get(one) for one in chosen.adds}),
        (
            "updates",
            {f"{one.old_id}→{one.new_id}": known.updates.get(one) for one in chosen.updates},
        ),
        ("removes", {one: known.removes.get(one) for one in chosen.removes}),
        (
            "conflicts",
            {one: known.conflicts.get(one) for one in chosen.accept_branch_conflicts},
        ),
    ]
    ids = tuple({one: None for _, group in groups for one in group.values() if one is not None})
    left = _bring(call, name, ids, groups[-1][1]) if ids else set()
    answer: dict[str, list[str]] = {}
    for what, group in groups:
        done = [shown for shown, one in group.items() if one is not None and one not in left]
        answer[f"applied_{what}"] = done
        answer[f"skipped_{what}"] = [shown for shown in group if shown not in done]
    return answer


def _read(body: dict[str, Any]) -> _Chosen:
    given = {name: value for name, value in body.items() if value is not None}
    try:
        chosen = from_plain(given, _Chosen)
    except msgspec.ValidationError as error:
        raise Invalid(str(error)) from error
    count = sum(len(getattr(chosen, name)) for name in _LISTS)
    if count > _IDS_MAX:
        raise Invalid(f"{count:,} changes are chosen; give up to {_IDS_MAX:,}")
    return chosen


def _known(call: Call, name: str) -> _Known:
    request = DiffBranches(limit=CHANGES_MAX)
    found: Diff = call.do("branches.diff", request, target=call.place(name))
    return _Known(
        {one.new.id: one.id for one in found.added if one.new is not None},
        {
            _Pair(one.old.id, one.new.id): one.id
            for one in found.updated
            if one.old is not None and one.new is not None
        },
        {one.old.id: one.id for one in found.removed if one.old is not None},
        {one.id: one.id for one in found.conflicts},
    )


def _bring(
    call: Call, name: str, ids: tuple[str, ...], conflicts: dict[str, str | None]
) -> set[str]:
    """Apply changes; return those that had nothing to bring any more."""
    request = ApplyChanges(
        source=name, ids=ids, resolve={one: "theirs" for one in conflicts.values() if one}
    )
    done: Merged = call.do("branches.apply", request, target=call.place(MAIN))
    return {one.id for one in done.skipped} | set(done.kept)
