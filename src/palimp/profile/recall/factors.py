"""Ranking by weights of a caller or of a named set, and what tiers do to every score.

Each factor has a raw value, is spread over [0, 1] among the candidates (min-max; one that is the
same for all counts 0.5), and is weighed with its part of all weights:

- semantic: the cosine, not below 0, which is 1 - clamp(cosine distance, 0, 1).
- cluster: (cosine of the query and the centroid of the candidate's cluster + 1) / 2; a cluster is
  the candidates of one type and kind, or without a kind of one first part of their topics.
- recency: exp(-age in hours * ln 2 / half-life); 24, 72 or 168 hours by what the query asks for.
- importance: as it was given, 0.5 where it was not.
- usage: min(1, ln(1 + reads) / 5).
- feedback: see `profile/usage.py`. tier: what the score is multiplied with anyway.
- confidence: what is left of it, see `profile/trust.py`.
- all others: as `features.py` computes them, 0 where they are not in play.

On fixed scales, of the set `memoria`: semantic is 1 / (1 + distance) of two vectors of length 1 and
0 of what has none, keyword s / (s + 1) of bm25, recency exp(-age in hours / 168) by when it was
true, confidence as it is.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import apsw
import numpy as np

from ..generations import model_number
from ..indexing import MEMORIES, Corpus
from ..ranking import BOOSTS_MAX, SESSION_BOOST, TIER_MULTIPLIERS, TIERS, Ranking
from ..scores import halved
from ..trust import effective_confidence
from ..usage import NEUTRAL
from ..vectors import QueryVector
from .candidates import Candidate
from .features import Signals, Similarity, Values
from .words import recency_intent

__all__ = [
    "CONFIDENCE_LEAST",
    "HALF_LIFE_HOURS",
    "Asked",
    "boosted",
    "cluster",
    "min_max",
    "multiplied",
    "recency",
    "tiered",
    "usage",
    "weighed",
]

HALF_LIFE_HOURS = {"high": 24.0, "medium": 72.0, "low": 168.0}
# Of a fixed ranking: what is believed less is left out.
CONFIDENCE_LEAST = 0.05
_DEGENERATE = 1e-9
_UNKNOWN_IMPORTANCE = 0.5
_HOUR_MS = 3_600_000
_FIXED_HOURS = 168.0
# What is wrong, outdated or irrelevant weighs half of what is useful.
_AGAINST = 0.5
_MULTIPLIER_LEAST, _MULTIPLIER_MOST = 0.5, 2.0
_USAGE_SCALE = 5.0


class Asked(NamedTuple):
    """What the factors need of a request: its vectors, and when it is."""

    query: str | None
    session: str | None
    vectors: Sequence[QueryVector]
    now_ms: int


def weighed(
    connection: apsw.Connection,
    rows: Sequence[Candidate],
    similar: Similarity,
    usual: Signals,
    feedback: Mapping[int, float],
    asked: Asked,
    ranking: Ranking,
) -> Signals:
    """Return the factors of a ranking's weights; `usual` are the features of the default."""
    assert ranking.weights is not None
    facts = _Facts(connection, rows, similar, usual, feedback, asked)
    total = math.fsum(ranking.weights.values())
    result = Signals()
    for name, weight in ranking.weights.items():
        if ranking.fixed:
            result.enter(name, weight / total, facts.fixed(name))
            continue
        raw = facts.raw(name)
        result.enter(name, weight / total, raw, min_max(raw))
    return result


def min_max(raw: Values) -> Values:
    """Return values spread over [0, 1]; 0.5 for each where they are all the same."""
    low, high = raw.min(initial=np.inf), raw.max(initial=-np.inf)
    if high - low < _DEGENERATE:
        return np.full_like(raw, 0.5)
    spread: Values = (raw - low) / (high - low)
    return spread


def recency(age_ms: Values, half_life_hours: float) -> Values:
    """Return 1 for what is new, half of it after each half-life; what is to come is new."""
    hours = np.maximum(age_ms, 0.0) / _HOUR_MS
    return np.exp(-hours * math.log(2.0) / half_life_hours)


def usage(reads: Values) -> Values:
    """Return 0 for what was never read, and 1 from 148 reads on."""
    return np.minimum(1.0, np.log1p(reads) / _USAGE_SCALE)


def cluster(query: Values, vectors: Values, groups: Sequence[Any]) -> Values:
    """Return for each vector how near the query is to the centroid of its group, in [0, 1]."""
    members: dict[Any, list[int]] = defaultdict(list)
    for place, group in enumerate(groups):
        members[group].append(place)
    found = np.full(len(groups), 0.5)
    for places in members.values():
        centroid = vectors[places].mean(axis=0)
        length = float(np.linalg.norm(centroid))
        if length > 0.0:
            found[places] = (float(centroid @ query) / length + 1.0) / 2.0
    return found


def boosted(signals: Signals, scores: Values, rows: Sequence[Candidate], asked: Asked) -> Values:
    """Return scores with what is added for the session that is asked for, at most 0.1, up to 1."""
    if asked.session is None:
        return scores
    boost = np.array([SESSION_BOOST * (row.session == asked.session) for row in rows])
    after: Values = np.minimum(scores + np.minimum(boost, BOOSTS_MAX), 1.0)
    signals.change("boost", boost, after - scores)
    return after


def multiplied(
    signals: Signals,
    scores: Values,
    rows: Sequence[Candidate],
    given: Mapping[int, Mapping[str, int]],
    weight: float,
) -> Values:
    """Return scores times what callers said: 1 + weight * (useful - all others / 2), 0.5 to 2."""
    if not given:
        return scores
    net = np.zeros(len(rows))
    for place, row in enumerate(rows):
        for signal, count in given.get(row.handle, {}).items():
            net[place] += count if signal == "useful" else -_AGAINST * count
    multiplier = np.clip(1.0 + weight * net, _MULTIPLIER_LEAST, _MULTIPLIER_MOST)
    after: Values = scores * multiplier
    signals.change("feedback multiplier", multiplier, after - scores)
    return after


def tiered(signals: Signals, scores: Values, rows: Sequence[Candidate]) -> Values:
    """Return scores with what tiers do to them: hot 1.0, warm 0.85, cold 0.6 of it.

    And of the same text a colder one never has more than a warmer one, whatever counts how much:
    the tier comes first, importance second.
    """
    if all(row.tier is None for row in rows):
        return scores
    multiplier = np.array([TIER_MULTIPLIERS[row.tier or "hot"] for row in rows])
    after: Values = scores * multiplier
    places: dict[str, list[int]] = defaultdict(list)
    for place, row in enumerate(rows):
        places[row.text].append(place)
    for same in places.values():
        least = math.inf
        for tier in TIERS:
            here = [place for place in same if (rows[place].tier or "hot") == tier]
            after[here] = np.minimum(after[here], least)
            least = min([least, *after[here].tolist()])
    signals.change("tier multiplier", multiplier, after - scores)
    return after


class _Facts:
    """The raw values of factors, each computed when it is asked for."""

    def __init__(
        self,
        connection: apsw.Connection,
        rows: Sequence[Candidate],
        similar: Similarity,
        usual: Signals,
        feedback: Mapping[int, float],
        asked: Asked,
    ) -> None:
        self._connection = connection
        self._rows = rows
        self._similar = similar
        self._usual = usual
        self._feedback = feedback
        self._asked = asked
        self._handles = [row.handle for row in rows]
        self._stored: dict[str, list[Any]] | None = None

    def raw(self, name: str) -> Values:
        """Return one value per candidate."""
        own = {
            "semantic": self._semantic,
            "recency": self._recency,
            "importance": self._importance,
            "usage": self._usage,
            "cluster": self._cluster,
            "feedback": self._given_feedback,
            "tier": self._tier,
            "confidence": self._confidence,
            "decay": self._decay,
        }.get(name)
        if own is not None:
            return own()
        return self._usual.value.get(name, np.zeros(len(self._rows)))

    def fixed(self, name: str) -> Values:
        """Return one value per candidate, on a scale that does not depend on the others."""
        return {
            "semantic": self._closeness,
            "keyword": self._matching,
            "recency": self._newness,
            "confidence": self._confidence,
        }[name]()

    def _closeness(self) -> Values:
        scaled = self._similar.scaled
        cosine = np.array([scaled.get(handle, np.nan) for handle in self._handles])
        distance = np.sqrt(np.clip(2.0 - 2.0 * cosine, 0.0, None))
        return np.nan_to_num(1.0 / (1.0 + distance), nan=0.0)

    def _matching(self) -> Values:
        raw = self._usual.raw.get("keyword", np.zeros(len(self._rows)))
        found: Values = raw / (raw + 1.0)
        return found

    def _newness(self) -> Values:
        found: Values = np.exp(-self._hours() / _FIXED_HOURS)
        return found

    def _hours(self) -> Values:
        """Return how long ago each was true; what is to come is new."""
        times = np.array([row.occurred_at for row in self._rows], np.float64)
        hours: Values = np.maximum(self._asked.now_ms - times, 0.0) / _HOUR_MS
        return hours

    def _confidence(self) -> Values:
        stored, days = self._columns(), (self._hours() / 24.0).tolist()
        rows = zip(stored["confidence"], stored["trust"], days, strict=True)
        return np.array([effective_confidence(*row) for row in rows], np.float64)

    def _semantic(self) -> Values:
        scaled = self._similar.scaled
        near: Values = np.array([scaled.get(handle, 0.0) for handle in self._handles])
        clipped: Values = np.clip(near, 0.0, 1.0)
        return clipped

    def _recency(self) -> Values:
        half_life = HALF_LIFE_HOURS[recency_intent(self._asked.query or "")]
        return recency(self._asked.now_ms - self._column("created_at"), half_life)

    def _importance(self) -> Values:
        return self._column("importance", _UNKNOWN_IMPORTANCE)

    def _usage(self) -> Values:
        return usage(self._column("access_count"))

    def _tier(self) -> Values:
        return np.array([TIER_MULTIPLIERS[row.tier or "hot"] for row in self._rows])

    def _decay(self) -> Values:
        used = np.maximum(self._column("activated_at"), self._column("last_accessed_at"))
        return np.array([halved(int(age)) for age in self._asked.now_ms - used])

    def _given_feedback(self) -> Values:
        return np.array([self._feedback.get(handle, NEUTRAL) for handle in self._handles])

    def _cluster(self) -> Values:
        """By the first model that rows have vectors of; the others' rows are as near as nothing."""
        found = np.full(len(self._rows), 0.5)
        for query in self._asked.vectors:
            vectors = _vectors(self._connection, MEMORIES, query, self._handles)
            if not vectors:
                continue
            groups = self._groups()
            places = [n for n, handle in enumerate(self._handles) if handle in vectors]
            matrix = np.array([vectors[self._handles[place]] for place in places], np.float64)
            asked = query.vector.astype(np.float64)
            found[places] = cluster(asked, matrix, [groups[place] for place in places])
            break
        return found

    def _groups(self) -> list[Any]:
        stored = self._columns()
        groups: list[Any] = []
        for row, kind, topic in zip(self._rows, stored["kind"], stored["topic"], strict=True):
            if kind is not None:
                groups.append((row.type, "kind", kind))
            elif topic is not None:
                groups.append((row.type, "topic", topic.partition(".")[0]))
            else:
                groups.append(row.handle)
        return groups

    def _column(self, name: str, missing: float = 0.0) -> Values:
        values = self._columns()[name]
        return np.array([missing if value is None else value for value in values], np.float64)

    def _columns(self) -> dict[str, list[Any]]:
        if self._stored is None:
            names = (
                "created_at", "importance", "access_count", "kind", "topic", "confidence", "trust",
                "activated_at", "last_accessed_at",
            )  # fmt: skip
            rows = {
                handle: values
                for handle, *values in self._connection.execute(
                    f"""SELECT m.handle, {", ".join(f"m.{name}" for name in names)}
                    FROM carray(?) c JOIN __palimp_memories m ON m.handle = c.value""",
                    (apsw.carray(np.asarray(self._handles, np.int64)),),
                )
            }
            ordered = [rows[handle] for handle in self._handles]
            self._stored = {name: [row[n] for row in ordered] for n, name in enumerate(names)}
        return self._stored


def _vectors(
    connection: apsw.Connection, corpus: Corpus, query: QueryVector, handles: Sequence[int]
) -> dict[int, Any]:
    known = model_number(connection, query.model)
    if known is None or known[1] != query.vector.size or not handles:
        return {}
    slots = (np.asarray(handles, np.int64) << 8) | known[0]
    rows: Any = connection.execute(
        f"""SELECT v.slot >> 8, v.vector FROM carray(?) c
        JOIN {corpus.vectors} v ON v.slot = c.value""",
        (apsw.carray(slots),),
    )
    return {handle: np.frombuffer(vector, np.float32) for handle, vector in rows}
