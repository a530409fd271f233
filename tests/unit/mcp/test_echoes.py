"""What came out of recall is known again, also when it comes back slightly changed."""

from __future__ import annotations

import pytest

import palimp
from palimp.mcp.echoes import NOTE, Echoes, is_quotation


@pytest.fixture
def recalled(profile: palimp.Profile) -> palimp.Recall:
    profile.remember("Prefers aisle seats", topic="user.seat")
    profile.remember("Straße: two\nlines of text")
    return profile.recall("which seats and lines of text?")


@pytest.fixture
def echoes(profile: palimp.Profile, recalled: palimp.Recall) -> Echoes:
    echoes = Echoes()
    echoes.keep(profile, recalled)
    return echoes


@pytest.mark.parametrize(
    "text",
    [
        "Prefers aisle seats",
        "  prefers AISLE\n seats ",
        "> Prefers aisle seats",
        "> > Prefers aisle seats",
        "Prefers\u00a0aisle \uff53eats",
        "strasse: two lines of text",
        "> Straße: two\n> lines of text",
    ],
)
def test_a_recalled_text_is_found(
    echoes: Echoes, profile: palimp.Profile, recalled: palimp.Recall, text: str
) -> None:
    assert echoes.find(profile, text) in {hit.id for hit in recalled}


@pytest.mark.parametrize("text", ["Prefers aisle seats!", "seats", "", "Prefers window seats"])
def test_another_text_is_not(echoes: Echoes, profile: palimp.Profile, text: str) -> None:
    assert echoes.find(profile, text) is None


def test_another_profile_or_namespace_may_say_the_same(echoes: Echoes, mem: palimp.Client) -> None:
    for other in (mem.profile("bob"), mem.profile("alice", namespace="acme")):
        assert echoes.find(other, "Prefers aisle seats") is None
    # A branch is the same memory.
    assert echoes.find(mem.profile("alice@trial"), "Prefers aisle seats")


def test_only_the_latest_are_kept(profile: palimp.Profile, recalled: palimp.Recall) -> None:
    echoes = Echoes(limit=2)
    first, second = recalled
    third = palimp.Memory(id="m3", type="fact", text="third", content=None, created_at=0)
    echoes.keep(profile, [first, second])
    echoes.keep(profile, [first, third])
    assert echoes.find(profile, first.text)
    assert echoes.find(profile, "third")
    assert echoes.find(profile, second.text) is None


def test_a_quotation_is_seen_whole_in_part_and_reshaped(recalled: palimp.Recall) -> None:
    whole = recalled.as_context()
    assert whole.startswith(NOTE)
    assert is_quotation(whole)
    assert is_quotation(f"The user said: {whole}")
    assert is_quotation(whole.replace(" ", "  ").upper())
    # One block without the header.
    assert is_quotation(whole.partition("\n\n")[2])


@pytest.mark.parametrize(
    "text",
    ["[1] 2026-01-01 is a date", "> a citation", "", "[1] see 2026-01-01, fact\nnext line"],
)
def test_ordinary_text_is_no_quotation(text: str) -> None:
    assert not is_quotation(text)


@pytest.mark.parametrize("piece", ["\n", " ", "> ", "\n> ", "[1", "[1] 2026-01-01, a", "\n[1] "])
def test_a_long_text_takes_time_in_proportion(piece: str) -> None:
    # A pattern that looks at the rest from every line would take hours; the time limit says so.
    assert not is_quotation(piece * 300_000)
