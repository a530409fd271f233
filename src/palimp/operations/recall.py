"""Recall and the search of transcripts. What needs numpy is imported at the first call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import apsw
import msgspec

from ..api import Dropped, Recall, RecallRequest, SearchTurns, Target, TurnHit, TurnSearch
from ..api.limits import K_MAX, QUERY_BYTES_MAX, WINDOW_MAX
from ..engine import Branch
from ..errors import Error, Invalid
from ..profile.checks import check_embedding, check_integer, check_label, check_share
from ..profile.indexing import GIVEN_MODEL
from ..profile.memories import conditions
from .context import Context, Readable
from .vectors import FILL_IN_PASSING, fill

if TYPE_CHECKING:
    from ..profile.recall import RecallContext
    from ..profile.vectors import QueryVector

__all__ = ["recall", "search"]


def recall(context: Context, target: Target, request: RecallRequest) -> Recall:
    """Rank the memories (and, when asked, the turns) that matter to the request."""
    context.address(target)
    _check(request)
    with context.reading(target) as database:
        if database is None:
            return Recall(memories=(), txid=0)
        now_ms = context.now_ms(database)
        where = conditions(request, now_ms)
        from ..profile.recall import recall as recall_memories
        from ..profile.recall import search_turns

        vectors, skipped = _vectors(context, target, database, request.query, request.embedding)
        inner = _inner(context, database, now_ms)

        def query(connection: apsw.Connection) -> Recall:
            hits, dropped = recall_memories(connection, request, where, vectors, inner)
            turns: tuple[TurnHit, ...] = ()
            if request.include_turns:
                turns = search_turns(
                    connection, request.query, vectors, request.session, request.k, inner
                )
            return Recall(memories=hits, turns=turns, dropped=(*skipped, *dropped), txid=0)

        found, txid, _ = database.read(query)
    for channel in {name for hit in found.memories for name in hit.channels}:
        context.metrics.add("recalls_by_channel", channel=channel)
    dropped = found.dropped if request.explain else ()
    return msgspec.structs.replace(found, txid=txid, dropped=dropped)


def search(context: Context, target: Target, request: SearchTurns) -> TurnSearch:
    """Rank the turns of one session."""
    context.address(target)
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

        vectors, _ = _vectors(context, target, database, request.query, request.embedding)
        inner = _inner(context, database, context.now_ms(database))
        turns, txid, _ = database.read(
            lambda c: search_turns(c, request.query, vectors, request.session, request.k, inner)
        )
    return TurnSearch(turns=turns, txid=txid)


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


def _check_query(query: str | None) -> None:
    size = len(query.encode("utf-8", "replace")) if query else 0
    if size > QUERY_BYTES_MAX:
        raise Invalid(
            f"query has {size:,} bytes, at most {QUERY_BYTES_MAX:,} are allowed",
            code="payload_too_large",
        )


def _inner(context: Context, database: Readable, now_ms: int) -> RecallContext:
    from ..profile.recall import WEIGHTS, RecallContext
    from ..profile.recall.terms import TermCounts
    from ..profile.vectors import CodeIndex

    return RecallContext(
        now_ms=now_ms,
        sealer=context.sealer,
        codes=database.attachment(CodeIndex, CodeIndex),
        counts=database.attachment(TermCounts, TermCounts),
        weights=WEIGHTS,
    )


def _vectors(
    context: Context,
    target: Target,
    database: Readable,
    query: str | None,
    embedding: tuple[float, ...] | None,
) -> tuple[tuple[QueryVector, ...], tuple[Dropped, ...]]:
    """Return the vectors to search with; a caller's own is compared with callers' own only."""
    from ..profile.vectors import QueryVector, unit

    vectors: list[Any] = []
    skipped = []
    if embedding is not None:
        vectors.append(QueryVector(GIVEN_MODEL, unit(embedding)))
    address = context.address(target)
    embedder = context.embedder_of(address.namespace, address.profile)
    if query is not None and query.strip():
        reason = "no embedder here"
        if embedder is not None:
            try:
                if embedder.local and isinstance(database, Branch):
                    fill(context, database, FILL_IN_PASSING)
                vectors.append(QueryVector(embedder.name, unit(embedder.embed([query])[0])))
                return tuple(vectors), ()
            except Error as error:
                # Words and topics still find what they find: a model is never needed to read.
                reason = str(error)
                context.metrics.add("recalls_without_embedder", code=error.code)
        skipped.append(Dropped(what="channel vector of the query", reason=reason))
    return tuple(vectors), tuple(skipped)
