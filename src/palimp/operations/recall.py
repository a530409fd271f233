"""Recall and the search of transcripts. What needs numpy is imported at the first call."""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

import apsw
import msgspec

from ..api import (
    Depth,
    Dropped,
    Hit,
    Recall,
    RecallRequest,
    SearchTurns,
    Target,
    TurnHit,
    TurnSearch,
)
from ..api.limits import K_MAX, QUERY_BYTES_MAX, RELATION_STEPS_MAX, WINDOW_MAX
from ..api.recall import Channel
from ..engine import Address
from ..errors import Invalid
from ..profile.checks import check_embedding, check_integer, check_label, check_share
from ..profile.memories import conditions
from ..profile.ranking import Ranking, ranking_of
from ..profile.usage import query_mark
from .context import Context, Readable
from .questions import Asked, Question, question_vectors
from .reads import note_reads

if TYPE_CHECKING:
    from ..profile.recall import RecallContext

__all__ = ["recall", "search"]


def recall(context: Context, target: Target, request: RecallRequest) -> Recall:
    """Rank the memories (and, when asked, the turns) that matter to the request."""
    address = context.address(target)
    _check(request)
    with context.reading(target) as database:
        if database is None:
            return Recall(memories=(), txid=0)
        now_ms = context.now_ms(database)
        where = conditions(request, now_ms)
        from ..profile.recall import recall as recall_memories
        from ..profile.recall import search_turns

        question = Question(
            request.query, request.embedding, request.include_turns, request.explain
        )
        channels = request.channels or get_args(Channel)
        asked = Asked(())
        if "vector" in channels:
            asked = question_vectors(context, address, database, question)
        vectors, skipped = asked.vectors, (*_not_asked(request), *asked.dropped)
        policy = context.policies.lenient(address.namespace, address.profile)
        weights = policy.ranking_weights if request.weights is None else request.weights
        ranking = _fed(ranking_of(weights), request.feedback_weight)
        id_key = context.id_key_of(address)
        inner = _inner(context, address, database, now_ms)._replace(
            ranking=ranking,
            mark=query_mark(id_key, request.query),
            channels=channels,
            id_key=id_key,
            steps=request.steps,
        )

        def query(connection: apsw.Connection) -> Recall:
            memories, dropped, widened = recall_memories(connection, request, where, vectors, inner)
            turns: tuple[TurnHit, ...] = ()
            if request.include_turns:
                turns = search_turns(
                    connection, request.query, vectors, request.session, request.k, inner
                )
            dropped = (*skipped, *dropped)
            if request.scores:
                memories = _scored(connection, memories, inner)
            return Recall(
                memories=memories,
                turns=turns,
                dropped=dropped,
                widened=widened,
                degraded=asked.degraded,
                txid=0,
            )

        found, txid, _ = database.read(query)
        if ranking.counts_usage or policy.counts_reads:
            note_reads(database, [hit.id for hit in found.memories], now_ms)
    for channel in {name for hit in found.memories for name in hit.channels}:
        context.metrics.add("recalls_by_channel", channel=channel)
    dropped = found.dropped if request.explain else ()
    return msgspec.structs.replace(found, txid=txid, dropped=dropped)


def search(context: Context, target: Target, request: SearchTurns) -> TurnSearch:
    """Rank the turns of one session."""
    address = context.address(target)
    check_label(request.session, "session")
    check_integer(request.k, "k", 1, K_MAX)
    _check_query(request.query)
    check_embedding(request.embedding)
    if request.query is None and request.embedding is None:
        raise Invalid("a search needs a query or an embedding")
    with context.reading(target) as database:
        if database is None:
            return TurnSearch(turns=(), txid=0)
        from ..profile.recall import search_turns

        question = Question(request.query, request.embedding, turns=True, explain=False)
        vectors = question_vectors(context, address, database, question).vectors
        inner = _inner(context, address, database, context.now_ms(database))
        turns, txid, _ = database.read(
            lambda c: search_turns(c, request.query, vectors, request.session, request.k, inner)
        )
    return TurnSearch(turns=turns, txid=txid)


def _scored(
    connection: apsw.Connection, hits: tuple[Hit, ...], inner: RecallContext
) -> tuple[Hit, ...]:
    """Return hits with what each memory is worth."""
    from ..profile.scores import scores

    found = scores(connection, [hit.id for hit in hits], inner.sealer, inner.now_ms)
    return tuple(msgspec.structs.replace(hit, scores=found.get(hit.id)) for hit in hits)


def _check(request: RecallRequest) -> None:
    """Raise `Invalid` for what cannot be asked, before anything is opened."""
    if request.query is None and request.embedding is None and request.topic is None:
        raise Invalid("recall needs a query, an embedding or a topic")
    _check_query(request.query)
    check_embedding(request.embedding)
    check_label(request.topic, "topic")
    check_integer(request.k, "k", 1, K_MAX)
    check_integer(request.window, "window", 0, WINDOW_MAX)
    check_share(request.min_score, "min_score")
    if request.max_tokens is not None:
        check_integer(request.max_tokens, "max_tokens", 0, 1 << 40)
    conditions(request, 0)
    ranking_of(request.weights)
    check_share(request.feedback_weight, "feedback_weight")
    if request.steps is not None:
        check_integer(request.steps, "steps", 1, RELATION_STEPS_MAX)
    _check_channels(request)
    if request.depth is not None:
        if request.depth not in get_args(Depth):
            words = ", ".join(get_args(Depth))
            raise Invalid(f"depth is {request.depth!r:.80}; give one of {words}")
        if request.tier is not None:
            raise Invalid("give a depth or a tier, not both: a tier is searched alone")


def _fed(ranking: Ranking, feedback: float | None) -> Ranking:
    """Return a ranking in which feedback counts as the request says."""
    if feedback is None:
        return ranking
    if not ranking.fixed:
        raise Invalid(
            f"feedback_weight is for the weights memoria, and these are {ranking.name}; leave it "
            "out, or give the factor feedback a weight"
        )
    return ranking._replace(feedback=feedback)


def _check_channels(request: RecallRequest) -> None:
    known = get_args(Channel)
    for name in request.channels:
        if name not in known:
            raise Invalid(f"there is no channel {name!r:.80}; give some of {', '.join(known)}")
    given = _given(request)
    if request.channels and not any(given[name] for name in request.channels):
        raise Invalid(
            f"channels are {', '.join(request.channels)}, and what was asked is for others; topic "
            "needs a topic, keyword and relation a query, vector a query or an embedding"
        )


def _given(request: RecallRequest) -> dict[Channel, bool]:
    """Return for which channels a request has something to ask."""
    words = request.query is not None
    return {
        "topic": request.topic is not None,
        "keyword": words,
        "vector": words or request.embedding is not None,
        "relation": words,
    }


def _not_asked(request: RecallRequest) -> tuple[Dropped, ...]:
    """Return what channels could have been asked, and are not to be."""
    if not request.channels:
        return ()
    reason = f"not asked: channels are {', '.join(request.channels)}"
    left = [name for name, given in _given(request).items() if given]
    return tuple(
        Dropped(what=f"channel {name}", reason=reason)
        for name in left
        if name not in request.channels
    )


def _check_query(query: str | None) -> None:
    size = len(query.encode("utf-8", "replace")) if query else 0
    if size > QUERY_BYTES_MAX:
        raise Invalid(
            f"query has {size:,} bytes, at most {QUERY_BYTES_MAX:,} are allowed",
            code="payload_too_large",
        )


def _inner(context: Context, address: Address, database: Readable, now_ms: int) -> RecallContext:
    from ..profile.recall import WEIGHTS, RecallContext
    from ..profile.recall.terms import TermCounts
    from ..profile.vectors import CodeIndex

    return RecallContext(
        now_ms=now_ms,
        sealer=context.sealer_of(address),
        codes=database.attachment(CodeIndex, CodeIndex),
        counts=database.attachment(TermCounts, TermCounts),
        weights=WEIGHTS,
    )
