"""What a document, a filter or an update may hold."""

from __future__ import annotations

import math
import re
from typing import Any

from ...api.limits import DOCUMENT_BYTES_MAX, DOCUMENT_DEPTH_MAX
from ...errors import Invalid

__all__ = ["INTEGERS", "check_collection", "check_value"]

_COLLECTION = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}\Z")
INTEGERS = range(-(2**63), 2**63)


def check_collection(name: str) -> str:
    """Return the name of a collection; raises `Invalid` for one that cannot be."""
    if not _COLLECTION.match(name):
        raise Invalid(
            f"collection {name!r:.80} is not a valid name: give 1 to 64 of a-z, 0-9, _ and -, "
            "beginning with a letter or digit"
        )
    return name


def check_value(value: dict[str, Any], what: str) -> None:
    """Raise `Invalid` for what is no JSON, too deep, or sure to be too large.

    Numbers are 64-bit integers or finite floats, because SQLite would round others without a word.
    It stops where the limit is passed, so that a value of any size costs no more than that.
    """
    left = _check(value, what, 1, DOCUMENT_BYTES_MAX)
    if left < 0:
        _refuse_size(what)


def _check(value: Any, what: str, depth: int, left: int) -> int:
    """Return how many bytes are left when this value, counted too low, is taken off."""
    kind = type(value)
    if kind is str:
        if len(value) > left:
            _refuse_size(what)
        if not value.isascii():
            _check_text(value, what)
        return left - len(value) - 2
    if value is None or kind is bool:
        return left - 4
    if kind is int:
        if value not in INTEGERS:
            raise Invalid(
                f"{what} has a whole number of {value.bit_length()} bits, 64 with the sign are "
                "kept exactly; give it as text"
            )
        return left - 1
    if kind is float:
        if not math.isfinite(value):
            raise Invalid(f"{what} contains {value}, which JSON cannot say")
        return left - 3
    if depth > DOCUMENT_DEPTH_MAX and isinstance(value, dict | list | tuple):
        raise Invalid(
            f"{what} is nested more than {DOCUMENT_DEPTH_MAX} levels deep; make it flatter"
        )
    if isinstance(value, dict):
        for key, inner in value.items():
            if not isinstance(key, str):
                raise Invalid(f"{what} has a key that is not text: {key!r:.40}")
            left = _check(key, what, depth, left)
            left = _check(inner, what, depth + 1, left)
    elif isinstance(value, list | tuple):
        for inner in value:
            left = _check(inner, what, depth + 1, left)
    else:
        raise Invalid(f"{what} is not JSON: {kind.__name__} has no JSON form")
    if left < 0:
        _refuse_size(what)
    return left - 2


def _check_text(value: str, what: str) -> None:
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise Invalid(
            f"{what} has a text with half a surrogate pair at position {error.start}, which no "
            "UTF-8 text can hold; decode the text again from its source"
        ) from error


def _refuse_size(what: str) -> None:
    raise Invalid(
        f"{what} has more than {DOCUMENT_BYTES_MAX:,} bytes as JSON, at most those are allowed; "
        "split it",
        code="payload_too_large",
    )
