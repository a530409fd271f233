"""A recall by words alone asks no model anything."""

from __future__ import annotations

from pathlib import Path

import palimp
from palimp.errors import Unavailable

from ...embedders import Words, open_with


def test_without_the_channel_vector_the_query_is_not_embedded(tmp_path: Path) -> None:
    embedder = Words("words", ["car", "garage"])
    with open_with(tmp_path / "m", embedder) as mem:
        alice = mem.profile("alice")
        alice.remember("a car in a garage", topic="car", wait="embedded")
        embedder.queries.clear()
        embedder.failing = embedder.unnamed = Unavailable("no model")
        words = alice.recall("car", topic="car", channels=["keyword", "topic"], include_turns=True)
        assert [hit.channels for hit in words] == [("topic", "keyword")]
        assert embedder.queries == []
        alice.session("s").append("user", "where is the car")
        (turn,) = alice.recall("car", channels=["keyword"], include_turns=True).turns
        assert turn.channels == ("keyword",)


def test_turns_are_searched_by_the_same_channels(tmp_path: Path) -> None:
    with palimp.open(tmp_path) as mem:
        alice = mem.profile("alice")
        alice.session("s").append("user", "where is the car")
        alice.reembed()
        for name in ("keyword", "vector"):
            (turn,) = alice.recall("car", channels=[name], include_turns=True).turns
            assert turn.channels == (name,)
