r"""Paths into a document: `seat.row`, `legs.0.city`, `a\.b` for the key `a.b`.

A part of digits is a place where it meets a list and a key where it meets an object. A backslash
takes the character after it as it is.

For filters, sorts and indexes the value at a path is turned into a key that SQLite compares as
documents are compared: missing, null, numbers, text, false, true, lists, objects. Lists share one
key, and so do objects: what is in them is looked at in the document.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

from ...api.limits import DOCUMENT_DEPTH_MAX, DOCUMENT_PATH_BYTES_MAX
from ...errors import Invalid

__all__ = [
    "FALSE",
    "ID",
    "LIST",
    "NULL",
    "OBJECT",
    "TRUE",
    "Part",
    "Path",
    "key_sql",
    "parse_path",
    "step_to_key",
    "step_to_place",
]

ID = "_id"
# The keys of what has no order of its own. Nothing in JSON is less than every number, so null can
# be; a blob is more than every text.
NULL, FALSE, TRUE, LIST, OBJECT = "-9e999", "x'00'", "x'01'", "x'02'", "x'03'"

# Each place doubles the length of the SQL.
_PLACES_MAX = 4
_PLACE_DIGITS_MAX = 7


class Part(NamedTuple):
    """One step of a path: a key, and the place it stands for where it meets a list."""

    key: str
    place: int | None = None


class Path(NamedTuple):
    """A parsed path; `text` is the one way to write it, so that equal paths have equal texts."""

    text: str
    parts: tuple[Part, ...]

    @property
    def places(self) -> int:
        """How many parts may be places."""
        return sum(part.place is not None for part in self.parts)

    def sql(self, document: str, say: Callable[[str], str], tail: str = "") -> str:
        """Return the SQL of the path in SQLite's own notation, with steps that follow it.

        `say` gives the SQL of a text: a name it is bound to, or a literal.
        """
        expression, fixed = "", "$"
        for key, place in self.parts:
            step = step_to_key(key)
            if place is None:
                fixed += step
                continue
            before = _joined(expression, fixed, say)
            expression, fixed = (
                (
                    f"{before} || CASE json_type({document}, {before}) WHEN 'array' "
                    f"THEN {say(step_to_place(place))} ELSE {say(step)} END"
                ),
                "",
            )
        return _joined(expression, fixed + tail, say)


def step_to_key(key: str) -> str:
    """Return the step to a key in SQLite's notation, whatever the key holds."""
    return "." + json.dumps(key, ensure_ascii=False)


def step_to_place(place: int) -> str:
    """Return the step to a place of a list in SQLite's notation."""
    return f"[{place}]"


def key_sql(document: str, path: str) -> str:
    """Return the SQL of the key that a value is compared by; NULL where there is none."""
    return (
        f"CASE json_type({document}, {path}) WHEN 'null' THEN {NULL} WHEN 'true' THEN {TRUE} "
        f"WHEN 'false' THEN {FALSE} WHEN 'array' THEN {LIST} WHEN 'object' THEN {OBJECT} "
        f"ELSE json_extract({document}, {path}) END"
    )


@lru_cache(maxsize=4_096)
def parse_path(text: str) -> Path:
    """Return a path; raises `Invalid` saying what is wrong with it."""
    try:
        size = len(text.encode())
    except UnicodeEncodeError as error:
        raise Invalid(f"path {text!r:.80} has half a surrogate pair at {error.start}") from error
    if size > DOCUMENT_PATH_BYTES_MAX:
        raise Invalid(
            f"path {text!r:.80} has {size:,} bytes, at most {DOCUMENT_PATH_BYTES_MAX:,} are allowed"
        )
    if text.startswith("$"):
        raise Invalid(
            f"{text!r:.80} is no path: what begins with $ is an operator; write '\\$...' for a key "
            "that does"
        )
    parts = tuple(_parts(text))
    if len(parts) > DOCUMENT_DEPTH_MAX:
        raise Invalid(
            f"path {text!r:.80} has {len(parts)} parts, at most {DOCUMENT_DEPTH_MAX} are allowed"
        )
    path = Path(".".join(_escaped(part) for part in parts), parts)
    if path.places > _PLACES_MAX:
        raise Invalid(
            f"path {text!r:.80} has {path.places} parts of digits, at most {_PLACES_MAX} are "
            "allowed"
        )
    return path


def _parts(text: str) -> list[Part]:
    parts, key, taken = [], "", False
    characters = iter(text)
    for character in characters:
        if character == "\\":
            character = next(characters, "")  # noqa: PLW2901
            if not character:
                raise Invalid(f"path {text!r:.80} ends in a backslash; write two for one")
            key, taken = key + character, True
        elif character == ".":
            parts.append(_part(key, taken, text))
            key, taken = "", False
        else:
            key += character
    return [*parts, _part(key, taken, text)]


def _part(key: str, taken: bool, text: str) -> Part:
    if not key:
        raise Invalid(f"path {text!r:.80} has an empty part; give keys with one dot between them")
    digits = not taken and key.isascii() and key.isdigit()
    if digits and len(key) <= _PLACE_DIGITS_MAX and str(int(key)) == key:
        return Part(key, int(key))
    return Part(key)


def _escaped(part: Part) -> str:
    text = part.key.replace("\\", "\\\\").replace(".", "\\.")
    digits = text.isascii() and text.isdigit()
    return "\\" + text if text[0] == "$" or (digits and part.place is None) else text


def _joined(expression: str, fixed: str, say: Callable[[str], str]) -> str:
    if not expression:
        return say(fixed)
    return f"({expression} || {say(fixed)})" if fixed else f"({expression})"
