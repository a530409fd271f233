from __future__ import annotations

from typing import Any

import pytest

import palimp
from palimp.mcp.places import Place

HOME = Place("default", "alice@trial")


@pytest.mark.parametrize(
    ("given", "chosen"),
    [
        ({}, "default/alice@trial"),
        ({"namespace": None, "profile": None}, "default/alice@trial"),
        ({"profile": "bob"}, "default/bob"),
        ({"namespace": "acme"}, "acme/alice@trial"),
        ({"namespace": "acme", "profile": "bob@b2"}, "acme/bob@b2"),
    ],
)
def test_a_call_may_choose(given: dict[str, Any], chosen: str) -> None:
    assert str(HOME.choose(given)) == chosen


@pytest.mark.parametrize("given", [{"profile": "alice"}, {"namespace": "default"}])
def test_where_it_is_pinned_a_call_may_not(given: dict[str, Any]) -> None:
    pinned = Place("default", "alice", pinned=True)
    with pytest.raises(palimp.Invalid, match=r"cannot be chosen here: .* default/alice; leave"):
        pinned.choose(given)
    assert pinned.choose({"branch": "trial"}) == Place("default", "alice")


@pytest.mark.parametrize(
    "names", [("A", "b"), ("a", "b c"), ("a--b", "c"), ("", "c"), ("a", ""), (7, "c"), ("a", [])]
)
def test_what_is_no_name_is_refused(names: tuple[Any, Any]) -> None:
    with pytest.raises(palimp.Invalid):
        Place(*names)


def test_a_branch_is_named_by_the_call_or_the_place() -> None:
    client = palimp.AsyncClient(None)  # type: ignore[arg-type]
    assert HOME.open(client).branch_name == "trial"
    assert HOME.open(client, "other").branch_name == "other"
    with pytest.raises(palimp.Invalid, match="branch must be text, not int"):
        HOME.open(client, 3)
