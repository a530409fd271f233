"""Pages of a sorted listing: where one ended, so that the next goes on after it.

A cursor is the number of the last document's row and the keys it was sorted by, as JSON. So a page
goes on after what was read, whatever was written or removed in between.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from ...api.limits import DOCUMENT_SORT_PATHS_MAX
from ...decoding import from_json
from ...errors import Invalid
from .filters import Keys
from .paths import Path, parse_path
from .values import INTEGERS

__all__ = ["Order", "compile_sort", "next_cursor"]

_NULL = float("-inf")
_HANDLE_MAX = 2**62


class Order(NamedTuple):
    """The SQL of an order: the keys, how they go, and what is true of what is still to come."""

    keys: tuple[str, ...]
    sql: str
    after: str


def compile_sort(given: Mapping[str, Any], cursor: str | None, keys: Keys) -> Order:
    """Return the order of a listing.

    Equal ones stand in the order they were inserted, newest first where the last path falls: so an
    index, which is in that order, can be read from its end.
    """
    if len(given) > DOCUMENT_SORT_PATHS_MAX:
        raise Invalid(f"sort has {len(given)} paths, at most {DOCUMENT_SORT_PATHS_MAX} are allowed")
    for text, way in given.items():
        if isinstance(way, bool) or way not in (1, -1):
            raise Invalid(f"sort {text!r:.80} is {way!r:.40}; give 1 (ascending) or -1")
    paths: dict[Path, bool] = {parse_path(text): way == 1 for text, way in given.items()}
    found = tuple(keys(path) for path in paths)
    rising = tuple(paths.values())
    ways = [f"{key} {'ASC' if up else 'DESC'}" for key, up in zip(found, rising, strict=True)]
    after = "1"
    if cursor is not None:
        handle, values = _decode(cursor, len(found))
        after = _after(found, rising, [keys.bound(one) for one in (*values, handle)])
    ways.append("d.handle" if all(rising[-1:]) else "d.handle DESC")
    return Order(found, ", ".join(ways), after)


def next_cursor(handle: int, keys: tuple[Any, ...]) -> str:
    """Return the cursor that goes on after a row."""
    return msgspec.json.encode([handle, [_encoded(key) for key in keys]]).decode()


def _after(keys: tuple[str, ...], rising: tuple[bool, ...], values: list[str]) -> str:
    """Return what is true of rows after one: greater in the first key that differs."""
    after = f"d.handle {'>' if all(rising[-1:]) else '<'} {values[-1]}"
    for key, up, value in reversed(list(zip(keys, rising, values[:-1], strict=True))):
        # What is missing is less than every key.
        beyond = (
            f"({key} > {value} OR ({value} IS NULL AND {key} IS NOT NULL))"
            if up
            else f"({key} < {value} OR ({key} IS NULL AND {value} IS NOT NULL))"
        )
        after = f"({beyond} OR ({key} IS {value} AND {after}))"
    return after


def _encoded(key: Any) -> Any:
    if key is None:
        return []
    if isinstance(key, bytes):
        return list(key)
    return None if key == _NULL else key


def _decode(cursor: str, count: int) -> tuple[int, list[Any]]:
    try:
        handle, keys = from_json(cursor, tuple[int, list[int | float | str | list[int] | None]])
        values = [_decoded(key) for key in keys]
    except (ValueError, RecursionError) as error:
        raise Invalid(f"cursor {cursor!r:.80} did not come from an earlier page") from error
    if len(values) != count or not 0 < handle < _HANDLE_MAX:
        raise Invalid(f"cursor {cursor!r:.80} came from a page with another sort")
    return handle, values


def _decoded(key: Any) -> Any:
    if isinstance(key, list):
        return bytes(key) or None
    if isinstance(key, int) and key not in INTEGERS:
        raise ValueError("beyond 64 bits")
    return _NULL if key is None else key
