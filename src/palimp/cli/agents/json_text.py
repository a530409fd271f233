"""A member put into a JSON text, or taken out of it; every other byte stays as it is.

An object that is written on one line stays on one line, one in lines stays in lines with its own
indentation. That is also how `take` knows what `put` made: it returns the text from which `put`
would make this one.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from ...errors import Invalid

__all__ = ["find", "put", "take"]

_DECODER = json.JSONDecoder()
_SPACE = " \t\r\n"
_UNIT = "  "


class _Member(NamedTuple):
    """Where the key of a member begins, its value begins, and its value ends."""

    key: str
    begin: int
    value: int
    end: int


class _Object(NamedTuple):
    """Where an object opens and closes, and what is in it."""

    opens: int
    closes: int
    members: tuple[_Member, ...]


def find(text: str, group: str, name: str) -> Any:
    """Return the value of member `name` of the object `group`, None where there is none.

    Raises `Invalid` for a text that is no JSON object, or where `group` is something else.
    """
    if not text.strip():
        return None
    try:
        root = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Invalid(f"is not plain JSON: {error}") from error
    if not isinstance(root, dict):
        raise Invalid(f"holds a {type(root).__name__}, not an object")
    found = root.get(group, {})
    if not isinstance(found, dict):
        raise Invalid(f"has {group!r} that is a {type(found).__name__}, not an object")
    return found.get(name)


def put(text: str, group: str, name: str, value: Any) -> str:
    """Return the text with member `name` of the object `group` being `value`."""
    if not text.strip():
        return json.dumps({group: {name: value}}, indent=_UNIT, ensure_ascii=False) + "\n"
    root = _object(text, _after_space(text, 0))
    unit = _indent(text, root.members[0].begin) if _in_lines(text, root) else ""
    outer = _member(root, group)
    if outer is None:
        in_lines = _in_lines(text, root) or not root.members
        return _added(text, root, group, {name: value}, unit or _UNIT if in_lines else None)
    inner = _object(text, outer.value)
    member = _member(inner, name)
    step = (unit or _UNIT) if _in_lines(text, inner) else None
    if member is None:
        return _added(text, inner, name, value, step)
    indent = _indent(text, member.begin)
    return text[: member.value] + _written(text, value, step, indent) + text[member.end :]


def take(text: str, group: str, name: str) -> str | None:
    """Return the text without member `name` of `group`; None where there was no text before it."""
    value = find(text, group, name)
    root = _object(text, _after_space(text, 0))
    outer = _member(root, group)
    assert outer is not None, group
    without = _removed(text, _object(text, outer.value), name)
    # A group that holds nothing else was made for it, or was there and empty.
    if put("", group, name, value) == text:
        return None
    bare = _removed(text, root, group)
    return bare if put(bare, group, name, value) == text else without


def _added(text: str, into: _Object, key: str, value: Any, unit: str | None) -> str:
    head = json.dumps(key, ensure_ascii=False) + ": "
    if unit is None:
        member = head + _written(text, value, None, "")
        if not into.members:
            return text[: into.opens + 1] + member + text[into.closes :]
        end = into.members[-1].end
        return f"{text[:end]}, {member}{text[end:]}"
    newline = _newline(text)
    outer = _indent(text, into.opens)
    if not into.members:
        indent = outer + unit
        member = head + _written(text, value, unit, indent)
        around = newline + indent + member + newline + outer
        return text[: into.opens + 1] + around + text[into.closes :]
    indent = _indent(text, into.members[0].begin)
    member = head + _written(text, value, unit, indent)
    end = into.members[-1].end
    return text[:end] + "," + newline + indent + member + text[end:]


def _removed(text: str, of: _Object, key: str) -> str:
    member = _member(of, key)
    assert member is not None, key
    place = of.members.index(member)
    if len(of.members) == 1:
        return text[: of.opens + 1] + text[of.closes :]
    if place == 0:
        return text[: member.begin] + text[of.members[1].begin :]
    return text[: of.members[place - 1].end] + text[member.end :]


def _written(text: str, value: Any, unit: str | None, indent: str) -> str:
    plain = json.dumps(value, indent=unit, ensure_ascii=False)
    return plain.replace("\n", _newline(text) + indent)


def _object(text: str, opens: int) -> _Object:
    members = []
    at = _after_space(text, opens + 1)
    while text[at] != "}":
        key, end = _DECODER.raw_decode(text, at)
        value = _after_space(text, _after_space(text, end) + 1)
        _, end = _DECODER.raw_decode(text, value)
        members.append(_Member(key, at, value, end))
        at = _after_space(text, end)
        if text[at] == ",":
            at = _after_space(text, at + 1)
    return _Object(opens, at, tuple(members))


def _member(of: _Object, key: str) -> _Member | None:
    # Of a key that comes twice, the last one counts, as it does for who reads the file.
    return next((one for one in reversed(of.members) if one.key == key), None)


def _in_lines(text: str, of: _Object) -> bool:
    return bool(of.members) and "\n" in text[of.opens : of.members[0].begin]


def _indent(text: str, place: int) -> str:
    line = text[text.rfind("\n", 0, place) + 1 : place]
    return line[: len(line) - len(line.lstrip(" \t"))]


def _after_space(text: str, at: int) -> int:
    while text[at] in _SPACE:
        at += 1
    return at


def _newline(text: str) -> str:
    return "\r\n" if "\r\n" in text else "\n"
