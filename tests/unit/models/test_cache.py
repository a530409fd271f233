"""Vectors kept in memory: for which texts, for how long, and within which bound."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from palimp.errors import Unavailable
from palimp.models.bundled import NAME, BundledEmbedder
from palimp.models.cache import Cached, Vectors
from palimp.observe import Metrics
from palimp.spending import Spending


class Counting:
    """The bundled embedder under a name, with a list of what it was asked."""

    local, egress = False, "outside"
    dimensions = 256

    def __init__(self, name: str = "counted") -> None:
        self.name = name
        self.asked: list[list[str]] = []
        self.fails = False

    def embed(self, texts: Sequence[str], *, query: bool = False, spending: Any = None) -> Any:
        if self.fails:
            raise Unavailable("away")
        self.asked.append(list(texts))
        if spending is not None:
            spending.add("host", texts=len(texts))
        rows = BundledEmbedder().embed(texts)
        return -rows if query else rows

    def of(self, name: str) -> Any:
        return self if name == self.name else Counting(name) if name == "other" else None


@pytest.fixture
def inner() -> Counting:
    return Counting()


def cached(inner: Counting, bytes_max: int = 1 << 20) -> tuple[Cached, Vectors, Metrics]:
    metrics, kept = Metrics(), Vectors(bytes_max)
    return Cached(inner, kept, metrics), kept, metrics  # type: ignore[arg-type]


def test_a_text_is_embedded_once(inner: Counting) -> None:
    embedder, _, metrics = cached(inner)
    plain = BundledEmbedder()
    spending = Spending()
    for texts in (["a red car", "tea"], ["tea", "rain", "a red car"], ["tea"]):
        rows = embedder.embed(texts, spending=spending)
        np.testing.assert_array_equal(rows, plain.embed(texts))
    assert inner.asked == [["a red car", "tea"], ["rain"]]
    assert spending.texts == 3
    assert metrics.snapshot()["embeddings_reused"] == 3


def test_equal_texts_of_one_call_are_embedded_once(inner: Counting) -> None:
    embedder, _, metrics = cached(inner, 0)
    rows = embedder.embed(["tea", "rain", "tea", "tea"])
    np.testing.assert_array_equal(rows, BundledEmbedder().embed(["tea", "rain", "tea", "tea"]))
    assert inner.asked == [["tea", "rain"]]
    assert metrics.snapshot()["embeddings_reused"] == 2


def test_questions_and_models_are_kept_apart(inner: Counting) -> None:
    embedder, _, _ = cached(inner)
    rows = embedder.embed(["tea"])
    np.testing.assert_array_equal(embedder.embed(["tea"], query=True), -rows)
    assert inner.asked == [["tea"], ["tea"]]
    other = embedder.of("other")
    assert other is not None
    other.embed(["tea"])
    assert other.name == "other"
    assert other._inner.asked == [["tea"]]  # type: ignore[attr-defined]
    # The models share the room, and find their own again.
    again = embedder.of("other")
    assert again is not None
    again.embed(["tea"])
    assert again._inner.asked == []  # type: ignore[attr-defined]
    assert embedder.of("counted") is embedder
    assert embedder.of(NAME) is None


def test_what_is_returned_can_be_changed_without_harm(inner: Counting) -> None:
    embedder, _, _ = cached(inner)
    embedder.embed(["tea"])[:] = 7
    embedder.embed(["tea"])[:] = 7
    np.testing.assert_array_equal(embedder.embed(["tea"]), BundledEmbedder().embed(["tea"]))


def test_it_takes_no_more_than_it_may(inner: Counting) -> None:
    embedder, kept, _ = cached(inner, 20_000)
    for number in range(200):
        embedder.embed([f"text {number}"])
        assert kept.size <= 20_000
    assert 10 <= len(kept._rows) <= 20


def test_the_bound_is_about_what_it_takes() -> None:
    import tracemalloc

    gc.collect()
    tracemalloc.start()
    kept = Vectors(2 << 20)
    for number in range(3_000):
        kept.put(number.to_bytes(16, "little"), bytes(1_024))
    gc.collect()
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept.size <= 2 << 20
    assert taken <= 1.1 * (2 << 20)


def test_what_was_used_longest_ago_goes_first(inner: Counting) -> None:
    embedder, _, _ = cached(inner, 3 * (1_024 + 300))
    for text in ("one", "two", "three", "one", "four", "one"):
        embedder.embed([text])
    inner.asked.clear()
    for text in ("one", "four", "three"):
        embedder.embed([text])
    assert inner.asked == []
    embedder.embed(["two"])
    assert inner.asked == [["two"]]


def test_a_text_that_is_put_again_is_counted_once() -> None:
    kept = Vectors(10_000)
    for _ in range(50):
        kept.put(b"key", bytes(1_000))
    assert kept.size < 2_000
    assert kept.get(b"key") == bytes(1_000)


def test_without_room_nothing_is_kept(inner: Counting) -> None:
    embedder, kept, _ = cached(inner, 0)
    for _ in range(2):
        embedder.embed(["tea"])
    assert inner.asked == [["tea"], ["tea"]]
    assert kept.size == 0


def test_an_error_keeps_nothing_and_what_is_kept_needs_no_model(inner: Counting) -> None:
    embedder, _, _ = cached(inner)
    embedder.embed(["tea"])
    inner.fails = True
    with pytest.raises(Unavailable):
        embedder.embed(["tea", "rain"])
    assert embedder.embed(["tea"]).any()
    inner.fails = False
    assert embedder.embed(["rain"]).any()


def test_every_text_has_a_place(inner: Counting) -> None:
    embedder, _, _ = cached(inner)
    texts = ["half \ud800", "half \ud801", "", "half ?"]
    assert embedder.embed(texts).shape == (4, 256)
    assert inner.asked == [texts]
    assert embedder.embed([]).shape == (0, 256)
    with pytest.raises(TypeError, match="put a single text into a list"):
        embedder.embed("tea")


def test_no_text_is_kept(inner: Counting) -> None:
    embedder, kept, _ = cached(inner)
    embedder.embed(["a text that was erased"])
    ((key, row),) = kept._rows.items()
    assert len(key) == 16
    assert len(row) == 256 * 4
