"""Filters that ask for one of several values, and what a write says of the memories it wrote."""

from __future__ import annotations

from typing import Any

import pytest

from palimp.errors import Invalid


def test_one_of_several_tags_or_sources_is_enough(do: Any, alice: Any) -> None:
    def texts(**filters: Any) -> set[str]:
        return {one.text for one in do.all(alice.list(**filters))}

    do(alice.remember("of the mail", tags=["red", "sea"], source="mail"))
    do(alice.remember("of the chat", tags=["blue"], source="chat"))
    do(alice.remember("of the desk", source="desk"))
    assert texts(tags_any=["red", "blue"]) == {"of the mail", "of the chat"}
    assert texts(tags=["red", "blue"]) == set()
    assert texts(tags_any=["sea", "blue"], tags=["red"]) == {"of the mail"}
    assert texts(sources=["mail", "desk"]) == {"of the mail", "of the desk"}
    assert [hit.text for hit in do(alice.recall("of the chat", sources=["chat"]))] == [
        "of the chat"
    ]
    with pytest.raises(Invalid, match="tags_any"):
        texts(tags_any=[f"t{n}" for n in range(65)])


def test_a_write_says_the_number_of_what_it_wrote_or_found(do: Any, alice: Any) -> None:
    first = do(alice.remember("the first"))
    again = do(alice.remember("the first"))
    other = do(alice.remember("the second"))
    assert first.handle == again.handle == do(alice.get(first.id)).handle
    assert other.handle != first.handle
    newer = do(alice.supersede(other.id, "the third"))
    assert newer.handle == do(alice.get(newer.id)).handle


def test_the_source_of_a_memory_is_said_about_it(do: Any, alice: Any) -> None:
    made = do(alice.remember("as it was written", source="desk"))
    done = do(alice.annotate(made.id, source="front desk"))
    assert (done.changed, done.memory.source) == (True, "front desk")
    assert len(do.all(alice.list(source="front desk"))) == 1
    assert not do(alice.annotate(made.id, source="front desk")).changed
