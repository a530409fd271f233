"""From candidates to numbers in [0, 1], one row per candidate and one entry per feature.

- topic: 1 where the asked topic is the memory's.
- keyword: bm25 (text, keywords, speaker and date, neighbours) divided by the best of this result.
- vector: cosine, not below 0; the better of a given vector and the embedder's. Where rows have
  vectors of several generations, as it would be in the one that leads (see `scales`).
- speaker: the question names who said it; of a row without a speaker, names somebody it mentions.
- session: how well the best three rows of its session match by keyword, relative to the best one;
  a row without a session counts by its own better signal.
- when: the question asks for a time and the text names one.
- statement: an event that is not itself a question; other types are statements by definition.
- substance: 1 - exp(-length / 80) of an event's text; other types are gists and count as 100.

The last three separate the turn that answers from the turns around it.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .candidates import Candidate, Found
from .weights import Weights
from .words import asks_when, mentions_time

__all__ = ["Question", "Signals", "Similarity", "Values", "signals"]

_SESSION_ROWS = 3
_SUBSTANCE_CHARS = 80.0
# A gist says in few words what an event of that length says: the middle of LoCoMo's turns.
_GIST_CHARS = 100.0
_WORD = re.compile(r"\w+")

# One number per candidate, in the order of `Found.candidates`.
Values = NDArray[np.float64]


class Signals:
    """The features in play: raw and normalised values per candidate, and a weight each."""

    def __init__(self) -> None:
        self.raw: dict[str, Values] = {}
        self.value: dict[str, Values] = {}
        self.weight: dict[str, float] = {}
        # What was done to the weighted mean: a raw value per candidate, and what it changed.
        self.changes: dict[str, tuple[Values, Values]] = {}

    def enter(self, name: str, weight: float, raw: Values, value: Values | None = None) -> None:
        """Put a feature into play; `value` is `raw` where that is normalised already."""
        self.raw[name] = raw
        self.value[name] = raw if value is None else value
        self.weight[name] = weight

    def change(self, name: str, raw: Values, shares: Values) -> None:
        """Note what was added to each score, or taken from it, for a reason that is not weighed."""
        self.changes[name] = raw, shares

    def scores(self, count: int) -> Values:
        """Return the weighted mean of the features in play for each candidate, in [0, 1]."""
        total = np.zeros(count)
        for name, weight in self.weight.items():
            total += weight * self.value[name]
        return total / (sum(self.weight.values()) or 1.0)


class Question(NamedTuple):
    """What the features need of the request."""

    query: str | None
    words: frozenset[str]
    by_topic: bool


class Similarity(NamedTuple):
    """Of each candidate with a vector its cosine, and the same on the scale of all models."""

    cosine: Mapping[int, float]
    scaled: Mapping[int, float]


def signals(found: Found, similar: Similarity, question: Question, weights: Weights) -> Signals:
    """Compute every feature that can tell these candidates apart; the others stay out of play."""
    result = Signals()
    rows = list(found.candidates.values())
    if question.by_topic:
        result.enter("topic", weights.topic, _each([row.handle in found.topic for row in rows]))
    keyword = _each([found.keyword.get(row.handle, 0.0) for row in rows])
    if found.keyword:
        result.enter("keyword", weights.keyword, keyword, _relative(keyword))
    scaled = _each([similar.scaled.get(row.handle, 0.0) for row in rows])
    if found.vector:
        raw = _each([similar.cosine.get(row.handle, 0.0) for row in rows])
        result.enter("vector", weights.vector, raw, np.clip(scaled, 0.0, 1.0))
    if question.query is None:
        return result
    named = _named_speakers(rows, question.words)
    if named:
        result.enter("speaker", weights.speaker, _speaker(rows, named))
    if found.keyword and any(row.session is not None for row in rows):
        session = _session(
            rows, _relative(keyword), alone=_relative(scaled) if found.vector else None
        )
        result.enter("session", weights.session, session, _relative(session))
    if asks_when(question.query):
        result.enter("when", weights.when, _each([mentions_time(row.text) for row in rows]))
    events = _each([row.type == "event" for row in rows])
    if events.any():
        asking = _each([row.text.rstrip().endswith("?") for row in rows])
        result.enter("statement", weights.statement, 1.0 - events * asking)
        length = _each([len(row.text) for row in rows])
        substance = 1.0 - np.exp(-np.where(events, length, _GIST_CHARS) / _SUBSTANCE_CHARS)
        result.enter("substance", weights.substance, length, substance)
    return result


def _each(values: list[Any]) -> Values:
    return np.array(values, np.float64)


def _relative(raw: Values) -> Values:
    best = raw.max(initial=0.0)
    return np.clip(raw / best, 0.0, 1.0) if best > 0 else np.zeros_like(raw)


def _named_speakers(rows: Sequence[Candidate], words: frozenset[str]) -> set[str]:
    """Return the speakers among the candidates whose (first) name is a word of the query."""
    named = set()
    for speaker in {row.speaker for row in rows if row.speaker}:
        parts = _WORD.findall(speaker.lower())
        if parts and (parts[0] in words or all(part in words for part in parts)):
            named.add(speaker)
    return named


def _speaker(rows: Sequence[Candidate], named: set[str]) -> Values:
    names = {_WORD.findall(speaker.lower())[0] for speaker in named}
    return _each(
        [
            row.speaker in named
            if row.speaker is not None
            else not names.isdisjoint(_WORD.findall(row.text.lower()))
            for row in rows
        ]
    )


def _session(rows: Sequence[Candidate], keyword: Values, alone: Values | None) -> Values:
    """Mean of the best three keyword values of a row's session.

    A row without a session has no company that could speak for it: its own better signal does,
    else every fact would stand behind the chatter around a common word.
    """
    members: dict[str, list[float]] = defaultdict(list)
    for row, value in zip(rows, keyword.tolist(), strict=True):
        if row.session is not None and value > 0.0:
            members[row.session].append(value)
    means = {
        session: sum(sorted(values, reverse=True)[:_SESSION_ROWS]) / _SESSION_ROWS
        for session, values in members.items()
    }
    own = keyword if alone is None else np.maximum(keyword, alone)
    return _each(
        [
            means.get(row.session, 0.0) if row.session is not None else value
            for row, value in zip(rows, own.tolist(), strict=True)
        ]
    )
