"""One recall from request to result: gather, score, cut, explain."""

from __future__ import annotations

from typing import Any, NamedTuple

import apsw
import numpy as np

from ...api import Dropped, Explain, Feature, Hit, Memory, RecallRequest, TurnHit, estimate_tokens
from ..indexing import MEMORIES, TURNS, neighbours
from ..memories.filters import Conditions
from ..memories.rows import read_memories
from ..protocols import Sealer
from ..sessions import TURN_COLUMNS, turn_fields
from ..vectors import CodeIndex, QueryVector, cosines
from .candidates import Found, Search, gather
from .features import Question, Signals, signals
from .terms import TermCounts, Terms, parse_terms
from .weights import Weights

__all__ = ["RecallContext", "recall", "search_turns"]

_NO_TERMS = Terms(None, frozenset(), ())


class RecallContext(NamedTuple):
    """What a search needs besides the connection and the request."""

    now_ms: int
    sealer: Sealer
    codes: CodeIndex
    counts: TermCounts
    weights: Weights


class _Ranked(NamedTuple):
    """Candidates in order, with their place among the candidates, which the signals go by."""

    handles: list[int]
    places: dict[int, int]
    scores: dict[int, float]
    signals: Signals
    found: Found
    cosine: dict[int, float]

    def channels(self, handle: int) -> tuple[str, ...]:
        marks = (
            ("topic", handle in self.found.topic),
            ("keyword", handle in self.found.keyword),
            ("vector", any(handle in near for near in self.found.vector.values())),
        )
        return tuple(name for name, present in marks if present)

    def explain(self, handle: int) -> Explain:
        place, weights = self.places[handle], self.signals.weight
        total = sum(weights.values())
        features = []
        for name, weight in weights.items():
            value = float(self.signals.value[name][place])
            features.append(
                Feature(
                    name=name,
                    raw=float(self.signals.raw[name][place]),
                    value=value,
                    weight=weight,
                    share=weight * value / total,
                )
            )
        return Explain(features=tuple(sorted(features, key=lambda f: (-f.share, f.name))))


def recall(
    connection: apsw.Connection,
    request: RecallRequest,
    where: Conditions,
    vectors: tuple[QueryVector, ...],
    context: RecallContext,
) -> tuple[tuple[Hit, ...], tuple[Dropped, ...]]:
    """Return the hits, best first, and what was dropped and why. The request is checked already.

    `where` is the condition of its filters.
    """
    terms = _terms(connection, request.query, context, MEMORIES)
    search = Search(MEMORIES, terms, vectors, request.topic, where, request.k)
    ranked = _rank(connection, search, request.query, context)
    chosen = [h for h in ranked.handles if ranked.scores[h] >= request.min_score]
    dropped = ranked.found.dropped
    if len(chosen) < len(ranked.handles):
        gone = len(ranked.handles) - len(chosen)
        reason = f"score below min_score {request.min_score}"
        dropped.append(Dropped(what="candidates", reason=reason, count=gone))
    if len(chosen) > request.k:
        reason = f"after the first k = {request.k}"
        dropped.append(Dropped(what="candidates", reason=reason, count=len(chosen) - request.k))
    hits = _hits(connection, chosen[: request.k], ranked, request, context)
    if request.max_tokens is not None:
        kept = _within(hits, request.max_tokens)
        if len(kept) < len(hits):
            reason = f"over max_tokens {request.max_tokens}"
            dropped.append(Dropped(what="hits", reason=reason, count=len(hits) - len(kept)))
        hits = kept
    return tuple(hits), tuple(dropped)


def search_turns(
    connection: apsw.Connection,
    query: str | None,
    vectors: tuple[QueryVector, ...],
    session: str | None,
    k: int,
    context: RecallContext,
) -> tuple[TurnHit, ...]:
    """Return the turns of one session (None: of all) that matter to the query, best first."""
    terms = _terms(connection, query, context, TURNS)
    where = Conditions("(:session IS NULL OR m.session = :session)", {"session": session})
    search = Search(TURNS, terms, vectors, None, where, k)
    ranked = _rank(connection, search, query, context)
    hits = []
    for handle in ranked.handles[:k]:
        row: Any = connection.execute(
            f"SELECT {TURN_COLUMNS} FROM __palimp_turns t WHERE t.handle = ?", (handle,)
        ).fetchone()
        cosine = ranked.cosine.get(handle)
        hits.append(
            TurnHit(
                **turn_fields(row, context.sealer),
                score=ranked.scores[handle],
                channels=ranked.channels(handle),
                distance=None if cosine is None else 1.0 - cosine,
            )
        )
    return tuple(hits)


def _terms(
    connection: apsw.Connection, query: str | None, context: RecallContext, corpus: Any
) -> Terms:
    return parse_terms(connection, corpus, query, context.counts) if query else _NO_TERMS


def _rank(
    connection: apsw.Connection, search: Search, query: str | None, context: RecallContext
) -> _Ranked:
    found = gather(connection, search, context.codes, context.sealer)
    handles = list(found.candidates)
    cosine: dict[int, float] = {}
    for vector in search.vectors:
        near = found.vector.get(vector.model)
        if near is not None:
            others = [handle for handle in handles if handle not in near]
            values = {**near, **cosines(connection, search.corpus, vector, others)}
            for handle, value in values.items():
                cosine[handle] = max(value, cosine.get(handle, -1.0))
    question = Question(query, search.terms.words, search.topic is not None)
    computed = signals(found, cosine, question, context.weights)
    scores = computed.scores(len(handles))
    times = [row.occurred_at for row in found.candidates.values()]
    # Equal scores: the newer one, then the later written; so that an order is always the same.
    order = np.lexsort((np.array(handles), np.array(times), scores))[::-1].tolist()
    return _Ranked(
        [handles[place] for place in order],
        {handle: place for place, handle in enumerate(handles)},
        dict(zip(handles, scores.tolist(), strict=True)),
        computed,
        found,
        cosine,
    )


def _hits(
    connection: apsw.Connection,
    chosen: list[int],
    ranked: _Ranked,
    request: RecallRequest,
    context: RecallContext,
) -> list[Hit]:
    fields = read_memories(connection, chosen, context.sealer)
    hits = []
    for handle in chosen:
        before, after = _window(connection, handle, request.window, context.sealer)
        hits.append(
            Hit(
                **fields[handle],
                score=ranked.scores[handle],
                channels=ranked.channels(handle),
                explain=ranked.explain(handle) if request.explain else None,
                before=before,
                after=after,
            )
        )
    return hits


def _window(
    connection: apsw.Connection, handle: int, width: int, sealer: Sealer
) -> tuple[tuple[Memory, ...], tuple[Memory, ...]]:
    """Return up to `width` neighbouring events before and after, each oldest first."""
    sides: list[list[int]] = [[], []]
    for side, place in ((sides[0], 0), (sides[1], 1)):
        current: int | None = handle
        for _ in range(width):
            assert current is not None
            current = neighbours(connection, MEMORIES, current)[place]
            if current is None:
                break
            side.append(current)
    before, after = sides
    fields = read_memories(connection, (*before, *after), sealer)
    return (
        tuple(Memory(**fields[h]) for h in reversed(before)),
        tuple(Memory(**fields[h]) for h in after),
    )


def _within(hits: list[Hit], max_tokens: int) -> list[Hit]:
    """Keep the best hits whose texts (windows included) fit; the first that does not ends it."""
    left = max_tokens
    kept = []
    for hit in hits:
        left -= sum(estimate_tokens(m.text) for m in (*hit.before, hit, *hit.after))
        if left < 0:
            break
        kept.append(hit)
    return kept
