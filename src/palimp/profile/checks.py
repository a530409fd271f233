"""Checks of single values, shared by memories, sessions and recall. Each names field and limit."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import msgspec

from ..api.limits import EMBEDDING_DIMENSIONS_MAX, JSON_DEPTH_MAX, LABEL_BYTES_MAX
from ..errors import Invalid

__all__ = [
    "check_embedding",
    "check_id",
    "check_integer",
    "check_label",
    "check_name_bytes",
    "check_share",
    "check_text",
    "decode_json",
    "encode_json",
]


def check_text(value: str, field: str, bytes_max: int) -> str:
    """Return text that is not empty, fits and can be stored as UTF-8."""
    if not value.strip():
        raise Invalid(f"{field} is empty")
    size = _utf8_size(value, field)
    if size > bytes_max:
        raise Invalid(
            f"{field} has {size:,} bytes, at most {bytes_max:,} are allowed; split it",
            code="payload_too_large",
            limit=bytes_max,
            size=size,
        )
    return value


def check_name_bytes(value: str, field: str, bytes_max: int) -> str:
    """Return any text, blanks too, that is not empty, fits and can be stored as UTF-8."""
    if not value:
        raise Invalid(f"{field} is empty; give 1 to {bytes_max:,} bytes")
    # Most names are ASCII, of which every character is one byte.
    if len(value) > bytes_max or not value.isascii():
        size = _utf8_size(value, field)
        if size > bytes_max:
            raise Invalid(f"{field} has {size:,} bytes; give 1 to {bytes_max:,}")
    return value


def check_id(value: str) -> str:
    """Return an id, which may be any short text: whether it exists is another question."""
    return check_text(value, "id", LABEL_BYTES_MAX)


def check_label(value: str | None, field: str, bytes_max: int = LABEL_BYTES_MAX) -> str | None:
    """Return a short text (a topic, a session, ...) or None; an empty one is refused."""
    return None if value is None else check_text(value, field, bytes_max)


def check_share(value: float | None, field: str) -> float | None:
    """Return a number in [0, 1] or None; NaN is refused."""
    if value is not None and not 0.0 <= value <= 1.0:
        raise Invalid(f"{field} is {value}; give a number from 0 to 1")
    return value


def check_integer(value: int, field: str, least: int, most: int) -> int:
    """Return an integer within its limits; it is refused, not clamped."""
    if not least <= value <= most:
        raise Invalid(f"{field} is {value:,}; give {least:,} to {most:,}")
    return value


def check_embedding(values: Sequence[float] | None, field: str = "embedding") -> None:
    """Refuse a vector that is empty, too long, all zeros, or has a NaN or infinite number."""
    if values is None:
        return
    if not 1 <= len(values) <= EMBEDDING_DIMENSIONS_MAX:
        raise Invalid(
            f"{field} has {len(values):,} dimensions; give 1 to {EMBEDDING_DIMENSIONS_MAX:,}"
        )
    # One sum finds a NaN or an infinity without looking at every number in Python.
    if not math.isfinite(sum(map(abs, values))):
        place = next((i for i, value in enumerate(values) if not math.isfinite(value)), None)
        what = "too large" if place is None else f"{values[place]} at position {place}"
        raise Invalid(f"{field} is not finite: {what}; every number must be finite")
    if not any(values):
        raise Invalid(f"{field} is all zeros: it has no direction; leave it out instead")


def encode_json(value: Any, field: str, bytes_max: int) -> str:
    """Return canonical JSON: keys sorted, no spaces, UTF-8; the same value gives the same text.

    Refuses what JSON cannot say (NaN, infinities, sets of objects, keys that are no text), nesting
    over 32 levels, and more than `bytes_max` bytes.
    """
    _check_json(value, field, 0)
    try:
        encoded = msgspec.json.encode(value, order="sorted")
    except (TypeError, ValueError, RecursionError, OverflowError) as error:
        raise Invalid(f"{field} is not JSON: {error}") from error
    if len(encoded) > bytes_max:
        raise Invalid(
            f"{field} has {len(encoded):,} bytes as JSON, at most {bytes_max:,} are allowed",
            code="payload_too_large",
            limit=bytes_max,
            size=len(encoded),
        )
    return encoded.decode("utf-8")


def decode_json(text: str) -> Any:
    """Return the value of stored JSON."""
    return msgspec.json.decode(text)


def _check_json(value: Any, field: str, depth: int) -> None:
    if depth >= JSON_DEPTH_MAX and isinstance(value, dict | list | tuple):
        # Not where: the path there is as long as it is deep.
        name = field.partition(".")[0].partition("[")[0]
        raise Invalid(f"{name} is nested more than {JSON_DEPTH_MAX} levels deep; make it flatter")
    if isinstance(value, str):
        _utf8_size(value, field)
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise Invalid(f"{field} contains {value}, which JSON cannot say")
    elif isinstance(value, dict):
        for key, inner in value.items():
            if not isinstance(key, str):
                raise Invalid(f"{field} has a key that is not text: {key!r:.40}")
            _utf8_size(key, field)
            _check_json(inner, f"{field}.{key:.40}", depth + 1)
    elif isinstance(value, (list, tuple)):
        for place, inner in enumerate(value):
            _check_json(inner, f"{field}[{place}]", depth + 1)
    elif value is not None and not isinstance(value, (bool, int)):
        raise Invalid(f"{field} is not JSON: {type(value).__name__} has no JSON form")


def _utf8_size(value: str, field: str) -> int:
    try:
        return len(value.encode("utf-8"))
    except UnicodeEncodeError as error:
        raise Invalid(
            f"{field} has half a surrogate pair at position {error.start}, which no UTF-8 text can "
            "hold; decode the text again from its source"
        ) from error
