"""Channels: each proposes rows, filters decide which of them may be seen."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import apsw
import numpy as np

from ...api import Dropped
from ..checks import decode_json
from ..indexing import GIVEN_MODEL, TURNS, Corpus, turn_text
from ..memories.filters import Conditions
from ..protocols import Sealer, Undecipherable
from ..vectors import CodeIndex, QueryVector, having, nearest
from .terms import Terms
from .weights import BM25_COLUMNS

__all__ = ["CHANNEL_ROWS", "Candidate", "Found", "Search", "admit", "gather"]

# How many rows a channel proposes, at least and per hit asked for. On LoCoMo's development half 48,
# 64, 96 and 128 gave the same recall@10.
CHANNEL_ROWS = 64
_ROWS_A_HIT = 4
_BM25 = ", ".join(map(str, BM25_COLUMNS))
_CANDIDATE_COLUMNS = {
    "memories": "m.handle, m.id, m.type, m.session, m.speaker, m.text, m.occurred_at, "
    "m.memory_tier",
    "turns": "m.handle, m.session || '/' || m.seq, 'event', m.session, m.speaker, m.content, "
    "coalesce(m.at, m.created_at), NULL",
}


class Candidate(NamedTuple):
    """A row that may be seen, with what the features need of it; no `tier` is the hot one."""

    handle: int
    type: str
    session: str | None
    speaker: str | None
    text: str
    occurred_at: int
    tier: str | None = None


class Search(NamedTuple):
    """One search: where, for what, and what may be seen.

    Of `vectors` the embedder's comes before those of older generations, the newest first.
    """

    corpus: Corpus
    terms: Terms
    vectors: tuple[QueryVector, ...]
    topic: str | None
    where: Conditions
    k: int


class Found(NamedTuple):
    """Candidates by handle, what each channel found of them, and what was left out.

    `keyword` holds bm25 by handle, `vector` cosines by model and handle, `relation` what memories
    are worth by their relations to the others.
    """

    candidates: dict[int, Candidate]
    topic: set[int]
    keyword: dict[int, float]
    vector: dict[str, dict[int, float]]
    dropped: list[Dropped]
    relation: dict[int, float]


def gather(connection: apsw.Connection, search: Search, index: CodeIndex, sealer: Sealer) -> Found:
    """Ask every channel, and keep the rows the filters allow.

    A channel first proposes without the filters, which is cheap; where they then leave it short
    although it had more to offer, it is asked again within the filtered rows.
    """
    rows = max(CHANNEL_ROWS, _ROWS_A_HIT * search.k)
    found = Found({}, set(), {}, {}, list(search.terms.dropped), {})
    if search.topic is not None:
        found.topic.update(_topic(connection, search))
        admit(connection, search, found, found.topic, sealer)
    if search.terms.match is not None:
        hits = _keyword(connection, search, rows, filtered=False)
        visible = admit(connection, search, found, [handle for handle, _ in hits], sealer)
        if len(hits) == rows and len(visible) < len(hits) // 2:
            hits = _keyword(connection, search, rows, filtered=True)
            visible = admit(connection, search, found, [handle for handle, _ in hits], sealer)
        found.keyword.update((handle, value) for handle, value in hits if handle in visible)
    newer: list[str] = []
    for query in search.vectors:
        near = nearest(connection, search.corpus, index, query, rows)
        if isinstance(near, str):
            found.dropped.append(Dropped(what="channel vector", reason=near))
            continue
        visible = admit(connection, search, found, near, sealer)
        if len(near) >= rows // 2 and len(visible) < len(near) // 2:
            near = nearest(
                connection, search.corpus, index, query, rows, _allowed(connection, search)
            )
            assert not isinstance(near, str)
            visible = admit(connection, search, found, near, sealer)
        if query.model != GIVEN_MODEL:
            # A row of two generations counts by the newer one.
            visible -= having(connection, search.corpus, newer, visible) if newer else set()
            newer.append(query.model)
        found.vector[query.model] = {handle: near[handle] for handle in visible}
    return found


def _topic(connection: apsw.Connection, search: Search) -> list[int]:
    rows = connection.execute(
        f"""SELECT m.handle FROM {search.corpus.rows} m
        WHERE m.topic = :topic AND {search.where.sql}
        ORDER BY m.activated_at DESC LIMIT :limit""",
        {**search.where.parameters, "topic": search.topic, "limit": max(CHANNEL_ROWS, search.k)},
    )
    return [handle for (handle,) in rows]


def _keyword(
    connection: apsw.Connection, search: Search, rows: int, *, filtered: bool
) -> list[tuple[int, float]]:
    fts = search.corpus.fts
    bindings: dict[str, Any] = {"match": search.terms.match, "limit": rows}
    join = ""
    if filtered:
        join = f"JOIN {search.corpus.rows} m ON m.handle = f.rowid AND {search.where.sql}"
        bindings.update(search.where.parameters)
    hits: list[Any] = connection.execute(
        f"""SELECT f.rowid, -bm25({fts}, {_BM25}) AS value FROM {fts} f {join}
        WHERE {fts} MATCH :match ORDER BY value DESC LIMIT :limit""",
        bindings,
    ).fetchall()
    return hits


def _allowed(connection: apsw.Connection, search: Search) -> Any:
    rows = connection.execute(
        f"SELECT m.handle FROM {search.corpus.rows} m WHERE {search.where.sql}",
        search.where.parameters,
    )
    return np.fromiter((handle for (handle,) in rows), np.int64)


def admit(
    connection: apsw.Connection,
    search: Search,
    found: Found,
    handles: Iterable[int],
    sealer: Sealer,
) -> set[int]:
    """Read those of the handles that the filters allow; return all of them that are visible."""
    wanted = list(handles)
    unread = [handle for handle in wanted if handle not in found.candidates]
    if unread:
        rows: list[Any] = connection.execute(
            f"""SELECT {_CANDIDATE_COLUMNS[search.corpus.name]}
            FROM carray(:handles) c JOIN {search.corpus.rows} m ON m.handle = c.value
            WHERE {search.where.sql}""",
            {
                **search.where.parameters,
                "handles": apsw.carray(np.asarray(unread, np.int64)),
            },
        ).fetchall()
        for handle, identity, kind, session, speaker, sealed, occurred_at, tier in rows:
            text = _text(search.corpus, identity, sealed, sealer)
            found.candidates[handle] = Candidate(
                handle, kind, session, speaker, text, occurred_at, tier
            )
    return {handle for handle in wanted if handle in found.candidates}


def _text(corpus: Corpus, identity: str, sealed: str | bytes, sealer: Sealer) -> str:
    """Return the words of a row; none where they cannot be read."""
    try:
        if corpus is TURNS:
            return turn_text(decode_json(sealer.unseal(sealed, "turns", identity, "content")))
        return sealer.unseal(sealed, "memories", identity, "text")
    except Undecipherable:
        return ""
