"""Semantic versions (semver.org 2.0) and ranges of them, as manifests and bindings write them.

A range is one or more comparators, parted by commas or spaces, which all have to hold: `^1.2`,
`~1.2.3`, `>=1, <3`, `=1.4.0`, `1.*`, `*`. Without an operator it is `^`: the same leftmost part
that is not zero. A pre-release is in a range only where a comparator names one of the same release.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from ...errors import Invalid

__all__ = ["Range", "Version", "is_version", "parse_range", "parse_version"]

_NUMBER = r"(?:0|[1-9][0-9]{0,8})"
_PRE = r"(?:-([0-9a-z-]+(?:\.[0-9a-z-]+)*))?"
_VERSION = re.compile(rf"({_NUMBER})\.({_NUMBER})\.({_NUMBER}){_PRE}")
_COMPARATOR = re.compile(
    rf"(\^|~|>=|<=|>|<|=)?\s*(?:(\*)|({_NUMBER})(?:\.(?:\*|({_NUMBER})(?:\.(?:\*|({_NUMBER}){_PRE}))?))?)"
)
_BETWEEN = re.compile(r"\s*,\s*|\s+")
_CHARS_MAX = 64
_COMPARATORS_MAX = 8
# Above everything with the same three numbers.
_RELEASE = ((2, 0, ""),)


class Version(NamedTuple):
    """A version; its order is that of the standard."""

    numbers: tuple[int, int, int]
    pre: tuple[tuple[int, int, str], ...] = _RELEASE

    @property
    def major(self) -> int:
        """The first number."""
        return self.numbers[0]


class _Comparator(NamedTuple):
    """What lies from `least` up to, not including, `end`, of which None is no bound."""

    least: Version | None
    end: Version | None
    named: Version | None


class Range(NamedTuple):
    """Comparators that all have to hold."""

    comparators: tuple[_Comparator, ...]

    def has(self, version: Version) -> bool:
        """Whether a version is in it."""
        if version.pre != _RELEASE and not any(
            one.named is not None and one.named.numbers == version.numbers
            for one in self.comparators
        ):
            return False
        return all(
            (one.least is None or version >= one.least) and (one.end is None or version < one.end)
            for one in self.comparators
        )


def is_version(text: str) -> bool:
    """Whether a text is one whole version, and not a range."""
    return len(text) <= _CHARS_MAX and _VERSION.fullmatch(text) is not None


def parse_version(text: str, what: str) -> Version:
    """Return a version; raises `Invalid` naming `what` it was to be."""
    found = _VERSION.fullmatch(text) if len(text) <= _CHARS_MAX else None
    if found is None:
        raise Invalid(
            f"{what} {text!r:.80} is no version; give three numbers as 1.2.0, and for one that "
            "comes before it 1.2.0-beta.1: lower case, and nothing after a +"
        )
    return _version(*found.groups())


def parse_range(text: str, what: str) -> Range:
    """Return a range; raises `Invalid` naming `what` it was to be."""
    # An operator may stand apart from its number.
    joined = re.sub(r"([\^~=<>])\s+", r"\1", text.strip())
    parts = _BETWEEN.split(joined) if joined else []
    if not 1 <= len(parts) <= _COMPARATORS_MAX or len(text) > _CHARS_MAX * _COMPARATORS_MAX:
        raise Invalid(f"{what} {text!r:.80} is no range of versions; give one as ^1.2 or >=1, <3")
    return Range(tuple(_comparator(part, text, what) for part in parts))


def _comparator(part: str, text: str, what: str) -> _Comparator:
    found = _COMPARATOR.fullmatch(part)
    if found is None:
        raise Invalid(f"{what} {text!r:.80} is no range of versions; give one as ^1.2 or >=1, <3")
    operator, star, *numbers, pre = found.groups()
    if star:
        return _Comparator(None, None, None)
    given = [int(one) for one in numbers if one is not None]
    first, second, third = [*given, 0, 0][:3]
    low = _version(first, second, third, pre)
    named = low if pre else None
    # What comes after all that begins with the numbers that were given.
    after = _next(given, len(given) - 1)
    if operator == ">":
        return _Comparator(after if len(given) < 3 else _above(low), None, named)
    if operator == ">=":
        return _Comparator(low, None, named)
    if operator == "<":
        return _Comparator(None, low, named)
    if operator == "<=":
        return _Comparator(None, after if len(given) < 3 else _above(low), named)
    if operator == "=" or (operator is None and "*" in part):
        return _Comparator(low, after if len(given) < 3 else _above(low), named)
    if operator == "~":
        return _Comparator(low, _next(given, min(1, len(given) - 1)), named)
    # The leftmost number that is not zero stays; where all are, the last of them.
    place = next((n for n, one in enumerate(given) if one), len(given) - 1)
    return _Comparator(low, _next(given, place), named)


def _next(given: list[int], place: int) -> Version:
    """Return what follows every version with these numbers up to `place`."""
    numbers = [*given[:place], given[place] + 1, 0, 0]
    # Before its own pre-releases, which belong to no range that ends here.
    return Version((numbers[0], numbers[1], numbers[2]), ())


def _above(version: Version) -> Version:
    """Return the least that is above one version."""
    return Version(version.numbers, (*version.pre, (-1, 0, "")))


def _version(
    first: str | int, second: str | int, third: str | int, pre: str | None = None
) -> Version:
    numbers = (int(first), int(second), int(third))
    if pre is None:
        return Version(numbers)
    # Numbers come before words.
    parts = ((0, int(one), "") if one.isdigit() else (1, 0, one) for one in pre.split("."))
    return Version(numbers, tuple(parts))
