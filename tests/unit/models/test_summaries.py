"""Summing up without a model: which sentences are taken, and that nothing named is lost."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from palimp.models.summaries import (
    centrality_of_vectors,
    centrality_of_words,
    completed,
    extracted,
    lost,
    sentences_of,
    telling,
)

WORDS = st.sampled_from(
    "Alice Bob's tea 2024 3.5 the The McKay runs, iPhone e.g. Acme-Corp said. over? well! Zürich".split()
)
TEXTS = st.lists(
    st.lists(st.one_of(WORDS, st.just("\n")), min_size=1, max_size=25).map(" ".join),
    min_size=1,
    max_size=6,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One. Two! Three", ["One.", "Two!", "Three"]),
        ("Dr. Smith came. He left.", ["Dr. Smith came.", "He left."]),
        ('She said "no." Then\nshe left', ['She said "no."', "Then", "she left"]),
        ("Same. same", ["Same."]),
        ("3.5 grams by J. Smith", ["3.5 grams by J. Smith"]),
        (" \n ", []),
    ],
)
def test_sentences(text: str, expected: list[str]) -> None:
    assert sentences_of([text]) == expected


def test_what_names_or_counts() -> None:
    found = telling("The iPhone of Alice's cost 1,200 and It was on Monday (v2.1, ACME)")
    assert found == {"iphone", "alice", "1,200", "monday", "v2.1", "acme"}


@settings(max_examples=40)
@given(texts=TEXTS)
def test_an_extract_loses_no_name_and_invents_no_word(texts: list[str]) -> None:
    sentences = sentences_of(texts)
    if not sentences:
        return
    names = ["tea", "mckay runs"]
    made = extracted(sentences, centrality_of_words(sentences), names, lossless=True)
    assert lost(made, sentences, names) == set()
    assert {word for text in texts for word in telling(text)} <= telling(made)
    whole = " ".join(texts)
    assert set(made.replace(".", " ").split()) <= set(whole.replace(".", " ").split())
    assert made == extracted(sentences, centrality_of_words(sentences), names, lossless=True)


@settings(max_examples=30)
@given(texts=TEXTS, summary=st.sampled_from(["Somebody drank.", "Alice drank tea in 2024."]))
def test_what_a_model_lost_is_put_behind(texts: list[str], summary: str) -> None:
    made = completed(summary, sentences_of(texts), ["tea"])
    assert made.startswith(summary)
    assert lost(made, sentences_of(texts), ["tea"]) == set()


def test_the_most_central_sentence_is_taken_and_the_others_only_for_names() -> None:
    sentences = ["it rains", "tea is hot", "tea is hot and green", "Bob is late"]
    rows = np.array([[0.0, 1.0], [1.0, 0.1], [1.0, 0.0], [0.7, -0.7]])
    near = centrality_of_vectors(rows)
    assert max(range(4), key=near.__getitem__) == 1
    assert extracted(sentences, near, [], lossless=False) == "tea is hot."
    assert extracted(sentences, near, [], lossless=True) == "tea is hot. Bob is late."
    assert extracted(sentences, near, ["Green"], lossless=True) == (
        "tea is hot. tea is hot and green. Bob is late."
    )
    assert centrality_of_vectors(np.zeros((2, 3))) == [0.0, 0.0]
