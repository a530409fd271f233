"""What JSON cannot say is refused before it is sent: an encoder would change it without a word.

NaN would become null, bytes and dates a text, a set a list, and the node would store that.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import msgspec

from ..errors import Invalid, in_batch
from .base import Request
from .sql import Encoded

__all__ = ["check_json", "check_plain"]

_NUMBERS = {int, float}


def check_plain(request: Request, *, apart: str | None = None) -> None:
    """Raise `Invalid` for what has no JSON form, in the words in which the node would refuse it.

    The field `apart` is not looked at: it travels otherwise.
    """
    for name in request.__struct_fields__:
        if name == apart:
            continue
        value = getattr(request, name)
        if isinstance(value, tuple) and value and isinstance(value[0], Request):
            for index, item in enumerate(value):
                try:
                    _check_fields(item)
                except Invalid as error:
                    raise in_batch(error, name, index, len(value)) from error
        elif isinstance(value, Request):
            _check_fields(value)
        else:
            check_json(value, name)


def _check_fields(part: Request) -> None:
    for name in part.__struct_fields__:
        value = getattr(part, name)
        # Most fields of most memories.
        if value is None:
            continue
        if isinstance(value, Request) and name not in _anything(type(part)):
            _check_fields(value)
        elif value.__class__ is tuple and value and isinstance(value[0], Request):
            # Only a declared field: in JSON of a caller's own a list is what a tuple becomes.
            for item in value:
                _check_fields(item)
        else:
            check_json(value, name)


@lru_cache(maxsize=256)
def _anything(cls: type[Request]) -> frozenset[str]:
    """Return the fields that hold a caller's own JSON: a struct of ours is not that."""
    return frozenset(one.name for one in msgspec.structs.fields(cls) if one.type is Any)


def check_json(value: Any, field: str) -> None:
    """Raise `Invalid` for a value that has no JSON form, naming where in `field` that is."""
    if value is None or value is msgspec.UNSET or isinstance(value, (bool, int, Encoded)):
        return
    if isinstance(value, str):
        _check_text(value, field)
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise Invalid(f"{field} contains {value}, which JSON cannot say")
    elif isinstance(value, dict):
        for key, inner in value.items():
            if not isinstance(key, str):
                raise Invalid(f"{field} has a key that is not text: {key!r:.40}")
            _check_text(key, field)
            check_json(inner, f"{field}.{key:.40}")
    elif isinstance(value, (list, tuple)):
        _check_items(value, field)
    else:
        raise Invalid(f"{field} is not JSON: {type(value).__name__} has no JSON form")


def _check_items(values: list[Any] | tuple[Any, ...], field: str) -> None:
    # A vector of thousands of numbers, without looking at each in Python.
    if set(map(type, values)) <= _NUMBERS and math.isfinite(sum(map(abs, values))):
        return
    for place, inner in enumerate(values):
        check_json(inner, f"{field}[{place}]")


def _check_text(value: str, field: str) -> None:
    if value.isascii():
        return
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise Invalid(
            f"{field} has half a surrogate pair at position {error.start}, which no UTF-8 text can "
            "hold; decode the text again from its source"
        ) from error
