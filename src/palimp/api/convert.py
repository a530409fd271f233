"""From a caller's plain values to the structs of this room, with errors a person can act on."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal, TypeVar, get_args, get_origin

import msgspec

from ..decoding import from_plain
from ..errors import Invalid
from .base import WIRE_NAMES, Request

__all__ = ["nearest", "to_request"]

R = TypeVar("R", bound=Request)

_PATH = re.compile(r" - at `\$\.?(?P<path>[^`]*)`$")
_UNKNOWN = re.compile(r"Object contains unknown field `(?P<field>.*)`$", re.DOTALL)
_MISSING = re.compile(r"Object missing required field `(?P<field>.*)`$")


def nearest(word: str, known: list[str]) -> str:
    """Return ` (did you mean 'x'?)` for the nearest known word, or nothing when none is near."""
    import difflib  # 7 ms that only a failure should cost

    found = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return f" (did you mean {found[0]!r}?)" if found else ""


def field_names(cls: type[Request]) -> list[str]:
    """Return the field names of a request as Python writes them."""
    return [field.name for field in msgspec.structs.fields(cls)]


def to_request(cls: type[R], values: object, what: str) -> R:
    """Return `values` (a mapping or already a `cls`) as a checked struct.

    Field names may be Python's (`topic`) or the wire's (`topic_key`), not both. Raises `Invalid`
    naming `what`, the field, and for an unknown field the nearest known one.
    """
    if isinstance(values, cls):
        return values
    if not isinstance(values, Mapping):
        raise Invalid(f"{what} must be an object with fields, not {type(values).__name__}")
    wire: dict[str, Any] = {}
    for name, value in values.items():
        if not isinstance(name, str):
            raise Invalid(f"{what}: field names are text, not {type(name).__name__}")
        key = WIRE_NAMES.get(name, name)
        if key in wire:
            raise Invalid(f"{what}: {name!r} is given twice, once under its other name")
        wire[key] = _plain(value)
    try:
        return from_plain(wire, cls)
    except msgspec.ValidationError as error:
        raise Invalid(f"{what}: {_explain(str(error), cls)}") from error


def _plain(value: Any) -> Any:
    """Turn an array (numpy and its kin) into a list; leave everything else as it is."""
    tolist = getattr(value, "tolist", None)
    return tolist() if callable(tolist) else value


def _explain(message: str, cls: type[Request]) -> str:
    place = _PATH.search(message)
    path = place["path"] if place else ""
    bare = message[: place.start()] if place else message
    unknown = _UNKNOWN.match(bare)
    if unknown:
        known = field_names(_struct_at(cls, path))
        where = f" in {path}" if path else ""
        hint = nearest(unknown["field"], known)
        return f"unknown field {unknown['field']!r}{where}{hint}; known are {', '.join(known)}"
    missing = _MISSING.match(bare)
    if missing:
        return f"field {missing['field']!r} is missing"
    choices = _choices(path, cls)
    if bare.startswith("Invalid enum value") and choices:
        bare = f"{bare}; give {', '.join(choices[:-1])} or {choices[-1]}"
    bare = bare[:1].lower() + bare[1:]
    return f"field {path!r}: {bare}" if path else bare


def _struct_at(cls: type[Request], path: str) -> type[Request]:
    """Return the struct that a path of field names leads to."""
    for part in path.split(".") if path else ():
        name = part.partition("[")[0]
        kinds = [field.type for field in msgspec.structs.fields(cls) if field.encode_name == name]
        while kinds:
            kind = kinds.pop()
            if isinstance(kind, type) and issubclass(kind, Request):
                cls = kind
            else:
                kinds += get_args(kind)
    return cls


def _choices(path: str, cls: type[Request]) -> list[str]:
    """Return the words a field can be, where it is one of a few; `path` names the field."""
    around, _, last = path.rpartition(".")
    name = last.partition("[")[0]
    struct = _struct_at(cls, around)
    kinds = [field.type for field in msgspec.structs.fields(struct) if field.encode_name == name]
    choices: list[str] = []
    while kinds:
        kind = kinds.pop()
        if get_origin(kind) is Literal:
            choices += get_args(kind)
        else:
            kinds += get_args(kind)
    return choices
