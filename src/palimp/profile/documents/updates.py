"""Updates: `$set`, `$unset`, `$inc` and `$push` on a document in memory.

Every path of an update is checked against the others first, so that none undoes another.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any, NamedTuple

from ...errors import Invalid
from .paths import ID, Part, Path, parse_path
from .values import INTEGERS, check_value

__all__ = ["Change", "apply", "compile_update"]

_MISSING = object()
# What others write in a `$push`; stored as it stands it would be a surprise.
_PUSH_WORDS = frozenset(("$each", "$position", "$slice", "$sort"))


class Change(NamedTuple):
    """One operator on one path."""

    name: str
    path: Path
    operand: Any


def compile_update(given: dict[str, Any]) -> list[Change]:
    """Return the changes of an update; raises `Invalid` for what is none."""
    check_value(given, "the update")
    if not given:
        raise Invalid(f"the update is empty; give one of {', '.join(_OPERATORS)}")
    changes = []
    for name, operands in given.items():
        if name not in _OPERATORS:
            hint = "" if name.startswith("$") else "; a document is not replaced: give $set"
            raise Invalid(
                f"unknown operator {name!r:.80} in an update{hint}; known are "
                f"{', '.join(_OPERATORS)}"
            )
        if not isinstance(operands, dict) or not operands:
            raise Invalid(f"{name} takes an object of paths that is not empty")
        changes += [_change(name, text, operand) for text, operand in operands.items()]
    _check_apart(changes)
    return changes


def apply(changes: list[Change], document: dict[str, Any]) -> None:
    """Carry out the changes on a document; raises `Invalid` where one does not fit it."""
    for change in changes:
        _OPERATORS[change.name](document, change.path, change.operand)


def _change(name: str, text: str, operand: Any) -> Change:
    path = parse_path(text)
    if path.parts[0].key == ID:
        raise Invalid(f"{name} on {text!r:.80}: the _id of a document never changes")
    if name == "$inc" and (isinstance(operand, bool) or not isinstance(operand, int | float)):
        raise Invalid(f"$inc on {text!r:.80} takes a number, not {type(operand).__name__}")
    unknown = _PUSH_WORDS & operand.keys() if name == "$push" and isinstance(operand, dict) else ()
    if unknown:
        raise Invalid(f"$push on {text!r:.80} appends one value; it knows no {min(unknown)}")
    return Change(name, path, operand)


def _check_apart(changes: list[Change]) -> None:
    """Refuse two changes of which one would touch what the other does."""
    paths = sorted(([part.key for part in one.path.parts], one.path.text) for one in changes)
    for (earlier, text), (later, other) in pairwise(paths):
        if later[: len(earlier)] == earlier:
            raise Invalid(f"{other!r:.80} is changed twice: {text!r:.80} is it, or holds it")


def _set(document: dict[str, Any], path: Path, operand: Any) -> None:
    _replace(document, path, lambda _: operand)


def _unset(document: dict[str, Any], path: Path, _: Any) -> None:
    holder: Any = document
    for part in path.parts[:-1]:
        holder = _get(holder, part)
    last = path.parts[-1]
    if _get(holder, last) is _MISSING:
        return
    if isinstance(holder, dict):
        del holder[last.key]
    else:
        # What follows in a list keeps its place.
        holder[last.place] = None


def _increase(document: dict[str, Any], path: Path, operand: Any) -> None:
    def add(old: Any) -> Any:
        if old is _MISSING:
            return operand
        if isinstance(old, bool) or not isinstance(old, int | float):
            raise Invalid(f"$inc on {path.text!r:.80}: there is no number, but {_kind(old)}")
        try:
            new = old + operand
        except OverflowError:
            new = math.inf
        if new not in INTEGERS if isinstance(new, int) else not math.isfinite(new):
            raise Invalid(f"$inc on {path.text!r:.80}: {old} + {operand} is too large to be kept")
        return new

    _replace(document, path, add)


def _push(document: dict[str, Any], path: Path, operand: Any) -> None:
    def append(old: Any) -> Any:
        if old is _MISSING:
            return [operand]
        if not isinstance(old, list):
            raise Invalid(f"$push on {path.text!r:.80}: there is no list, but {_kind(old)}")
        return [*old, operand]

    _replace(document, path, append)


_OPERATORS: dict[str, Callable[[dict[str, Any], Path, Any], None]] = {
    "$set": _set,
    "$unset": _unset,
    "$inc": _increase,
    "$push": _push,
}


def _replace(document: dict[str, Any], path: Path, change: Callable[[Any], Any]) -> None:
    """Put at a path what `change` makes of what is there; objects on the way are made."""
    holder: Any = document
    for part in path.parts[:-1]:
        inner = _get(holder, part)
        if inner is _MISSING:
            inner = {}
            _put(holder, part, inner, path)
        holder = inner
    last = path.parts[-1]
    _put(holder, last, change(_get(holder, last)), path)


def _get(holder: Any, part: Part) -> Any:
    if isinstance(holder, dict):
        return holder.get(part.key, _MISSING)
    if isinstance(holder, list) and part.place is not None and part.place < len(holder):
        return holder[part.place]
    return _MISSING


def _put(holder: Any, part: Part, value: Any, path: Path) -> None:
    if isinstance(holder, dict):
        holder[part.key] = value
    elif not isinstance(holder, list):
        raise Invalid(
            f"{path.text!r:.80}: {part.key!r:.80} cannot be set in {_kind(holder)}; it needs an "
            "object or a list"
        )
    elif part.place is None:
        raise Invalid(f"{path.text!r:.80}: {part.key!r:.80} is no place in a list; give a number")
    elif part.place < len(holder):
        holder[part.place] = value
    elif part.place == len(holder):
        holder.append(value)
    else:
        raise Invalid(
            f"{path.text!r:.80}: the list has {len(holder):,} elements; its next place is "
            f"{len(holder)}, not {part.place}"
        )


def _kind(value: Any) -> str:
    kinds: Mapping[type, str] = {
        type(None): "null",
        bool: "a boolean",
        int: "a number",
        float: "a number",
        str: "a text",
        list: "a list",
    }
    return kinds.get(type(value), "an object")
