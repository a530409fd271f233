"""Versions and ranges."""

from __future__ import annotations

import pytest

from palimp.errors import Invalid
from palimp.governance.plugins.versions import is_version, parse_range, parse_version

IN_ORDER = (
    "0.0.1", "0.1.0", "1.0.0-1", "1.0.0-2", "1.0.0-10", "1.0.0-alpha", "1.0.0-alpha.1",
    "1.0.0-alpha.beta", "1.0.0-beta", "1.0.0-rc.1", "1.0.0", "1.0.1-a", "1.0.1", "1.2.0", "1.10.0",
    "2.0.0",
)  # fmt: skip


def test_versions_are_in_the_order_of_the_standard() -> None:
    parsed = [parse_version(one, "version") for one in IN_ORDER]
    assert parsed == sorted(parsed)
    assert len(set(parsed)) == len(IN_ORDER)
    assert parsed[-1].major == 2


@pytest.mark.parametrize(
    "text",
    ["", "1", "1.2", "1.2.x", "01.2.3", "1.2.3+build", "1.2.3-A", "v1.2.3", "1.2.3 ", "^1.2.3"],
)
def test_what_is_no_version(text: str) -> None:
    assert not is_version(text)
    with pytest.raises(Invalid, match=r"version '.*' is no version; give three numbers"):
        parse_version(text, "version")


@pytest.mark.parametrize(
    ("text", "inside", "outside"),
    [
        ("*", "0.0.1 9.9.9", "1.0.0-rc.1"),
        ("1.2", "1.2.0 1.9.9", "1.1.9 2.0.0"),
        ("^1.2.3", "1.2.3 1.3.0", "1.2.2 2.0.0 1.3.0-a"),
        ("^0.2.3", "0.2.3 0.2.9", "0.3.0 1.2.3"),
        ("^0.0.3", "0.0.3", "0.0.4 0.0.2"),
        ("^0", "0.0.0 0.9.0", "1.0.0"),
        ("~1.2", "1.2.0 1.2.9", "1.3.0"),
        ("~1", "1.0.0 1.9.0", "2.0.0 0.9.0"),
        ("~1.2.3", "1.2.3 1.2.9", "1.2.2 1.3.0"),
        ("1.*", "1.0.0 1.9.0", "2.0.0 0.9.0"),
        ("1.2.*", "1.2.0 1.2.9", "1.3.0"),
        ("=1.2", "1.2.0 1.2.9", "1.3.0"),
        ("=1.2.3", "1.2.3", "1.2.4 1.2.2"),
        (">=1, <3", "1.0.0 2.9.9", "0.9.9 3.0.0 3.0.0-rc.1"),
        (">= 1 < 3", "1.0.0 2.9.9", "0.9.9 3.0.0"),
        (">1.2", "1.3.0 2.0.0", "1.2.9 1.2.0"),
        (">1.2.3", "1.2.4", "1.2.3"),
        ("<=1.2", "1.2.9 0.1.0", "1.3.0"),
        ("<=1.2.3", "1.2.3 1.0.0", "1.2.4"),
        ("^1.2.3-beta.2", "1.2.3-beta.2 1.2.3-beta.10 1.2.3 1.9.0", "1.2.3-beta.1 1.2.4-beta.3"),
    ],
)
def test_what_is_in_a_range(text: str, inside: str, outside: str) -> None:
    found = parse_range(text, "range")
    assert all(found.has(parse_version(one, "v")) for one in inside.split())
    assert not any(found.has(parse_version(one, "v")) for one in outside.split())


@pytest.mark.parametrize("text", ["", "x", "1.2.3.4", ">=", "^^1", "1 || 2", "1," * 9, "1.*.3"])
def test_what_is_no_range(text: str) -> None:
    with pytest.raises(Invalid, match=r"compatibility .* is no range of versions"):
        parse_range(text, "compatibility")
