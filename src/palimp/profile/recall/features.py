"""From candidates to numbers in [0, 1], one row per candidate and one entry per feature.

- topic: 1 where the asked topic is the memory's.
- keyword: bm25 (text, keywords, speaker and date, neighbours) divided by the best of this result.
- vector: cosine, not below 0; the best of the models asked.
- speaker: the question names who said it; of a row without a speaker, names somebody it mentions.
- session: how well the best three rows of its session match by keyword, relative to the best one.
- when: the question asks for a time and the text names one.
- statement: an event that is not itself a question; other types are statements by definition.
- substance: 1 - exp(-length / 80) of an event's text; other types are gists already and get 1.

The last three separate the turn that answers from the turns around it.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Mapping
from typing import NamedTuple

from .candidates import Candidate, Found
from .weights import Weights
from .words import asks_when, mentions_time

__all__ = ["Signals", "signals"]

_SESSION_ROWS = 3
_SUBSTANCE_CHARS = 80.0
_WORD = re.compile(r"\w+")

Values = dict[int, float]


class Signals(NamedTuple):
    """Raw and normalised values by feature and handle, and the weights of the features in play."""

    raw: dict[str, Values]
    value: dict[str, Values]
    weight: dict[str, float]

    def score(self, handle: int) -> float:
        """Return the weighted mean of the features in play: a number in [0, 1]."""
        total = sum(self.weight.values())
        gained = sum(self.weight[name] * self.value[name][handle] for name in self.weight)
        return gained / total if total else 0.0


def signals(
    found: Found,
    cosine: Mapping[int, float],
    words: frozenset[str],
    query: str | None,
    weights: Weights,
    *,
    by_topic: bool,
    by_vector: bool,
) -> Signals:
    """Compute every feature that can tell these candidates apart; the others stay out of play."""
    rows = found.candidates
    result = Signals({}, {}, {})
    if by_topic:
        _enter(result, "topic", weights.topic, {h: float(h in found.topic) for h in rows})
    keyword = {h: found.keyword.get(h, 0.0) for h in rows}
    if found.keyword:
        _enter(result, "keyword", weights.keyword, keyword, _relative(keyword))
    if by_vector:
        raw = {h: cosine.get(h, 0.0) for h in rows}
        _enter(
            result,
            "vector",
            weights.vector,
            raw,
            {h: min(1.0, max(0.0, v)) for h, v in raw.items()},
        )
    if query is None:
        return result
    named = _named_speakers(rows, words)
    if named:
        _enter(result, "speaker", weights.speaker, _speaker(rows, named))
    if found.keyword and any(row.session is not None for row in rows.values()):
        session = _session(rows, _relative(keyword))
        _enter(result, "session", weights.session, session, _relative(session))
    if asks_when(query):
        when = {h: float(mentions_time(row.text)) for h, row in rows.items()}
        _enter(result, "when", weights.when, when)
    if any(row.type == "event" for row in rows.values()):
        _enter(result, "statement", weights.statement, {h: _statement(r) for h, r in rows.items()})
        length = {h: float(len(row.text)) for h, row in rows.items()}
        _enter(
            result,
            "substance",
            weights.substance,
            length,
            {h: _substance(r) for h, r in rows.items()},
        )
    return result


def _enter(
    result: Signals, name: str, weight: float, raw: Values, value: Values | None = None
) -> None:
    result.raw[name] = raw
    result.value[name] = raw if value is None else value
    result.weight[name] = weight


def _relative(raw: Values) -> Values:
    best = max(raw.values(), default=0.0)
    return {handle: max(0.0, value) / best if best > 0 else 0.0 for handle, value in raw.items()}


def _named_speakers(rows: Mapping[int, Candidate], words: frozenset[str]) -> set[str]:
    """Return the speakers among the candidates whose (first) name is a word of the query."""
    named = set()
    for speaker in {row.speaker for row in rows.values() if row.speaker}:
        parts = _WORD.findall(speaker.lower())
        if parts and (parts[0] in words or all(part in words for part in parts)):
            named.add(speaker)
    return named


def _speaker(rows: Mapping[int, Candidate], named: set[str]) -> Values:
    names = {_WORD.findall(speaker.lower())[0] for speaker in named}
    values = {}
    for handle, row in rows.items():
        if row.speaker is not None:
            values[handle] = float(row.speaker in named)
        else:
            values[handle] = float(not names.isdisjoint(_WORD.findall(row.text.lower())))
    return values


def _session(rows: Mapping[int, Candidate], keyword: Values) -> Values:
    """Mean of the best three keyword values of a row's session; a row without one stands alone."""
    members: dict[str, list[float]] = defaultdict(list)
    for handle, row in rows.items():
        if row.session is not None:
            members[row.session].append(keyword[handle])
    means = {
        session: sum(sorted(values, reverse=True)[:_SESSION_ROWS]) / _SESSION_ROWS
        for session, values in members.items()
    }
    return {
        handle: means[row.session] if row.session is not None else keyword[handle]
        for handle, row in rows.items()
    }


def _statement(row: Candidate) -> float:
    return float(row.type != "event" or not row.text.rstrip().endswith("?"))


def _substance(row: Candidate) -> float:
    if row.type != "event":
        return 1.0
    return 1.0 - math.exp(-len(row.text) / _SUBSTANCE_CHARS)
