"""Which memories say the same as a candidate, in other words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import apsw

from ..api import Target
from ..errors import Error
from ..observe import logger
from ..profile.extracted import Candidate
from ..profile.indexing import MEMORIES
from ..profile.protocols import Sealer
from ..sealing import Undecipherable
from .context import Context
from .egress import outgoing
from .embedding import embedded

__all__ = ["with_near"]

_LOG = logger("extraction")
_COSINE_LEAST = 0.92
_NEIGHBOURS = 8
_TYPES = ("fact", "instruction")


def with_near(context: Context, target: Target, candidates: Sequence[Candidate]) -> list[Candidate]:
    """Return candidates with the memory that says the same, where there is one.

    It has a cosine of at least 0.92 and every word of the candidate in the same order: of two
    sentences that differ in one value alone the cosine can be as high. An embedder that fails costs
    nothing but this: then only what is the same to the letter is found.
    """
    address = context.address(target)
    places = [place for place, one in enumerate(candidates) if _may_have_one(one)]
    found = list(candidates)
    if not places:
        return found
    with context.reading(target) as database:
        try:
            embedder = context.embedder_of(address.namespace, address.profile)
            if embedder is None or database is None:
                return found
            name = embedder.name
            with outgoing(context, address, "embed", name) as spending:
                vectors = embedded(embedder, [_text(candidates[one]) for one in places], spending)
        except Error as error:
            _LOG.warning("near duplicates are not looked for: %s", error)
            return found
        from ..profile.vectors import CodeIndex, QueryVector, nearest, unit

        index = database.attachment(CodeIndex, CodeIndex)

        sealer = context.sealer_of(address)

        def look(connection: apsw.Connection) -> list[str | None]:
            near = []
            for place, vector in zip(places, vectors, strict=True):
                query = QueryVector(name, unit(vector))
                cosines = nearest(connection, MEMORIES, index, query, _NEIGHBOURS)
                close = [] if isinstance(cosines, str) else _close(cosines)
                near.append(_same(connection, candidates[place], close, sealer))
            return near

        for place, near in zip(places, database.read(look).value, strict=True):
            found[place] = found[place]._replace(near=near)
    return found


def _may_have_one(candidate: Candidate) -> bool:
    return candidate.draft is not None and candidate.draft.type in _TYPES


def _text(candidate: Candidate) -> str:
    """Return what would be embedded of it, as `indexing.embedding_text` makes it."""
    assert candidate.draft is not None
    given = candidate.draft.given
    return " ".join(filter(None, (given.text, given.topic, given.keywords)))


def _close(cosines: dict[int, float]) -> list[int]:
    return [handle for handle, cosine in cosines.items() if cosine >= _COSINE_LEAST]


def _same(
    connection: apsw.Connection, candidate: Candidate, handles: Sequence[int], sealer: Sealer
) -> str | None:
    from ..models.signal import says_nothing_new

    assert candidate.draft is not None
    for handle in handles:
        row: Any = connection.execute(
            """SELECT id, text FROM __palimp_memories WHERE handle = ? AND type = ?
            AND superseded_at IS NULL AND state = 'active'""",
            (handle, candidate.draft.type),
        ).fetchone()
        if row is None:
            continue
        identity: str = row[0]
        try:
            text = sealer.unseal(row[1], "memories", identity, "text")
        except Undecipherable:
            continue
        if says_nothing_new(candidate.draft.given.text, text):
            return identity
    return None
