"""Canonical keys: bounded, idempotent, and never one key for two things by accident."""

from __future__ import annotations

import hashlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palimp.models.keys import KEY_CHARS_MAX, canonical_key, normalised_key

CHARSET = re.compile(r"[a-z0-9_.:/-]+(~[0-9a-f]{16})?")
TEXTS = st.text(max_size=80)


@pytest.mark.parametrize(
    ("parts", "key"),
    [
        (("person", "Alice", "role", "CTO"), "person:alice/role:cto"),
        (("person", "Alice's", "role"), "person:alice/role"),
        (("Person", "  The  Boss ", "Favourite Colour"), "person:boss/favourite_colour"),
        (("food",), "food"),
        (("person", "user", "likes", "an apple"), "person:user/likes:apple"),
        (("person", "user", "likes", "C++ & Rust!"), "person:user/likes:c_rust"),
        (("person", "ＡＬＩＣＥ", "version", "v1.2-rc"), "person:alice/version:v1.2-rc"),
        (("a", "b:c/d"), "a:b_c_d"),
        (("vitamin", "A"), "vitamin:a"),
        (("person", "Anna\u2019s"), "person:anna"),
    ],
)
def test_a_key_is_made_of_kinds_and_names(parts: tuple[str, ...], key: str) -> None:
    assert canonical_key(*parts) == key


@pytest.mark.parametrize("parts", [(), ("",), ("person", " "), ("person", "🍕"), ("person", "'s")])
def test_what_has_nothing_to_keep_has_no_key(parts: tuple[str, ...]) -> None:
    assert canonical_key(*parts) is None


def test_a_long_key_keeps_its_head_and_a_digest_of_all_of_it() -> None:
    full = "person:" + "x" * 70
    key = canonical_key("person", "x" * 70)
    assert key == f"{full[:47]}~{hashlib.sha256(full.encode()).hexdigest()[:16]}"
    assert len(key) == KEY_CHARS_MAX
    assert canonical_key("person", "x" * 71) != key
    assert canonical_key("p", "y" * 62) == "p:" + "y" * 62
    assert "~" in (canonical_key("p", "y" * 63) or "")


def test_letters_of_other_alphabets_are_told_apart() -> None:
    names = ("Müller", "Möller", "Muller", "日本", "中国", "Анна")
    keys = [canonical_key("person", name) for name in names]
    assert None not in keys
    assert len(set(keys)) == len(names)
    # The same name, composed, decomposed and in capitals.
    assert canonical_key("person", "mu\u0308ller") == canonical_key("person", "MÜLLER") == keys[0]


@pytest.mark.parametrize(
    ("written", "key"),
    [
        ("person:alice/employer", "person:alice/employer"),
        ("Person: Alice / The Employer", "person:alice/employer"),
        ("a:b:c", "a:b_c"),
        ("x//y", None),
        ("", None),
        (":", None),
    ],
)
def test_a_key_somebody_wrote_is_brought_into_form(written: str, key: str | None) -> None:
    assert normalised_key(written) == key


@given(st.lists(TEXTS, min_size=1, max_size=6))
def test_every_key_is_bounded_plain_and_stays_as_it_is(parts: list[str]) -> None:
    key = canonical_key(*parts)
    if key is not None:
        assert len(key) <= KEY_CHARS_MAX
        assert CHARSET.fullmatch(key)
        assert normalised_key(key) == key


@given(TEXTS, TEXTS)
def test_case_and_space_around_do_not_matter(kind: str, name: str) -> None:
    assert canonical_key(kind, name) == canonical_key(f" {kind}\n", f"\t{name} ")
    folded = canonical_key(kind.casefold(), name.casefold())
    assert canonical_key(kind, name) == folded


@given(TEXTS)
def test_whatever_is_written_as_a_key_gives_one_that_stays(text: str) -> None:
    key = normalised_key(text)
    if key is not None:
        assert len(key) <= KEY_CHARS_MAX
        assert normalised_key(key) == key


def test_half_a_character_is_no_error() -> None:
    assert canonical_key("person", "x\ud800y") == "person:x_y"
    assert normalised_key("person:\ud800é") is not None
