"""Vectors: stored exactly, searched by signs, several models side by side, following their rows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import palimp

from ...embedders import Words, open_with


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Any]:
    clients: list[palimp.Client] = []

    def open_anew(embedder: Words) -> palimp.Profile:
        while clients:
            clients.pop().close()
        clients.append(open_with(tmp_path / "m", embedder))
        return clients[0].profile("alice")

    yield open_anew
    while clients:
        clients.pop().close()


def test_own_vectors_find_the_nearest(profile: palimp.Profile) -> None:
    random = np.random.default_rng(1)
    vectors = random.normal(size=(500, 100))
    profile.ingest([{"text": f"m{n}", "embedding": vectors[n]} for n in range(500)])
    query = vectors[7] + 0.2 * random.normal(size=100)
    exact = np.argsort(-(vectors @ query) / np.linalg.norm(vectors, axis=1))[:5]
    found = profile.recall(embedding=query, k=5, explain=True)
    assert [hit.text for hit in found] == [f"m{n}" for n in exact]
    assert all(hit.channels == ("vector",) for hit in found)
    assert found[0].explain is not None
    cosine = vectors[7] @ query / np.linalg.norm(vectors[7]) / np.linalg.norm(query)
    assert found[0].explain.features[0].raw == pytest.approx(cosine, abs=1e-6)


@pytest.mark.parametrize("dimensions", [1, 2, 63, 64, 65, 1024])
def test_any_dimension(profile: palimp.Profile, dimensions: int) -> None:
    there = np.ones(dimensions)
    profile.remember("there", embedding=there)
    profile.remember("away", embedding=-there)
    found = profile.recall(embedding=there * 3, k=2)
    assert [hit.text for hit in found] == ["there", "away"]
    assert [round(hit.score, 6) for hit in found] == [1.0, 0.0]


def test_the_first_dimension_decides_and_others_are_left_out_and_said(
    profile: palimp.Profile,
) -> None:
    assert profile.remember("two", embedding=[1, 0]).note is None
    note = profile.remember("three", embedding=[1, 0, 0]).note
    assert note is not None
    assert "3 dimensions" in note
    assert "have 2" in note
    done = profile.session("s").extend(
        [
            {"role": "user", "content": "a", "embedding": [0.0, 1.0]},
            {"role": "user", "content": "b", "embedding": [1.0]},
        ]
    )
    assert [note.partition(" ")[0] for note in done.notes] == ["turns[1]"]
    assert [hit.text for hit in profile.recall(embedding=[1, 0])] == ["two"]
    skipped = profile.recall(embedding=[1, 0, 0], explain=True)
    assert len(skipped) == 0
    assert skipped.dropped[0].what == "channel vector"
    assert "3 dimensions" in skipped.dropped[0].reason
    # The words of all three are found as ever.
    assert profile.recall("three")[0].text == "three"


def test_given_vectors_and_the_models_stand_side_by_side(opened: Any) -> None:
    profile = opened(Words("w1", ["cat", "dog", "boat"]))
    profile.remember("the cat", embedding=[0.0, 1.0])
    profile.remember("the dog", embedding=[1.0, 0.0])
    assert profile.recall("cat", k=1)[0].text == "the cat"
    # A given vector is compared with given vectors only, though both models know the row.
    assert profile.recall(embedding=[1.0, 0.1], k=1)[0].text == "the dog"
    both = profile.recall("boat dog", embedding=[0.0, 1.0], k=2, explain=True)
    values = {hit.text: {f.name: f.value for f in hit.explain.features} for hit in both}
    # The better of the two models counts.
    assert values["the cat"]["vector"] == pytest.approx(1.0)
    assert values["the dog"]["vector"] == pytest.approx(2**-0.5)


def test_every_row_is_embedded_once_and_tasks_never(opened: Any) -> None:
    embedder = Words("w1", ["cat"])
    profile = opened(embedder)
    profile.ingest([{"text": f"cat {n}"} for n in range(600)])
    profile.ingest([{"text": "cat task", "type": "task"}])
    profile.session("s").append("user", "cat turn")
    profile.client.maintain()
    profile.client.maintain()
    profile.recall("cat")
    assert sorted(embedder.asked) == sorted([*(f"cat {n}" for n in range(600)), "user: cat turn"])
    assert embedder.queries == ["cat"]


def test_what_was_just_written_is_found_by_meaning(opened: Any) -> None:
    profile = opened(Words("w1", ["boat", "ship"]))
    profile.remember("boat")
    hit = profile.recall("ship boat", k=1)[0]
    assert hit.channels == ("keyword", "vector")


def test_forgotten_rows_are_never_offered_again(opened: Any) -> None:
    profile = opened(Words("w1", ["cat", "dog"]))
    ids = [profile.remember(f"cat number {n}").id for n in range(30)]
    assert len(profile.recall("cat", k=100)) == 30
    for identity in ids[:20]:
        profile.forget(identity)
    assert {hit.id for hit in profile.recall("cat", k=100)} == set(ids[20:])


def test_a_failing_embedder_loses_no_write_and_no_keyword_recall(opened: Any) -> None:
    broken = Words("w1", ["cat"])
    broken.failing = palimp.Unavailable("the model is away")
    profile = opened(broken)
    profile.remember("a cat")
    assert profile.client.maintain().embedded == 0
    found = profile.recall("cat", explain=True)
    assert [hit.text for hit in found] == ["a cat"]
    assert any("the model is away" in dropped.reason for dropped in found.dropped)
    assert opened(Words("w1", ["cat"])).recall("cat", k=1)[0].channels == ("keyword", "vector")


def test_a_query_without_a_known_word_skips_the_channel_and_says_so(opened: Any) -> None:
    profile = opened(Words("w1", ["cat"]))
    profile.remember("a cat in words")
    found = profile.recall("words", explain=True)
    assert found[0].channels == ("keyword",)
    assert any("knows no word" in dropped.reason for dropped in found.dropped)


def test_huge_and_tiny_numbers_keep_their_direction(profile: palimp.Profile) -> None:
    profile.remember("huge", embedding=[1e300, 1e300])
    profile.remember("tiny", embedding=[1e-300, -1e-300])
    assert profile.recall(embedding=[1e-200, 1e-200], k=1)[0].text == "huge"
    assert profile.recall(embedding=[1.0, -1.0], k=1)[0].text == "tiny"
