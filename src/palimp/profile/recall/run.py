"""One recall from request to result: gather, score, cut, explain."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any, NamedTuple, get_args

import apsw
import numpy as np

from ...api import Dropped, Explain, Feature, Hit, Memory, RecallRequest, TurnHit, estimate_tokens
from ...api.recall import Channel
from ..indexing import GIVEN_MODEL, MEMORIES, TURNS, neighbours
from ..memories.filters import Conditions
from ..memories.rows import read_memories
from ..protocols import Sealer
from ..ranking import DEFAULT, TIERS, Ranking
from ..relations.tables import is_made
from ..sessions import TURN_COLUMNS, turn_fields
from ..usage import NEUTRAL, given, value_of
from ..vectors import CodeIndex, QueryVector, cosines
from .candidates import Candidate, Found, Search, admit, gather
from .factors import CONFIDENCE_LEAST, Asked, boosted, multiplied, tiered, weighed
from .features import Question, Signals, Similarity, Values, signals
from .scales import on_one_scale
from .terms import TermCounts, Terms, parse_terms
from .weights import FEEDBACK_WEIGHT, RELATION_WEIGHT, Weights

__all__ = ["RecallContext", "recall", "search_turns"]

_NO_TERMS = Terms(None, frozenset(), ())
CHANNELS: tuple[str, ...] = get_args(Channel)
# Which tiers each depth begins with; a search that finds too little goes on with the next depth.
_DEPTHS = {
    "low": ("m.memory_tier IS NULL", "hot"),
    "medium": ("coalesce(m.memory_tier, 'hot') != 'cold'", "hot and warm"),
    "high": (None, "hot, warm and cold"),
}


class RecallContext(NamedTuple):
    """What a search needs besides the connection and the request.

    `weights` are those of the default ranking; `mark` stands for the query in what callers said of
    memories; `channels` are those that are asked; `id_key` is that of the profile's ids; `steps` is
    how far relations are followed, where the caller says so.
    """

    now_ms: int
    sealer: Sealer
    codes: CodeIndex
    counts: TermCounts
    weights: Weights
    ranking: Ranking = DEFAULT
    mark: bytes = b""
    channels: Collection[str] = CHANNELS
    id_key: bytes = b""
    steps: int | None = None


class Recalled(NamedTuple):
    """The hits, best first, what was dropped and why, and whether colder tiers were searched."""

    hits: tuple[Hit, ...]
    dropped: tuple[Dropped, ...]
    widened: bool


class _Ranked(NamedTuple):
    """Candidates in order, with their place among the candidates, which the signals go by."""

    handles: list[int]
    places: dict[int, int]
    scores: dict[int, float]
    signals: Signals
    found: Found
    cosine: Mapping[int, float]

    def channels(self, handle: int) -> tuple[str, ...]:
        marks = (
            ("topic", handle in self.found.topic),
            ("keyword", handle in self.found.keyword),
            ("vector", any(handle in near for near in self.found.vector.values())),
            ("relation", handle in self.found.relation),
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
        for name, (raw, shares) in self.signals.changes.items():
            amount, share = float(raw[place]), float(shares[place])
            features.append(Feature(name=name, raw=amount, value=amount, weight=0.0, share=share))
        return Explain(features=tuple(sorted(features, key=lambda f: (-f.share, f.name))))


def recall(
    connection: apsw.Connection,
    request: RecallRequest,
    where: Conditions,
    vectors: tuple[QueryVector, ...],
    context: RecallContext,
) -> Recalled:
    """Return what a request finds, which is checked already; `where` is that of its filters."""
    where = where.on(connection, context.sealer)
    terms = _terms(connection, request.query, context, MEMORIES)
    topic = request.topic if "topic" in context.channels else None
    widened: list[Dropped] = []
    depths = list(_DEPTHS)[list(_DEPTHS).index(request.depth or "high") :]
    for depth in depths:
        tiers, searched = _DEPTHS[depth]
        within = where if tiers is None else where._replace(sql=f"{where.sql} AND {tiers}")
        search = Search(MEMORIES, terms, vectors, topic, within, request.k)
        ranked = _rank(connection, search, request.query, context, request.session)
        chosen = [h for h in ranked.handles if ranked.scores[h] >= request.min_score]
        if len(chosen) >= request.k or depth == depths[-1]:
            break
        reason = f"only {len(chosen)} of k = {request.k} found in {searched}; searched wider"
        widened.append(Dropped(what=f"depth {depth}", reason=reason))
    hits, dropped = _cut(connection, chosen, ranked, request, context)
    return Recalled(hits, (*widened, *dropped), bool(widened))


def _cut(
    connection: apsw.Connection,
    chosen: list[int],
    ranked: _Ranked,
    request: RecallRequest,
    context: RecallContext,
) -> tuple[tuple[Hit, ...], tuple[Dropped, ...]]:
    """Return the best of what was chosen, as many as were asked for and fit."""
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
    ranked = _rank(connection, search, query, context._replace(ranking=DEFAULT))
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
    if not query:
        return _NO_TERMS
    terms = parse_terms(connection, corpus, query, context.counts, context.sealer.token_key)
    # Who is named in a question is asked of what the other channels find too.
    return terms if "keyword" in context.channels else Terms(None, terms.words, ())


def _rank(
    connection: apsw.Connection,
    search: Search,
    query: str | None,
    context: RecallContext,
    session: str | None = None,
) -> _Ranked:
    found = gather(connection, search, context.codes, context.sealer)
    handles = list(found.candidates)
    similar = _similarity(connection, search, found, handles, context.codes)
    question = Question(query, search.terms.words, search.topic is not None)
    computed = signals(found, similar, question, context.weights)
    if search.corpus is MEMORIES and _relate(connection, search, query, context, found, computed):
        handles = list(found.candidates)
        similar = _similarity(connection, search, found, handles, context.codes)
        computed = signals(found, similar, question, context.weights)
    if found.relation:
        by_relation = [found.relation.get(handle, 0.0) for handle in handles]
        computed.enter("relation", RELATION_WEIGHT, np.array(by_relation))
    rows = list(found.candidates.values())
    said: dict[int, dict[str, int]] = {}
    if search.corpus is MEMORIES:
        said = given(connection, handles, context.mark)
    feedback = {handle: value_of(signals) for handle, signals in said.items()}
    believed = np.ones(len(rows), bool)
    if context.ranking.weights is None or not rows:
        if feedback:
            values = [feedback.get(handle, NEUTRAL) for handle in handles]
            computed.enter("feedback", FEEDBACK_WEIGHT, np.array(values))
        scores = computed.scores(len(handles))
    else:
        asked = Asked(query, session, search.vectors, context.now_ms)
        computed = weighed(connection, rows, similar, computed, feedback, asked, context.ranking)
        scores = computed.scores(len(handles))
        if context.ranking.boosts:
            scores = boosted(computed, scores, rows, asked)
        if context.ranking.fixed:
            scores = multiplied(computed, scores, rows, said, context.ranking.feedback)
            believed = _believed(computed, found)
    scores = tiered(computed, scores, rows)
    return _Ranked(
        [
            handles[place]
            for place in _order(scores, rows, similar, context.ranking)
            if believed[place]
        ],
        {handle: place for place, handle in enumerate(handles)},
        dict(zip(handles, scores.tolist(), strict=True)),
        computed,
        found,
        similar.cosine,
    )


def _believed(computed: Signals, found: Found) -> Any:
    """Return of each candidate whether it is still believed, and note how many are not."""
    believed = computed.raw["confidence"] >= CONFIDENCE_LEAST
    gone = int(np.count_nonzero(~believed))
    if gone:
        reason = f"of their confidence less than {CONFIDENCE_LEAST} is left"
        found.dropped.append(Dropped(what="candidates", reason=reason, count=gone))
    return believed


def _relate(
    connection: apsw.Connection,
    search: Search,
    query: str | None,
    context: RecallContext,
    found: Found,
    computed: Signals,
) -> bool:
    """Ask the channel `relation` beside what was found; return whether it brought candidates."""
    weights = context.ranking.weights
    named = set(context.channels) != set(CHANNELS) or context.steps is not None
    # Of weights that do not count it nobody expects what only it finds, unless it is asked for.
    if weights is not None and not weights.get("relation") and not named:
        return False
    # Most profiles have no relations.
    if "relation" not in context.channels or not is_made(connection):
        return False
    from .related import Further, related

    def seen(wanted: Iterable[int]) -> set[int]:
        return admit(connection, search, found, wanted, context.sealer)

    handles = list(found.candidates)
    anchors = dict(zip(handles, computed.scores(len(handles)).tolist(), strict=True))
    more = (context.steps or 1) - 1
    further = Further(more, seen) if more else None
    worth = related(connection, anchors, query, context.id_key, further)
    visible = seen(worth)
    found.relation.update({handle: worth[handle] for handle in worth if handle in visible})
    return len(found.candidates) > len(handles)


def _order(
    scores: Values, rows: list[Candidate], similar: Similarity, ranking: Ranking
) -> list[int]:
    """Return the places best first; equal scores in an order that is always the same.

    Warmer tiers first, then the newer one, then the later written. Of a set with weights: then the
    nearer one, then the newer one, then the first written.
    """
    tiers = [-TIERS.index(row.tier or "hot") for row in rows]
    times = [row.occurred_at for row in rows]
    keys: list[Any] = [[row.handle for row in rows], times, tiers, scores]
    if ranking.weights is not None:
        near = [similar.scaled.get(row.handle, 0.0) for row in rows]
        keys = [[-row.handle for row in rows], times, near, tiers, scores]
    order: list[int] = np.lexsort([np.asarray(key) for key in keys])[::-1].tolist()
    return order


def _similarity(
    connection: apsw.Connection,
    search: Search,
    found: Found,
    handles: list[int],
    index: CodeIndex,
) -> Similarity:
    """Return the cosine of each candidate that has one, in its own model and on one scale.

    Of a row in several generations the first one asked counts; a given vector stands beside that.
    """
    by_model: dict[str, dict[int, float]] = {}
    counted: set[int] = set()
    for query in search.vectors:
        near = found.vector.get(query.model)
        if near is None:
            continue
        given = query.model == GIVEN_MODEL
        others = [h for h in handles if h not in near and (given or h not in counted)]
        by_model[query.model] = {**near, **cosines(connection, search.corpus, query, others)}
        if not given:
            counted |= by_model[query.model].keys()
    given_values = by_model.pop(GIVEN_MODEL, {})
    cosine = {handle: value for values in by_model.values() for handle, value in values.items()}
    scaled = on_one_scale(connection, search.corpus, index, search.vectors, by_model)
    for handle, value in given_values.items():
        cosine[handle] = max(value, cosine.get(handle, -1.0))
        scaled[handle] = max(value, scaled.get(handle, -1.0))
    return Similarity(cosine, scaled)


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
