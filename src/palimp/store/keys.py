"""What may be asked of any store: keys, sizes, ranges, pages. One check for all of them."""

from __future__ import annotations

import re

from ..errors import Invalid
from .protocol import (
    KEY_BYTES_MAX,
    LIST_LIMIT_MAX,
    OBJECT_BYTES_MAX,
    SEGMENT_BYTES_MAX,
)

__all__ = [
    "check_key",
    "check_list",
    "check_range",
    "check_size",
    "is_key",
    "starting_point",
]

_SEGMENT = rf"[a-z0-9_-][a-z0-9._-]{{0,{SEGMENT_BYTES_MAX - 1}}}"
_KEY = re.compile(rf"{_SEGMENT}(?:/{_SEGMENT})*\Z")
_RULE = (
    f"a key is 1 to {KEY_BYTES_MAX:,} of a-z, 0-9, '.', '_' and '-' in segments of at most "
    f"{SEGMENT_BYTES_MAX} parted by '/', none empty or beginning with '.'"
)


def is_key(key: str) -> bool:
    """Whether `key` keeps the rules."""
    return len(key) <= KEY_BYTES_MAX and _KEY.match(key) is not None


def check_key(key: str, what: str = "key") -> str:
    """Return `key`, or raise `Invalid` with the rule."""
    if not isinstance(key, str) or not is_key(key):
        raise Invalid(f"{what} {key!r:.120} is not valid: {_RULE}")
    return key


def check_size(key: str, data: bytes) -> None:
    """Raise `Invalid` where one PUT cannot carry the object."""
    if len(data) > OBJECT_BYTES_MAX:
        raise Invalid(
            f"object {key} has {len(data):,} bytes, at most {OBJECT_BYTES_MAX:,} are stored",
            code="payload_too_large",
        )


def check_range(key: str, offset: int, length: int) -> None:
    """Raise `Invalid` for a range that cannot be meant."""
    if offset < 0 or length < 0:
        raise Invalid(f"range of {key}: offset {offset} and length {length} must not be negative")


def check_list(prefix: str, after: str | None, limit: int) -> None:
    """Raise `Invalid` for a listing that cannot be meant."""
    if prefix and not (prefix.endswith("/") and is_key(prefix[:-1])):
        raise Invalid(
            f"prefix {prefix!r:.120} must be empty or a folder that ends with '/': {_RULE}"
        )
    if after is not None:
        check_key(after, "after")
    if not 1 <= limit <= LIST_LIMIT_MAX:
        raise Invalid(f"limit is {limit}; give 1 to {LIST_LIMIT_MAX:,}")


def starting_point(prefix: str, after: str | None) -> tuple[str | None, bool]:
    """Return `after` where it matters inside `prefix`, and whether anything can follow it."""
    if after is None or after.startswith(prefix):
        return after, True
    return None, after < prefix
